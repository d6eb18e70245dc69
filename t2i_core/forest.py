"""A forest plot of judged claims: the difference of each with its interval, beside the line where it is empty."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from t2i_core.evidence import Record, label
from t2i_core.figures import PALETTE

MARKS = {"reproduced": ("o", PALETTE[2]), "not reproduced": ("X", PALETTE[1]), "inconclusive": ("D", PALETTE[6])}


def differences(claim: Record) -> tuple[str, dict[str, float | None], list[float]] | None:
    """(unit, the mean difference with its interval, one difference a seed), all above 0 where they speak for the claim.

    None for a claim that was not run, and for one that has no difference (a promise, a description).
    """
    measured = claim["measured"]
    if "mean" in measured:
        return measured["quantity"], measured["mean"], [f["value"] for f in measured["findings"]]
    if "difference" not in measured:
        return None
    known = {"metric", "world", "steps", "seeds", "difference"}
    ours, against = (measured[name] for name in measured if name not in known)
    plain = [a - b for a, b in zip(ours, against, strict=True)]
    sign = -1 if sum(plain) * measured["difference"]["value"] < 0 else 1
    return label(measured["metric"]), measured["difference"], [sign * one for one in plain]


def forest(claims: Sequence[Record]) -> Figure:
    """A row for each claim with a difference: right of the line it speaks for the claim, left against it.

    An FID and a share have no axis in common, so all differences of one unit are drawn in shares of the farthest point
    of that unit, and written out beside. A small dot is a seed, the mark the mean with its interval; a single seed has
    no interval, and its mark is hollow. Raises ValueError where no claim has a difference.
    """
    found = [(claim, *told) for claim in claims if (told := differences(claim))]
    if not found:
        raise ValueError("none of these claims has a difference to draw")
    scale: dict[str, float] = {}
    for _, unit, mean, seeds in found:
        ends = [abs(end) for end in (*seeds, mean["low"], mean["high"]) if end is not None]
        scale[unit] = max(*ends, scale.get(unit, 0.0), 1e-12)
    figure, ax = plt.subplots(figsize=(9.5, 0.27 * len(found) + 1.1), layout="constrained")
    plt.close(figure)
    for y, (claim, unit, mean, seeds) in enumerate(found):
        mark, color = MARKS[claim["verdict"]]
        ax.plot([one / scale[unit] for one in seeds], [y] * len(seeds), ".", markersize=4, color=color, alpha=0.5)
        interval = mean["low"] is not None
        if interval:
            ends = [mean[end] / scale[unit] for end in ("low", "high")]
            ax.plot(ends, [y, y], linestyle="-", linewidth=1.6, color=color)
        value = mean["value"] if abs(mean["value"]) > 1e-12 * scale[unit] else 0.0  # no 2e-17 of rounding
        at, face = value / scale[unit], color if interval else "none"
        ax.plot(at, y, linestyle="none", marker=mark, markersize=7, color=color, markerfacecolor=face)
        told = f"{value:+.3g}" + (f" [{mean['low']:+.3g}, {mean['high']:+.3g}]" if interval else "")
        text = textwrap.shorten(f"{told}  {unit}", 88, placeholder=" …")
        ax.text(1.08, y, text, va="center", fontsize=7, parse_math=False, clip_on=False)
    ax.axvline(0, color=PALETTE[6], linewidth=1, linestyle="-")
    ax.set(xlim=(-1.05, 1.05), ylim=(len(found) - 0.4, -0.6))
    ax.set_yticks(range(len(found)), [claim["id"] for claim, *_ in found], fontsize=8)
    ax.set_xticks([-1, 0, 1], ["against the claim", "0", "for the claim"], fontsize=8)
    kinds = [v for v in MARKS if any(claim["verdict"] == v for claim, *_ in found)]
    handles = [Line2D([], [], linestyle="none", marker=MARKS[v][0], color=MARKS[v][1], label=v) for v in kinds]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(kinds), fontsize=8)
    return figure
