"""What the report shows of one world: training curves, metrics, and what every system draws, step by step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from t2i_core import evidence, results, zoo
from t2i_core.figures import curves, metric_dots, sample_steps, spread
from t2i_core.report_figures import drawn, inline

STEPS_SHOWN = 5
LOG_ROWS = 200  # a longer log is averaged down to these
DOTTED = tuple(m for m in evidence.MAIN_METRICS if m != "fid_untrained")  # which says nothing of the trained system
NOT_LOSSES = ("step", "seconds")
WHOLE = ("default", None, *zoo.VARIANTS.values())  # variants that are no ablation
BRIEF = 0.5  # a run of fewer than this share of a world's most steps is shown apart


def worlds(runs: Sequence[results.RunFolder]) -> list[dict[str, Any]]:
    """The parts of each world that any of the runs is of, in the order of their names."""
    names = sorted({str(run.record["world"]) for run in runs})
    return [_world(name, [run for run in runs if run.record["world"] == name]) for name in names]


def _world(name: str, runs: list[results.RunFolder]) -> dict[str, Any]:
    """The figures of one world: curves, metrics, grids by step of the whole systems, last grids of all other runs."""
    steps = [run.record["steps"] or 0 for run in runs]
    brief = [run for run, length in zip(runs, steps, strict=True) if length < BRIEF * max(steps)]
    long = [run for run in runs if run not in brief]
    first: dict[str, results.RunFolder] = {}
    for run in runs:
        first.setdefault(run.name, run)  # runs come by seed: the least one stands for its system in curves and grids
    figures = _curves(name, {key: run for key, run in first.items() if run in long})
    for kind, some in (("", long), (" of brief trainings", brief)):
        text = f"Metrics{kind}: a dot for each seed, its interval as a line."
        figures += _metrics(f"metrics-{name}{kind}", text, some)
    whole = [run for run in first.values() if run.record["variant"] in WHOLE and sample_steps(run.path)]
    captions = next((c for run in runs if (c := results.read_json(run.path / "samples" / "captions.json"))), [])
    real = next((p for run in runs if (p := run.path / "samples" / "real.png").exists()), None)
    return {
        "name": name,
        "figures": figures,
        "captions": captions,
        "real": real and inline(real),
        "whole": [{"name": run.name, "grids": _grids(run)} for run in whole],
        "last": [
            {"name": run.name, "seed": run.record["seed"], "step": step, "image": inline(path)}
            for run in runs
            if run not in whole
            for step, path in list(sample_steps(run.path).items())[-1:]
        ],
    }


def _grids(run: results.RunFolder) -> list[tuple[int, dict[str, Any]]]:
    """(step, sample grid), from the first to the last."""
    return [(step, inline(path)) for step, path in spread(list(sample_steps(run.path).items()), STEPS_SHOWN)]


def _curves(name: str, runs: dict[str, results.RunFolder]) -> list[dict[str, Any]]:
    """A figure for each family of systems: those whose logs begin with the same loss have most of them in common."""
    families: dict[str, dict[str, pd.DataFrame]] = {}
    for title, run in runs.items():
        log = _log(run.path / "log.jsonl")
        losses = [column for column in log.columns if column not in NOT_LOSSES]
        if len(log) and losses:
            families.setdefault(losses[0], {})[title] = log
    figures = []
    for family, logs in families.items():
        columns = list(dict.fromkeys(c for log in logs.values() for c in log.columns if c not in NOT_LOSSES))
        seeds = ", ".join(sorted({str(runs[title].record["seed"]) for title in logs}))
        text = f"Training curves of seed {seeds}: each term as logged (faint) and smoothed (bold)."
        figures.append(drawn(curves, logs, columns, caption=text, name=f"curves-{name}-{family}"))
    return figures


def _metrics(name: str, text: str, runs: Sequence[results.RunFolder]) -> list[dict[str, Any]]:
    """Dots of the main metrics that at least half of the runs have: a panel of hardly any dots is no comparison."""
    rows = [
        {"metric": evidence.label(metric), "run": run.name} | {key: entry[key] for key in ("value", "low", "high")}
        for run in runs
        for metric, entry in run.record["metrics"].items()
        if metric in evidence.MAIN_METRICS and entry["value"] is not None
    ]
    values = pd.DataFrame(rows, columns=["metric", "run", "value", "low", "high"])
    have = values.groupby("metric").run.nunique()
    shown = [m for m in map(evidence.label, DOTTED) if 2 * have.get(m, 0) >= values.run.nunique() > 0]
    values = values[values.metric.isin(shown)]
    return [drawn(metric_dots, values, shown, label="run", caption=text, name=name)] if shown else []


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
