"""Stopping and going on: a run that was killed ends as one that never stopped, and nothing foreign is ever loaded."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import threading
from pathlib import Path

import filelock
import pytest
import torch
from safetensors.torch import load_file, save_file
from short_runs import (
    KILLED,
    STEPS,
    assert_same_bits,
    assert_same_run,
    checkpoint,
    config,
    state_of,
    stopped,
    tensors,
    trained,
)

from t2i_core import train as training
from t2i_core.captions import Vocabulary
from t2i_core.config import RunConfig, UserError, atomic_write, write_json
from t2i_core.damsm import DAMSM
from t2i_core.process import interrupt_flag
from t2i_core.runs import CHECKPOINT, Run, load_checkpoint, read_log, save_checkpoint
from t2i_core.systems.alr_gan import ALRGAN
from t2i_core.systems.attngan import AttnGAN
from t2i_core.train import NonFiniteLoss, train


@pytest.fixture(scope="module")
def settings(tiny_scenes, tiny_run) -> RunConfig:
    return config(tiny_scenes, tiny_run / "matcher")


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory) -> Path:
    """A run that never stopped. Tests read it and never change it."""
    return trained(settings, tmp_path_factory.mktemp("runs") / "whole").folder


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def hidden(folder: Path) -> list[str]:
    """Temporary files of `atomic_write` that nobody removed."""
    return [path.name for path in folder.rglob(".*") if path.name != ".lock"]


# ------------------------------------------------------------------------------------------------ killed and stopped


@pytest.mark.parametrize("moment", ["kill in a step", "kill in a checkpoint"])
def test_a_killed_run_ends_as_one_that_never_stopped(settings, whole, tmp_path, moment):
    folder = tmp_path / "run"
    assert stopped(moment, settings, folder).returncode == KILLED
    assert checkpoint(folder)["step"] == 3 and not Run(folder).complete
    with open(folder / "log.jsonl", "a") as file:
        file.write('{"step": 7, "seco')  # a line that was cut off
    assert Run(folder).log()["step"].tolist() == ([2, 3, 4] if moment == "kill in a step" else [2, 3, 4, 6])
    assert bool(hidden(folder)) == (moment == "kill in a checkpoint")
    trained(settings, folder)
    assert_same_run(folder, whole)
    assert Run(folder).complete and not hidden(folder)


def test_a_folder_that_another_training_works_in_is_waited_for_and_loaded(settings, whole, tmp_path, capsys):
    folder, found = tmp_path / "run", []
    folder.mkdir()
    other = threading.Thread(target=lambda: found.append(train(settings, folder, "cpu", show_progress=False)))
    with filelock.FileLock(folder / ".lock"):  # the first training's
        other.start()
        other.join(3)
        assert other.is_alive() and not (folder / CHECKPOINT).exists()
        assert f"another process trains into {folder}: waiting for it" in capsys.readouterr().out
        shutil.copytree(whole, folder, dirs_exist_ok=True)  # what it leaves
    other.join(60)
    written = (whole / CHECKPOINT).stat().st_mtime_ns
    assert found[0].complete and (folder / CHECKPOINT).stat().st_mtime_ns == written  # loaded, not trained anew


def test_a_folder_that_another_training_finishes_meanwhile_is_loaded(settings, whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    decode = training.training_set

    def slowly(*arguments):
        shutil.copytree(whole, folder)  # after the first look into the folder, before the lock is asked for
        (folder / "metrics.json").write_text("{}")
        return decode(*arguments)

    monkeypatch.setattr(training, "training_set", slowly)
    assert trained(settings, folder).complete and (folder / "metrics.json").exists()
    assert (folder / CHECKPOINT).stat().st_mtime_ns == (whole / CHECKPOINT).stat().st_mtime_ns


def test_ctrl_c_finishes_the_step_and_the_same_command_goes_on(settings, whole, tmp_path):
    folder = tmp_path / "run"
    done = stopped("Ctrl-C", settings, folder)
    assert done.returncode not in (0, KILLED) and "KeyboardInterrupt" in done.stderr
    assert "stopped by hand after step 5; the same command goes on from here" in done.stdout
    assert checkpoint(folder)["step"] == 5 and read_log(folder)[-1]["step"] == 5
    assert not Run(folder).complete and not hidden(folder)
    trained(settings, folder)
    ours, theirs = checkpoint(folder), checkpoint(whole)
    for part in ("generator", "discriminators", "averaged", "optimisers"):
        assert_same_bits(tensors(ours[part]), tensors(theirs[part]))
    assert_same_bits(load_file(folder / "weights.safetensors"), load_file(whole / "weights.safetensors"))


def test_ctrl_c_while_a_grid_is_drawn_stops_after_the_next_step(settings, tmp_path, monkeypatch):
    """The checkpoint of the step was decided before; it must not be skipped."""
    original = training.Loop._sample

    def sample(loop):
        original(loop)
        if loop.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training.Loop, "_sample", sample)
    with pytest.raises(KeyboardInterrupt):
        trained(settings, tmp_path / "run")
    assert checkpoint(tmp_path / "run")["step"] == 4


def test_ctrl_c_after_the_last_step_leaves_a_whole_run_and_is_heard(settings, tmp_path, monkeypatch):
    original = training.Loop._checkpoint

    def checkpoint_with_ctrl_c(loop):
        original(loop)
        if loop.step == loop.config.steps:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training.Loop, "_checkpoint", checkpoint_with_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        trained(settings, tmp_path / "run")
    assert Run(tmp_path / "run").complete and (tmp_path / "run" / "weights.safetensors").exists()


def test_a_second_ctrl_c_interrupts_at_once_and_the_handler_is_given_back():
    before = signal.getsignal(signal.SIGINT)
    with interrupt_flag() as flag:
        os.kill(os.getpid(), signal.SIGINT)
        assert flag.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_in_a_thread_leaves_signals_alone():
    found = []

    def work():
        with interrupt_flag() as flag:
            found.append((flag.is_set(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, signal.getsignal(signal.SIGINT))]


def test_more_steps_than_before_go_on(settings, whole, tmp_path):
    fewer = RunConfig.from_dict(settings.to_dict() | {"steps": 4})
    folder = trained(fewer, tmp_path / "run").folder
    assert Run(folder).summary["steps"] == 4
    write_json(folder / "metrics.json", {"fid": {"value": 1.0}})
    (folder / "samples" / "step_000004.png").unlink()  # the last grid of the shorter run, which the longer one has not
    trained(settings, folder)
    assert_same_run(folder, whole)
    assert Run(folder).summary["steps"] == Run(folder).config.steps == STEPS
    assert Run(folder).metrics == {}, "what was measured before the last steps is no measure of the run"


def test_a_resumed_run_goes_on_with_its_random_numbers(settings, tmp_path, monkeypatch):
    """No system draws from torch's own generator today; one that does (dropout, say) is resumed as well."""
    folder, seen = tmp_path / "run", []
    trained(RunConfig.from_dict(settings.to_dict() | {"steps": 1}), folder)
    before = checkpoint(folder)["rng"]
    torch.manual_seed(2)
    original = training.Loop.train_step
    monkeypatch.setattr(training.Loop, "train_step", lambda loop: (seen.append(torch.get_rng_state()), original(loop)))
    trained(RunConfig.from_dict(settings.to_dict() | {"steps": 2}), folder)
    assert len(seen) == 1 and seen[0].equal(before)


def test_a_complete_run_is_loaded_and_not_touched(settings, copy, monkeypatch):
    before = state_of(copy)
    monkeypatch.setattr(training, "make_accelerator", lambda *_: pytest.fail("it trains again"))
    for steps in (STEPS, STEPS - 3):  # one of fewer steps is in it
        again = RunConfig.from_dict(settings.to_dict() | {"steps": steps})
        assert trained(again, copy).summary["steps"] == STEPS
    assert state_of(copy) == before


def test_a_dataset_that_was_moved_or_deleted_is_no_other_configuration(settings, tiny_scenes, copy, tmp_path):
    moved = shutil.copytree(tiny_scenes, tmp_path / "elsewhere")
    assert trained(config(moved, Path(settings.matcher)), copy).complete
    shutil.rmtree(moved)
    assert trained(config(moved, Path(settings.matcher)), copy).complete


def test_a_finished_grid_is_not_lost_between_grid_and_checkpoint(settings, whole, tmp_path, monkeypatch):
    """Stopped after the last checkpoint, before anything else: the resumed run has all that it needs."""
    with monkeypatch.context() as patch:
        patch.setattr(training.Loop, "_finish", lambda loop: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            trained(settings, tmp_path / "run")
    trained(settings, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


# ---------------------------------------------------------------------------------------------------- losses lost


@pytest.mark.parametrize(
    ("owner", "method", "term", "value"),
    [(ALRGAN, "generator_losses", "rec2", float("nan")), (AttnGAN, "discriminator_losses", "d1", float("inf"))],
)
def test_a_non_finite_loss_stops_the_run_and_is_named(
    settings, whole, tmp_path, monkeypatch, owner, method, term, value
):
    folder, original = tmp_path / "run", getattr(owner, method)
    calls = []

    def broken(system, batch, out):
        calls.append(method)
        losses = original(system, batch, out)
        return losses | {term: losses[term] * value} if len(calls) == 5 else losses

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, broken)
        with pytest.raises(
            NonFiniteLoss, match=rf"'{term}' of alr-gan became (nan|inf) in step 5;.*checkpoint"
        ) as error:
            trained(settings, folder)
    assert str(folder) in str(error.value)
    kept = load_checkpoint(folder, system="alr-gan", vocabulary=checkpoint(whole)["vocabulary"])
    assert kept["step"] == 3 and all(tensor.isfinite().all() for tensor in tensors(kept).values())
    assert [line["step"] for line in read_log(folder)] == [2, 3, 4] and not Run(folder).complete
    trained(settings, folder)  # and it can be gone on with
    assert_same_run(folder, whole)


def test_an_enormous_weight_of_a_term_is_heard_of_in_the_first_log_line(settings, tmp_path):
    enormous = RunConfig.from_dict(settings.to_dict() | {"switches": {"lambda_kl": 1e45}})
    with pytest.raises(NonFiniteLoss, match="'kl' of alr-gan became inf in step 1;"):
        trained(enormous, tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT).exists() and read_log(tmp_path / "run") == []


# ------------------------------------------------------------------------------------------- foreign and damaged files


def expected(whole: Path) -> dict[str, str]:
    found = checkpoint(whole)
    return {"system": found["system_name"], "vocabulary": found["vocabulary"]}


def test_a_checkpoint_holds_everything(whole, settings):
    state = load_checkpoint(whole, **expected(whole))
    assert {"generator", "discriminators", "averaged", "optimisers", "rng", "step", "config", "vocabulary"} <= set(
        state
    )
    assert json.loads(state["config"]) == settings.resolve().to_dict() and state["step"] == STEPS
    system = Run(whole).system()
    assert_same_bits(tensors(state["matcher"]), tensors(system.matcher.state_dict()))
    assert state["generator"].keys() == system.generator.state_dict().keys()
    steps = {int(v["step"]) for optimiser in state["optimisers"].values() for v in optimiser["state"].values()}
    assert steps == {STEPS}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"system": "attngan"}, "is a checkpoint of 'alr-gan', not of 'attngan': choose another run folder"),
        ({"vocabulary": "0123456789ab"}, "trained with vocabulary .*, this dataset has 0123456789ab.*use the dataset"),
    ],
)
def test_a_checkpoint_of_another_system_or_vocabulary_is_refused(whole, change, said):
    with pytest.raises(UserError, match=said):
        load_checkpoint(whole, **(expected(whole) | change))


@pytest.mark.parametrize("keep", [0, 1, 1000, -1])
def test_a_truncated_checkpoint_is_refused(whole, copy, keep):
    content = (copy / CHECKPOINT).read_bytes()
    (copy / CHECKPOINT).write_bytes(content[:keep])
    with pytest.raises(UserError, match=r"checkpoint\.pt is not a checkpoint of this program"):
        load_checkpoint(copy, **expected(whole))


class Intruder:
    """What a pickle can do to whoever trusts it."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("write", [lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2)), torch.save])
@pytest.mark.parametrize("hide", [lambda intruder, state: intruder, lambda intruder, state: state | {"rng": intruder}])
def test_code_in_a_checkpoint_is_not_run(whole, copy, settings, tmp_path, write, hide):
    marker = tmp_path / "executed"
    write(hide(Intruder(marker), checkpoint(whole)), copy / CHECKPOINT)
    (copy / "summary.json").unlink()
    with pytest.raises(UserError, match=r"checkpoint\.pt is not a checkpoint of this program"):
        trained(settings, copy)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Intruder(marker)))
    assert marker.exists(), "the intruder is one"


@pytest.mark.parametrize(
    "value", [[1, 2], {}, {"format": 99}, {"format": 1, "step": 3}, "text"], ids=lambda value: str(value)[:12]
)
def test_what_is_no_checkpoint_is_refused(tmp_path, value):
    torch.save(value, tmp_path / CHECKPOINT)
    with pytest.raises(UserError, match=r"checkpoint\.pt is not a checkpoint of this program"):
        load_checkpoint(tmp_path, system="alr-gan", vocabulary="")


def test_no_checkpoint_is_said(tmp_path):
    with pytest.raises(UserError, match="does not exist: there is nothing to resume"):
        load_checkpoint(tmp_path, system="alr-gan", vocabulary="")


def test_a_refused_checkpoint_leaves_the_folder_as_it_was(copy, settings, whole):
    """The checkpoint of another run was copied here, of the same system but with other words, or with other layers."""
    state = checkpoint(whole)
    (copy / "summary.json").unlink()
    wide = {name: tensor.repeat(2, *[1] * (tensor.dim() - 1)) for name, tensor in state["discriminators"].items()
            if tensor.dim()}  # fmt: skip
    for change, said in (
        ({"vocabulary": "0123456789ab"}, "trained with vocabulary 0123456789ab"),
        ({"discriminators": wide}, "other layers than this configuration"),
    ):
        save_checkpoint(copy, state | change)
        before = state_of(copy)
        with pytest.raises(UserError, match=said):
            trained(RunConfig.from_dict(settings.to_dict() | {"steps": STEPS + 1}), copy)
        assert state_of(copy) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"system": "attngan"}, "system is 'alr-gan' there and 'attngan' here"),
        ({"variant": "no-alr"}, "variant is 'default' there and 'no-alr' here"),
        ({"seed": 3}, "seed is 0 there and 3 here"),
        ({"batch_size": 4}, "batch_size is 3 there and 4 here"),
        ({"learning_rate": 0.5}, "learning_rate is .* there and 0.5 here"),
        ({"ema": 0.5}, "ema is 0.9 there and 0.5 here"),
        ({"cooldown": 0.5}, "cooldown is 0.0 there and 0.5 here"),
        ({"switches": {"gamma": 0.2}}, "switches is {} there and {'gamma': 0.2} here"),
        ({"profile": "mini"}, "profile is 'smoke' there and 'mini' here"),
    ],
)
def test_a_run_folder_of_another_configuration_is_refused(settings, copy, change, said):
    before = state_of(copy)
    with pytest.raises(UserError, match=f"holds a run of another configuration .*{said}.*choose another folder"):
        trained(RunConfig.from_dict(settings.to_dict() | change), copy)
    assert state_of(copy) == before


def test_a_run_folder_of_another_dataset_is_refused(settings, copy, tmp_path):
    from data_prep import toyworld

    other = tmp_path / "toy-scenes"
    toyworld.prepare("toy-scenes", other, size=32, train=6, test=2, seed=5)
    with pytest.raises(UserError, match="another configuration .*dataset is '.*' there and '.*' here"):
        trained(config(other, Path(settings.matcher)), copy)


def test_the_same_switches_are_the_same_configuration_however_they_are_written(settings, tmp_path):
    folder = tmp_path / "run"
    switches = {"resolutions": (8, 16, 32), "gamma": 0.2}
    again = RunConfig.from_dict(settings.to_dict() | {"steps": 1, "switches": switches})
    trained(again, folder)
    assert trained(again, folder).summary["steps"] == 1
    assert Run(folder).system().config.gamma == 0.2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model_type": "bert"}', '{"run": {"stepz": 3}, "system": {}}'])
def test_a_foreign_config_is_refused(settings, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json|did you mean 'steps'"):
        trained(settings, tmp_path)
    assert os.listdir(tmp_path) == ["config.json"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def other_words(path: Path) -> None:
    words = Vocabulary.load(path)
    Vocabulary((*words.words[:2], *reversed(words.words[2:])), words.max_words).save(path)


def other_layers(path: Path) -> None:
    weights = load_file(path)
    save_file({name: tensor for name, tensor in weights.items() if "lstm" not in name}, path)


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("weights.safetensors", truncate, r"weights\.safetensors is missing or damaged"),
        ("weights.safetensors", Path.unlink, r"no finished weights|is missing or damaged"),
        ("weights.safetensors", other_layers, "holds other layers than the configuration beside it"),
        ("vocabulary.json", other_words, "was trained with vocabulary .*, the one beside it is"),
        ("vocabulary.json", Path.unlink, r"cannot read .*vocabulary\.json"),
        ("matcher.json", truncate, r"matcher\.json is damaged"),
        ("matcher.json", Path.unlink, "holds no matching model"),
        ("matcher.json", lambda path: path.write_text('{"config": {"depth": 3}}'), "describes no matching model"),
    ],
)
def test_damaged_or_mixed_files_of_a_finished_system_or_matcher_are_refused(
    copy, tmp_path, settings, file, damage, said
):
    matcher = Path(shutil.copytree(settings.matcher, tmp_path / "matcher"))
    for folder, open_it in ((copy, lambda: Run(copy).system()), (matcher, lambda: DAMSM.load(matcher))):
        damage(folder / file)
        with pytest.raises(UserError, match=said):
            open_it()


# ------------------------------------------------------------------------------------------- no space, no permission


@pytest.fixture
def full_disk(monkeypatch):
    def fsync(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("t2i_core.config.os.fsync", fsync)


def test_a_full_disk_keeps_the_old_file_and_leaves_no_half_one(tmp_path, full_disk):
    (tmp_path / "old").write_bytes(b"old")
    for name in ("old", "new"):
        with pytest.raises(UserError, match=rf"cannot write .*{name}: No space left on device; free some space"):
            atomic_write(tmp_path / name, b"x" * 1000)
    assert state_of(tmp_path) == {"old": b"old"}


def test_a_disk_that_fills_up_keeps_the_last_good_checkpoint(settings, whole, tmp_path, monkeypatch):
    folder, original = tmp_path / "run", os.fsync

    def fsync(handle):
        if os.path.exists(folder / CHECKPOINT):  # from the second checkpoint on
            raise OSError(errno.ENOSPC, "No space left on device")
        original(handle)

    with monkeypatch.context() as patch:
        patch.setattr("t2i_core.config.os.fsync", fsync)
        with pytest.raises(UserError, match="No space left on device; free some space"):
            trained(settings, folder)
    assert checkpoint(folder)["step"] == 3 and not hidden(folder) and not Run(folder).complete
    trained(settings, folder)
    assert_same_run(folder, whole)


def test_a_log_that_cannot_be_written_is_the_users_to_mend(settings, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training, "open", full, raising=False)
    with pytest.raises(UserError, match=r"cannot write .*log\.jsonl: No space left on device; free some space"):
        trained(settings, tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_folder_that_cannot_be_written_to_is_found_before_the_work(settings, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(training.encoders, "trained", lambda *_, **__: pytest.fail("it works first"))
    with pytest.raises(UserError, match="cannot write .*file/run.*choose another folder"):
        train(RunConfig.from_dict(settings.to_dict() | {"matcher": None}), tmp_path / "file" / "run", "cpu")
    assert os.listdir(tmp_path) == ["file"]
