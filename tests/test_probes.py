"""The probes behind ALR-GAN's F3 and F6, with a system and an inspector that are as simple as can be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from t2i_core.captions import Vocabulary
from t2i_core.metrics.probes import Edit, box_cover, edit_response, place_edits, word_overlap
from t2i_core.systems.base import Generated

CAPTIONS = ["a red house on the left", "the dog sits right here"]
SIDE = 4


class Painter:
    """Draws a bright column where the caption says: ``columns`` by word. Its Theta is given."""

    def __init__(self, columns: dict[str, int], theta: Tensor | None = None):
        self.columns, self.theta, self.vocabulary = columns, theta, Vocabulary.build(CAPTIONS)
        self.noises = []

    def noise(self, count: int, seed: int = 0) -> Tensor:
        return torch.arange(count, dtype=torch.float32)[:, None] + seed

    def generate(self, captions: list[str], noise: Tensor) -> Generated:
        self.noises.append(noise.flatten().tolist())
        images = torch.zeros(len(captions), 3, SIDE, SIDE)
        for image, caption in zip(images, captions, strict=True):
            image[..., next((c for word, c in self.columns.items() if word in caption.split()), 1)] = 1
        return Generated([images], [] if self.theta is None else [self.theta[: len(captions)]])


class Reader:
    """Sees the house where the picture is bright, and the dog in the mirror of that place."""

    config = SimpleNamespace(parts=("house", "dog"))

    def __init__(self, found=((True, True), (True, True)), box=(0.0, 0.0, 0.5, 1.0)):
        self.found, self.box = torch.tensor(found), torch.tensor(box)

    def read(self, images: Tensor) -> SimpleNamespace:
        bright = images.mean(1)
        heat = bright / bright.sum((1, 2), keepdim=True)
        both = torch.stack([heat, heat.flip(2)], 1)
        return SimpleNamespace(heat=both, found=self.found[: len(images)], box=self.box.expand(len(images), 2, 4))


# ---------------------------------------------------------------- F6


def truth(*words: tuple[int, int, int, str]) -> dict:
    return {"parts": [{"name": "house"}, {"name": "dog"}], "words": [[list(word) for word in words]]}


def test_f6_only_places_said_once_are_edited():
    captions = [
        "a red house on the left",
        "a house on the Right side",
        "a house",
        "a dog left of a house on the left",
        "a dog left of a house",
    ]
    place = [(15, 23, 0, "place"), (15, 20, 1, "place")]
    truths = [truth(place[0]), truth(place[1]), truth(), truth((26, 34, 0, "place")), truth((6, 13, 0, "relation"))]
    assert place_edits(captions, truths, [0] * 5) == [
        Edit("a red house on the left", "a red house on the right", "house", 1),
        Edit("a house on the Right side", "a house on the left side", "dog", -1),
    ]


def edits(part: str = "house") -> list[Edit]:
    there, here = "a red house on the left", "a red house on the right"
    return [Edit(there, here, part, 1), Edit(here, there, part, -1)]


@pytest.mark.parametrize(
    ("columns", "part", "share", "far"),
    [
        ({"left": 0, "right": 3}, "house", 1.0, 0.75),  # from the first of four columns to the last
        ({"left": 3, "right": 0}, "house", -1.0, -0.75),
        ({"left": 0, "right": 3}, "dog", -1.0, -0.75),  # the named part is asked, no other
        ({"left": 2, "right": 2}, "house", 0.0, 0.0),
    ],
)
def test_f6_a_move_to_the_named_side_counts_and_one_away_counts_against(columns, part, share, far):
    system = Painter(columns)
    value, moved = edit_response(system, Reader(), edits(part), seed=5)
    assert (value.value, value.n) == (share, 2)
    assert_close(moved, torch.full((2,), far))
    assert system.noises == [[5.0, 6.0], [5.0, 6.0]]  # the same noise before and after


# ---------------------------------------------------------------- F3


def test_a_box_covers_regions_in_part():
    assert_close(box_cover((0.0, 0.0, 1.0, 1.0), 3), torch.ones(9))
    # the left half, the upper quarter of 2 x 2 regions: whole in x and half in y for the first
    assert_close(box_cover((0.0, 0.0, 0.5, 0.25), 2), torch.tensor([0.5, 0, 0, 0]))
    assert_close(box_cover((0.25, 0.5, 1.0, 1.0), 2), torch.tensor([0, 0, 0.5, 1.0]))


def spoken() -> tuple[list[str], list[dict], list[int]]:
    """The words that state a class or colour: red, house; dog."""
    return (
        CAPTIONS,
        [truth((2, 5, 0, "color"), (6, 11, 0, "name"), (15, 23, 0, "place")), truth((4, 7, 1, "name"))],
        [0, 0],
    )


def thetas(red: int, house: int, dog: int) -> Tensor:
    """Each of the three words acts in one column of 4 x 4 regions alone; all others act everywhere."""
    theta = torch.ones(2, 6, SIDE, SIDE)
    for sample, token, column in ((0, 1, red), (0, 2, house), (1, 1, dog)):
        theta[sample, token] = 0
        theta[sample, token, :, column] = 1
    return theta.flatten(2)


def test_f3_attention_inside_the_box_is_counted_above_the_boxs_area():
    # the box is the left half: a word wholly inside is 1 - 1/2 above chance, one outside 1/2 below
    inside = word_overlap(Painter({}, thetas(0, 1, 1)), Reader(), *spoken())
    outside = word_overlap(Painter({}, thetas(2, 3, 3)), Reader(), *spoken())
    assert (inside.value, outside.value, inside.n) == (0.5, -0.5, 2)
    mixed = word_overlap(Painter({}, thetas(0, 3, 0)), Reader(), *spoken())
    assert mixed.value == pytest.approx((0.0 + 0.5) / 2)  # a mean an image, then over the images
    names = word_overlap(Painter({}, thetas(0, 3, 0)), Reader(), *spoken(), kinds=("name",))
    assert names.value == pytest.approx((-0.5 + 0.5) / 2)
    even = word_overlap(Painter({}, torch.ones(2, 6, 16)), Reader(), *spoken())
    assert even.value == pytest.approx(0)


def test_f3_parts_that_are_not_found_are_not_asked_about():
    assert word_overlap(Painter({}, thetas(0, 1, 1)), Reader(found=((True, True), (True, False))), *spoken()) is None
