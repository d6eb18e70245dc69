"""Attribute binding on hand-made readings: whose colour is wrong, and whether it is the neighbour's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import toyworld
from t2i_core import evidence
from t2i_core.data import load
from t2i_core.metrics import weights
from t2i_core.metrics.binding import binding_accuracy, bound
from t2i_core.metrics.evaluate import GROUPS, evaluate_images
from t2i_core.metrics.inspector import InspectorConfig, Reading
from t2i_core.metrics.soa import part_accuracy

COLORS = ["red", "blue", "green", "white", "black"]  # of which four are wrong: chance for one other colour is 1/4
NAMES = ["crown", "wing", "belly"]
CONFIG = InspectorConfig(parts=NAMES, qualities={"color": COLORS})
NOWHERE = None


def truth(told=NAMES, **colors):
    """A bird whose only caption gives the colours of the parts in ``told``."""
    parts = [{"name": name, "color": color} for name, color in colors.items()]
    words = [[0, 1, k, "color"] for k, part in enumerate(parts) if part["name"] in told]
    return {"attributes": {}, "parts": parts, "relations": [], "words": [words]}


def reading(*images, config=CONFIG):
    """Each image {part: colour read}; NOWHERE: the part is not found, though it would be read in its first colour."""
    shape = (len(images), len(config.parts))
    presence, color = torch.full(shape, 0.03), torch.zeros(*shape, len(COLORS))
    for i, image in enumerate(images):
        for name, tone in image.items():
            p = config.parts.index(name)
            presence[i, p] = 0.02 if tone is NOWHERE else 0.97
            color[i, p, 0 if tone is NOWHERE else COLORS.index(tone)] = 1
    qualities = {"color": color} if config.qualities else {}
    heat, box, n = torch.zeros(*shape, 16, 16), torch.zeros(*shape, 4), len(images)
    return Reading(config, {}, presence, qualities, heat, box, torch.zeros(n, 4), torch.zeros(n, 1))


def measured(images, truths):
    return binding_accuracy(reading(*images), truths, [0] * len(truths), {"split": "test"})


BIRD = truth(crown="red", wing="blue")


def test_right_colours_bind():
    found = measured([{"crown": "red", "wing": "blue"}] * 3, [BIRD] * 3)
    assert set(found) == {"binding_accuracy"}  # no part is in a wrong colour, so no share of them leaks
    value = found["binding_accuracy"]
    assert (value.value, value.n) == (1.0, 6) and value.low < 1 and value.protocol["split"] == "test"
    assert "two parts or more" in value.protocol["asked"]


def test_swapped_colours_leak_and_foreign_ones_do_not():
    swapped, foreign = {"crown": "blue", "wing": "red"}, {"crown": "green", "wing": "white"}
    leaking = measured([swapped] * 2, [BIRD] * 2)
    assert leaking["binding_accuracy"].value == 0.0
    assert (leaking["binding_leak"].value, leaking["binding_leak"].n) == (1.0, 4)
    assert measured([foreign] * 2, [BIRD] * 2)["binding_leak"].value == 0.0


def test_by_hand():
    """Three birds. First: crown right, wing in the crown's colour (leak). Second: three colours told; the crown is in
    the belly's (leak), the wing in none of them, the belly right. Third: the crown is not found, the wing is right."""
    truths = [BIRD, truth(crown="red", wing="blue", belly="white"), BIRD]
    images = [
        {"crown": "red", "wing": "red"},
        {"crown": "white", "wing": "green", "belly": "white"},
        {"crown": NOWHERE, "wing": "blue"},
    ]
    found = measured(images, truths)
    assert (found["binding_accuracy"].value, found["binding_accuracy"].n) == (pytest.approx(3 / 7), 7)
    leak = found["binding_leak"]
    assert (leak.value, leak.n) == (pytest.approx(2 / 3), 3)  # the part that is not found is in no colour
    assert leak.protocol["chance"]["share"] == pytest.approx((1 / 4 + 2 / 4 + 2 / 4) / 3, abs=1e-4)
    assert "other 4" in leak.protocol["chance"]["if"]
    for value in found.values():
        assert value.low <= value.value <= value.high and value.protocol["interval"] == "Wilson 95 %"


def test_equal_colours_cannot_leak():
    """Crown and wing both red: whatever else they are read in is no colour of the caption, and chance says so."""
    leak = measured([{"crown": "blue", "wing": "red"}], [truth(crown="red", wing="red")])["binding_leak"]
    assert (leak.value, leak.n, leak.protocol["chance"]["share"]) == (0.0, 1, 0.0)
    three = truth(crown="red", wing="red", belly="blue")
    leak = measured([{"crown": "blue", "wing": "green", "belly": "red"}], [three])["binding_leak"]
    assert (leak.value, leak.protocol["chance"]["share"]) == (pytest.approx(2 / 3), pytest.approx(1 / 4))


def test_only_captions_with_two_colours_are_asked():
    one = truth(told=["wing"], crown="red", wing="blue")
    assert bound([one], [0]) == [] and measured([{"wing": "red"}], [one]) == {}
    both = measured([{"wing": "red"}, {"crown": "red", "wing": "blue"}], [one, BIRD])
    assert (both["binding_accuracy"].value, both["binding_accuracy"].n) == (1.0, 2)
    # what the caption leaves unsaid is no colour of it, though the picture it describes has it
    unsaid = truth(told=["crown", "wing"], crown="red", wing="blue", belly="white")
    assert measured([{"crown": "white", "wing": "blue", "belly": "red"}], [unsaid])["binding_leak"].value == 0.0


def test_nothing_to_ask_gives_nothing():
    colorless = InspectorConfig(parts=NAMES, qualities={})
    assert binding_accuracy(reading({"crown": "red"}, config=colorless), [BIRD], [0]) == {}
    wordless = {"attributes": {"style": "x"}, "parts": []}
    assert measured([{}], [wordless]) == {}


def test_evenly_spread_wrong_colours_leak_at_chance():
    """Wrong colours drawn evenly: the leak's interval holds the chance that the protocol states."""
    generator = torch.Generator().manual_seed(0)
    asked = [truth(crown="red", wing="blue", belly="white"), BIRD]
    truths, images = [], []
    for k in range(600):
        one = asked[k % 2]
        truths.append(one)
        wrong = [[c for c in COLORS if c != part["color"]] for part in one["parts"]]
        images.append({part["name"]: options[int(torch.randint(4, (), generator=generator))]
                       for part, options in zip(one["parts"], wrong, strict=True)})  # fmt: skip
    leak = measured(images, truths)["binding_leak"]
    assert leak.low < leak.protocol["chance"]["share"] < leak.high and leak.n == 1500


colors = st.sampled_from(COLORS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[colors] * 3, *[st.sampled_from([*COLORS, NOWHERE])] * 3), min_size=1, max_size=6))
def test_any_reading_gives_lawful_shares(birds):
    """Where every caption tells all colours, binding accuracy is the colour accuracy; images in any order."""
    truths = [truth(**dict(zip(NAMES, bird[:3], strict=True))) for bird in birds]
    images = [dict(zip(NAMES, bird[3:], strict=True)) for bird in birds]
    found = measured(images, truths)
    plain = part_accuracy(reading(*images), truths, [0] * len(truths), ["color"])["color_accuracy"]
    assert found["binding_accuracy"].value == plain.value
    wrong = sum(seen not in (NOWHERE, want) for bird in birds for want, seen in zip(bird[:3], bird[3:], strict=True))
    assert found["binding_leak"].n == wrong if wrong else "binding_leak" not in found
    for name, value in measured(images[::-1], truths[::-1]).items():
        assert value.value == pytest.approx(found[name].value) and 0 <= value.low <= value.high <= 1


@pytest.fixture(scope="module")
def fresh_birds(tmp_path_factory):
    """64 birds of new species, at 32 px."""
    folder = tmp_path_factory.mktemp("binding") / "toy-birds"
    toyworld.prepare("toy-birds", folder, size=32, train=2, test=64, seed=31)
    return load(folder, "test", (32,))


def test_the_evaluation_has_it_with_its_ceiling(fresh_birds):
    """Real birds bind their colours; birds drawn for the neighbour's caption do not."""
    real, n = fresh_birds.images(range(64)), len(fresh_birds)
    told = ([fresh_birds.caption(i) for i in range(n)], fresh_birds.truth, [0] * n, real, "toy-birds")
    found = evaluate_images(real.roll(1, 0), *told, metrics="binding", paired_real=real)
    assert "binding" in GROUPS and set(found) == {"binding_accuracy", "binding_leak"}
    value = found["binding_accuracy"]
    assert value.high < 0.5 and value.protocol["on_real_images"] > 0.97
    assert value.protocol["extractor"].startswith("toy-birds inspector") and value.n > 2 * n * 0.6
    leak = found["binding_leak"]
    assert 0 < leak.low < leak.protocol["chance"]["share"] + 0.2


def test_it_does_not_depend_on_the_batch(fresh_birds):
    model, images = weights.load_inspector("toy-birds"), fresh_birds.images(range(20)).roll(1, 0)
    values = [binding_accuracy(model.read(images, size), fresh_birds.truth[:20], [0] * 20) for size in (20, 7, 1)]
    assert values[0] == values[1] == values[2]


def test_an_inspector_that_cannot_see_colours_says_nothing(fresh_birds, monkeypatch):
    real = fresh_birds.images(range(8))
    told = ([fresh_birds.caption(i) for i in range(8)], fresh_birds.truth[:8], [0] * 8, real, "toy-birds")
    blind = weights.load_inspector("toy-birds")
    blind.accuracy = blind.accuracy | {"color": 0.5}
    monkeypatch.setattr(weights, "load_inspector", lambda *_: blind)
    assert evaluate_images(real, *told, metrics="binding") == {}


def test_people_read_its_name():
    assert evidence.label("binding_accuracy") == "Attribute binding"
    assert evidence.label("binding_leak") == "Binding leak"
