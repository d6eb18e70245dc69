"""Two figures of failures: the evidence behind the signatures, and a gallery of the worst images by kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from t2i_core.failures.cases import Case, worst
from t2i_core.failures.log import SUSTAINED, games, stretches
from t2i_core.failures.sample import Sample
from t2i_core.failures.signatures import GRID, contrast, grid_frequencies, margins, nearest_distances, power
from t2i_core.figures import DASHES, PALETTE, _panels, _picture, to_pixels, wrap
from t2i_core.runs import Run

DRAWN, REAL = PALETTE[1], PALETTE[0]
LETTERS = 40  # a line of the gallery's small print
GAP = 2  # white pixels between a drawn image and the real one beside it


def failure_gallery(
    sample: Sample, columns: int = 3, kinds: Sequence[str] | None = None, cases: dict[str, list[Case]] | None = None
) -> Figure:
    """The worst drawn images, a row for each kind of failure: on the left what was drawn, on the right the real image
    of the same caption; below, the caption and what is wrong. What is no failure by its limit is said to be none.

    ``cases``: those of `cases.worst`, where they are at hand.
    """
    cases = cases or worst(sample, columns, kinds)
    columns = max(len(row) for row in cases.values())
    figure, axes = _panels(len(cases), columns, (3.3 * columns, 2.8 * len(cases)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.06)
    figure.suptitle("left: drawn; right: the real image of the same caption", fontsize=10)
    drawn, real = to_pixels(sample.drawn.images), to_pixels(sample.real.images)
    for k, (kind, row) in enumerate(cases.items()):
        for j, ax in enumerate(axes[k * columns : (k + 1) * columns]):
            if j >= len(row):
                ax.remove()
                continue
            case = row[j]
            gap = np.full((drawn.shape[1], max(1, GAP * drawn.shape[1] // 32), 3), 255, np.uint8)
            _picture(ax, np.concatenate([drawn[case.row], gap, real[case.row]], axis=1))
            head = kind if j == 0 else ""
            ax.set_title(head + ("" if case.fails else " (no failure)"), loc="left", fontsize=11, fontweight="bold")
            said = wrap(f'"{case.caption}"', LETTERS) + "\n" + wrap(case.wrong, LETTERS)
            ax.set_xlabel(said, fontsize=8, parse_math=False, loc="left")
    return figure


def signature_figure(run: Run, sample: Sample) -> Figure:
    """What the signatures rest on, drawn against real: the log with the spans in which a discriminator had won, power
    spectra, distances to the most alike other image, and how much better the own caption fits than others."""
    figure, axes = _panels(2, 2, (9.6, 6.4), layout="constrained")
    _log(axes[0], run)
    _spectra(axes[1], sample)
    pairs = [nearest_distances(subject) for subject in (sample.drawn, sample.real)]
    _histograms(axes[2], pairs, "distance to the most alike other image", "variety: further right is more")
    if sample.drawn.instruments.scorer is None:
        axes[3].remove()
    else:
        fits = [margins(cosines) for cosines in sample.cosines]
        _histograms(axes[3], fits, "own caption's cosine less that of others", "match: at 0 a caption says nothing")
        axes[3].axvline(0, color="black", linewidth=0.8)
    return figure


def _log(ax: Axes, run: Run) -> None:
    """Of the stage whose discriminator won for longest (else the last): both losses, and the values that say so."""
    log, pairs = run.log(), games(run)
    found = stretches(log, pairs)
    d, g = (found[0].d, found[0].g) if found else list(pairs)[-1]
    near, lost = pairs[d, g].near, pairs[d, g].lost
    for name, color, dash, limit, side in ((d, REAL, DASHES[0], near, "below"), (g, DRAWN, DASHES[1], lost, "above")):
        marker = "o" if len(log) == 1 else None
        ax.plot(log["step"], log[name], color=color, linestyle=dash, marker=marker, label=name)
        ax.axhline(limit, color=color, linestyle=":", linewidth=1.2, label=f"D has won with {name} {side}")
    for stretch in (stretch for stretch in found if stretch.d == d):
        ax.axvspan(stretch.first, stretch.last, color=PALETTE[4], alpha=0.35 if stretch.share >= SUSTAINED else 0.15)
    ax.set_ylim(bottom=min(0.0, float(log[[d, g]].min().min())))
    ax.set_xlabel("step")
    ax.set_title("training: D won for " + (f"{found[0].share:.0%} of it" if found else "no stretch of it"))
    ax.legend(fontsize=8, ncols=2, loc="best")


def _spectra(ax: Axes, sample: Sample) -> None:
    """Mean power by frequency; grid frequencies dotted, and marked by how far their contrast is off where it is."""
    drawn, real = (power(subject.images).mean(0) for subject in (sample.drawn, sample.real))
    resolution = sample.drawn.images.shape[-1]
    frequency = np.arange(1, len(real))
    ax.semilogy(frequency, drawn[1:], color=DRAWN, linestyle=DASHES[1], label="drawn")
    ax.semilogy(frequency, real[1:], color=REAL, label="real")
    for f in grid_frequencies(resolution):
        off = float(contrast(drawn, f) - contrast(real, f))
        ax.axvline(f, color="black", linestyle=":", linewidth=0.8)
        if abs(off) > GRID:
            ax.plot([f], [drawn[f]], "o", color=DRAWN, markersize=9, fillstyle="none", markeredgewidth=1.6)
            ax.annotate(
                f"{'peak' if off > 0 else 'notch'} every {resolution / f:.3g} px", (f, drawn[f]), (-4, 10),
                textcoords="offset points", ha="right", fontsize=8,
            )  # fmt: skip
    ax.axvspan(resolution // 4, resolution / 2, color=PALETTE[6], alpha=0.12, label="detail")
    ax.set(xlabel="cycles an image", title="power by frequency (dotted: the grid's)")
    ax.legend(fontsize=8)


def _histograms(ax: Axes, values: Sequence[np.ndarray], label: str, title: str) -> None:
    bins = np.histogram_bin_edges(np.concatenate(values), 30)
    for name, found, color, dash in zip(("drawn", "real"), values, (DRAWN, REAL), (DASHES[1], DASHES[0]), strict=True):
        ax.hist(found, bins, color=color, alpha=0.35)
        ax.axvline(float(found.mean()), color=color, linestyle=dash, label=f"{name}, mean {found.mean():.2f}")
    ax.set(xlabel=label, ylabel="images", title=title)
    ax.margins(y=0.3)
    ax.legend(fontsize=8, frameon=True, edgecolor="none", framealpha=0.9)
