"""The zoo: a packed run draws as the trained one did, says where it comes from, and a missing one says what to do."""

import hashlib
import json

import pytest
import torch
from PIL import Image

from t2i_core import encoders, systems, zoo
from t2i_core.config import PROFILES, UserError, default_folder
from t2i_core.explore.gallery import draw_gallery
from t2i_core.matcher import read_facts
from t2i_core.metrics.drawing import draw
from t2i_core.metrics.evaluate import evaluate_run
from t2i_core.runs import Run

CAPTIONS = ["a small red house on the left", "a blue boat at the beach"]


@pytest.fixture(scope="module")
def packed(tiny_run, tmp_path_factory):
    """(the zoo's folder, the trained run, its packed copy)"""
    folder = tmp_path_factory.mktemp("zoo")
    place = zoo.pack(Run(tiny_run), "the command", "the commit", folder, device="cpu")
    return folder, Run(tiny_run), Run(place)


def test_a_packed_run_draws_what_the_trained_one_draws(packed):
    _, trained, small = packed
    one, other = (draw(run.system(), CAPTIONS, seed=3) for run in (trained, small))
    assert (one - other).abs().max() < 0.05 and (one - other).abs().mean() < 0.005
    sizes = [(run.folder / "weights.safetensors").stat().st_size for run in (trained, small)]
    assert sizes[1] < 0.55 * sizes[0]


def test_it_says_where_it_comes_from(packed):
    _, trained, small = packed
    told = json.loads((small.folder / "provenance.json").read_text())
    data = (small.folder / "weights.safetensors").read_bytes()
    assert told["sha256"] == hashlib.sha256(data).hexdigest() and told["bytes"] == len(data)
    assert told["commit"] == "the commit"
    assert told["command"] == "the command" and told["train_seconds"] == trained.summary["train_seconds"]
    change = told["half_precision"]["fid"]
    assert change["before"] == trained.metrics["fid"]["value"] == small.metrics["fid"]["value"]
    assert change["after"] == pytest.approx(change["before"], rel=0.02)


def test_it_knows_nothing_of_the_machine_it_was_trained_on(packed, tiny_scenes):
    _, _, small = packed
    for path in small.folder.glob("*.json"):
        assert str(tiny_scenes.parent) not in path.read_text(), path.name
    assert small.config.data == f"data/{tiny_scenes.name}" and small.config.matcher is None


def test_what_is_there_is_listed_and_what_is_not_says_how_to_train_it(packed):
    folder, _, small = packed
    assert zoo.available(folder) == (("alr-gan", "toy-scenes"),)
    assert zoo.run("alr-gan", folder=folder).folder == small.folder
    with pytest.raises(UserError, match="no alr-gan is shipped for toy-birds.*toy-scenes.*t2i train --system alr-gan"):
        zoo.run("alr-gan", "toy-birds", folder)
    with pytest.raises(UserError, match="--system df-gan --world toy-scenes --variant clip"):
        zoo.run("df-gan", folder=folder)
    with pytest.raises(UserError, match="did you mean 'ratlip'"):
        zoo.run("ratlp", folder=folder)
    assert zoo.available(folder / "nowhere") == ()
    with pytest.raises(UserError, match="no system for toy-birds: .*t2i zoo --world toy-birds"):
        draw_gallery("toy-birds", folder)


def test_a_half_packed_run_is_none(packed, tmp_path):
    folder, _, small = packed
    half = tmp_path / "toy-scenes" / "alr-gan"
    half.mkdir(parents=True)
    (half / "config.json").write_bytes((small.folder / "config.json").read_bytes())
    assert zoo.available(tmp_path) == ()


def test_the_zoo_is_trained_and_packed_by_one_call_that_goes_on(tiny_scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("T2I_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / default_folder("toy-scenes", PROFILES["smoke"])).symlink_to(tiny_scenes)
    options = dict(names=["cgan"], profile_name="smoke", steps=2, matcher_steps=2, jobs=1, device="cpu")
    (place,) = zoo.build(tmp_path / "runs", tmp_path / "zoo", **options)
    assert Run(place).summary["steps"] == 2 and zoo.available(tmp_path / "zoo") == (("cgan", "toy-scenes"),)
    gallery = Image.open(draw_gallery("toy-scenes", tmp_path / "zoo"))
    assert gallery.width > 2 * gallery.height > 0  # one system, six captions
    run = tmp_path / "runs" / "cgan-default-toy-scenes-s0"
    trained = (run / "weights.safetensors").stat().st_mtime_ns
    (run / "metrics.json").unlink()
    assert "fid" not in evaluate_run(Run(run), "cost", device="cpu")  # as a user may measure it: a part only
    zoo.build(tmp_path / "runs", tmp_path / "zoo", **(options | {"steps": 1}))  # it has had more than that
    assert (run / "weights.safetensors").stat().st_mtime_ns == trained
    told = json.loads((place / "provenance.json").read_text())
    assert " --steps 2 --systems cgan" in told["command"] and "fid" in told["half_precision"]
    with pytest.raises(UserError, match="did you mean 'cgan'"):
        zoo.build(tmp_path / "runs", tmp_path / "zoo", **(options | {"names": ["cgn"]}))
    for name in ("steps", "matcher_steps"):
        with pytest.raises(UserError, match=f"{name} must be at least 1, not 0"):
            zoo.build(tmp_path / "runs", tmp_path / "zoo", **(options | {name: 0}))


def test_a_recipe_may_have_a_matching_model_and_a_number_of_images_of_its_own(tiny_scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("T2I_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy-scenes-32px-48").symlink_to(tiny_scenes)
    recipe = zoo.Recipe(2, {"variant": "falsified"}, {"text_dim": 16, "falsified": True}, 3, 48)
    monkeypatch.setattr(zoo, "RECIPES", {"dm-gan": recipe})
    options = dict(names=["dm-gan"], profile_name="smoke", jobs=1, device="cpu")
    (place,) = zoo.build(tmp_path / "runs", tmp_path / "zoo", **options)
    packed, reader = Run(place), tmp_path / "runs" / "damsm-dm-gan-toy-scenes-s0"
    assert packed.system_config["text_dim"] == 16 and packed.system_config["falsified"]
    assert encoders.load(reader).config.falsified and packed.config.data == "data/toy-scenes-32px-48"
    assert read_facts(reader / "matcher.json")["steps"] == 3
    assert "steps" not in json.loads((place / "provenance.json").read_text())["command"], "the recipe has them"
    monkeypatch.setattr(zoo, "RECIPES", {"dm-gan": recipe._replace(train_images=49)})
    with pytest.raises(UserError, match="t2i prepare toy-scenes --profile smoke --train 49"):
        zoo.build(tmp_path / "runs", tmp_path / "zoo", **options)


def test_a_recipe_names_known_settings_and_gives_way_to_the_steps_that_are_asked_for(tmp_path):
    for name, recipe in zoo.RECIPES.items():
        config = zoo.planned(name, "toy-scenes", "mini", tmp_path, None, 0).resolve()
        assert config.steps == recipe.steps > zoo.STEPS
        systems.configure(name, PROFILES["mini"], config.variant, config.switches)
        assert zoo.planned(name, "toy-scenes", "mini", tmp_path, 7, 0).steps == 7
    assert zoo.planned("df-gan", "toy-scenes", "mini", tmp_path, None, 0).variant == "clip"
    assert zoo.planned("cgan", "toy-scenes", "mini", tmp_path, None, 0).steps == zoo.STEPS


@pytest.mark.parametrize("pair", zoo.available(), ids="-".join)
def test_what_is_shipped_is_what_the_zoo_would_train(pair):
    found = zoo.run(*pair).config
    asked = zoo.planned(*pair, found.profile, found.data, None, found.seed).resolve()
    assert {k: v for k, v in found.to_dict().items() if not k.endswith("_every")} == {
        k: v for k, v in asked.to_dict().items() if not k.endswith("_every")
    }


@pytest.mark.parametrize("pair", zoo.available(), ids="-".join)
def test_what_is_shipped_draws(pair):
    run = zoo.run(*pair)
    data = (run.folder / "weights.safetensors").read_bytes()
    assert json.loads((run.folder / "provenance.json").read_text())["sha256"] == hashlib.sha256(data).hexdigest()
    images = draw(run.system(), CAPTIONS, seed=0)
    assert images.isfinite().all() and images.std() > 0.1
    assert not torch.equal(images[0], images[1])


def test_the_zoo_is_small_enough_to_ship_and_holds_every_system():
    files = [path for path in zoo.SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30e6
    assert {name for name, _ in zoo.available()} == set(systems.available())
