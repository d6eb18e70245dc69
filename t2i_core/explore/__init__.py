"""The caption explorer: what a system draws for a caption, which words act where, and two widgets over pure functions.

``render``, ``compare`` and ``walk`` give what a widget shows as data; tests and static figures use the same functions.
"""

import importlib

from t2i_core.explore.drawing import (
    Change,
    Drawer,
    Rendering,
    Walk,
    compare,
    inside_and_outside,
    noise_layout,
    render,
    walk,
    without_word,
)
from t2i_core.explore.figure_widget import figure_explorer, hard_share, png

# what stands on measures, on shipped weights or on ipywidgets is loaded when it is first asked for
_LATER = {
    "CaptionExplorer": "widget",
    "Shelf": "sources",
    "caption_explorer": "widget",
    "find": "sources",
    "read_pictures": "obeyed",
    "statements": "said",
}


def __getattr__(name: str):
    if name in _LATER:
        return getattr(importlib.import_module(f"t2i_core.explore.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CaptionExplorer",
    "Change",
    "Drawer",
    "Rendering",
    "Shelf",
    "Walk",
    "caption_explorer",
    "compare",
    "figure_explorer",
    "find",
    "hard_share",
    "inside_and_outside",
    "noise_layout",
    "png",
    "read_pictures",
    "render",
    "statements",
    "walk",
    "without_word",
]
