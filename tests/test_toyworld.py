"""The toy worlds: the same picture everywhere, and captions, boxes, masks and splits that tell the truth about it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import combinations
from math import prod
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.toyworld import WITH_SPECIES, WORLDS, Scene, birds, dataset, draw, faces, flowers, prepare, scenes
from data_prep.toyworld.canvas import Canvas, Frame
from data_prep.toyworld.grammar import MAX_WORDS, Says, count_words, render
from data_prep.toyworld.palette import COLORS
from data_prep.toyworld.scene import TEST_STREAM, stream
from data_prep.toyworld.species import pick_species
from t2i_core.cli import main
from t2i_core.cli_prepare import draw_measuring
from t2i_core.config import UserError

MODULES = {"toy-scenes": scenes, "toy-birds": birds, "toy-flowers": flowers, "toy-faces": faces}
CAPTIONS = {"toy-scenes": 5, "toy-birds": 10, "toy-flowers": 10, "toy-faces": 10}

# What a reader takes each word for, written down here apart from the grammar that uses it.
SYNONYMS = {
    "name": {
        "wings": "wing", "beak": "bill", "cap": "crown", "breast": "belly", "middle": "center", "smile": "mouth",
        "big smile": "mouth", "smiling": "mouth", "spectacles": "glasses", "full beard": "beard",
        "gold earrings": "earrings",
    },
    "color": {"golden": "blond", "ginger": "red", "silver": "gray"},
    "size": {"little": "small", "tiny": "small", "big": "large", "huge": "large"},
    "place": {"center": "middle"},
    "level": {
        "air": "sky", "flies": "sky", "floats": "sky", "hovers": "sky",
        "stands": "ground", "rests": "ground", "sits": "ground",
    },
    "length": {"small": "short", "stubby": "short", "lengthy": "long"},
    "shape": {
        "rounded": "round", "sharp": "pointed", "slender": "narrow", "heart shaped": "notched", "wide": "broad",
        "long": "thin",
    },
    "hairline": {
        "full hairline": "full", "low hairline": "full", "receding hairline": "receding", "high hairline": "receding",
    },
    "hair": {"golden": "blond", "ginger": "red", "silver": "gray"},
    "age": {"youthful": "young", "elderly": "old", "aged": "old"},
    "skin": {"pale": "light", "fair": "light", "tan": "medium"},
    "smile": {"smile": "yes", "big smile": "yes", "smiling": "yes", "serious look": "no", "straight mouth": "no"},
    "glasses": {"glasses": "yes", "spectacles": "yes", "no glasses": "no"},
    "beard": {"beard": "yes", "full beard": "yes", "no beard": "no"},
    "earrings": {"earrings": "yes", "gold earrings": "yes", "no earrings": "no"},
    "pose": {
        "sitting": "perched", "rests": "perched", "stands": "standing", "flies": "flying", "in flight": "flying",
    },
    "setting": {
        "sandy beach": "beach", "sea": "beach", "seaside": "beach", "grassy field": "meadow", "grass": "meadow",
        "dry desert": "desert", "dunes": "desert", "sand dunes": "desert", "snowy field": "snow", "winter": "snow",
        "snowy landscape": "snow", "winter landscape": "snow", "mountain landscape": "mountains",
        "city at night": "city", "dark city": "city", "town at night": "city",
    },
    "background": {
        "leaves": "forest", "woods": "forest", "water": "lake", "clear sky": "sky", "grass": "field",
        "meadow": "field", "evening": "sunset", "dusk": "sunset", "bushes": "garden", "dark background": "dark",
        "night": "dark", "wooden table": "table", "room": "table", "stones": "rocks",
    },
}  # fmt: skip


@cache
def sample(world: str, count: int = 80, size: int = 16) -> list[Scene]:
    return [draw(world, 0, index, size) for index in range(count)]


def digest(scene: Scene) -> str:
    text = json.dumps([scene.captions, scene.class_id, scene.truth])
    return hashlib.sha256(scene.image.tobytes() + scene.mask.tobytes() + text.encode()).hexdigest()


# ------------------------------------------------------------------------------------------------- the same picture


@pytest.mark.parametrize("world", WORLDS)
def test_a_picture_has_the_size_and_modes_it_promises(world):
    scene = draw(world, 0, 3, 40)
    assert (scene.image.size, scene.image.mode) == ((40, 40), "RGB")
    assert (scene.mask.size, scene.mask.mode) == ((40, 40), "L")
    assert len(scene.captions) == len(set(scene.captions)) == len(scene.truth["words"]) == CAPTIONS[world]


def drawn_digest(arguments: tuple[str, int, int, int]) -> str:
    return digest(draw(*arguments))


def test_the_same_arguments_draw_the_same_picture_in_another_process():
    pictures = [(world, 5, index, 24) for world in WORLDS for index in (0, 7, TEST_STREAM)]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(drawn_digest, pictures)) == [drawn_digest(picture) for picture in pictures]


@pytest.mark.parametrize("world", WORLDS)
def test_seed_and_index_change_the_picture(world):
    digests = {digest(draw(world, seed, index, 16)) for seed in (0, 1) for index in (0, 1, TEST_STREAM)}
    assert len(digests) == 6


@pytest.mark.parametrize("world", WORLDS)
def test_a_picture_is_the_same_at_every_size(world):
    for index in range(6):
        small, large = draw(world, 0, index, 32), draw(world, 0, index, 128)
        assert small.truth == large.truth
        assert small.captions == large.captions
        averaged = np.asarray(large.image.reduce(4), dtype=float)
        assert np.abs(averaged - np.asarray(small.image, dtype=float)).mean() < 2.5
        assert (np.asarray(large.mask)[2::4, 2::4] == np.asarray(small.mask)).mean() > 0.97


# ------------------------------------------------------------------------------------------------ boxes and masks


@pytest.mark.parametrize("world", WORLDS)
def test_boxes_contain_their_masks_and_little_else(world):
    fills = []
    for index in range(25):
        scene = draw(world, 2, index, 64)
        mask = np.asarray(scene.mask)
        assert set(np.unique(mask)) <= {0, *(part["mask"] for part in scene.truth["parts"])}
        for part in scene.truth["parts"]:
            x0, y0, x1, y1 = part["box"]
            assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
            rows, columns = np.nonzero(mask == part["mask"])
            if len(rows):
                pixel = 1 / 64
                assert columns.min() / 64 >= x0 - pixel and (columns.max() + 1) / 64 <= x1 + pixel
                assert rows.min() / 64 >= y0 - pixel and (rows.max() + 1) / 64 <= y1 + pixel
            fills.append(len(rows) * pixel**2 / ((x1 - x0) * (y1 - y0)))
    assert np.mean(fills) > 0.3
    if world == "toy-scenes":
        assert min(fills) > 0.15


def test_every_object_of_a_scene_stays_at_least_70_percent_visible(monkeypatch):
    alone: dict[int, int] = {}
    paint = scenes._paint

    def spy(canvas: Canvas, thing, number, rng):
        part = paint(canvas, thing, number, rng)
        alone[number] = int((np.asarray(canvas.finish()[1]) == number).sum())
        return part

    monkeypatch.setattr(scenes, "_paint", spy)
    for index in range(150):
        alone.clear()
        mask = np.asarray(draw("toy-scenes", 3, index, 48).mask)
        for number, area in alone.items():
            assert (mask == number).sum() >= 0.7 * area, f"object {number} of scene {index}"


def test_size_and_place_words_are_true_of_the_boxes():
    for scene in sample("toy-scenes"):
        for part in scene.truth["parts"]:
            x0, y0, x1, y1 = part["box"]
            place = "left" if (x0 + x1) / 2 < 0.36 else "right" if (x0 + x1) / 2 > 0.64 else "middle"
            assert place == part["place"]
            assert ("sky" if y1 < 0.7 else "ground") == part["level"]
            side = max(x1 - x0, y1 - y0)
            assert 0.22 <= side <= 0.33 if part["size"] == "small" else 0.33 < side <= 0.46


def test_relations_are_true_of_the_boxes_and_complete():
    seen = Counter()
    for scene in sample("toy-scenes"):
        parts = scene.truth["parts"]
        for relation in scene.truth["relations"]:
            a, b = parts[relation["subject"]]["box"], parts[relation["object"]]["box"]
            axis = 0 if relation["relation"] == "left of" else 1
            assert a[axis] + a[axis + 2] < b[axis] + b[axis + 2]
            seen[relation["relation"]] += 1
        assert len(scene.truth["relations"]) == len(list(combinations(parts, 2)))
    assert set(seen) == {"left of", "above"}


def test_a_named_color_is_the_color_of_most_of_the_object():
    near = []
    for scene in (draw("toy-scenes", 4, index, 32) for index in range(80)):
        pixels, mask = np.asarray(scene.image, dtype=float), np.asarray(scene.mask)
        names, values = list(COLORS), np.array(list(COLORS.values()), dtype=float)
        for part in scene.truth["parts"]:
            own = pixels[mask == part["mask"]]
            votes = Counter(names[k] for k in np.abs(own[:, None] - values).sum(-1).argmin(1))
            near.append(part["color"] in [name for name, _ in votes.most_common(2)])
    assert np.mean(near) > 0.97


# ---------------------------------------------------------------------------------------------------- captions


def stated(scene: Scene, word: list) -> str | None:
    """The value that the truth holds for what a word is said to state."""
    _, _, index, kind = word
    holder = scene.truth["attributes"] if index == -1 else scene.truth["parts"][index]
    return holder[kind]


@pytest.mark.parametrize("world", WORLDS)
def test_words_say_what_the_truth_says(world):
    for scene in sample(world):
        for caption, words in zip(scene.captions, scene.truth["words"], strict=True):
            for word in words:
                text, kind = caption[word[0] : word[1]], word[3]
                if kind != "relation":
                    assert SYNONYMS.get(kind, {}).get(text, text) == stated(scene, word), (caption, text, kind)


def test_relation_words_are_true_read_from_left_to_right():
    turned = {"right of": "left of", "to the right of": "left of", "below": "above", "under": "above"}
    straight = {"left of": "left of", "to the left of": "left of", "above": "above", "over": "above"}
    found = Counter()
    for scene in sample("toy-scenes", 250):
        for caption, words in zip(scene.captions, scene.truth["words"], strict=True):
            for start, end, index, kind in words:
                if kind != "relation":
                    continue
                relation, text = scene.truth["relations"][index], caption[start:end]
                before = [word for word in words if word[3] == "name" and word[1] < start][-1][2]
                after = next(word for word in words if word[3] == "name" and word[0] > end)[2]
                pair = (relation["subject"], relation["object"])
                assert (before, after) == (pair if text in straight else pair[::-1])
                assert (straight | turned)[text] == relation["relation"]
                found[text] += 1
    assert set(found) == set(straight) | set(turned)


@pytest.mark.parametrize("world", ["toy-scenes", "toy-birds", "toy-flowers"])
def test_no_color_is_told_that_the_words_do_not_list(world):
    colors = set(MODULES[world].PARTS["colors"])
    for scene in sample(world):
        for caption, words in zip(scene.captions, scene.truth["words"], strict=True):
            listed = {(start, end) for start, end, _, kind in words if kind == "color"}
            told = {match.span() for match in re.finditer(r"[a-z]+", caption) if match.group() in colors}
            assert told == listed


@pytest.mark.parametrize("world", WORLDS)
def test_vocabulary_and_length(world):
    captions = [caption for scene in sample(world, 150, 8) for caption in scene.captions]
    vocabulary = {word for caption in captions for word in re.findall(r"[a-z]+", caption)}
    assert 40 <= len(vocabulary) <= 110
    assert max(len(caption.split()) for caption in captions) <= MAX_WORDS
    assert not [caption for caption in captions if re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|[^a-z, ]", caption)]


def test_scene_captions_name_every_object_and_mostly_the_setting_and_a_place():
    kinds, count = Counter(), 0
    for scene in sample("toy-scenes"):
        everything = set(range(len(scene.truth["parts"])))
        for words in scene.truth["words"]:
            assert {word[2] for word in words if word[3] == "name"} == everything
            assert {word[2] for word in words if word[3] == "color"} == everything
            kinds.update({word[3] for word in words})
            count += 1
    assert kinds["setting"] / count > 0.88
    assert kinds["place"] / count > 0.5
    assert min(kinds[kind] for kind in ("size", "level", "relation")) / count > 0.1


def test_render_joins_pieces_and_keeps_the_offsets():
    caption, words = render(["a", Says("orange", 0, "color", ((-1, "hair"),)), ",", "and a", Says("kite", 1, "name")])
    assert caption == "an orange, and a kite"
    assert [(caption[start:end], index, kind) for start, end, index, kind in words] == [
        ("orange", 0, "color"), ("orange", -1, "hair"), ("kite", 1, "name"),
    ]  # fmt: skip
    assert count_words(["a", Says("heart shaped", 0, "shape"), ",", "petal"]) == 4


# ------------------------------------------------------------------------------------------- balance and independence


def dependence(pairs: list[tuple[str, str]]) -> float:
    """Cramer's V of two names that are drawn together: 0 independent, 1 one tells the other."""
    left, right = sorted({a for a, _ in pairs}), sorted({b for _, b in pairs})
    table = np.zeros((len(left), len(right)))
    for a, b in pairs:
        table[left.index(a), right.index(b)] += 1
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum() / (min(table.shape) - 1)))


@cache
def layouts() -> list[tuple[str, dict[str, str]]]:
    """(setting, thing) of 2,500 scenes, without drawing them."""
    out = []
    for index in range(2500):
        setting = scenes.stream(scenes.NAME, 0, index, "setting").choice(list(scenes.SETTINGS))
        out += [(setting, thing) for thing in scenes._layout(scenes.stream(scenes.NAME, 0, index, "layout"))]
    return out


@pytest.mark.parametrize("kind", ["name", "color", "place", "setting"])
def test_scenes_are_balanced(kind):
    counts = Counter(setting if kind == "setting" else thing[kind] for setting, thing in layouts())
    assert max(counts.values()) < 1.35 * min(counts.values()), counts


@pytest.mark.parametrize(
    "pair", ["name color", "name place", "color place", "color size", "setting color", "setting name", "setting place"]
)
def test_scenes_give_nothing_away(pair):
    one, other = pair.split()
    pairs = [((setting if one == "setting" else thing[one]), thing[other]) for setting, thing in layouts()]
    assert dependence(pairs) < 0.08
    assert dependence([(a, a) for a, _ in pairs]) == pytest.approx(1)


def test_a_level_fits_its_thing():
    for _, thing in layouts():
        assert thing["level"] == "ground" or thing["name"] in ("balloon", "kite", "bird", "plane")
    assert {thing["level"] for _, thing in layouts() if thing["name"] == "bird"} == {"sky", "ground"}


def test_faces_combine_everything_so_that_young_may_recede():
    people = [scene.truth["attributes"] for scene in sample("toy-faces", 300, 8)]
    young = [person for person in people if person["age"] == "young"]
    assert 0.4 < np.mean([person["hairline"] == "receding" for person in young]) < 0.6
    for one, other in combinations(("age", "hairline", "length", "glasses", "smile", "beard", "earrings"), 2):
        assert dependence([(person[one], person[other]) for person in people]) < 0.2


def test_colors_stay_apart_for_normal_and_color_blind_eyes():
    """CIE76 distances after the dichromat matrices of Machado et al. 2009 (severity 1.0, linear RGB)."""
    eyes = {
        "normal": (np.eye(3), 35),
        "protan": ([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]], 18),
        "deutan": ([[0.3674, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]], 18),
        "tritan": ([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]], 18),
    }
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    for name, (matrix, least) in eyes.items():
        lab = []
        for color in COLORS.values():
            linear = ((np.array(color) / 255 + 0.055) / 1.055) ** 2.4
            xyz = to_xyz @ np.clip(np.asarray(matrix) @ linear, 0, 1) / [0.9505, 1.0, 1.089]
            f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
            lab.append([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
        nearest = min(np.linalg.norm(np.subtract(a, b)) for a, b in combinations(lab, 2))
        assert nearest > least, name


# ---------------------------------------------------------------------------------------------------------- splits


@pytest.mark.parametrize("module", [birds, flowers])
def test_species_are_split_and_told_by_their_parts(module):
    train = {module.draw(0, index, 8).class_id for index in range(150)}
    test = {module.draw(0, TEST_STREAM + index, 8).class_id for index in range(60)}
    assert train == set(range(30)) and test == set(range(30, 40))
    for one, other in combinations(module.SPECIES, 2):
        assert sum(one[name] != other[name] for name in one) >= 2
    for name in module.SPECIES[0]:
        known = {species[name] for species in module.SPECIES[:30]}
        assert {species[name] for species in module.SPECIES[30:]} <= known


def test_a_bird_shows_its_species():
    for index in range(20):
        scene = draw("toy-birds", 0, index, 8)
        species = birds.SPECIES[scene.class_id]
        parts = {part["name"]: part for part in scene.truth["parts"]}
        assert all(parts[name]["color"] == species[name] for name in ("crown", "wing", "belly", "bill"))
        assert parts["bill"]["length"] == species["length"]


@pytest.mark.parametrize("module", [birds, flowers])
def test_free_species_give_nothing_away(module):
    """Every value about equally often, and no attribute tells another: what species do, and free ones must not."""

    def attributes(drawn):
        rngs = (stream(module.NAME, 0, index, "species") for index in range(3000))
        return [pick_species(rng, False, module.SPECIES, module.VALUES, drawn) for rng in rngs]

    free, split = attributes("free"), [one for _, one in attributes("split")]
    for name, values in module.VALUES.items():
        counts = Counter(one[name] for _, one in free)
        assert set(counts) == set(values) and max(counts.values()) < 1.35 * min(counts.values()), counts
    pairs = list(combinations(module.VALUES, 2))
    for a, b in pairs:
        assert dependence([(one[a], one[b]) for _, one in free]) < 0.08
    assert max(dependence([(one[a], one[b]) for one in split]) for a, b in pairs) > 0.3
    # one class a combination, from 0 to one less than there are; more of them than species
    assert len({class_id for class_id, _ in free}) == len({tuple(one.values()) for _, one in free}) > 400
    assert all(0 <= class_id < prod(map(len, module.VALUES.values())) for class_id, _ in free)
    for class_id, one in free[:50]:
        digits = []
        for values in reversed(module.VALUES.values()):
            class_id, digit = divmod(class_id, len(values))
            digits.insert(0, values[digit])
        assert digits == list(one.values())


@pytest.mark.parametrize("world", ["toy-birds", "toy-flowers"])
def test_a_free_picture_shows_what_its_truth_says(world):
    """Another species in the same place before the same background; both streams draw from the same combinations."""
    for index in (*range(8), TEST_STREAM, TEST_STREAM + 1):
        split, free = draw(world, 0, index, 16), draw(world, 0, index, 16, "free")
        assert free.truth["attributes"] == split.truth["attributes"]
        assert digest(free) == digest(draw(world, 0, index, 16, species="free")) != digest(split)
        for caption, words in zip(free.captions, free.truth["words"], strict=True):
            for word in words:
                text, kind = caption[word[0] : word[1]], word[3]
                assert SYNONYMS.get(kind, {}).get(text, text) == stated(free, word), (caption, text, kind)
    seen = {draw(world, 0, TEST_STREAM + index, 8, "free").class_id for index in range(40)}
    assert len(seen) > 30 and max(seen) >= 40


def test_free_species_are_told_in_the_manifest_and_nothing_else_is(tmp_path):
    """The argument stands there only where it is not the default: datasets prepared before it existed stay current."""
    split = prepare("toy-birds", tmp_path / "split", size=8, train=4, test=2, seed=1)
    assert set(split["arguments"]) == {"world", "size", "train", "test", "seed", "drawing"}
    assert split["class_disjoint"] and split["split_rule"].startswith("by species")
    free = prepare("toy-birds", tmp_path / "free", size=8, train=4, test=2, seed=1, species="free")
    assert free["arguments"] == split["arguments"] | {"species": "free"}
    assert not free["class_disjoint"] and "drawn independently" in free["split_rule"]
    assert free["files"]["train/data-00000-of-00001.arrow"] != split["files"]["train/data-00000-of-00001.arrow"]
    again = prepare("toy-birds", tmp_path / "free", size=8, train=4, test=2, seed=1)  # other arguments: drawn anew
    assert again["files"] == split["files"] and again["class_disjoint"]


def test_the_command_draws_free_species_to_a_place_of_their_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("T2I_DATA", str(tmp_path))
    words = ["prepare", "toy-flowers", "--size", "8", "--train", "3", "--test", "2"]
    assert main(words) == main([*words, "--species", "free"]) == 0
    written = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("*/manifest.json")}
    assert written["toy-flowers-8px-3-free"]["arguments"]["species"] == "free"
    assert "species" not in written["toy-flowers-8px-3"]["arguments"] and len(written) == 2
    assert main(["prepare", "toy-faces", *words[2:], "--species", "free"]) == 2
    assert "toy-faces has no species" in capsys.readouterr().err


@pytest.mark.parametrize("world", WORLDS)
def test_the_measuring_pictures_are_free_where_there_are_species(world, monkeypatch):
    told = {}
    monkeypatch.setattr("data_prep.toyworld.prepare", lambda *_, **arguments: told.update(arguments))
    draw_measuring(world)
    assert told["species"] == ("free" if world in WITH_SPECIES else "split") and told["seed"] == 7001


@pytest.mark.parametrize("world", WORLDS)
def test_prepare_writes_what_draw_draws_and_then_rests(world, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    out = tmp_path / world
    manifest = prepare(world, out, size=16, train=6, test=3, seed=4)
    assert {split: manifest["splits"][split]["images"] for split in ("train", "test")} == {"train": 6, "test": 3}
    assert manifest["class_disjoint"] == (world in ("toy-birds", "toy-flowers"))
    test = datasets.load_from_disk(str(out))["test"]
    scene = draw(world, 4, TEST_STREAM + 2, 16)
    assert np.array_equal(np.asarray(test[2]["image"]), np.asarray(scene.image))
    assert np.array_equal(np.asarray(test[2]["mask"]), np.asarray(scene.mask))
    assert test[2]["captions"] == scene.captions
    assert test[2]["class_id"] == scene.class_id
    assert json.loads(test[2]["truth"]) == scene.truth
    for name, values in manifest["attributes"].items():
        assert {json.loads(row["truth"])["attributes"][name] for row in test} <= set(values)

    monkeypatch.setattr(dataset, "row", lambda *_: pytest.fail("drawn again"))
    assert prepare(world, out, size=16, train=6, test=3, seed=4) == manifest


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match="did you mean 'toy-birds'"):
        draw("toy-bird", 0, 0, 32)
    with pytest.raises(UserError, match="8 to 1024"):
        prepare("toy-faces", tmp_path / "x", size=4)
    with pytest.raises(UserError, match="at least one image"):
        prepare("toy-faces", tmp_path / "x", train=0)
    with pytest.raises(UserError, match="numbered from 0"):
        draw("toy-faces", 0, -1, 32)
    with pytest.raises(UserError, match="toy-scenes has no species"):
        prepare("toy-scenes", tmp_path / "x", species="free")
    with pytest.raises(UserError, match="'wild': choose split or free"):
        draw("toy-birds", 0, 0, 32, "wild")
    assert not (tmp_path / "x").exists()


# -------------------------------------------------------------------------------------------------- any picture


@settings(max_examples=60, deadline=None)
@given(world=st.sampled_from(WORLDS), seed=st.integers(0, 2**63), index=st.integers(0, 2**31))
def test_any_seed_and_index_give_a_lawful_picture(world, seed, index):
    scene = draw(world, seed, index, 8)
    parts = scene.truth["parts"]
    names = [part["name"] for part in parts]
    assert len(set(names)) == len(names)
    assert sorted(part["mask"] for part in parts) == sorted(set(part["mask"] for part in parts))
    assert set(np.unique(np.asarray(scene.mask))) <= {0, *(part["mask"] for part in parts)}
    assert set(names) <= set(MODULES[world].PARTS["names"])
    assert json.loads(json.dumps(scene.truth)) == scene.truth
    for caption, words in zip(scene.captions, scene.truth["words"], strict=True):
        assert len(caption.split()) <= MAX_WORDS
        for start, end, at, _ in words:
            assert 0 <= start < end <= len(caption) and -1 <= at
            assert caption[start:end].strip() == caption[start:end]
    if world == "toy-scenes":
        assert 1 <= len(parts) <= 3
        assert scene.class_id == -1


def test_a_frame_turns_then_mirrors():
    canvas = Canvas(16)
    assert Frame(canvas, 0.5, 0.5, 0.1, turn=90).at(1, 0) == pytest.approx((0.5, 0.6))
    assert Frame(canvas, 0.5, 0.5, 0.1, flip=True).at(1, 2) == pytest.approx((0.4, 0.7))
