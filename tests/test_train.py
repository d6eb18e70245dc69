"""The one loop: what a run leaves behind, how a step is made, and mistakes that are heard of before any work."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from short_runs import assert_same_bits, checkpoint, config, tensors, trained
from torch import nn

from t2i_core import pretraining, systems
from t2i_core import train as training
from t2i_core.captions import Vocabulary
from t2i_core.config import PROFILES, RunConfig, UserError, profile
from t2i_core.damsm import DAMSM, MatcherConfig, train_matcher
from t2i_core.data import CaptionDataset, load, random_generator
from t2i_core.explore import render
from t2i_core.process import make_accelerator
from t2i_core.runs import Run, progress
from t2i_core.train import Loop, cooled, settle, train


@pytest.fixture(scope="module")
def settings(tiny_scenes, tiny_run) -> RunConfig:
    return config(tiny_scenes, tiny_run / "matcher")


@pytest.fixture(scope="module")
def run(settings, tmp_path_factory) -> Run:
    """A finished run of six steps."""
    return trained(settings, tmp_path_factory.mktemp("runs") / "finished")


def changed(settings: RunConfig, **changes) -> RunConfig:
    return dataclasses.replace(settings, **changes)


def new_loop(settings: RunConfig, folder: Path) -> Loop:
    """The loop that `train` would run, before its first step."""
    settings = settings.resolve()
    p = profile(settings.profile)
    dataset = load(settings.data, "train", p.resolutions).to("cpu")
    system = systems.create(
        settings.system,
        p,
        variant=settings.variant,
        matcher=DAMSM.load(settings.matcher),
        seed=settings.seed,
        **settings.switches,
    )
    return Loop(settings, folder, system.train(), dataset, make_accelerator("cpu"))


# ------------------------------------------------------------------------------------------------- what a run leaves


def test_the_log_has_every_term_of_every_window(run):
    log = run.log()
    assert log["step"].tolist() == [2, 3, 4, 6] and log["seconds"].is_monotonic_increasing
    terms = {f"{name}{i}" for name in ("alr", "rec", "pr", "sr") for i in (1, 2)}
    terms |= {f"{name}{i}" for name in "dg" for i in (0, 1, 2)} | {"kl", "damsm_words", "damsm_sentence"}
    assert terms <= set(log.columns) and log.notna().all(axis=None)


def test_a_log_line_is_the_mean_of_its_window(settings, run, tmp_path):
    loop = new_loop(settings, tmp_path)
    for _ in range(2):
        loop.train_step()
    means = dict(zip(loop.names, torch.stack(loop.window).mean(0).tolist(), strict=True))
    line = json.loads((run.folder / "log.jsonl").read_text().splitlines()[0])
    assert {key: line[key] for key in means} == {key: round(value, 6) for key, value in means.items()}


def test_grids_show_the_same_captions_throughout(run, tiny_scenes):
    assert [step for step, _ in run.sample_grids] == [0, 3, 6]
    captions = json.loads((run.folder / "samples" / "captions.json").read_text())
    test = load(tiny_scenes, "test")
    assert captions == [test.caption(i) for i in range(16)]
    sizes = {Image.open(path).size for _, path in run.sample_grids}
    assert sizes == {(8 * 34 + 2, 2 * 34 + 2)}
    assert len({path.read_bytes() for _, path in run.sample_grids}) == 3, "it learns, so the pictures change"


def test_the_summary_says_what_ran(run, settings):
    summary = run.summary
    asked = ("system", "variant", "world", "seed", "profile", "steps", "batch_size")
    assert {key: summary[key] for key in asked} == {key: getattr(settings, key) for key in asked}
    assert summary["trained_here"] is True and summary["train_seconds"] > 0 and summary["device"].startswith("CPU")
    trainable = systems.create("alr-gan", "smoke", matcher=run.system().matcher)
    assert summary["parameters"] == trainable.parameter_counts()


def test_the_configuration_is_saved_as_it_was_resolved(run, settings):
    assert run.config == settings.resolve() and None not in dataclasses.asdict(run.config).values()
    assert run.system_config == json.loads(json.dumps(run.system().config.to_dict()))


def test_the_saved_system_draws_what_the_trained_one_draws(settings, tmp_path):
    loop = new_loop(changed(settings, steps=2), tmp_path / "run")
    loop.run(show_progress=False)
    system = Run(tmp_path / "run").system()
    captions = ["a red house on the left", "two trees"]
    noise = system.noise(2, seed=4)
    with torch.no_grad():
        ours = loop.finished_generator()(loop.system.matcher.encode_text(captions), noise)
    loaded = system.generate(captions, noise)
    for name in ("images", "attention", "features"):
        assert all(a.equal(b) for a, b in zip(getattr(ours, name), getattr(loaded, name), strict=True))
    assert not system.training and not any(parameter.requires_grad for parameter in system.parameters())


def test_the_last_grid_is_what_the_saved_system_draws(run, tmp_path):
    captions = json.loads((run.folder / "samples" / "captions.json").read_text())
    drawn = run.system().generate(captions, seed=0).images[-1]
    again = training.save_grid(drawn, tmp_path / "grid.png")
    assert again.read_bytes() == run.sample_grids[-1][1].read_bytes()
    alone = render(run, captions[3], seed=0).images[-1]
    assert alone.shape == (3, 32, 32) and alone.isfinite().all()


def test_the_same_configuration_gives_the_same_run_and_another_seed_another(settings, run, tmp_path):
    torch.manual_seed(77)  # whatever the process did before
    again = trained(changed(settings, steps=2), tmp_path / "again")
    other = trained(changed(settings, steps=2, seed=1), tmp_path / "other")
    lines = [json.loads((r.folder / "log.jsonl").read_text().splitlines()[0]) for r in (run, again, other)]
    for line in lines:
        del line["seconds"]
    assert lines[0] == lines[1]
    assert all(lines[0][term] != lines[2][term] for term in ("d0", "g2", "rec1", "alr2"))


# ------------------------------------------------------------------------------------------------------------ a step


@pytest.fixture
def in_float64(monkeypatch):
    """Adam divides by small gradients: in float32 a processor's rounding may turn an update round."""
    stages = CaptionDataset.stages
    monkeypatch.setattr(CaptionDataset, "stages", lambda self, indices: [x.double() for x in stages(self, indices)])
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(("cooldown", "shares"), [(0.0, (1.0, 1.0)), (1.0, (1.0, 2 / 3))])
def test_a_step_is_one_update_of_the_discriminators_then_one_of_the_generator(settings, tmp_path, cooldown, shares):
    """Against the same step written out: plain Adam, detached images, the generator judged by the updated ones."""
    settings = changed(settings, learning_rate=0.003, discriminator_rate=0.001, seed=5, steps=3, cooldown=cooldown)
    loop, by_hand = new_loop(settings, tmp_path), new_loop(settings, tmp_path)
    for _ in range(2):
        loop.train_step()
    system, optimisers = by_hand.system, {}
    rates = {"discriminators": 0.001, "generator": 0.003}
    for part, rate in rates.items():
        optimisers[part] = torch.optim.Adam(getattr(system, part).parameters(), rate, betas=(0.5, 0.999))
    for step in range(2):
        batch = by_hand.stream.at(step)
        noise = torch.randn(3, system.noise_size, generator=random_generator(5, step, purpose=1000))
        out = system.generate(system.matcher.encode_text(batch.tokens), noise)
        for part in ("discriminators", "generator"):
            losses = getattr(system, f"{part.removesuffix('s')}_losses")(batch, out)
            parameters = list(getattr(system, part).parameters())
            for parameter, gradient in zip(
                parameters, torch.autograd.grad(sum(losses.values()), parameters), strict=True
            ):
                parameter.grad = gradient
            optimisers[part].param_groups[0]["lr"] = rates[part] * shares[step]
            optimisers[part].step()
    ours, theirs = (tensors(made.system.state_dict()) for made in (loop, by_hand))
    assert ours.keys() == theirs.keys()
    apart = {name: float((ours[name] - theirs[name]).abs().max()) for name in ours if ours[name].is_floating_point()}
    assert max(apart.values()) < 1e-5, max(apart.items(), key=lambda item: item[1])
    assert all(parameter.requires_grad for parameter in loop.system.discriminators.parameters())


def test_the_rates_fall_linearly_over_the_last_steps():
    cooling = RunConfig(steps=100, cooldown=0.2)
    assert [cooled(step, cooling) for step in (0, 80, 85, 90, 99)] == pytest.approx([1, 1, 0.75, 0.5, 0.05])
    assert cooled(99, RunConfig(steps=100)) == 1


def test_a_step_moves_the_generator_and_the_discriminators_and_never_the_matching_model(settings, tmp_path):
    loop = new_loop(settings, tmp_path)
    before = {name: tensor.clone() for name, tensor in loop.system.state_dict().items()}
    loop.train_step()
    after = loop.system.state_dict()
    parameters = [name for name, _ in loop.system.named_parameters()]
    still = [name for name in parameters if after[name].equal(before[name])]
    assert still and all(name.startswith("matcher.") for name in still)
    assert_same_bits(*({n: s[n] for n in s if n.startswith("matcher.")} for s in (before, after)))


def test_the_averaged_weights_are_an_exponential_mean(settings, tmp_path):
    loop = new_loop(changed(settings, ema=0.75), tmp_path)
    name, weight = next(iter(loop.system.generator.named_parameters()))
    seen = []
    for _ in range(4):
        loop.train_step()
        seen.append(weight.detach().clone())
    mean = seen[0]
    for value in seen[1:]:
        mean = 0.75 * mean + 0.25 * value
    averaged = dict(loop.averaged.module.named_parameters())[name]
    torch.testing.assert_close(averaged.detach(), mean, rtol=0, atol=1e-7)
    assert not averaged.equal(weight)


def test_settling_measures_plain_means_and_leaves_the_momentum():
    norm = nn.BatchNorm1d(2, momentum=0.3)
    batches = [torch.randn(6, 2, generator=torch.Generator().manual_seed(k)) * (k + 1) + k for k in range(3)]
    norm(torch.full((4, 2), 100.0))  # what it saw before is forgotten
    settle(nn.Sequential(norm), ((batch,) for batch in batches))
    torch.testing.assert_close(norm.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([b.var(0) for b in batches]).mean(0))
    assert norm.momentum == 0.3


def test_denormal_numbers_are_flushed_only_while_training():
    tiny = torch.tensor([1e-40])
    with training.flushed_denormals():
        assert (tiny * 1.0).item() == 0
    assert (tiny * 1.0).item() > 0


# ----------------------------------------------------------------------------------------- two processes, one training


TWO = """
import json, sys, torch
from pathlib import Path
from t2i_core import train
from t2i_core.config import RunConfig
request, folder = sys.argv[1:]
run, step, losses = train.Loop.run, train.Loop.train_step, []
def step_and_keep(self):
    step(self)
    losses.append(self.window[-1])
def run_and_keep(self, *arguments):
    run(self, *arguments)
    state = {name: value.detach() for name, value in self.system.named_parameters()}
    state |= {f"averaged.{name}": value.detach() for name, value in self.averaged.named_parameters()}
    seen = torch.stack([self.stream.indices(step) for step in range(self.step)])
    kept = {"state": state, "seen": seen, "losses": torch.stack(losses), "names": self.names}
    torch.save(kept, f"{folder}-rank{self.rank}.pt")
train.Loop.run, train.Loop.train_step = run_and_keep, step_and_keep
train.train(RunConfig.from_dict(json.loads(Path(request).read_text())), folder, "cpu", show_progress=False)
"""


def by_two_processes(code, settings, folder):
    """What both said and how they ended. As torchrun starts them (`accelerate launch --cpu` starts several only with
    MPI); gloo carries the gradients."""
    request = folder.parent / "request.json"
    request.write_text(json.dumps(settings.to_dict()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(request), str(folder)],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=500)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    return said, [process.returncode for process in ranks]


def test_two_processes_train_one_system(settings, tmp_path):
    folder = tmp_path / "run"
    said, ended = by_two_processes(TWO, changed(settings, steps=3), folder)
    assert ended == [0, 0], said
    kept = [torch.load(f"{folder}-rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert_same_bits(kept[0]["state"], kept[1]["state"])
    assert not any(set(a.tolist()) & set(b.tolist()) for a, b in zip(kept[0]["seen"], kept[1]["seen"], strict=True))
    assert Run(folder).summary["batch_size"] == 6 and Run(folder).summary["steps"] == 3
    log = Run(folder).log()
    means = torch.stack([part["losses"] for part in kept]).mean(0)  # of both processes
    assert log["step"].tolist() == [2, 3] and not kept[0]["losses"].equal(kept[1]["losses"])
    logged = torch.tensor(log[kept[0]["names"]].to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(logged, torch.stack([means[:2].mean(0), means[2]]), rtol=1e-4, atol=2e-6)
    saved = checkpoint(folder)["generator"]
    assert all(value.equal(saved[name.removeprefix("generator.")]) for name, value in kept[0]["state"].items()
               if name.startswith("generator."))  # fmt: skip


ONE_OF_TWO = """
import json, os, signal, sys
from pathlib import Path
from t2i_core import train
from t2i_core.config import RunConfig
request, folder = sys.argv[1:]
step = train.Loop.train_step
def step_with_ctrl_c(self):
    step(self)
    if self.step == 3 and self.rank == 1:
        os.kill(os.getpid(), signal.SIGINT)
train.Loop.train_step = step_with_ctrl_c
train.train(RunConfig.from_dict(json.loads(Path(request).read_text())), folder, "cpu", show_progress=False)
"""


def test_ctrl_c_in_one_of_two_processes_stops_both_after_the_same_step(settings, tmp_path):
    said, ended = by_two_processes(ONE_OF_TWO, changed(settings, steps=100), tmp_path / "run")
    assert 0 not in ended and all("stopped by hand after step 4; the same" in text for text in said), said
    assert checkpoint(tmp_path / "run")["step"] == 4


# ------------------------------------------------------------------------------- mistakes, heard of before any work


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"system": "alrgan"}, "unknown system 'alrgan'; did you mean 'alr-gan'"),
        ({"variant": "no-arl"}, "unknown variant of alr-gan 'no-arl'; did you mean 'no-alr'"),
        ({"system": "attngan", "variant": "no-pr"}, "unknown variant of attngan 'no-pr'"),
        ({"switches": {"gama": 0.3}}, "unknown switch 'gama'; did you mean 'gamma'"),
        ({"data": "nowhere/toy-scenes"}, "no prepared dataset at nowhere/toy-scenes; make it with .t2i prepare"),
        ({"matcher": "nowhere"}, "nowhere holds no matching model"),
        ({"switches": {"resolutions": (16, 32, 64)}}, "images of 32 px, but 64 px are asked for"),
    ],
)
def test_an_unknown_name_is_heard_of_first_and_nothing_is_written(settings, tmp_path, monkeypatch, change, said):
    monkeypatch.setattr(training.encoders, "trained", lambda *_, **__: pytest.fail("it works first"))
    before = {"matcher": None} if "matcher" not in change else {}
    with pytest.raises(UserError, match=said):
        trained(changed(settings, **(before | change)), tmp_path / "run")
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_an_unknown_world_or_device_is_named(settings, tmp_path):
    from data_prep import toyworld

    with pytest.raises(UserError, match="unknown world 'toy-scens'; did you mean 'toy-scenes'"):
        toyworld.prepare("toy-scens", tmp_path / "data")
    with pytest.raises(UserError, match="unknown device 'gpu': choose auto, cpu or cuda"):
        train(settings, tmp_path / "run", "gpu")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 1}, "batch_size must be at least 2: batch normalisation"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"checkpoint_every": -5}, "checkpoint_every must be at least 1"),
        ({"seed": -1}, "seed -1 is negative: choose 0 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be greater than 0"),
        ({"discriminator_rate": float("nan")}, "discriminator_rate must be greater than 0"),
        ({"profile": "smal"}, "unknown profile 'smal'; did you mean 'small'"),
        ({"cooldown": 20}, "cooldown 20 is a share of the steps: choose a number from 0 to 1"),
        ({"precision": "fp16"}, "unknown precision 'fp16'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        RunConfig(**change)


def test_an_unknown_setting_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="unknown run setting 'sead'; did you mean 'seed'"):
        RunConfig.from_dict({"sead": 3})


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_fills_in_what_was_not_said(name):
    p, resolved = profile(name), RunConfig(profile=name).resolve()
    assert (resolved.steps, resolved.batch_size, resolved.learning_rate) == (p.steps, p.batch_size, p.learning_rate)
    ablation = RunConfig(profile=name, variant="no-sr").resolve()
    grids = 1 if p.ablation_steps < p.steps else 4  # a brief one is looked at when it is done
    assert (ablation.steps, ablation.steps // ablation.sample_every) == (p.ablation_steps, grids)
    assert resolved.steps // resolved.sample_every == 4
    own = RunConfig(profile=name, system="ratlip").resolve().steps  # what a claim on trained systems rests on
    assert RunConfig(profile=name, system="ratlip", variant="no-attention").resolve().steps == own
    assert RunConfig(profile=name, ema=0.0).resolve().ema == 0.0
    assert resolved.resolve() == resolved == RunConfig.from_dict(json.loads(json.dumps(resolved.to_dict())))


def test_a_matching_model_of_other_captions_is_refused(settings, tmp_path):
    words = Vocabulary.build(["other words altogether"], max_words=18)
    DAMSM(MatcherConfig.of(profile("smoke")), words).save(tmp_path / "matcher")
    with pytest.raises(UserError, match="was trained on other captions than"):
        trained(changed(settings, matcher=str(tmp_path / "matcher")), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


# --------------------------------------------------------------------------------------------------- matching model


def test_the_matching_model_is_trained_once_and_then_loaded(tiny_scenes, tmp_path):
    dataset, p = load(tiny_scenes), profile("smoke")
    first = train_matcher(dataset, tmp_path, p, steps=3)
    facts = json.loads((tmp_path / "matcher.json").read_text())
    assert len(facts["log"]["words"]) == len(facts["log"]["sentence"]) == facts["steps"] == 3
    again = train_matcher(dataset, tmp_path, p, steps=3, progress=lambda steps: pytest.fail("it trains again"))
    assert_same_bits(tensors(first.state_dict()), tensors(again.state_dict()))
    assert not first.training and not any(parameter.requires_grad for parameter in again.parameters())
    with pytest.raises(UserError, match="holds a matching model of another configuration"):
        train_matcher(dataset, tmp_path, p, steps=4)


def test_a_matching_model_that_diverges_is_not_saved(tiny_scenes, tmp_path):
    with pytest.raises(FloatingPointError, match="the matching model's (words|sentence) loss became non-finite"):
        train_matcher(load(tiny_scenes), tmp_path / "m", profile("smoke"), steps=3, learning_rate=1e30)
    assert not (tmp_path / "m").exists()


def test_a_matching_model_that_was_interrupted_goes_on_and_ends_the_same(tiny_scenes, tmp_path, monkeypatch, capsys):
    dataset, p = load(tiny_scenes), profile("smoke")
    wanted = {"steps": 7, "config": MatcherConfig(text_dim=8, width=8, falsified=True, lambda_said=0.2)}
    whole = train_matcher(dataset, tmp_path / "whole", p, **wanted)
    monkeypatch.setattr(pretraining, "CHECKPOINT_EVERY", 2)
    out = tmp_path / "m"

    def stopped_before(last: int):
        def steps(numbers):
            for step in numbers:
                if step == last:
                    raise KeyboardInterrupt
                yield step

        return steps

    for last in (3, 6):  # behind them lie checkpoints after 2 and after 4 steps; the third training goes on from 6
        with pytest.raises(KeyboardInterrupt):
            train_matcher(dataset, out, p, progress=stopped_before(last), **wanted)
        assert [path.name for path in out.iterdir()] == ["checkpoint.pt"]
    with pytest.raises(UserError, match="holds an unfinished matching model of another configuration"):
        train_matcher(dataset, out, p, **wanted | {"steps": 8})
    again = train_matcher(dataset, out, p, **wanted)
    assert_same_bits(tensors(whole.state_dict()), tensors(again.state_dict()))
    logs = [json.loads((folder / "matcher.json").read_text())["log"] for folder in (tmp_path / "whole", out)]
    assert logs[0] == logs[1] and len(logs[0]["said"]) == 7
    assert not (out / "checkpoint.pt").exists()
    said = capsys.readouterr().out
    assert "going on from step 2 of 7" in said and "going on from step 6 of 7" in said


def test_what_diverged_is_not_gone_on_with(tiny_scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "CHECKPOINT_EVERY", 1)
    with pytest.raises(FloatingPointError, match="loss became non-finite"):
        train_matcher(load(tiny_scenes), tmp_path / "m", profile("smoke"), steps=5, learning_rate=1e30)
    assert not list((tmp_path / "m").iterdir())


# --------------------------------------------------------------------------------------------------------- progress


class Stream(io.StringIO):
    def __init__(self, watched: bool):
        super().__init__()
        self.watched = watched

    def isatty(self) -> bool:
        return self.watched


@pytest.mark.parametrize("watched", [True, False])
def test_progress_is_a_bar_where_somebody_watches_and_ten_lines_where_not(monkeypatch, watched):
    shown, plain = Stream(watched), Stream(False)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(sys, "stdout", plain)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert list(progress(range(5, 255), "training")) == list(range(5, 255))
    lines = plain.getvalue().splitlines()
    if watched:
        assert not lines and "training: 100%" in shown.getvalue()
    else:
        assert len(lines) == 10 and lines[-1] == "training: 250 of 250 steps" and not shown.getvalue()
