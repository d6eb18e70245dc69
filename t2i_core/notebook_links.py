"""Links into notebooks: to the heading under which a text stands.

JupyterLab and GitHub give every heading an anchor: its text, with "-" in the place of each space.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from t2i_core.config import project_root

FENCE = re.compile(r"^```.*?^```", re.M | re.S)
HEADING = re.compile(r"^(#{1,6}) +(.+?)\s*$", re.M)
PLAIN = "-.,:;!?'&=+$/~"  # what else an address could misread is written as %xx, and read back by both sites
FOLDER = "notebooks"


def checkout_notebooks() -> Path:
    """The notebooks of the checkout that this package lies in, or of the one that is worked in."""
    beside = Path(__file__).resolve().parent.parent / FOLDER
    return beside if beside.is_dir() else project_root() / FOLDER


@lru_cache(maxsize=64)
def _cells(path: Path, changed: float) -> tuple[tuple[str, str], ...]:
    """(kind, source) of each cell; ``changed``, the file's time of change, makes the cache forget an old content."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return tuple((cell["cell_type"], "".join(cell["source"])) for cell in content["cells"])


def cells(notebook: Path) -> tuple[tuple[str, str], ...]:
    """(kind, source) of each cell of an .ipynb."""
    return _cells(notebook, notebook.stat().st_mtime)


def heading_above(notebook: Path, place: Callable[[str], int]) -> str:
    """The heading under which a text stands: the last one before the first cell in which ``place`` finds it.

    ``place`` takes a cell's source and gives the position in it, or -1. A line of code that starts with "#" is no
    heading. Raises LookupError where no cell has the text, or no heading stands above it.
    """
    heading = ""
    for kind, source in cells(notebook):
        at = place(source)
        shown = FENCE.sub(lambda fenced: " " * len(fenced[0]), source) if kind == "markdown" else ""
        for found in HEADING.finditer(shown):
            heading = found[2] if at < 0 or found.start() <= at else heading
        if at >= 0:
            if not heading:
                raise LookupError(f"{notebook.name} has no heading above it")
            return heading
    raise LookupError(f"{notebook.name} does not say it")


def link(notebook: Path, place: Callable[[str], int]) -> str:
    """`10_name.ipynb#The-heading`, relative to the notebook's own folder; as `heading_above`."""
    anchor = heading_above(notebook, place).replace(" ", "-")
    return f"{notebook.name}#{quote(anchor, safe=PLAIN)}"
