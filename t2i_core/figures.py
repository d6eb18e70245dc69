"""Figures that notebooks and the report share: image grids, training curves, heat maps over images, metric dots.

Every function returns a matplotlib Figure and shows nothing: the last expression of a notebook's cell shows it once.
Images are tensors (..., 3, H, W) in [-1, 1], enlarged without smoothing: a reader sees the pixels a system drew.
Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines also differ in their dashes.
"""

from __future__ import annotations

import io
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
HEAT = "magma"  # even in lightness, so it also reads in grey
MAX_CAPTION_LINES = 6
_STEP = re.compile(r"step_(\d+)\.png")


LIGHT = 20_000  # bytes of a figure in a notebook, where fewer colours can bring it there


def style() -> None:
    """Set the house's plot style for this process: quiet axes, readable sizes, colours for colour-blind readers."""
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.prop_cycle": cycler(color=PALETTE) + cycler(linestyle=DASHES),
            "grid.alpha": 0.25,
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "image.interpolation": "nearest",
            "image.cmap": HEAT,
        }
    )
    if "ipykernel" in sys.modules:
        import matplotlib_inline.backend_inline  # noqa: F401  (sets a formatter of its own when it is first imported)
        from IPython import get_ipython

        get_ipython().display_formatter.formatters["image/png"].for_type(Figure, compact_png)


def compact_png(figure: Figure) -> bytes:
    """The figure as a PNG of its best colours, 256 at most and fewer where it is large, so that a notebook stays light.

    (Pillow's maximum coverage keeps small bright things in their colour; its default, median cut, turns them grey.)
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", bbox_inches="tight")
    picture = Image.open(drawn).convert("RGB")
    for colours in (256, 128, 64) if any(axes.images for axes in figure.axes) else (64,):
        compact = io.BytesIO()
        few = picture.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
        few.save(compact, "PNG", optimize=True)
        if compact.tell() <= LIGHT:
            break
    return compact.getvalue()


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """Images (..., 3, H, W) in [-1, 1] as uint8 pixels (..., H, W, 3); values outside are clipped.

    Raises ValueError for another number of channels, so that a transposed tensor is not drawn as noise.
    """
    images = torch.as_tensor(images).detach().float().cpu()
    if images.ndim < 3 or images.shape[-3] != 3:
        raise ValueError(f"images must be (..., 3, H, W), not {tuple(images.shape)}")
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(-3, -1).numpy()


def wrap(text: str, width: int) -> str:
    """Wrap a caption into at most six lines of `width` letters; what does not fit ends in an ellipsis."""
    lines = textwrap.wrap(str(text), width, max_lines=MAX_CAPTION_LINES, placeholder=" …", break_long_words=True)
    return "\n".join(lines)


def image_grid(
    images: torch.Tensor,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    titles: Sequence[str] | None = None,
    width: float = 1.5,
) -> Figure:
    """Images (B, 3, H, W) in [-1, 1] in rows of `columns` (default: up to 8), each `width` inches wide.

    `captions` stand wrapped below their images, `titles` above. Raises ValueError where their number is not B.
    """
    pixels = to_pixels(images)
    if pixels.ndim != 4 or not len(pixels):
        raise ValueError(f"image_grid needs images (B, 3, H, W) with B >= 1, not {tuple(images.shape)}")
    for name, texts in (("captions", captions), ("titles", titles)):
        if texts is not None and len(texts) != len(pixels):
            raise ValueError(f"{len(pixels)} images but {len(texts)} {name}")
    columns = min(columns or 8, len(pixels))
    rows = -(-len(pixels) // columns)
    letters = max(8, int(width * 15))
    below = [wrap(c, letters) for c in captions] if captions is not None else []
    above = [wrap(title, letters) for title in titles] if titles is not None else []
    lines, high = (max((text.count("\n") + 1 for text in texts), default=0) for texts in (below, above))
    height = rows * (width + 0.13 * lines + 0.15 * high + 0.08)
    figure, axes = _panels(rows, columns, (columns * width, height))
    for k, ax in enumerate(axes):
        if k >= len(pixels):
            ax.remove()
            continue
        _picture(ax, pixels[k])
        if above:
            ax.set_title(above[k], fontsize=9, parse_math=False)
        if below:
            ax.set_xlabel(below[k], fontsize=8, parse_math=False)
    return figure


def curves(
    logs: pd.DataFrame | Mapping[str, pd.DataFrame],
    columns: Sequence[str],
    smoothing: float = 0.08,
    x: str = "step",
    titles: Sequence[str] | None = None,
) -> Figure:
    """Training curves: a panel for each of `columns`, a line for each log (a DataFrame, or several by name).

    The bold line is a centred moving average over the share `smoothing` of the log (it does not lag behind), the faint
    one the values as logged. A log without a column has no line there; a column that no log has raises ValueError.
    """
    logs = {"": logs} if isinstance(logs, pd.DataFrame) else dict(logs)
    known = sorted({c for log in logs.values() for c in log.columns})
    absent = [c for c in columns if c not in known]
    if absent or not columns:
        raise ValueError(f"no log has the column(s) {absent or columns}; there are: {', '.join(known)}")
    width = min(len(columns), 3)
    rows = -(-len(columns) // width)
    figure, axes = _panels(rows, width, (3.4 * width, 2.5 * rows), layout="constrained")
    for ax in axes[len(columns) :]:
        ax.remove()
    for k, (ax, column) in enumerate(zip(axes, columns, strict=False)):
        for j, (name, log) in enumerate(logs.items()):
            if column not in log:
                continue
            line = log[[x, column]].apply(pd.to_numeric, errors="coerce").dropna()
            color, dash = PALETTE[j % len(PALETTE)], DASHES[j % len(DASHES)]
            window = round(smoothing * len(line)) | 1
            if window > 1:
                ax.plot(line[x], line[column], color=color, alpha=0.2, linewidth=0.8, linestyle="-")
                line = line.assign(**{column: line[column].rolling(window, center=True, min_periods=1).mean()})
            marker = "o" if len(line) == 1 else None
            ax.plot(line[x], line[column], color=color, linestyle=dash, linewidth=1.6, marker=marker, label=name)
        ax.set_title(str(titles[k] if titles is not None else column), parse_math=False)
        ax.set_xlabel(x)
    names = [name for name in logs if name]
    if names:
        drawn = {
            label: h for ax in axes[: len(columns)] for h, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            drawn.values(),
            drawn.keys(),
            loc="outside lower center",
            ncols=min(3, len(drawn)),
            fontsize=9,
            handlelength=3,
        )
    return figure


def heat_overlay(
    image: torch.Tensor,
    heat: torch.Tensor,
    box: Sequence[float] | Sequence[Sequence[float] | None] | None = None,
    title: str | Sequence[str] | None = None,
    width: float = 2.0,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """A heat map (h, w), or several (K, h, w) side by side, over one image (3, H, W) in [-1, 1].

    The heat is enlarged bilinearly to the image, drawn from 0 (or the least value) to its greatest; all panels share
    one scale, so that they compare; `limits` fixes it. `box` is (x0, y0, x1, y1) in 0..1 of the image, or one (or
    None) for each map; `title` is a text, or one for each map. Raises ValueError where the numbers do not agree.
    """
    pixels = to_pixels(image)
    heat = torch.as_tensor(heat).detach().float().cpu()
    if heat.ndim not in (2, 3) or pixels.ndim != 3:
        raise ValueError(
            f"heat_overlay needs an image (3, H, W) and a heat (h, w) or (K, h, w), not {tuple(heat.shape)}"
        )
    single = heat.ndim == 2
    maps = heat[None] if single else heat
    boxes = [box] if single else list(box) if box is not None else [None] * len(maps)
    titles = [title] if single else list(title) if title is not None else [None] * len(maps)
    if len(boxes) != len(maps) or len(titles) != len(maps):
        raise ValueError(f"{len(maps)} heat maps but {len(boxes)} boxes and {len(titles)} titles")
    height, wide = pixels.shape[:2]
    large = torch.nn.functional.interpolate(maps[:, None], size=(height, wide), mode="bilinear", align_corners=False)
    low, high = limits or (min(0.0, float(maps.min())), float(maps.max()))
    grey = pixels.mean(axis=-1, keepdims=True).repeat(3, axis=-1).astype(np.uint8)
    figure, axes = _panels(1, len(maps), (width * len(maps) + 0.6, width + 0.3))
    for ax, layer, frame, text in zip(axes, large[:, 0].numpy(), boxes, titles, strict=True):
        _picture(ax, grey)
        shown = ax.imshow(layer, cmap=HEAT, alpha=0.65, vmin=low, vmax=high if high > low else low + 1)
        if frame is not None:
            x0, y0, x1, y1 = (float(v) for v in frame)
            corner = (x0 * wide - 0.5, y0 * height - 0.5)
            size = ((x1 - x0) * wide, (y1 - y0) * height)
            ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor="black", linewidth=3))
            ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=1.4))
        if text is not None:
            ax.set_title(wrap(text, max(8, int(width * 12))), parse_math=False)
    bar = figure.colorbar(shown, ax=list(axes), fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    return figure


def sample_steps(run_folder: str | Path) -> dict[int, Path]:
    """The sample grids of a run by step, in order: `samples/step_000200.png` is step 200."""
    found = {}
    for path in sorted(Path(run_folder, "samples").glob("step_*.png")):
        if match := _STEP.fullmatch(path.name):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def spread(items: Sequence, at_most: int) -> list:
    """At most `at_most` of the items, evenly spread, with the first and the last."""
    if len(items) <= at_most:
        return list(items)
    return [items[round(k * (len(items) - 1) / max(1, at_most - 1))] for k in range(at_most)]


def grids_by_step(run_folder: str | Path, steps: int = 6, width: float = 2.2) -> Figure:
    """The sample grids a run left, at up to `steps` of its steps: the same captions and the same noise throughout.

    Raises FileNotFoundError where the run has left none.
    """
    grids = sample_steps(run_folder)
    if not grids:
        raise FileNotFoundError(f"{run_folder} has no samples/step_*.png; train it first")
    shown = spread(list(grids.items()), steps)
    figure, axes = _panels(1, len(shown), (width * len(shown), width + 0.3))
    for ax, (step, path) in zip(axes, shown, strict=True):
        _picture(ax, plt.imread(path))
        ax.set_title(f"step {step:,}")
    return figure


def metric_dots(values: pd.DataFrame, metrics: Sequence[str], label: str = "system") -> Figure:
    """A panel for each metric: a dot for each run (a seed), its interval as a line, runs grouped by `label`.

    `values` has a row for each run and metric, with columns metric, value, low, high (nan where unknown) and `label`.
    """
    groups = list(dict.fromkeys(values[label]))
    rows = -(-len(metrics) // 3)
    width = min(3, len(metrics))
    figure, axes = _panels(rows, width, (3.4 * width, (0.28 * len(groups) + 1.0) * rows), layout="constrained")
    for ax in axes[len(metrics) :]:
        ax.remove()
    for k, (ax, metric) in enumerate(zip(axes, metrics, strict=False)):
        for j, group in enumerate(groups):
            part = values[(values.metric == metric) & (values[label] == group)].reset_index(drop=True)
            for i, row in part.iterrows():
                y = j + (i - (len(part) - 1) / 2) * min(0.18, 0.7 / max(1, len(part)))
                color = PALETTE[j % len(PALETTE)]
                ax.plot([row.low, row.high], [y, y], color=color, linewidth=1.4, linestyle="-")
                ax.plot([row.value], [y], color=color, marker="o", markersize=5)
        ax.set_yticks(range(len(groups)), groups if k % width == 0 else [""] * len(groups))
        ax.set_ylim(len(groups) - 0.4, -0.6)
        ax.set_title(metric, parse_math=False)
    return figure


def _panels(
    rows: int, columns: int, size: tuple[float, float], layout: str = "compressed"
) -> tuple[Figure, list[Axes]]:
    """A figure and its axes in reading order, closed for pyplot: a notebook then shows it once, not twice."""
    figure, axes = plt.subplots(rows, columns, figsize=size, layout=layout, squeeze=False)
    plt.close(figure)
    return figure, list(axes.flat)


def _picture(ax: Axes, pixels: np.ndarray) -> None:
    """One picture without ticks, frame or grid; its label and title stay possible."""
    ax.imshow(pixels, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
