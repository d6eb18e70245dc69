"""CLIP on disk: trained here and read again, read from a published folder, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from short_runs import assert_same_bits, tensors
from small_clip import FILES, config, write_clip
from tiny import CAPTIONS, CLIP_SIZES, VOCABULARY, batch, clip, matcher
from torch.testing import assert_close

from t2i_core import encoders
from t2i_core.clip import CLIP, ClipConfig, published_folder
from t2i_core.clip_tokens import BytePairs, Ends
from t2i_core.config import UserError, profile
from t2i_core.damsm import DAMSM
from t2i_core.data import BatchStream, load
from t2i_core.pretraining import pretrain
from t2i_core.train import train
from t2i_core.workbench import open_workbench


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Tests read it and never change it."""
    return write_clip(tmp_path_factory.mktemp("published"))


@pytest.fixture
def copy(published, tmp_path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "clip"))


# ---------------------------------------------------------------- a published folder


def test_a_published_clip_is_transformers_own(published):
    from transformers import CLIPModel, CLIPTokenizer

    model = CLIP(config(published), BytePairs(published, 8)).freeze()
    theirs, tokeniser = CLIPModel.from_pretrained(published), CLIPTokenizer.from_pretrained(published)
    assert_same_bits(tensors(model.model.state_dict()), tensors(theirs.state_dict()))
    captions = ["red", "a red hat", "The house's red."]
    expected = theirs.get_text_features(**tokeniser(captions, padding=True, return_tensors="pt")).pooler_output
    text = model.encode_text(captions)
    assert_close(text.sentence, expected, rtol=1e-5, atol=1e-7)
    # letters that no pair joins are tokens; 's is split off, and of two letters
    assert text.mask.sum(1).tolist() == [1, 1 + 1 + 3, 3 + 1 + 2 + 1 + 1]
    assert (text.words.masked_select(~text.mask[:, None]) == 0).all()
    assert not model.stored and model.frozen_parameters == sum(p.numel() for p in theirs.vision_model.parameters())


def test_a_folder_of_another_architecture_is_refused(published):
    with pytest.raises(UserError, match=r"another architecture \(width is 16, not 24; heads is 2, not 4\).*T2I_CLIP"):
        CLIP(config(published, width=24, heads=4), BytePairs(published, 8))
    with pytest.raises(UserError, match=r"text_layers is 2, not 1; context is 10, not 12\)"):
        CLIP(config(published, text_layers=1, context=12), BytePairs(published, 8))


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_folder_that_lacks_a_file_is_refused_by_its_name(copy, name):
    pairs = BytePairs(copy, 8)
    (copy / name).unlink()
    with pytest.raises(UserError, match=rf"{copy} lacks {name}: .*put config.json.* into {copy}, or set T2I_CLIP"):
        CLIP(config(copy), pairs)


def foreign(path: Path) -> None:
    path.write_text('{"model_type": "clip", "text_config": 3}')


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def one_short(path: Path) -> None:
    weights = load_file(path)
    save_file({k: v[:-1] if k == "text_projection.weight" else v for k, v in weights.items()}, path, {"format": "pt"})


def one_less(path: Path) -> None:
    weights = load_file(path)
    save_file({k: v for k, v in weights.items() if k != "text_projection.weight"}, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("config.json", lambda path: path.write_text("{")),
        ("config.json", foreign),
        ("model.safetensors", cut),
        ("model.safetensors", lambda path: path.write_bytes(b"")),
        ("model.safetensors", one_short),
        ("model.safetensors", one_less),
    ],
)
def test_a_damaged_folder_is_refused(copy, name, damage):
    pairs = BytePairs(copy, 8)
    damage(copy / name)
    with pytest.raises(
        UserError, match=f"(?s){copy} (holds no CLIP that can be read|holds a CLIP of another).*T2I_CLIP"
    ):
        CLIP(config(copy), pairs)


def empty_caches(monkeypatch, folder: Path) -> None:
    import huggingface_hub.constants

    folder.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("HF_HOME", str(folder))


def test_the_published_folder_is_where_it_was_said_to_be(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("T2I_CLIP", str(copy))
    assert published_folder() == copy
    empty_caches(monkeypatch, tmp_path / "hub")
    (copy / "merges.txt").unlink()
    said = (
        rf"put config\.json, model\.safetensors, vocab\.json, merges\.txt of \S+ \(\S+\) into {copy}, or set T2I_CLIP"
    )
    with pytest.raises(UserError, match=said):
        published_folder()
    monkeypatch.delenv("T2I_CLIP")
    (tmp_path / "t2i_core").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "models" / "clip-vit-base-patch32"
    with pytest.raises(UserError, match=f"into {place}"):
        published_folder()
    shutil.copytree(copy, place)
    (place / "merges.txt").write_text("")
    assert published_folder() == place


def test_the_published_folder_is_found_in_the_cache(copy, tmp_path, monkeypatch):
    empty_caches(monkeypatch, tmp_path / "hub")
    monkeypatch.setenv("T2I_CLIP", str(tmp_path / "nothing"))
    cached = tmp_path / "hub" / "models--openai--clip-vit-base-patch32"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(copy, cached / "snapshots" / ("0" * 40))
    assert published_folder() == cached / "snapshots" / ("0" * 40)
    (cached / "snapshots" / ("0" * 40) / "vocab.json").unlink()
    with pytest.raises(UserError, match="the published CLIP is not here"):
        published_folder()


@pytest.fixture
def reads_published(published, monkeypatch) -> Path:
    """Profiles take the small published model, as the paper profile takes the large one."""
    monkeypatch.setattr(ClipConfig, "of", classmethod(lambda cls, p: config(published)))
    return published


def test_a_run_on_the_published_clip_trains_and_opens_and_keeps_no_copy(tiny_scenes, reads_published, tmp_path):
    bench = open_workbench(tiny_scenes, "smoke", 0, tmp_path, "cpu")
    reference = load_file(reads_published / "model.safetensors")
    assert_close(bench.clip().model.state_dict()["logit_scale"], reference["logit_scale"])
    settings = bench.config("galip", steps=2, batch_size=3)
    for given in (settings, dataclasses.replace(settings, matcher=None)):
        folder = tmp_path / f"run-{given.matcher is None}"
        run = train(given, folder, device="cpu", show_progress=False)
        assert not any(name.startswith("matcher.") for name in load_file(folder / "weights.safetensors"))
        system = run.system()
        assert_same_bits(tensors(system.matcher.model.state_dict()), tensors(reference))
        assert system.generate(["a red house"]).images[-1].shape == (1, 3, 32, 32)
        train(dataclasses.replace(given, steps=3), folder, device="cpu", show_progress=False)
        assert run.summary["steps"] == 3


# ---------------------------------------------------------------- trained here


def test_a_saved_clip_is_read_as_it_was(tmp_path):
    model = clip().float().freeze()
    model.save(tmp_path, steps=3)
    again = encoders.load(tmp_path)
    assert isinstance(again, CLIP) and again.config == model.config and again.vocabulary.hash == VOCABULARY.hash
    assert_same_bits(tensors(model.state_dict()), tensors(again.state_dict()))
    assert not again.training and not any(p.requires_grad for p in again.parameters())
    given = batch().images[-1].float()
    assert torch.equal(again.encode_image(given).image, model.encode_image(given).image)


def test_a_model_of_another_kind_is_refused(tmp_path):
    clip().float().save(tmp_path / "clip")
    matcher().float().save(tmp_path / "damsm")
    with pytest.raises(UserError, match="clip holds a clip model, where a damsm model is needed"):
        DAMSM.untrained(tmp_path / "clip")
    with pytest.raises(UserError, match="damsm holds a damsm model, where a clip model is needed"):
        CLIP.load(tmp_path / "damsm")
    told = json.loads((tmp_path / "clip" / "matcher.json").read_text())
    (tmp_path / "clip" / "matcher.json").write_text(json.dumps(told | {"kind": "glip"}))
    with pytest.raises(UserError, match="kind 'glip', which is none of damsm, clip"):
        encoders.load(tmp_path / "clip")


def test_contrastive_training_learns_and_is_done_once(tiny_scenes, tmp_path):
    dataset, p = load(tiny_scenes), profile("smoke")
    trained = pretrain(CLIP, dataset, tmp_path, p, steps=30, learning_rate=3e-3)
    facts = json.loads((tmp_path / "matcher.json").read_text())
    curve = facts["log"]["contrast"]
    assert facts["kind"] == "clip" and len(curve) == facts["steps"] == 30
    assert sum(curve[-5:]) / 5 < sum(curve[:5]) / 5 - 0.3
    fresh = encoders.fresh("clip", p, dataset.vocabulary(p.max_words)).freeze()
    unseen = BatchStream(load(tiny_scenes, "train"), trained.vocabulary, 24, seed=9).at(0)
    losses = [m.losses(unseen.images[-1], m.encode_text(unseen.tokens), None)["contrast"] for m in (trained, fresh)]
    assert losses[0] < losses[1] - 0.3
    again = pretrain(CLIP, dataset, tmp_path, p, steps=30, learning_rate=3e-3, progress=lambda s: pytest.fail("again"))
    assert_same_bits(tensors(trained.state_dict()), tensors(again.state_dict()))
    assert not any(parameter.requires_grad for parameter in (*trained.parameters(), *again.parameters()))
    with pytest.raises(UserError, match="holds a matching model of another configuration"):
        pretrain(CLIP, dataset, tmp_path, p, steps=31, learning_rate=3e-3)
    with pytest.raises(UserError, match="holds a matching model of another configuration"):
        pretrain(DAMSM, dataset, tmp_path, p, steps=30, learning_rate=3e-3)


# ---------------------------------------------------------------- sizes that cannot be


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"resolution": 30}, "patches of 8 px do not divide an image of 30 px: choose a resolution that is a multiple"),
        ({"feature_blocks": (0, 3)}, "feature and prompt blocks are numbered 0 to 2"),
        ({"prompt_blocks": (5,)}, "feature and prompt blocks are numbered 0 to 2"),
        ({"feature_blocks": (-1, 2)}, "feature and prompt blocks are numbered 0 to 2"),
        ({"feature_blocks": (7,), "prompt_blocks": ()}, "feature and prompt blocks are numbered 0 to 2"),
        ({"feature_blocks": ()}, "feature block"),
        ({"preprocessing": "twice"}, "unknown preprocessing 'twice'; .*choose one of: double, once"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes, said):
    with pytest.raises(UserError, match=said):
        ClipConfig(**(CLIP_SIZES | sizes))


def test_a_resolution_finer_than_the_images_is_no_mistake():
    assert clip(resolution=64).encode_image(batch(CAPTIONS).images[0]).features.shape == (4, 2, 16, 8, 8)


def test_the_published_sizes():
    c = ClipConfig.vit_b_32()
    assert (c.grid, c.resolution, c.text_dim, c.width, c.context) == (7, 224, 512, 768, 77)
    assert (c.feature_blocks, c.prompt_blocks) == ((1, 4, 8), (1, 2, 3, 4, 5, 6, 7, 8))
    with torch.device("meta"):
        model = CLIP(c, Ends(49406, 49407))
    assert sum(p.numel() for p in model.model.parameters()) == 151_277_313
