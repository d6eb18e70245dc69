"""Figures of a human evaluation: mean ranks with their intervals, and the automatic metrics against them.

Both say so where raters are simulated: such a figure must never pass for people's judgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from t2i_core.figures import PALETTE
from t2i_core.human.scores import MEASURES, Scores, number
from t2i_core.metrics.stats import Value


def mean_score_figure(scores: Mapping[str, Value]) -> Figure:
    """Means of :func:`mean_scores` with their intervals; of ranks, a dashed line marks what guessing would give."""
    protocol = next(iter(scores.values())).protocol
    figure, ax = plt.subplots(figsize=(5.2, 0.4 * len(scores) + 1.1), layout="constrained")
    plt.close(figure)
    for y, value in enumerate(scores.values()):
        color = PALETTE[y % len(PALETTE)]
        ax.plot([value.low, value.high], [y, y], color=color, linewidth=1.6, linestyle="-")
        ax.plot([value.value], [y], "o", color=color, markersize=6)
    if protocol["measure"] == MEASURES["rank"]:
        ax.axvline((len(scores) + 1) / 2, color="0.4", linestyle="--", linewidth=1)
    ax.set_yticks(range(len(scores)), list(scores))
    ax.set_ylim(len(scores) - 0.5, -0.5)
    ax.set_xlabel(_label(protocol))
    return figure


def metric_figure(scores: Mapping[str, Value], metrics: Scores, correlations: pd.DataFrame) -> Figure:
    """A panel for each row of :func:`correlate`: the metric against :func:`mean_scores`, which stand better upwards."""
    protocol = next(iter(scores.values())).protocol
    figure, axes = plt.subplots(1, len(correlations), figsize=(3.3 * len(correlations), 3.0), layout="constrained")
    plt.close(figure)
    for ax, row in zip(np.atleast_1d(axes), correlations.itertuples(), strict=True):
        for k, (name, value) in enumerate(scores.items()):
            if row.metric not in metrics.get(name, {}):
                continue
            x, color = number(metrics[name][row.metric]), PALETTE[k % len(PALETTE)]
            ax.plot([x, x], [value.low, value.high], color=color, linewidth=1.4, linestyle="-")
            ax.plot([x], [value.value], "o", color=color, markersize=6)
            ax.annotate(name, (x, value.value), (5, 3), textcoords="offset points", fontsize=8)
        ax.margins(x=0.35)  # room for the names
        ax.set_xlabel(row.metric)
        ax.set_title(f"rho = {row.rho:.2f}, p = {row.p:.2g}")
        if protocol["measure"] == MEASURES["rank"]:
            ax.invert_yaxis()
    np.atleast_1d(axes)[0].set_ylabel(_label(protocol))
    return figure


def _label(protocol: Mapping[str, Any]) -> str:
    simulated = protocol["simulated_raters"]
    who = "" if not simulated else f"\n{simulated} of {protocol['raters']} raters are SIMULATED"
    return f"mean {protocol['measure']}{who}"
