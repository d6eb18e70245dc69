"""Toy worlds: drawn pictures with captions, and the ground truth that no real dataset has.

| world       | stands for   | shows                                                           | captions | split by |
|-------------|--------------|-----------------------------------------------------------------|----------|----------|
| toy-scenes  | MS-COCO      | one to three coloured things, placed, in one of six settings    | 5        | picture  |
| toy-birds   | CUB-200-2011 | one bird: crown, wing, belly and bill; three poses              | 10       | species  |
| toy-flowers | Oxford-102   | one flower: petals (shape, number, colour), centre and leaves   | 10       | species  |
| toy-faces   | CelebA       | one face: age, hair and hairline, skin, smile, beard, glasses   | 10       | picture  |

`draw(world, seed, index, size)` gives one picture with its captions and truth (`Scene`), the same at every size, and
`prepare(world, out)` writes a dataset of them. In both, `species="free"` draws every attribute of a bird or a flower
independently, in train and test alike, instead of showing species that never meet. Reading order: canvas and palette
(how to draw), grammar (how to speak), scene (what a world returns), scenes with things, settings and scene_captions,
then birds, flowers, faces; dataset last.
"""

from data_prep.toyworld.dataset import WITH_SPECIES, WORLDS, draw, prepare
from data_prep.toyworld.scene import Scene

__all__ = ["WITH_SPECIES", "WORLDS", "Scene", "draw", "prepare"]
