"""Figures and pictures as parts of the report's page: SVG and data URIs, no other file."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

from t2i_core.pictures import data_uri

WIDEST_GRID = 1100  # pixels; a wider one is scaled down, or a page at 256 pixels an image would weigh 30 MB
PIXELS, ENLARGED = 96, 1.2  # of an inch on a page; a figure of one panel is not blown up to the page's width
INK = "#010203"  # stands for the page's text colour, light or dark, until the figure is on the page


def drawn(draw: Any, *arguments: Any, caption: str, name: str, **options: Any) -> dict[str, Any]:
    """Draw a figure in the page's own text colour, as SVG inside the page."""
    ink = (
        "text.color",
        "axes.labelcolor",
        "axes.edgecolor",
        "axes.titlecolor",
        "xtick.color",
        "ytick.color",
        "grid.color",
    )
    with plt.rc_context(dict.fromkeys(ink, INK) | {"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = draw(*arguments, **options)
        return {"svg": Markup(_svg(figure, caption)), "caption": caption}  # matplotlib escapes its texts


def _svg(figure: Figure, label: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    widest = min(WIDEST_GRID, round(ENLARGED * PIXELS * figure.get_figwidth()))
    head = f'<svg role="img" aria-label="{escape(label)}" style="max-width:{widest}px"'
    return text.replace("<svg", head, 1).replace(INK, "currentColor")


def inline(path: Path) -> dict[str, Any]:
    """A picture as a data URI with its size; a very wide one is scaled down."""
    data, kind = path.read_bytes(), "png"
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        if width > WIDEST_GRID:
            height = round(height * WIDEST_GRID / width)
            width = WIDEST_GRID
            buffer, kind = io.BytesIO(), "webp"
            image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=90)
            data = buffer.getvalue()
    return {"uri": data_uri(data, kind), "width": width, "height": height}
