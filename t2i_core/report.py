"""`report.html`: what a reproduction measured, on one page that needs no network and no other file.

Everything on it is read from what the runs wrote; nothing is typed by hand. The figure functions that the page shares
with the notebooks are here too, under their names in `t2i_core.figures`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

from t2i_core import coverage, deviations, evidence, results
from t2i_core.claims import PUBLISHED
from t2i_core.config import PROFILES, UserError, atomic_write
from t2i_core.figures import (
    curves,
    grids_by_step,
    heat_overlay,
    image_grid,
    metric_dots,
    sample_steps,
    spread,
    style,
)
from t2i_core.forest import differences, forest
from t2i_core.notebook_links import FOLDER

__all__ = ["curves", "grids_by_step", "heat_overlay", "image_grid", "metric_dots", "style", "write_report"]

REPORT = "report.html"
STEPS_SHOWN = 7
LOG_ROWS = 200  # a longer log is averaged down to these
WIDEST_GRID = 1100  # pixels; a wider one is scaled down, or a page at 256 pixels an image would weigh 30 MB
INK = "#010203"  # stands for the page's text colour, light or dark, until the figure is on the page
ANSI = re.compile(r"\x1b\[[0-9;]*m")
DOTTED = tuple(m for m in evidence.MAIN_METRICS if m != "fid_untrained")  # which says nothing of the trained system
NOT_LOSSES = ("step", "seconds")


def write_report(out: str | Path) -> Path:
    """Write `out/report.html` from `out/results.json`, the run folders and the executed notebooks; its path.

    Raises UserError where there is no results.json.
    """
    out = Path(out)
    content = results.read_json(out / "results.json")
    if not isinstance(content, dict):
        raise UserError(f"{out} has no results.json: run `t2i reproduce --out {out}` first")
    runs = results.run_folders(out)
    style()
    page = (
        _environment()
        .get_template("report_template.html")
        .render(
            results=content,
            says=PROFILES[content["profile"]].says,
            meaningless=content["profile"] in evidence.MEANINGLESS,
            rule=evidence.RULE,
            verdicts={v: sum(c["verdict"] == v for c in content["claims"]) for v in evidence.VERDICTS},
            notebooks=_timeline(content["notebooks"], results.read_json(out / "reproduce.json") or {}),
            failures=_failures(out, content["notebooks"]),
            metrics=_metrics(runs),
            main_metrics=evidence.MAIN_METRICS,
            runs=runs,
            published=PUBLISHED,
            findings=results.findings(out),
            worlds=[_world(name, [r for r in runs if r.record["world"] == name]) for name in _worlds(runs)],
            forests=_forests(content["claims"]),
            deviations=_by_paper(deviations, out),
            coverage=_by_paper(coverage, out),
            covered=coverage.counts(),
        )
    )
    return atomic_write(out / REPORT, page)


# ---------------------------------------------------------------------- the page's parts


def _timeline(notebooks: list[dict], state: dict) -> list[dict]:
    """Each notebook with the place of its bar (in percent) on the time from the first start to the last end."""
    known = state.get("notebooks", {})
    times = {n: e for n, e in known.items() if e.get("seconds") and "started" in e}
    begin = min((e["started"] for e in times.values()), default=0.0)
    whole = max((e["started"] + e["seconds"] - begin for e in times.values()), default=0.0) or 1.0
    rows = []
    for notebook in notebooks:
        entry = known.get(notebook["name"], {})
        row = notebook | {"threads": entry.get("threads"), "memory": entry.get("peak_memory_bytes")}
        if notebook["name"] in times:
            row["left"] = round(100 * (entry["started"] - begin) / whole, 2)
            row["width"] = round(max(0.5, 100 * entry["seconds"] / whole), 2)
        rows.append(row)
    return rows


def _failures(out: Path, notebooks: list[dict]) -> list[dict[str, str]]:
    """The traceback of each failed notebook, or the end of its log where a process died without one."""
    failures = []
    for name in (n["name"] for n in notebooks if n["status"] == "failed"):
        executed = results.read_json(out / "notebooks" / f"{name}.failed.ipynb") or {}
        errors = [o for c in executed.get("cells", ()) for o in c.get("outputs", ()) if o["output_type"] == "error"]
        if errors:
            text = "\n".join(errors[0]["traceback"])
        else:
            log = out / "logs" / f"{name}.log"
            text = log.read_text(errors="replace")[-4000:] if log.exists() else "it left no output"
        failures.append({"name": name, "text": ANSI.sub("", text)})
    return failures


def _metrics(runs: Sequence[results.RunFolder]) -> dict[str, dict[str, Any]]:
    """The metrics that any run has, the known ones first, each with its protocols and n (None where runs differ)."""
    present = {name for run in runs for name in run.record["metrics"]}
    order = [name for name in evidence.METRICS if name in present]
    metrics = {}
    for name in order + sorted(present - set(order)):
        entries = [run.record["metrics"][name] for run in runs if name in run.record["metrics"]]
        sizes = {entry["n"] for entry in entries}
        protocols = {_protocol(evidence.settings(entry["protocol"])) for entry in entries if entry["protocol"]}
        metrics[name] = {"protocols": sorted(protocols), "n": sizes.pop() if len(sizes) == 1 else None}
    return metrics


def _protocol(protocol: Any) -> str:
    if isinstance(protocol, dict):
        return "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in protocol.items())
    return str(protocol)


def _worlds(runs: Sequence[results.RunFolder]) -> list[str]:
    return sorted({str(run.record["world"]) for run in runs})


def _world(name: str, runs: list[results.RunFolder]) -> dict[str, Any]:
    """The figures of one world: curves, metrics, grids by step of the whole systems, last grids of all runs."""
    first: dict[str, results.RunFolder] = {}
    for run in runs:
        first.setdefault(run.name, run)  # runs come by seed: the least one stands for its system in curves and grids
    figures = []
    logs = {name: _log(run.path / "log.jsonl") for name, run in first.items()}
    logs = {name: log for name, log in logs.items() if len(log)}
    columns = list(dict.fromkeys(c for log in logs.values() for c in log.columns if c not in NOT_LOSSES))
    if columns:
        seeds = ", ".join(sorted({str(run.record["seed"]) for run in first.values()}))
        text = f"Training curves of seed {seeds}: each term as logged (faint) and smoothed (bold)."
        figures.append(_figure(curves, logs, columns, caption=text, name=f"curves-{name}"))
    rows = [
        {"metric": evidence.label(metric), "run": run.name} | {key: entry[key] for key in ("value", "low", "high")}
        for run in runs
        for metric, entry in run.record["metrics"].items()
        if metric in evidence.MAIN_METRICS and entry["value"] is not None
    ]
    if rows:
        values = pd.DataFrame(rows)
        text = "Metrics: a dot for each seed, its interval as a line."
        shown = [m for m in map(evidence.label, DOTTED) if m in set(values.metric)]
        figures.append(_figure(metric_dots, values, shown, label="run", caption=text, name=f"metrics-{name}"))
    whole = [run for run in first.values() if run.record["variant"] in ("default", None) and sample_steps(run.path)]
    steps = sorted({step for run in whole for step in sample_steps(run.path)})
    shown_steps = spread(steps, STEPS_SHOWN)
    captions = next((c for run in runs if (c := results.read_json(run.path / "samples" / "captions.json"))), [])
    real = next((p for run in runs if (p := run.path / "samples" / "real.png").exists()), None)
    return {
        "name": name,
        "figures": figures,
        "captions": captions,
        "real": real and _inline(real),
        "whole": [run.name for run in whole],
        "by_step": [
            (s, [_inline(p) if (p := sample_steps(r.path).get(s)) else None for r in whole]) for s in shown_steps
        ],
        "last": [
            {"name": run.name, "seed": run.record["seed"], "step": step, "image": _inline(path)}
            for run in runs
            if run not in whole
            for step, path in list(sample_steps(run.path).items())[-1:]
        ],
    }


def _log(path: Path) -> pd.DataFrame:
    """A run's log with at most LOG_ROWS rows: neighbours are averaged. A line cut short by a crash is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    log = pd.DataFrame(rows)
    if "step" not in log:
        return pd.DataFrame()
    group = max(1, -(-len(log) // LOG_ROWS))
    return log.select_dtypes("number").groupby(lambda row: row // group).mean()


def _forests(claims: list[dict]) -> list[dict[str, Any]]:
    """A forest plot of each paper whose claims have a difference."""
    figures = []
    for paper in dict.fromkeys(claim["paper"] for claim in claims):
        mine = [claim for claim in claims if claim["paper"] == paper]
        if any(differences(claim) for claim in mine):
            text = f"{paper}: right of the line speaks for a claim. Hollow: one seed, no interval, no verdict."
            figures.append(_figure(forest, mine, caption=text, name=f"forest-{paper}"))
    return figures


def _by_paper(index: Any, out: Path) -> dict[str, list[dict]]:
    """An index (`coverage`, `deviations`) by paper; `link` leads to a notebook beside the page, where there is one."""
    papers: dict[str, list[dict]] = {}
    for row in index.rows():
        told = row | {"link": ""}
        if "notebook" in row:
            name = Path(row["notebook"]).stem
            place = out / FOLDER
            told |= {"notebook": name}
            if (place / f"{name}.ipynb").exists():
                with contextlib.suppress(LookupError):  # a notebook of another version; its name is told all the same
                    told["link"] = f"{FOLDER}/{index.section(row, place)}"
        papers.setdefault(row["paper"], []).append(told)
    return papers


# ---------------------------------------------------------------------- figures and images as part of the page


def _figure(draw: Any, *arguments: Any, caption: str, name: str, **options: Any) -> dict[str, Any]:
    """Draw a figure in the page's own text colour, as SVG inside the page."""
    ink = (
        "text.color",
        "axes.labelcolor",
        "axes.edgecolor",
        "axes.titlecolor",
        "xtick.color",
        "ytick.color",
        "grid.color",
    )
    with plt.rc_context(dict.fromkeys(ink, INK) | {"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = draw(*arguments, **options)
        return {"svg": Markup(_svg(figure, caption)), "caption": caption}  # matplotlib escapes its texts


def _svg(figure: Figure, label: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    head = f'<svg role="img" aria-label="{escape(label)}"'
    return text.replace("<svg", head, 1).replace(INK, "currentColor")


def _inline(path: Path) -> dict[str, Any]:
    """A picture as a data URI with its size; a very wide one is scaled down."""
    data, kind = path.read_bytes(), "png"
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        if width > WIDEST_GRID:
            height = round(height * WIDEST_GRID / width)
            width = WIDEST_GRID
            buffer, kind = io.BytesIO(), "webp"
            image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=90)
            data = buffer.getvalue()
    return {"uri": f"data:image/{kind};base64,{base64.b64encode(data).decode()}", "width": width, "height": height}


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("t2i_core", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "duration": duration,
        "memory": memory,
        "counts": counts,
        "label": evidence.label,
    }
    return environment


def number(value: Any) -> str:
    """A measured number as people read it: four digits, thousands grouped, an en dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def counts(parameters: Any) -> list[tuple[str, str]]:
    """(part, number of parameters in millions) for each part of a system; ("", number) for a plain number."""
    if not parameters:
        return [("", "–")]
    parts = parameters if isinstance(parameters, dict) else {"": parameters}
    return [(part.replace("_", " "), f"{n / 1e6:.3g} M") for part, n in parts.items()]


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 7.4 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def memory(size: int | None) -> str:
    """Bytes in MB or GB (powers of 1024)."""
    if not size:
        return "–"
    return f"{size / 2**30:.2f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"
