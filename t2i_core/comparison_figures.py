"""Figures that compare many systems at once: pairs that differ, quality against cost, ranks by metric."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from t2i_core.figures import DASHES, PALETTE
from t2i_core.metrics.paired import Difference

GOOD_LOW = "RdBu"  # red above 0, blue below: blue is better where lower is


def difference_matrix(differences: Sequence[Difference], title: str, lower_is_better: bool = True) -> Figure:
    """Row less column for every pair that stands when all are counted; the others stay empty. Best row first.

    Blue where the row is the better one.
    """
    names = list(dict.fromkeys(name for one in differences for name in (one.first, one.second)))
    whole = pd.DataFrame(0.0, index=names, columns=names)
    stands = pd.DataFrame(False, index=names, columns=names)
    for one in differences:
        whole.loc[one.first, one.second], whole.loc[one.second, one.first] = one.value.value, -one.value.value
        stands.loc[one.first, one.second] = stands.loc[one.second, one.first] = one.stands
    order = whole.mean(axis=1).sort_values(ascending=lower_is_better).index
    whole, stands = whole.loc[order, order], stands.loc[order, order]
    figure, axis = plt.subplots(figsize=(0.72 * len(names) + 2.2, 0.46 * len(names) + 1.2), layout="constrained")
    most = float(np.abs(whole.to_numpy()).max()) or 1.0
    colours = f"{GOOD_LOW}_r" if lower_is_better else GOOD_LOW
    sns.heatmap(
        whole, mask=~stands.to_numpy(), annot=True, fmt=".2g", cmap=colours, vmin=-most, vmax=most, cbar=False,
        linewidths=0.5, linecolor="0.9", annot_kws={"size": 8}, ax=axis,
    )  # fmt: skip
    axis.set_title(title)
    axis.grid(False)
    axis.tick_params(axis="x", rotation=45, length=0)
    axis.tick_params(axis="y", rotation=0, length=0)
    plt.close(figure)
    return figure


def quality_against_cost(table: pd.DataFrame, quality: str, costs: Sequence[str]) -> Figure:
    """A panel for each cost: a dot a system (row of ``table``) with its name."""
    figure, axes = plt.subplots(1, len(costs), figsize=(4.8 * len(costs), 3.8), layout="constrained", sharey=True)
    for axis, cost in zip(np.atleast_1d(axes), costs, strict=True):
        sns.scatterplot(table, x=cost, y=quality, ax=axis, color=PALETTE[0], s=36)
        for name, row in table.iterrows():
            axis.annotate(str(name), (row[cost], row[quality]), (4, 4), textcoords="offset points", fontsize=8)
        axis.set_xlim(left=0)
        axis.margins(x=0.2)
    plt.close(figure)
    return figure


def rank_lines(ranks: pd.DataFrame) -> Figure:
    """A line a system (row), a column a metric; 1 is the best and on top. Names stand at the first metric's ranks."""
    figure, axis = plt.subplots(figsize=(0.52 * ranks.shape[1] + 2.0, 0.27 * len(ranks) + 1.3), layout="constrained")
    for k, (name, row) in enumerate(ranks.iterrows()):
        colour, dash = PALETTE[k % len(PALETTE)], DASHES[(k // len(PALETTE)) % len(DASHES)]
        axis.plot(range(len(row)), row, color=colour, linestyle=dash, marker="o", markersize=4)
        axis.annotate(str(name), (0, row.iloc[0]), (-8, -3), textcoords="offset points", fontsize=8, ha="right")
    axis.set_xticks(range(ranks.shape[1]), ranks.columns, rotation=45, ha="right")
    axis.set(ylim=(len(ranks) + 0.5, 0.5), yticks=range(1, len(ranks) + 1), ylabel="rank")
    axis.set_xlim(left=-0.16 * ranks.shape[1])
    plt.close(figure)
    return figure
