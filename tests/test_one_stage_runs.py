"""Training DF-GAN, GALIP and RATLIP: CLIP stays as it was, going on is as never having stopped, a run opens again."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from short_runs import assert_same_bits, assert_same_run, checkpoint, config, tensors, trained

from t2i_core import encoders
from t2i_core.clip import CLIP
from t2i_core.config import RunConfig, profile
from t2i_core.data import load
from t2i_core.pretraining import pretrain
from t2i_core.process import make_accelerator
from t2i_core.runs import Run
from t2i_core.train import Loop, train


@pytest.fixture(scope="module")
def clip_folder(tiny_scenes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    pretrain(CLIP, load(tiny_scenes), folder, profile("smoke"), steps=3)
    return folder


@pytest.fixture(scope="module", params=["df-gan", "galip", "ratlip"])
def whole(request, tiny_scenes, tiny_run, clip_folder, tmp_path_factory) -> Run:
    """Six steps without a stop. Tests read it and never change it."""
    matcher = tiny_run / "matcher" if request.param == "df-gan" else clip_folder
    settings = config(tiny_scenes, matcher, system=request.param)
    return trained(settings, tmp_path_factory.mktemp("runs") / request.param)


def test_a_run_that_went_on_ends_as_one_that_never_stopped(whole, tmp_path):
    settings = whole.config
    trained(dataclasses.replace(settings, steps=3), tmp_path)
    assert checkpoint(tmp_path)["step"] == 3
    trained(settings, tmp_path)
    # the log's windows end where a run ends: both have a line at step 3
    assert_same_run(tmp_path, whole.folder)


def test_the_matching_model_is_the_same_bits_before_and_after(whole):
    before = load_file(Path(whole.config.matcher) / "weights.safetensors")
    after = load_file(whole.folder / "weights.safetensors")
    kept = {name.removeprefix("matcher."): value for name, value in after.items() if name.startswith("matcher.")}
    assert_same_bits(tensors(before), tensors(kept))
    assert_same_bits(tensors(checkpoint(whole.folder)["matcher"]), tensors(before))


def test_the_generator_and_the_discriminators_learn(whole, tmp_path):
    start = trained(dataclasses.replace(whole.config, steps=1), tmp_path)
    ours, theirs = checkpoint(whole.folder), checkpoint(start.folder)
    for part in ("generator", "discriminators"):
        still = [name for name, value in ours[part].items() if value.equal(theirs[part][name])]
        assert not still, still


def test_the_log_names_the_terms(whole):
    names = {"d", "penalty", "g"} | ({"similarity"} if whole.config.system != "df-gan" else set())
    assert set(whole.log().columns) == {"step", "seconds"} | names
    assert (whole.log()["penalty"] >= 0).all()


def test_the_run_opens_again_and_draws_the_same(whole):
    system = whole.system()
    assert system.name == whole.config.system and system.matcher.kind == ("damsm", "clip")[system.name != "df-gan"]
    given = torch.load(whole.folder / "checkpoint.pt", weights_only=True)["averaged"]
    assert_same_bits(
        tensors(system.generator.state_dict()),
        tensors({name.removeprefix("module."): value for name, value in given.items() if name.startswith("module.")}),
    )
    alone, beside = (system.generate(captions, seed=3).images[-1] for captions in (["red house"], ["red house", "dog"]))
    assert alone.abs().max() <= 1
    torch.testing.assert_close(alone[0], beside[0], rtol=1e-4, atol=1e-5)


def test_the_published_optimiser(whole, tiny_scenes, tmp_path):
    c = whole.config
    assert (c.beta1, c.beta2) == (0.0, 0.9)
    paper = RunConfig(c.system, profile="paper").resolve()
    assert (paper.beta1, paper.beta2, paper.learning_rate, paper.discriminator_rate) == (0.0, 0.9, 1e-4, 4e-4)
    theirs = RunConfig("attngan", profile="paper").resolve()
    assert (theirs.beta1, theirs.beta2, theirs.learning_rate, theirs.discriminator_rate) == (0.5, 0.999, 2e-4, 2e-4)
    dataset = load(tiny_scenes, "train", (32,))
    loop = Loop(dataclasses.replace(c, beta1=0.25), tmp_path, whole.system(), dataset, make_accelerator("cpu"))
    assert {o.defaults["betas"] for o in loop.optimisers.values()} == {(0.25, 0.9)}


def test_without_a_matching_model_clip_is_the_first_step(tiny_scenes, tmp_path, clip_folder):
    settings = dataclasses.replace(config(tiny_scenes, tmp_path, system="galip", steps=2), matcher=None)
    run = train(settings, tmp_path / "run", device="cpu", show_progress=False)
    made = encoders.load(tmp_path / "run" / "matcher")
    assert made.kind == "clip"
    assert_same_bits(tensors(made.state_dict()), tensors(run.system().matcher.state_dict()))


def test_df_gan_reads_clip_where_asked_to(tiny_scenes, clip_folder, tmp_path):
    settings = config(tiny_scenes, clip_folder, system="df-gan", variant="clip", steps=2)
    folder = trained(settings, tmp_path / "run").folder
    moved = Path(shutil.move(folder, tmp_path / "elsewhere"))
    system = Run(moved).system()
    assert system.config.encoder == system.matcher.kind == "clip"
    assert system.generate(["a red house"]).images[-1].shape == (1, 3, 32, 32)
