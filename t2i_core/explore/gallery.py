"""The explorer's example captions by every system of the zoo, as one picture."""

from __future__ import annotations

from pathlib import Path

from t2i_core import figures, teaching, zoo
from t2i_core.config import UserError, atomic_write
from t2i_core.explore.words import EXAMPLES
from t2i_core.metrics.drawing import draw


def draw_gallery(world: str, folder: str | Path | None = None) -> Path:
    """Write gallery.png beside the zoo's systems of a world: a row for each of them, a column for each caption.

    Raises UserError where there is none.
    """
    names = [name for name, place in zoo.available(folder) if place == world]
    if not names:
        raise UserError(f"the zoo has no system for {world}: train them with `t2i zoo --world {world}`")
    captions = EXAMPLES[world]
    rows = {name: draw(zoo.run(name, world, folder).system(), captions, seed=0) for name in names}
    place = Path(folder or zoo.SHIPPED) / world / "gallery.png"
    return atomic_write(place, figures.compact_png(teaching.picture_rows(rows, captions, width=2.0)))
