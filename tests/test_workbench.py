"""What every notebook sets up the same way: trained once, loaded afterwards, side by side as in turn."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest
from short_runs import assert_same_run, checkpoint, state_of

from t2i_core import workbench as module
from t2i_core.config import UserError
from t2i_core.runs import Run, read_log
from t2i_core.trainers import Request, train_side_by_side, usable_threads
from t2i_core.workbench import Workbench, open_workbench

FEW = dict(steps=2, batch_size=3, checkpoint_every=2, log_every=1, sample_every=2)
PAIRS = [("attngan", "default"), ("alr-gan", "no-alr")]


@pytest.fixture
def bench(tiny_scenes, tiny_run, tmp_path) -> Workbench:
    """A work place whose matching model is trained already."""
    bench = open_workbench(tiny_scenes, "smoke", 0, tmp_path / "runs", "cpu")
    shutil.copytree(tiny_run / "matcher", bench.matcher_folder())
    return bench


def test_it_opens_on_the_dataset_of_its_folder(bench):
    assert bench.world == "toy-scenes" and len(bench.train_set) == 48 and len(bench.test_set) == 24
    assert bench.train_set.resolutions == bench.profile.resolutions == (8, 16, 32)
    assert bench.matcher_folder().name == "damsm-toy-scenes-s0"


def test_a_missing_dataset_or_unknown_profile_shows_at_once(tiny_scenes, tmp_path):
    with pytest.raises(UserError, match="no prepared dataset"):
        open_workbench(tmp_path / "toy-scenes", "smoke")
    with pytest.raises(UserError, match="unknown profile 'smok'; did you mean 'smoke'"):
        open_workbench(tiny_scenes, "smok")


def test_the_matching_model_is_trained_by_whoever_asks_first(tiny_scenes, tiny_run, tmp_path, capsys, monkeypatch):
    bench = open_workbench(tiny_scenes, "smoke", 0, tmp_path, "cpu")
    first = bench.damsm()
    assert "matching model: 20 of 20 steps" in capsys.readouterr().out
    monkeypatch.setattr(module.encoders, "trained", lambda *_, **__: pytest.fail("it trains again"))
    again = bench.damsm()
    names = first.state_dict()
    assert all(again.state_dict()[name].equal(names[name]) for name in names)
    weights = "weights.safetensors"  # and a run on the same data, profile and seed trains the same one
    assert (bench.matcher_folder() / weights).read_bytes() == (tiny_run / "matcher" / weights).read_bytes()


def test_a_system_is_trained_once_and_then_loaded(bench):
    run = bench.trained("attngan", **FEW)
    assert run.folder == bench.run_folder("attngan") and run.config.matcher == str(bench.matcher_folder())
    before = state_of(run.folder)
    assert bench.trained("attngan", **FEW).summary == run.summary
    assert state_of(run.folder) == before


def test_a_run_of_other_settings_is_set_aside(bench, capsys):
    first = bench.trained("attngan", **FEW)
    rate = first.config.learning_rate
    second = bench.trained("attngan", **FEW, learning_rate=0.5)
    assert second.folder == first.folder and second.config.learning_rate == 0.5
    (kept,) = bench.run_dir.glob("stale/*/runs/attngan-default-toy-scenes-s0")
    assert Run(kept).complete and Run(kept).config.learning_rate == rate
    assert f"learning_rate is {rate} there and 0.5 here): set aside in" in capsys.readouterr().out


def test_side_by_side_is_as_in_turn(bench, tiny_scenes, tmp_path, capsys, monkeypatch):
    in_turn = open_workbench(tiny_scenes, "smoke", 0, tmp_path / "in-turn", "cpu")
    shutil.copytree(bench.matcher_folder(), in_turn.matcher_folder())
    alone = [in_turn.trained(*pair, **FEW) for pair in PAIRS]
    together = bench.trained_side_by_side(PAIRS, jobs=2, **FEW)
    assert [run.folder for run in together] == [bench.run_folder(*pair) for pair in PAIRS]
    for ours, theirs in zip(together, alone, strict=True):
        assert_same_run(ours.folder, theirs.folder)
        assert ours.summary["device"].endswith(" 1 thread)")
    assert {f"trained {system} ({variant})" for system, variant in PAIRS} <= set(capsys.readouterr().out.splitlines())
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it starts a process for nothing"))
    assert [run.folder for run in bench.trained_side_by_side(PAIRS, jobs=2, **FEW)] == [run.folder for run in together]


def test_one_job_needs_no_process(bench, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it starts a process"))
    (run,) = bench.trained_side_by_side([("attngan", "default")], jobs=1, **FEW)
    assert run.complete


def as_child(monkeypatch, code: str) -> list[subprocess.Popen]:
    """Children run this shell code instead of a training; returns the list that they are put in."""
    started, start = [], subprocess.Popen

    def popen(command, **options):
        started.append(start(["bash", "-c", code, *command], **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    return started


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a POSIX shell")
def test_a_failing_child_is_reported_with_the_end_of_its_log_and_the_others_are_stopped(bench, monkeypatch):
    script = "read order; if [[ $order == *no-alr* ]]; then seq 1000 >&2; echo the last word >&2; exit 3; fi; exec cat"
    started = as_child(monkeypatch, script)
    with pytest.raises(UserError, match=r"training alr-gan \(no-alr\) failed; the end of .*output\.log:") as error:
        bench.trained_side_by_side([*PAIRS, ("alr-gan", "no-pr")], jobs=2, **FEW)
    assert str(error.value).endswith("999\n1000\nthe last word\n") and len(str(error.value)) < 2500
    assert sorted(process.returncode for process in started) in ([0, 3], [0, 0, 3]), "nobody is left running"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a POSIX shell")
def test_no_more_children_than_jobs_and_each_trains_one_run_after_the_other(bench, monkeypatch, tmp_path):
    one = f"echo start >> {tmp_path}/count; sleep 0.2; echo end >> {tmp_path}/count; echo done"
    code = f"while read -r order; do {one}; done"
    started = as_child(monkeypatch, code)
    pairs = [("attngan", "default"), ("alr-gan", "default"), ("alr-gan", "no-alr"), ("alr-gan", "no-pr")]
    bench.trained_side_by_side(pairs, jobs=2, **FEW)
    running, most = 0, 0
    for line in (tmp_path / "count").read_text().split():
        running += 1 if line == "start" else -1
        most = max(most, running)
    assert len(started) == 2 and most == 2 and (tmp_path / "count").read_text().count("end") == 4


PARENT = """
import json, sys
from pathlib import Path
from t2i_core.config import RunConfig
from t2i_core.trainers import Request, train_side_by_side
config = RunConfig.from_dict(json.loads(sys.argv[1]))
train_side_by_side([Request(config, Path(sys.argv[2]))], "cpu", jobs=1)
"""


def test_a_training_whose_parent_is_killed_finishes_its_step_and_leaves_a_checkpoint(bench):
    long = bench.config("attngan", steps=10**6, batch_size=3, log_every=1, checkpoint_every=10**6)
    folder = bench.run_folder("attngan", "default")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, json.dumps(long.to_dict()), str(folder)])
    ends = time.monotonic() + 120
    while not read_log(folder) and time.monotonic() < ends and parent.poll() is None:
        time.sleep(0.1)
    (child,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    psutil.wait_procs([child], timeout=60)
    assert not child.is_running(), "it trains for nobody"
    assert checkpoint(folder)["step"] == read_log(folder)[-1]["step"] < 10**6
    assert "stopped by hand after step" in (folder / "output.log").read_text()


def test_an_order_whose_parent_is_gone_already_is_not_worked_off(bench):
    folder = bench.run_folder("attngan", "default")
    folder.mkdir(parents=True)
    long = bench.config("attngan", steps=10**6, batch_size=3, checkpoint_every=10**6)
    order = {"config": long.to_dict(), "folder": str(folder), "device": "cpu", "measure": False}
    order |= {"log": str(folder / "output.log")}
    command = ["sh", "-c", f"trap '' INT; exec {sys.executable} -m t2i_core.trainers"]  # as in a background job
    ended = subprocess.run(command, input=json.dumps(order) + "\n", text=True, timeout=120, capture_output=True)
    assert ended.returncode == 0 and "done" not in ended.stdout
    assert not (folder / "summary.json").exists()


def test_no_jobs_are_refused(bench):
    with pytest.raises(UserError, match="0 jobs train nothing: choose 1 or more"):
        train_side_by_side([Request(bench.config("attngan"), bench.run_folder("attngan"))], "cpu", jobs=0)


def test_processes_share_the_threads_that_there_are(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    every = usable_threads()
    assert every >= 1
    for limit, expected in (("1", 1), (str(every + 7), every), ("", every)):
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
        assert usable_threads() == expected


def test_a_finding_is_written_down(bench):
    found = bench.finding("ssm-overlap", 0.5, 0.4, 0.6, 12, "mean overlap")
    path = bench.run_dir / "findings" / "ssm-overlap-s0.json"
    assert json.loads(path.read_text()) == found
    assert found == {"id": "ssm-overlap", "value": 0.5, "low": 0.4, "high": 0.6, "n": 12, "note": "mean overlap",
                     "profile": "smoke", "seed": 0, "made_by": None}  # fmt: skip
    with pytest.raises(ValueError):
        bench.finding("nothing", float("nan"), 0, 1, 0, "no number")
    assert os.listdir(path.parent) == ["ssm-overlap-s0.json"]
