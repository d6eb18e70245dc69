"""Figures that only notebooks need: matrices with their numbers, word maps, easy and hard elements, rows of pictures.

As in `figures`, every function returns a matplotlib Figure and shows nothing, images are (..., 3, H, W) in [-1, 1], and
colours are Okabe and Ito's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from t2i_core.figures import DASHES, HEAT, PALETTE, _panels, _picture, metric_dots, to_pixels, wrap

EASY, HARD = PALETTE[0], PALETTE[1]
Box = Sequence[float]


def matrices(
    tables: Mapping[str, Tensor], rows: Sequence[str], columns: Sequence[str], limits: tuple[float, float] | None = None
) -> Figure:
    """Matrices (rows, columns) side by side, each by its name, with their numbers in the cells.

    Each is coloured from its least to its greatest number, or all by the same `limits`. Raises ValueError where a
    matrix has not as many rows and columns as there are names.
    """
    values = {name: torch.as_tensor(table).detach().float().cpu() for name, table in tables.items()}
    for name, table in values.items():
        if table.shape != (len(rows), len(columns)):
            raise ValueError(f"{name} is {tuple(table.shape)}, but there are {len(rows)} rows, {len(columns)} columns")
    size = (0.62 * len(columns) + 0.5) * len(values) + 0.8, 0.42 * len(rows) + 0.8
    figure, axes = _panels(1, len(values), size, layout="constrained")
    for k, (ax, (name, table)) in enumerate(zip(axes, values.items(), strict=True)):
        low, high = limits or (float(table.min()), float(table.max()))
        shown = ax.imshow(table, cmap=HEAT, vmin=low, vmax=high if high > low else low + 1, aspect="auto")
        ax.set_xticks(range(len(columns)), columns)
        ax.set_yticks(range(len(rows)), rows if k == 0 else [""] * len(rows))
        ax.tick_params(length=0)
        ax.grid(False)
        ax.set_title(name, parse_math=False)
        for i, row in enumerate(table.tolist()):
            for j, value in enumerate(row):
                bright = shown.norm(value) > 0.65
                ax.text(
                    j, i, f"{value:.2f}", ha="center", va="center", color="black" if bright else "white", fontsize=9
                )
    return figure


def word_maps(
    image: Tensor, words: Sequence[str], maps: Tensor, boxes: Sequence[Box | None] | None = None, columns: int = 6
) -> Figure:
    """One image (3, H, W), then the map (h, w) of each of its T words over it; maps (T, h, w) in [0, 1].

    `boxes` has for each word the box (x0, y0, x1, y1) in 0..1 of what it speaks of, or None. All maps share the scale
    from 0 to 1. Raises ValueError where words, maps and boxes do not agree in number.
    """
    boxes = [None] * len(words) if boxes is None else list(boxes)
    if not len(words) == len(maps) == len(boxes):
        raise ValueError(f"{len(words)} words, {len(maps)} maps and {len(boxes)} boxes must be as many")
    pixels = to_pixels(image)
    columns = min(columns, len(words) + 1)
    rows = -(-(len(words) + 1) // columns)
    figure, axes = _panels(rows, columns, (1.55 * columns + 0.5, 1.8 * rows))
    _picture(axes[0], pixels)
    axes[0].set_title("image", fontsize=9)
    for box in {tuple(box) for box in boxes if box is not None}:
        _outline(axes[0], box, pixels.shape)
    for k, (word, box) in enumerate(zip(words, boxes, strict=True)):
        shown = _heat(axes[k + 1], pixels, maps[k], (0, 1))
        axes[k + 1].set_title(str(word), fontsize=9, parse_math=False)
        if box is not None:
            _outline(axes[k + 1], box, pixels.shape)
    for ax in axes[len(words) + 1 :]:
        ax.remove()
    bar = figure.colorbar(shown, ax=axes[: len(words) + 1], fraction=0.04, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    return figure


def layout_split(
    real: Tensor, drawn: Tensor, theta_real: Tensor, theta: Tensor, gamma: float, title: str = ""
) -> Figure:
    """A real and a drawn image (3, H, W), one word's Theta* and Theta (h, w) over them, their residual split at gamma.

    In the last panel an element's colour says easy or hard, its strength how large the residual is.
    """
    figure, axes = _panels(1, 5, (9.2, 2.6))
    names = ("real image", "drawn image", "Theta*", "Theta", f"R, split at {gamma:.2f}")
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name, fontsize=9)
    _picture(axes[0], to_pixels(real))
    _picture(axes[1], to_pixels(drawn))
    _heat(axes[2], to_pixels(real), theta_real, (0, 1))
    _heat(axes[3], to_pixels(drawn), theta, (0, 1))
    residual = (theta_real - theta).abs().detach().cpu().numpy()
    hard = residual >= gamma
    strength = np.sqrt(residual)[..., None]  # small residuals would not be seen on a linear scale
    colours = np.where(hard[..., None], to_rgb(HARD), to_rgb(EASY))
    _picture(axes[4], (255 * (1 - strength * (1 - colours))).astype(np.uint8))
    axes[4].legend(
        handles=[Patch(color=HARD, label=f"hard: {hard.mean():.0%}"), Patch(color=EASY, label="easy")],
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        ncols=2,
        fontsize=8,
        handlelength=1,
        columnspacing=1,
    )
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


def share_curves(x: Sequence[float], shares: Mapping[str, Sequence[float]], mark: float, xlabel: str) -> Figure:
    """Shares in 0..1 against x, a line each, named at its line's end; `mark` is the x that the system uses."""
    figure, (ax,) = _panels(1, 1, (5.6, 2.9), layout="constrained")
    for k, (name, share) in enumerate(shares.items()):
        ax.plot(x, share, label=name, linewidth=1.8, color=PALETTE[k])
    ax.axvline(mark, color="black", linewidth=1, linestyle=":")
    ax.annotate(f"{mark:g}", (mark, 1.02), xycoords=("data", "axes fraction"), ha="center", fontsize=8)
    ax.set(xlabel=xlabel, ylabel="share", ylim=(0, 1.02))
    ax.legend()
    return figure


def log_bars(values: Mapping[str, float], groups: Mapping[str, str], xlabel: str) -> Figure:
    """A bar for each value on a logarithmic axis, coloured by the group of its name, with its number beside it."""
    kinds = list(dict.fromkeys(groups[name] for name in values))
    figure, (ax,) = _panels(1, 1, (6.4, 0.24 * len(values) + 0.9), layout="constrained")
    for y, (name, value) in enumerate(values.items()):
        k = kinds.index(groups[name])
        ax.barh(y, value, color=PALETTE[k], hatch=(None, "///", "...", "xxx")[k % 4], edgecolor="white", linewidth=0)
        ax.text(value, y, f" {value:.1e}", va="center", fontsize=8)
    ax.set_yticks(range(len(values)), values, fontsize=9)
    ax.set(xscale="log", xlabel=xlabel)
    ax.set_xlim(right=20 * max(values.values()))
    ax.invert_yaxis()
    ax.legend(handles=[Patch(color=PALETTE[k], label=kind) for k, kind in enumerate(kinds)], loc="lower right")
    return figure


def dots_against(values: pd.DataFrame, metrics: Sequence[str], label: str, at: float, says: str) -> Figure:
    """`figures.metric_dots` with a dashed line at the value `at`, which `says` names."""
    figure = metric_dots(values, metrics, label)
    for ax in figure.axes:
        ax.axvline(at, color="black", linewidth=1.2, linestyle="--", zorder=0)
    line = Line2D([], [], color="black", linewidth=1.2, linestyle="--", label=says)
    figure.legend(handles=[line], loc="outside lower center", fontsize=9)
    return figure


def picture_rows(rows: Mapping[str, Tensor], titles: Sequence[str] | None = None, width: float = 1.25) -> Figure:
    """Rows of images (n, 3, H, W), each row with its name on the left; `titles` stand above the first row."""
    count = max(len(images) for images in rows.values())
    letters = max(8, int(width * 13))
    figure, axes = _panels(len(rows), count, (width * count + 0.9, width * len(rows) + (0.3 if titles else 0.1)))
    for i, (name, images) in enumerate(rows.items()):
        for k, ax in enumerate(axes[i * count : (i + 1) * count]):
            if k >= len(images):
                ax.remove()
                continue
            _picture(ax, to_pixels(images[k]))
            if k == 0:
                ax.set_ylabel(
                    wrap(name, 14), rotation=0, ha="right", va="center", fontsize=9, labelpad=8, parse_math=False
                )
            if i == 0 and titles is not None:
                ax.set_title(wrap(titles[k], letters), fontsize=9, parse_math=False)
    return figure


def mask_rows(images: Tensor, masks: Tensor, captions: Sequence[str]) -> Figure:
    """Images (n, 3, H, W) above, their layout masks (n, h, w) in [0, 1] over them below, captions at the bottom."""
    count = len(images)
    figure, axes = _panels(2, count, (1.55 * count + 0.5, 4.1))
    for k in range(count):
        _picture(axes[k], to_pixels(images[k]))
        shown = _heat(axes[count + k], to_pixels(images[k]), masks[k], (0, 1))
        axes[count + k].set_xlabel(wrap(captions[k], 22), fontsize=8, parse_math=False)
    bar = figure.colorbar(shown, ax=axes[count:], fraction=0.04, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    return figure


def steps_with_intervals(
    values: pd.DataFrame, levels: Mapping[str, float], ylabel: str, xlabel: str = "step", label: str = "label"
) -> Figure:
    """A line for each `label` of values (columns step, value, low, high and `label`), its interval as a band around it.

    `levels` are named horizontal lines: what chance would give, say, or the best that can be had.
    """
    figure, (ax,) = _panels(1, 1, (6.4, 3.2), layout="constrained")
    for k, (name, line) in enumerate(values.groupby(label, sort=False)):
        ax.plot(line.step, line.value, color=PALETTE[k], linestyle=DASHES[k], marker="o", markersize=3.5, label=name)
        ax.fill_between(line.step, line.low, line.high, color=PALETTE[k], alpha=0.15, linewidth=0)
    for name, level in levels.items():
        ax.axhline(level, color="black", linewidth=1, linestyle=":", zorder=0)
        ax.annotate(name, (1.01, level), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=8)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_xticks(sorted(values.step.unique()))
    figure.legend(loc="outside lower center", ncols=3, handlelength=3)
    return figure


def channel_rows(rows: Mapping[str, Sequence[int]], kinds: Sequence[str]) -> Figure:
    """Rows of channels, each by its number; `kinds` says of every number what is done to it, which is its colour."""
    names, count = list(dict.fromkeys(kinds)), len(kinds)
    figure, (ax,) = _panels(1, 1, (0.42 * count + 1.6, 0.5 * len(rows) + 0.9), layout="constrained")
    for y, channels in enumerate(rows.values()):
        for x, channel in enumerate(channels):
            k = names.index(kinds[channel])
            ax.add_patch(
                Rectangle((x - 0.46, y - 0.4), 0.92, 0.8, facecolor=PALETTE[k], alpha=0.35, hatch=(None, "//")[k % 2])
            )
            ax.text(x, y, str(channel), ha="center", va="center", fontsize=9)
    ax.set(xlim=(-0.6, count - 0.4), ylim=(len(rows) - 0.5, -0.5), xlabel="place in the tensor")
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks(range(count))
    ax.grid(False)
    ax.tick_params(length=0)
    patches = [Patch(facecolor=PALETTE[k], alpha=0.35, hatch=(None, "//")[k % 2], label=n) for k, n in enumerate(names)]
    figure.legend(handles=patches, loc="outside lower center", ncols=2)
    return figure


def _heat(ax: Axes, pixels: np.ndarray, heat: Tensor, limits: tuple[float, float]):
    """A map (h, w) over the grey picture, enlarged bilinearly; returns the mappable for a colour bar."""
    large = F.interpolate(heat.detach().float().cpu()[None, None], size=pixels.shape[:2], mode="bilinear")
    _picture(ax, pixels.mean(axis=-1, keepdims=True).repeat(3, axis=-1).astype(np.uint8))
    return ax.imshow(large[0, 0].numpy(), cmap=HEAT, alpha=0.65, vmin=limits[0], vmax=limits[1])


def _outline(ax: Axes, box: Box, shape: tuple[int, ...]) -> None:
    """A white frame with a black edge, which shows on any picture; the box is in 0..1 of the image."""
    height, width = shape[:2]
    x0, y0, x1, y1 = (float(v) for v in box)
    corner, size = (x0 * width - 0.5, y0 * height - 0.5), ((x1 - x0) * width, (y1 - y0) * height)
    ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor="black", linewidth=3))
    ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=1.4))
