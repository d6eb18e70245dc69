"""The `t2i` command: help, exit status, messages that say what to do, and nothing half-written."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from t2i_core.cli import COMMANDS, main
from t2i_core.cli_prepare import DATASETS
from t2i_core.config import PROFILES, RunConfig, UserError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder, where prepared data would go too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2I_DATA", "data")
    return tmp_path


def helped(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    assert left.value.code in (0, None)
    return capsys.readouterr().out


def mistake(capsys, *words: str) -> str:
    """The message of a mistake: on standard error, one line, exit status 2, without a traceback."""
    assert main(list(words)) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("t2i: ") and "Traceback" not in message
    return message


# ---------------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys, command):
    text = helped(capsys, command)
    assert f"t2i {command}" in text and len(text.splitlines()) > 5


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_dataset_has_help(capsys, dataset):
    assert "--out" in helped(capsys, "prepare", dataset)


def test_the_help_lists_every_command(capsys):
    text = helped(capsys)
    assert all(command in text for command in COMMANDS)


def test_every_option_is_explained(capsys):
    """An option's text is its explanation and its default; unexplained, only the default would stand there."""
    for words in [(c,) for c in COMMANDS if c != "prepare"] + [("prepare", name) for name in DATASETS]:
        text = re.sub(r"[│╭╮╰╯─]", " ", helped(capsys, *words))
        for option, said in re.findall(r"\s(--[a-z-]+)(?: [A-Z]+| NAME \.\.\.)?\s{2,}(\S+)", text):
            assert not said.startswith("("), f"{' '.join(words)} {option} is not explained"


def test_help_and_names_load_nothing_heavy():
    code = """
import sys
from t2i_core.cli import main
assert main(["trian"]) == 2
try:
    main(["train", "--help"])
except SystemExit:
    pass
heavy = {"torch", "torchvision", "datasets", "pyarrow", "pandas", "matplotlib", "accelerate"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "words, nearest",
    [
        (["trian"], "train"),
        (["prepare", "toy-scene"], "toy-scenes"),
        (["prepare", "toy-scenes", "--profile", "smokey"], "smoke"),
        (["train", "--out", "r", "--profile", "min"], "mini"),
        (["train", "--out", "r", "--world", "toy-scnes"], "toy-scenes"),
        (["train", "--out", "r", "--precision", "bf6"], "bf16"),
        (["reproduce", "--out", "r", "--profile", "pper"], "paper"),
        (["zoo", "--world", "toy-scene"], "toy-scenes"),
    ],
)
def test_an_unknown_name_gets_the_nearest(capsys, here, words, nearest):
    assert f"did you mean '{nearest}'?" in mistake(capsys, *words)
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    "option, wrong, nearest", [("--system", "attn-gan", "attngan"), ("--variant", "no_alr", "no-alr")]
)
def test_an_unknown_system_or_variant_gets_the_nearest(capsys, here, tiny_scenes, option, wrong, nearest):
    words = ["train", "--out", "r", "--profile", "smoke", "--data", str(tiny_scenes), option, wrong]
    assert f"did you mean '{nearest}'?" in mistake(capsys, *words)
    assert os.listdir(here) == []


@pytest.mark.parametrize("words", [["train"], ["sample", "--out", "x"], ["train", "--out", "r", "--nonsense"], []])
def test_a_missing_or_unknown_option_is_a_mistake(capsys, words):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2 and "t2i" in capsys.readouterr().err


def test_a_missing_dataset_names_the_command_that_makes_it(capsys, here):
    assert "`t2i prepare toy-scenes --profile smoke`" in mistake(capsys, "train", "--out", "r", "--profile", "smoke")
    assert "`t2i prepare emoji`" in mistake(capsys, "train", "--out", "r", "--world", "emoji")
    assert os.listdir(here) == []


def test_a_foreign_dataset_is_refused(capsys, here, tmp_path_factory):
    foreign = tmp_path_factory.mktemp("foreign")
    (foreign / "notes.txt").write_text("mine")
    assert str(foreign) in mistake(capsys, "train", "--out", "r", "--data", str(foreign))
    assert os.listdir(foreign) == ["notes.txt"] and not (here / "r" / "config.json").exists()


@pytest.mark.parametrize("caption", ["", "  \n"])
def test_an_empty_caption_is_refused(capsys, here, tiny_run, caption):
    assert "caption is empty" in mistake(
        capsys, "sample", "--run", str(tiny_run), "--caption", caption, "--out", "a.png"
    )
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    "words, said",
    [
        (["--out", "house.jpg"], ".png"),
        (["--out", "a.png", "--count", "0"], "--count 0"),
        (["--out", "a.png", "--seed", "-1"], "--seed -1"),
        (["--out", "a.png", "--system", "attngan"], "a run of alr-gan, not of attngan"),
        (["--out", "a.png", "--system", "alr-gn"], "did you mean 'alr-gan'?"),
        (["--out", "a.png", "--device", "tpu"], "device"),
        (["--out", "in/the/way/a.png"], "cannot write"),
    ],
)
def test_a_sample_that_cannot_be_is_refused(capsys, here, tiny_run, words, said):
    (here / "in").write_text("a file in the way")
    assert said in mistake(capsys, "sample", "--run", str(tiny_run), "--caption", "a red house", *words)
    assert os.listdir(here) == ["in"]


def test_no_run_folder_is_a_mistake(capsys, here):
    for words in (["sample", "--caption", "a house", "--out", "a.png"], ["evaluate"]):
        assert "no run folder" in mistake(capsys, words[0], "--run", "nowhere", *words[1:])
    assert "no run folder" in mistake(capsys, "train", "--resume", "--out", "nowhere")
    assert os.listdir(here) == []


def test_an_unwritable_run_folder_is_found_before_the_work(capsys, here, tiny_scenes):
    (here / "file").write_text("in the way")
    message = mistake(capsys, "train", "--profile", "smoke", "--data", str(tiny_scenes), "--out", "file/run")
    assert "cannot write to file/run" in message and "--out" in message


@pytest.mark.parametrize(
    "words", [["--size", "0"], ["--train", "0"], ["--test", "-1"], ["--seed", "-1"], ["--size", "9999"]]
)
def test_numbers_that_make_no_dataset_are_refused(capsys, here, words):
    mistake(capsys, "prepare", "toy-scenes", "--profile", "smoke", *words)
    assert not list(here.rglob("manifest.json"))


def raises(error: BaseException):
    def fail(*arguments, **options):
        raise error

    return fail


@pytest.mark.parametrize(
    "error, status, said",
    [
        (UserError("do this"), 2, "do this"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 2, "No space left on device: 'runs/x'"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 2, "Permission denied: 'runs/x'"),
        (FloatingPointError("the loss term 'd' became nan"), 1, "loss term 'd'"),
    ],
)
def test_what_went_wrong_decides_the_exit_status(monkeypatch, capsys, error, status, said):
    monkeypatch.setattr("t2i_core.doctor.examine", raises(error))
    assert main(["doctor"]) == status
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), RuntimeError("a bug"), ValueError("a bug")]
)
def test_what_the_user_cannot_mend_is_not_hidden(monkeypatch, error):
    monkeypatch.setattr("t2i_core.doctor.examine", raises(error))
    with pytest.raises(type(error)):
        main(["doctor"])


# ---------------------------------------------------------------------- what the commands do


def test_prepare_puts_each_profile_in_its_own_folder(capsys, here):
    words = ["prepare", "toy-scenes", "--profile", "smoke", "--train", "6", "--test", "3"]
    assert main(words) == 0
    assert "train 6 images, test 3 images" in capsys.readouterr().out
    manifest = here / "data" / "toy-scenes-32px-6" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    assert main(words) == 0
    assert manifest.stat().st_mtime_ns == before, "the second call does nothing"
    assert main([*words, "--size", "16"]) == 0
    assert json.loads((here / "data" / "toy-scenes-16px-6" / "manifest.json").read_text())["size"] == 16


def test_train_looks_for_the_folder_that_prepare_made(here):
    config = RunConfig(profile="smoke").resolve()
    assert Path(config.data) == Path("data") / "toy-scenes-32px-400"


def test_a_folder_of_pictures_is_prepared_and_the_broken_are_named(capsys, here):
    photos = here / "holiday"
    photos.mkdir()
    for k in range(12):
        Image.new("RGB", (40, 30), (20 * k, 0, 0)).save(photos / f"{k}.jpg")
        (photos / f"{k}.txt").write_text(f"a picture with red number {k}")
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / "broken.txt").write_text("a broken picture")
    assert main(["prepare", "folder", "--source", "holiday", "--size", "32", "--test-fraction", "0.3"]) == 0
    said = capsys.readouterr()
    assert "broken.jpg" in said.err
    assert json.loads((here / "data" / "holiday" / "manifest.json").read_text())["name"] == "holiday"
    (here / "empty").mkdir()
    mistake(capsys, "prepare", "folder", "--source", "empty")
    mistake(capsys, "prepare", "folder", "--source", "nowhere")
    assert os.listdir(here / "data") == ["holiday"]


def test_emoji_get_their_arguments(monkeypatch, capsys, here):
    from data_prep import emoji

    seen = {}

    def prepare(out, size, **options):
        seen.update(options, out=out, size=size)
        splits = {"train": {"images": 9}, "test": {"images": 1}}
        return {"name": "emoji", "size": size, "splits": splits, "skipped": [{"file": "x.png", "reason": "odd"}] * 12}

    monkeypatch.setattr(emoji, "prepare", prepare)
    assert main(["prepare", "emoji", "--profile", "mini", "--packages", "boxes"]) == 0
    assert seen == {"out": Path("data/emoji"), "size": 32, "test_fraction": 0.1, "seed": 0, "packages": "boxes"}
    assert "and 2 more" in capsys.readouterr().err


def test_train_prints_its_configuration_and_resume_takes_it_from_the_folder(capsys, here, tiny_scenes):
    words = ["train", "--system", "attngan", "--profile", "smoke", "--data", str(tiny_scenes), "--seed", "3"]
    assert main([*words, "--steps", "2", "--out", "r", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    config = json.loads(printed[: printed.index("\n}\n") + 2])
    assert config == json.loads((here / "r" / "config.json").read_text())["run"]
    assert (config["system"], config["seed"], config["steps"]) == ("attngan", 3, 2)
    assert main(["train", "--resume", "--out", "r", "--steps", "3", "--device", "cpu"]) == 0
    assert json.loads((here / "r" / "summary.json").read_text())["steps"] == 3
    assert "seed is 3 there and 4 here" in mistake(capsys, "train", "--resume", "--out", "r", "--seed", "4")


def test_several_processes_train_one_system_and_one_of_them_speaks(here, tiny_scenes, tiny_run):
    """As the README starts them."""
    options = ["--profile", "smoke", "--steps", "2", "--out", "r", "--device", "cpu"]
    options += ["--data", str(tiny_scenes), "--matcher", str(tiny_run / "matcher")]
    tools = Path(sys.executable).parent
    done = subprocess.run(
        [tools / "torchrun", "--nproc-per-node", "2", "--no-python", tools / "t2i", "train", *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        cwd=here,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((here / "r" / "summary.json").read_text())
    assert summary["steps"] == 2 and summary["batch_size"] == 2 * PROFILES["smoke"].batch_size
    assert done.stdout.count('"learning_rate"') == done.stdout.count("r: 2 steps in") == 1


def test_sample_draws_the_caption_and_names_unknown_words(capsys, here, tiny_run):
    words = ["sample", "--run", str(tiny_run), "--system", "alr-gan", "--device", "cpu", "--seed", "3"]
    caption = ["--caption", "a small red house on the left of a qwertz"]
    assert main([*words, *caption, "--out", "one.png"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == "one.png" and "qwertz" in said.err and "house" not in said.err
    one = Image.open(here / "one.png")
    assert one.size == (32, 32) and one.mode == "RGB"
    assert main([*words, *caption, "--out", "again.png"]) == 0
    assert (here / "again.png").read_bytes() == (here / "one.png").read_bytes()
    assert main([*words, *caption, "--out", "deep/three.png", "--count", "3", "--enlarge", "4"]) == 0
    assert Image.open(here / "deep" / "three.png").size[0] >= 3 * 4 * 32


def test_sample_takes_the_newest_finished_run(capsys, here, tiny_run):
    words = ["sample", "--caption", "a red house", "--out", "a.png", "--device", "cpu"]
    assert "t2i train --out" in mistake(capsys, *words)
    for age, name in enumerate(("new", "old")):
        summary = Path(shutil.copytree(tiny_run, here / "runs" / "deep" / name)) / "summary.json"
        os.utime(summary, (1_000_000 - age,) * 2)
    (here / "runs" / "unfinished").mkdir()
    assert main(words) == 0
    assert str(Path("runs", "deep", "new")) in capsys.readouterr().err
    assert "no finished run of attngan" in mistake(capsys, *words, "--system", "attngan")


def test_evaluate_prints_what_it_keeps(monkeypatch, capsys, tiny_run):
    from t2i_core.metrics import evaluate

    def evaluate_run(run, metrics, n, device):
        assert (run.folder, metrics, n, device) == (tiny_run, ("fid",), 24, "cpu")
        return {"fid": {"value": 12.5, "low": 11.25, "high": 13.75, "n": 24, "protocol": {}}}

    monkeypatch.setattr(evaluate, "evaluate_run", evaluate_run)
    assert main(["evaluate", "--run", str(tiny_run), "--metrics", "fid", "--images", "24", "--device", "cpu"]) == 0
    line, where = capsys.readouterr().out.splitlines()
    assert line.split() == ["fid", "12.5000", "11.2500", "to", "13.7500", "n", "=", "24"]
    assert str(tiny_run / "metrics.json") in where


def test_evaluate_refuses_an_unknown_metric(capsys, tiny_run):
    assert "did you mean 'fid'?" in mistake(capsys, "evaluate", "--run", str(tiny_run), "--metrics", "fidd")


@pytest.mark.parametrize("status", [0, 1, 130])
def test_reproduce_passes_everything_on_and_its_status_back(monkeypatch, status):
    from t2i_core import reproduce

    seen = {}

    def run_all(profile, out, **options):
        seen.update(options, profile=profile, out=out)
        return status

    monkeypatch.setattr(reproduce, "reproduce", run_all)
    assert main(["reproduce", "--profile", "smoke", "--out", "runs/ci", "--only", "00", "03", "--jobs", "2"]) == status
    assert seen == {
        "profile": "smoke", "out": Path("runs/ci"), "only": ("00", "03"), "jobs": 2, "seed": 0, "device": "auto",
        "notebooks_dir": None,
    }  # fmt: skip


def test_inspector_draws_pictures_of_its_own_and_builds(monkeypatch, capsys, here):
    from data_prep import toyworld
    from t2i_core.metrics import build

    drawn, built = {}, {}
    monkeypatch.setattr(toyworld, "prepare", lambda world, out, **options: drawn.update(options, world=world, out=out))

    def fake(world, data, out, steps, device, seed, progress):
        built.update(world=world, data=data, out=out, steps=steps, seed=seed)
        assert list(progress(range(2))) == [0, 1]
        return {"inspector": Path("w.safetensors")}

    monkeypatch.setattr(build, "build", fake)
    assert main(["inspector", "--out", "weights", "--steps", "7"]) == 0
    assert drawn["seed"] not in range(100), "no system is trained or measured on these"
    assert built == {"world": "toy-scenes", "data": drawn["out"], "out": "weights", "steps": 7, "seed": 20}
    assert "inspector: w.safetensors" in capsys.readouterr().out


def test_an_interrupted_command_stops_with_130(here, tiny_scenes):
    """A real Ctrl-C, while a command works."""
    code = f"""
import os, signal, sys, threading
from t2i_core import train
from t2i_core.cli import main
original = train.Loop.train_step
def step(self):
    original(self)
    os.kill(os.getpid(), signal.SIGINT)
train.Loop.train_step = step
sys.exit(main(["train", "--profile", "smoke", "--data", {str(tiny_scenes)!r}, "--out", "r", "--device", "cpu"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=here)
    assert done.returncode == 130, done.stderr
    assert (here / "r" / "checkpoint.pt").exists() and not (here / "r" / "summary.json").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo") or shutil.which("bash") is None, reason="needs a POSIX shell")
def test_a_full_disk_leaves_nothing_half_written(here, tiny_run):
    """A limit on file sizes fails a write as a full disk does."""
    words = ["sample", "--run", str(tiny_run), "--caption", "a red house", "--out", "a.png", "--count", "20"]
    code = "import sys; from t2i_core.cli import main; sys.exit(main(sys.argv[1:]))"
    limited = "trap '' XFSZ; ulimit -f 2; exec \"$@\""
    done = subprocess.run(
        ["bash", "-c", limited, "t2i", sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=here
    )
    assert done.returncode == 2, done.stderr
    assert "cannot write a.png" in done.stderr and "Traceback" not in done.stderr
    assert os.listdir(here) == []


def test_the_readme_names_only_commands_and_options_that_exist(capsys):
    """Every `t2i ...` of the README, in a code block or in a line, is understood by the parser."""
    readme = (ROOT / "README.md").read_text()
    blocks = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", readme, flags=re.M | re.S)).replace("\\\n", " ")
    lines = [line.strip() for line in blocks.splitlines()] + re.findall(r"`(t2i [^`\n]+)`", readme)
    commands = [line.split(" #")[0].split() for line in lines if line.startswith("t2i ")]
    assert {words[1] for words in commands} >= {"prepare", "train", "sample", "evaluate", "doctor"}
    for words in commands:
        chosen = words[1:3] if words[1] == "prepare" and len(words) > 2 else words[1:2]
        known = helped(capsys, *chosen)
        for option in (word for word in words if word.startswith("--")):
            assert option in known, f"{' '.join(words)}: there is no {option}"
