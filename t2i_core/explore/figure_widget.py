"""A small widget over a pure function that gives a figure, and a number that one of them shows."""

from __future__ import annotations

import io

from torch import Tensor

from t2i_core.alr import split_residual
from t2i_core.config import UserError
from t2i_core.explore.page import alert


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

    The picture lives in an Image widget that keeps its room, which does not flicker; an error is shown as text.
    """
    import ipywidgets as widgets

    picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%", min_height="280px"))
    message = widgets.HTML()

    def update(change=None):
        try:
            picture.value = png(draw(**{name: control.value for name, control in controls.items()}))
            message.value = ""
        except UserError as error:
            message.value = alert(str(error))

    for control in controls.values():
        if hasattr(control, "continuous_update"):
            control.continuous_update = False
        control.observe(update, "value")
    update()
    return widgets.VBox([*controls.values(), message, picture])
