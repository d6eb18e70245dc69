"""`report.html`: what a reproduction measured, on one page that needs no network and no other file.

Everything on it is read from what the runs wrote; nothing is typed by hand. The figure functions that the page shares
with the notebooks are here too, under their names in `t2i_core.figures`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from t2i_core import coverage, deviations, evidence, results
from t2i_core.claims import PUBLISHED
from t2i_core.config import PROFILES, UserError, atomic_write
from t2i_core.figures import (
    curves,
    grids_by_step,
    heat_overlay,
    image_grid,
    metric_dots,
    style,
)
from t2i_core.forest import differences, forest
from t2i_core.notebook_links import FOLDER
from t2i_core.report_figures import drawn
from t2i_core.report_worlds import worlds

__all__ = ["curves", "grids_by_step", "heat_overlay", "image_grid", "metric_dots", "style", "write_report"]

REPORT = "report.html"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


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
            worlds=worlds(runs),
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


def _forests(claims: list[dict]) -> list[dict[str, Any]]:
    """A forest plot of each paper whose claims have a difference."""
    figures = []
    for paper in dict.fromkeys(claim["paper"] for claim in claims):
        mine = [claim for claim in claims if claim["paper"] == paper]
        if any(differences(claim) for claim in mine):
            text = f"{paper}: right of the line speaks for a claim. Hollow: one seed, no interval, no verdict."
            figures.append(drawn(forest, mine, caption=text, name=f"forest-{paper}"))
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
