"""Semantic object accuracy and layout accuracy on hand-made readings: every answer is known."""

import pytest
import torch

from t2i_core.metrics.accuracy import inside, iou, reading_accuracy
from t2i_core.metrics.inspector import InspectorConfig, Reading
from t2i_core.metrics.layout import layout_accuracy, relations
from t2i_core.metrics.soa import attribute_accuracy, part_accuracy, questions, semantic_object_accuracy, stated

CONFIG = InspectorConfig(
    attributes={"setting": ["beach", "snow"]},
    parts=["house", "tree", "kite"],
    qualities={"color": ["red", "blue"], "size": ["small", "large"]},
    places={"left": 0.2, "middle": 0.5, "right": 0.8},
    levels={"sky": 0.25, "ground": 0.75},
    classes=[["presence"], ["attribute", "setting"]],
)
HOUSE = {
    "name": "house",
    "color": "red",
    "size": "large",
    "place": "left",
    "level": "ground",
    "box": [0.05, 0.6, 0.35, 0.9],
}
KITE = {"name": "kite", "color": "blue", "size": "small", "place": "right", "level": "sky", "box": [0.7, 0.1, 0.9, 0.3]}
TREE = {
    "name": "tree",
    "color": "red",
    "size": "small",
    "place": "left",
    "level": "ground",
    "box": [0.1, 0.6, 0.3, 0.9],
}


def truth(parts, words, setting="beach", related=()):
    return {"attributes": {"setting": setting}, "parts": parts, "relations": list(related), "words": words}


def reading(*images, setting=()):
    """Each image: {name: (color, size, (x, y))}; a thing not named is not there. Boxes are 0.2 x 0.2."""
    n, shape = len(images), (len(images), 3)
    presence, color, size = torch.full(shape, 0.02), torch.zeros(*shape, 2), torch.zeros(*shape, 2)
    box = torch.zeros(*shape, 4)
    for i, image in enumerate(images):
        for name, (tone, extent, (x, y)) in image.items():
            p = CONFIG.parts.index(name)
            presence[i, p] = 0.97
            color[i, p, CONFIG.qualities["color"].index(tone)] = 1
            size[i, p, CONFIG.qualities["size"].index(extent)] = 1
            box[i, p] = torch.tensor([x - 0.1, y - 0.1, x + 0.1, y + 0.1])
    seen = torch.zeros(n, 2)
    for i, value in enumerate(setting or ["beach"] * n):
        seen[i, CONFIG.attributes["setting"].index(value)] = 1
    qualities = {"color": color, "size": size}
    blank = torch.zeros(n, 3, 16, 16)
    return Reading(CONFIG, {"setting": seen}, presence, qualities, blank, box, torch.zeros(n, 4), torch.zeros(n, 6))


NAMES = [[0, 1, 0, "name"], [2, 3, 1, "name"]]


def test_only_what_the_chosen_caption_says_is_asked():
    one = truth([HOUSE, KITE], [[[0, 3, 0, "color"], [4, 9, 0, "name"], [10, 15, -1, "setting"]], NAMES])
    assert stated(one, 0, "name") == [0] and stated(one, 1, "name") == [0, 1]
    assert stated(one, 0, "setting") == [-1] and stated(one, 1, "setting") == []
    assert [q.answer for q in questions([one], [0], "color")] == ["red"]
    assert questions([one], [1], "color") == []
    assert stated({"attributes": {"style": "x"}}, 0, "name") == []


def test_soa_counts_named_objects_found():
    """Three images: house+kite named, house found; house named, found; kite named, not found (a tree is)."""
    truths = [truth([HOUSE, KITE], [NAMES]), truth([HOUSE], [NAMES[:1]]), truth([KITE], [NAMES[:1]])]
    house = {"house": ("red", "large", (0.2, 0.75))}
    found = semantic_object_accuracy(reading(house, house, {"tree": ("red", "small", (0.5, 0.8))}), truths, [0, 0, 0])
    assert found["soa_i"].value == pytest.approx(2 / 4) and found["soa_i"].n == 4
    assert found["soa_c"].value == pytest.approx((2 / 2 + 0 / 2) / 2)  # house 2 of 2, kite 0 of 2; tree is never named
    assert found["soa_c"].protocol["classes"] == {"house": 1.0, "kite": 0.0}
    rare = [truth([HOUSE], [NAMES[:1]])] * 3 + [truth([KITE], [NAMES[:1]])]
    seen = semantic_object_accuracy(reading(house, house, house, {}), rare, [0] * 4)
    assert (seen["soa_i"].value, seen["soa_c"].value) == (0.75, 0.5)


def test_colour_is_right_only_on_a_thing_that_is_there():
    said = [[[0, 3, 0, "color"], [4, 9, 0, "name"]]]
    truths = [truth([HOUSE], said)] * 3 + [truth([HOUSE], [NAMES[:1]])]
    red, blue = {"house": ("red", "large", (0.2, 0.7))}, {"house": ("blue", "large", (0.2, 0.7))}
    values = part_accuracy(reading(red, blue, {}, blue), truths, [0] * 4, ["color", "size"])
    assert values["color_accuracy"].value == pytest.approx(1 / 3)  # right, wrong, absent; the fourth is not asked
    assert values["color_accuracy"].n == 3 and "size_accuracy" not in values


def test_setting_is_asked_where_it_is_stated():
    said, unsaid = [[[0, 5, -1, "setting"]]], [NAMES[:1]]
    truths = [truth([HOUSE], said, "beach"), truth([HOUSE], said, "snow"), truth([HOUSE], unsaid, "snow")]
    read = reading({}, {}, {}, setting=["beach", "beach", "beach"])
    found = attribute_accuracy(read, truths, [0, 0, 0])["setting_accuracy"]
    assert (found.value, found.n) == (0.5, 2)
    wordless = [{"attributes": {"setting": "beach"}}] * 3
    assert attribute_accuracy(read, wordless, [0, 0, 0])["setting_accuracy"].n == 3


def test_place_and_level_by_hand():
    said = [[[0, 1, 0, "place"], [2, 3, 0, "level"]]]
    truths = [truth([HOUSE], said)] * 4
    read = reading(
        {"house": ("red", "large", (0.2, 0.75))},  # left, on the ground; inside the true box
        {"house": ("red", "large", (0.34, 0.7))},  # still nearest to the left; just inside
        {"house": ("red", "large", (0.36, 0.2))},  # nearest to the middle, in the sky
        {},
    )
    values = layout_accuracy(read, truths, [0] * 4)
    assert values["place_accuracy"].value == 0.5 and values["level_accuracy"].value == 0.5
    assert values["layout_accuracy"].value == 0.5 and values["layout_accuracy"].n == 8
    assert values["pointing"].value == 0.5
    overlap = iou([0.1, 0.65, 0.3, 0.85], HOUSE["box"]) + iou([0.24, 0.6, 0.44, 0.8], HOUSE["box"])
    assert values["box_iou"].value == pytest.approx(overlap / 4, abs=1e-6)
    assert layout_accuracy(read, [truth([HOUSE], [NAMES[:1]])] * 4, [0] * 4) == {}


@pytest.mark.parametrize(
    ("relation", "subject", "other", "right"),
    [
        ("left of", (0.2, 0.75), (0.5, 0.75), True),
        ("left of", (0.5, 0.75), (0.2, 0.75), False),
        ("left of", (0.4, 0.75), (0.5, 0.75), False),  # nearer than half a column: beside nothing
        ("above", (0.2, 0.2), (0.22, 0.8), True),
        ("above", (0.2, 0.8), (0.22, 0.2), False),
        ("above", (0.2, 0.2), (0.8, 0.8), False),  # higher, but in another column
        ("left of", None, (0.5, 0.75), False),
    ],
)
def test_relations(relation, subject, other, right):
    image = {"tree": ("red", "small", other)} | ({"house": ("red", "large", subject)} if subject else {})
    said = [[[0, 1, 0, "relation"]]]
    one = truth([HOUSE, TREE], said, related=[{"subject": 0, "relation": relation, "object": 1}])
    assert relations(reading(image), [one], [0]) == [(0, right)]


def test_a_world_of_parts_has_no_object_accuracy():
    always = InspectorConfig(CONFIG.attributes, CONFIG.parts, CONFIG.qualities, classes=[["attribute", "setting"]])
    read = reading({"house": ("red", "large", (0.2, 0.7))})
    read = Reading(always, **{k: v for k, v in vars(read).items() if k != "config"})
    assert semantic_object_accuracy(read, [truth([HOUSE], [NAMES[:1]])], [0]) == {}
    assert read.kinds() == ("color", "size") and layout_accuracy(read, [truth([HOUSE], [NAMES[:1]])], [0]) == {}


def test_an_unknown_relation_is_no_silent_zero():
    one = truth([HOUSE, TREE], [[[0, 1, 0, "relation"]]], related=[{"subject": 0, "relation": "inside", "object": 1}])
    both = {"house": ("red", "large", (0.2, 0.7)), "tree": ("red", "small", (0.2, 0.7))}
    with pytest.raises(ValueError, match="inside"):
        relations(reading(both), [one], [0])


def test_boxes():
    assert iou([0, 0, 1, 1], [0, 0, 1, 1]) == 1.0
    assert iou([0, 0, 0.5, 1], [0.25, 0, 0.75, 1]) == pytest.approx(1 / 3)
    assert iou([0, 0, 0.2, 0.2], [0.5, 0.5, 1, 1]) == 0.0 and iou([0, 0, 0, 0], [0, 0, 0, 0]) == 0.0
    assert inside(torch.tensor([0.5, 0.5]), [0, 0, 1, 1]) and not inside(torch.tensor([1.5, 0.5]), [0, 0, 1, 1])


def test_accuracy_of_the_instrument_by_hand():
    """Two real images: the first read perfectly, of the second a tree is read where a kite is."""
    truths = [truth([HOUSE], [[]]), truth([KITE], [[]], "snow")]
    read = reading({"house": ("red", "large", (0.2, 0.75))}, {"tree": ("red", "small", (0.8, 0.2))})
    values = reading_accuracy(read, truths, {"split": "test"})
    assert values["setting"].value == 0.5
    assert values["object_recall"].value == 0.5 and values["object_precision"].value == 0.5
    assert values["pointing"].value == 0.5 and values["color"].n == 2
