"""What a reproduction leaves as data: run folders and findings, collected into `results.json`.

    OUT/runs/<system>-<variant>-<world>-s<seed>/   config.json log.jsonl summary.json metrics.json samples/
    OUT/findings/<id>.json                         one measured quantity that is no metric of a run:
                                                   id, value, low, high, n, note, seed
    OUT/results.json                               all of it, and the verdicts on the papers' claims

Nothing here is typed by hand: a number in the report was read from a file that a run wrote.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import t2i_core
from t2i_core import claims

PACKAGES = (
    "torch torchvision torchmetrics datasets accelerate transformers numpy scipy pandas matplotlib papermill nbclient "
    "ipykernel"
).split()
SEEDS = "seeds"  # the folder of further seeds
RUN_KEYS = ("system", "variant", "world", "seed", "steps", "train_seconds", "parameters", "trained_here")
METRIC_KEYS = ("value", "low", "high", "n", "protocol")


@dataclass(frozen=True)
class RunFolder:
    """A finished run as its folder tells it: `record` is its entry of results.json, `summary` all it says of itself."""

    path: Path
    record: dict[str, Any]
    summary: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """The system, with its variant where that is not the default."""
        variant = self.record["variant"]
        return self.record["system"] + ("" if variant in ("default", None, "") else f" {variant}")


def read_json(path: Path) -> Any | None:
    """The content of a JSON file, or None where it is missing or only half there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _places(out: str | Path) -> list[Path]:
    """The folder of the first seed, and those of further seeds in it."""
    return [Path(out), *sorted(Path(out, SEEDS).glob("*/"))]


def run_folders(out: str | Path) -> list[RunFolder]:
    """The finished runs (those with a summary) of all seeds under `out`, the whole systems before their ablations."""
    runs = []
    for folder in (folder for place in _places(out) for folder in sorted((place / "runs").glob("*/"))):
        summary = read_json(folder / "summary.json")
        if not isinstance(summary, dict) or not {"system", "seed"} <= summary.keys():
            continue
        config = read_json(folder / "config.json")
        known = (config.get("run", {}) if isinstance(config, dict) else {}) | summary
        metrics = read_json(folder / "metrics.json")
        record = {key: known.get(key) for key in RUN_KEYS}
        record["metrics"] = {
            name: {key: entry.get(key) for key in METRIC_KEYS}
            for name, entry in (metrics if isinstance(metrics, dict) else {}).items()
            if isinstance(entry, dict)
        }
        runs.append(RunFolder(folder, plain(record), plain(summary)))
    return sorted(runs, key=_order)


def _order(run: RunFolder) -> tuple:
    """By world; whole systems before their ablations; then by name and seed."""
    r = run.record
    return str(r["world"]), r["variant"] not in ("default", None), str(r["system"]), str(r["variant"]), r["seed"]


def findings(out: str | Path) -> list[dict[str, Any]]:
    """The findings of all seeds under `out`, by id and seed."""
    read = (read_json(path) for place in _places(out) for path in sorted((place / "findings").glob("*.json")))
    return sorted(
        (plain(f) for f in read if isinstance(f, dict) and "id" in f), key=lambda f: (str(f["id"]), str(f.get("seed")))
    )


def collect(out: str | Path, *, profile: str, seed: int, device: str, seconds: float, notebooks: list[dict]) -> dict:
    """Everything under `out` as the content of results.json; `notebooks` has name, seconds and status of each."""
    runs = run_folders(out)
    records = [run.record for run in runs]
    devices = sorted({str(run.summary["device"]) for run in runs if run.summary.get("device")})
    return plain(
        {
            "profile": profile,
            "seeds": sorted({r["seed"] for r in records}) or [seed],
            "device": ", ".join(devices) or device,
            "versions": versions(),
            "commit": commit(),
            "seconds": round(seconds, 1),
            "notebooks": notebooks,
            "runs": records,
            "claims": claims.judge(records, findings(out), profile),
        }
    )


def versions() -> dict[str, str]:
    """The versions that decide the numbers, this package's own among them."""
    found = {"t2i_core": t2i_core.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit this package stands at, with "+changes" where files differ from it; None outside a checkout."""
    home = Path(t2i_core.__file__).resolve().parents[1]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(home), *arguments], capture_output=True, text=True, timeout=20, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != home:
        return None  # installed into some other project's tree: its commit says nothing about this package
    head = git("rev-parse", "HEAD")
    return head and head + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def plain(value: Any) -> Any:
    """The same value as strict JSON can say it: NaN and infinities become None, numpy scalars become Python's."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
