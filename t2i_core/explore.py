"""Ask a system for a picture and see how it came about; and two widgets, each over a pure function.

``render`` gives what a widget shows as data; tests and static figures use the same function.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from t2i_core.alr import split_residual
from t2i_core.config import UserError
from t2i_core.runs import Run
from t2i_core.systems.base import System


@dataclass(frozen=True)
class Rendering:
    """One caption drawn. images: (3, R, R) in [-1, 1] a stage; attention: (T, h, w) a refining stage, a softmax over
    the words in every region; notes: what the user should know of how the caption was read."""

    caption: str
    seed: int
    system: str
    words: tuple[str, ...]
    images: tuple[Tensor, ...]
    attention: tuple[Tensor, ...]
    notes: tuple[str, ...]


@torch.no_grad()
def render(system: System | Run | str | Path, caption: str, seed: int = 0) -> Rendering:
    """Draw ``caption`` with ``system`` (or the run folder of one). The same arguments give the same picture."""
    if isinstance(system, str | Path):
        system = Run(system)
    if isinstance(system, Run):
        system = system.system()
    if not isinstance(caption, str):
        raise UserError("the caption must be one string")
    tokens = system.vocabulary.tokenize([caption])
    was_training = system.training
    out = system.eval().generate(tokens, seed=seed)
    system.train(was_training)
    attention = []
    for theta in out.attention:
        side = int(theta.shape[2] ** 0.5)
        attention.append(theta[0].unflatten(1, (side, side)).float().cpu())
    images = tuple(image[0].float().cpu() for image in out.images)
    return Rendering(caption, seed, system.name, tokens.words[0], images, tuple(attention), tuple(tokens.notes()))


def hard_share(theta: Tensor, theta_real: Tensor, gamma: float, mask: Tensor) -> float:
    """The share of real (word, region) elements of the layout residual that gamma calls hard, in [0, 1]."""
    _, hard = split_residual(theta, theta_real, gamma)
    real = mask[:, :, None].expand_as(hard)
    residual = (theta_real - theta).abs()
    return float(((residual >= gamma) & real).sum() / real.sum())


def png(figure) -> bytes:
    """A matplotlib figure as PNG bytes; the figure is closed, so that widgets leak no memory."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    finally:
        plt.close(figure)
    return buffer.getvalue()


def figure_explorer(draw, **controls):
    """A widget over a pure function: ``draw(**values)`` gives a matplotlib figure, ``controls`` are ipywidgets by name.

    The picture lives in an Image widget of fixed height, which does not flicker; an error is shown as text.
    """
    import ipywidgets as widgets

    picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%", min_height="280px"))
    message = widgets.HTML()

    def update(change=None):
        try:
            picture.value = png(draw(**{name: control.value for name, control in controls.items()}))
            message.value = ""
        except UserError as error:
            import html

            message.value = f"<p role='alert'>{html.escape(str(error))}</p>"

    for control in controls.values():
        if hasattr(control, "continuous_update"):
            control.continuous_update = False
        control.observe(update, "value")
    update()
    return widgets.VBox([*controls.values(), message, picture])
