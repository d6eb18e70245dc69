"""What every toy world draws: a picture, the mask of its parts, its captions and the truth to check them against."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from PIL import Image

TEST_STREAM = 1 << 30  # indices from here on are test pictures: no train set, however long, reaches them
TWO_STREAMS = "train and test are two disjoint streams of one drawing process"


@dataclass(frozen=True)
class Scene:
    """One drawn picture.

    image     RGB, size x size
    mask      L, size x size: 0 background, k where the part whose truth says "mask": k is seen
    captions  5 (toy-scenes) or 10 sentences of at most 18 words
    class_id  the species (or the number of the combination, where species are free), -1 where the world has none
    truth     {"attributes": {name: value}, "parts": [...], "relations": [...], "words": [one list a caption]};
              a part holds "name", what the world says of it ("color", "size", "place", "level"), "box" [x0, y0, x1, y1]
              in 0..1 and "mask"; a word is [start, end, index, kind]: caption[start:end] states `kind` of
              parts[index], or of the picture (index -1), or relations[index] (kind "relation")
    """

    image: Image.Image
    mask: Image.Image
    captions: list[str]
    class_id: int
    truth: dict[str, Any] = field(default_factory=dict)


def stream(world: str, seed: int, index: int, purpose: str) -> Random:
    """Random numbers for one purpose of one picture: what one part of the drawing takes never shifts another's.

    Seeded with text, which Python hashes with SHA-512, so the numbers are the same in every process and version.
    """
    return Random(f"{world}/{seed}/{index}/{purpose}")
