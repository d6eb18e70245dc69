"""The reproduction on tiny notebooks with real kernels: order, side by side, failure, restart, interruption."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import nbformat
import pytest

from t2i_core import fingerprint, notebook_plan, reproduce, results
from t2i_core.config import UserError
from t2i_core.notebook_jobs import Job, Jobs
from t2i_core.reproduce import Notebook

PARAMETERS = 'profile = "mini"\nseed = 0\nrun_dir = "nowhere"\ndevice = "auto"'
# two notebooks that meet: each waits for the other, so they finish only if they run at the same time
MEET = """
import time
from pathlib import Path
Path(run_dir, "met-{mine}").touch()
began = time.time()
while not Path(run_dir, "met-{other}").exists():
    assert time.time() - began < 300, "{other} does not run"
    time.sleep(0.05)
"""
LEAVES_A_RUN = """
import json, os
from pathlib import Path
folder = Path(run_dir, "runs", "gan-default-toy-s0")
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.json").write_text(json.dumps({"run": {"steps": 7}, "made_by": os.environ["T2I_NOTEBOOK"]}))
summary = {"system": "gan", "variant": "default", "world": "toy", "seed": seed, "parameters": 5, "device": "CPU (here)"}
(folder / "summary.json").write_text(json.dumps(summary))
metrics = {"fid": {"value": 3.5, "low": float("-inf"), "high": float("nan"), "n": 10, "protocol": {"split": "test"}}}
(folder / "metrics.json").write_text(json.dumps(metrics))
"""
TELLS = """
import json, os, sys
print(json.dumps([profile, seed, run_dir, device, os.environ["OMP_NUM_THREADS"], sys.executable]))
"""

TABLE = (
    Notebook("left"),
    Notebook("right"),
    Notebook("after", needs=("left",)),
    Notebook("broken"),
    Notebook("hopeless", needs=("broken", "left")),
)
SOURCES = {
    "left": [MEET.format(mine="left", other="right"), LEAVES_A_RUN],
    "right": [MEET.format(mine="right", other="left"), TELLS],
    "after": ["from pathlib import Path\nassert Path(run_dir, 'runs').exists()"],
    "broken": ["raise ValueError('as <b>planned</b>')"],
    "hopeless": ["print('never')"],
}


def write_notebook(folder: Path, name: str, cells: list[str], parameters: str | None = PARAMETERS) -> Path:
    new = nbformat.v4
    notebook = new.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}})
    notebook.metadata["language_info"] = {"name": "python"}
    if parameters is not None:
        notebook.cells.append(new.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    notebook.cells += [new.new_markdown_cell("Words."), *map(new.new_code_cell, cells)]
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def read_json(path: Path):
    return json.loads(path.read_text())


def call(home: Path, **options) -> int:
    options = {"notebooks": TABLE, "device": "cpu", "jobs": 2} | options
    return reproduce.reproduce("smoke", home / "out", notebooks_dir=home / "notebooks", **options)


@pytest.fixture(autouse=True, scope="module")
def fixed_code():
    """The packages' code counts as unchanged, whoever edits it while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "sources_hash", lambda *a: "code")
        patch.setattr(fingerprint, "training_hash", lambda: "training code")
        patch.setattr(fingerprint, "concluding_hash", lambda: "all code")
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """A folder with notebooks and one finished reproduction of them, in which "broken" has failed."""
    home = tmp_path_factory.mktemp("first")
    for name, cells in SOURCES.items():
        write_notebook(home / "notebooks", name, cells)
    (home / "status").write_text(str(call(home)))
    return home


@pytest.fixture
def again(first, tmp_path) -> Path:
    """A copy of it that the test may change."""
    return Path(shutil.copytree(first, tmp_path / "again"))


def plan(home: Path, capsys, **changes) -> notebook_plan.Plan:
    """What a second call would redo."""
    read = {n.name: nbformat.read(home / "notebooks" / f"{n.name}.ipynb", 4) for n in TABLE}
    parameters = {"profile": "smoke", "seed": 0, "run_dir": str(home / "out"), "device": "cpu"} | changes
    made = notebook_plan.Plan(home / "out", TABLE, read, parameters)
    made.printed = capsys.readouterr().out
    return made


# ---------------------------------------------------------------------- the first call


def test_it_goes_on_after_a_failure_and_says_so(first):
    assert (first / "status").read_text() == "1"
    content = read_json(first / "out" / "results.json")
    statuses = {n["name"]: n["status"] for n in content["notebooks"]}
    assert statuses == {"left": "done", "right": "done", "after": "done", "broken": "failed", "hopeless": "skipped"}
    assert sorted(p.name for p in (first / "out" / "notebooks").iterdir()) == [
        "after.ipynb", "broken.failed.ipynb", "left.ipynb", "right.ipynb",
    ]  # fmt: skip
    assert "as &lt;b&gt;planned&lt;/b&gt;" in (first / "out" / "report.html").read_text()


def test_results_have_exactly_the_promised_keys(first):
    text = (first / "out" / "results.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    content = json.loads(text)
    promised = {"profile", "seeds", "device", "versions", "commit", "seconds", "notebooks", "runs", "claims"}
    assert content.keys() == promised | {"peak_memory_bytes"}
    assert (content["profile"], content["seeds"], content["device"]) == ("smoke", [0], "CPU (here)")
    assert content["versions"]["torch"] and content["seconds"] > 1
    assert {"name", "seconds", "status"} == content["notebooks"][0].keys()
    (run,) = content["runs"]
    assert run.keys() == set(results.RUN_KEYS) | {"metrics"}
    assert (run["system"], run["steps"], run["parameters"]) == ("gan", 7, 5)
    assert run["metrics"] == {"fid": {"value": 3.5, "low": None, "high": None, "n": 10, "protocol": {"split": "test"}}}
    wanted = {"id", "paper", "statement", "published", "measured", "verdict", "why"}
    assert all(claim.keys() == wanted for claim in content["claims"])


def test_memory_is_measured_over_the_kernels(first):
    # a kernel alone holds more than 20 MB, and two of them ran at once
    assert read_json(first / "out" / "results.json")["peak_memory_bytes"] > 100e6
    assert read_json(first / "out" / "reproduce.json")["notebooks"]["left"]["peak_memory_bytes"] > 20e6


def test_notebooks_get_their_parameters_this_interpreter_and_their_share_of_threads(first):
    executed = nbformat.read(first / "out" / "notebooks" / "right.ipynb", 4)
    said = json.loads(executed.cells[-1].outputs[0].text)
    assert said[:4] == ["smoke", 0, str(first / "out"), "cpu"]
    assert Path(said[5]) == Path(sys.executable)
    assert said[4] == str(max(1, reproduce.cores() // 2))
    noted = executed.metadata.papermill  # with papermill's own paths, which mean nothing to a reader, taken out
    assert (noted.input_path, noted.output_path) == ("right.ipynb", "right.ipynb")


def test_what_a_long_chain_waits_for_starts_first(tmp_path, monkeypatch):
    table = (Notebook("short"), Notebook("long", minutes=5), Notebook("first"), Notebook("then", ("first",), minutes=9))
    for notebook in table:
        write_notebook(tmp_path, notebook.name, ["1"])
    read = {n.name: nbformat.read(tmp_path / f"{n.name}.ipynb", 4) for n in table}
    (tmp_path / "out").mkdir()
    parameters = {"profile": "mini", "seed": 0, "run_dir": "out", "device": "cpu"}
    made = notebook_plan.Plan(tmp_path / "out", table, read, parameters)
    assert made._ready() == ["first", "long", "short"]  # "then" has to wait, and 10 minutes hang on "first"


def test_a_notebook_that_runs_alone_gets_all_threads(tmp_path):
    workers = Jobs(tmp_path, tmp_path, {}, slots=2)
    assert workers.threads(alone=True) == reproduce.cores()


# ---------------------------------------------------------------------- the second call


def test_a_second_call_runs_only_what_failed(again, capsys):
    write_notebook(again / "notebooks", "broken", ["print('mended')"])
    kept = (again / "out" / "notebooks" / "left.ipynb").stat().st_mtime_ns
    assert call(again) == 0
    printed = capsys.readouterr().out
    started = [line.split()[3] for line in printed.splitlines() if " start " in line]
    assert started == ["broken", "hopeless"]
    assert (again / "out" / "notebooks" / "left.ipynb").stat().st_mtime_ns == kept
    assert not (again / "out" / "notebooks" / "broken.failed.ipynb").exists()
    before = (again / "out" / "results.json").read_text()
    assert call(again) == 0  # nothing is left to do
    assert "start" not in capsys.readouterr().out
    assert read_json(again / "out" / "results.json") == json.loads(before)


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        (lambda home: None, []),
        (lambda home: write_notebook(home / "notebooks", "left", SOURCES["left"] + ["2"]), ["left", "after"]),
        (lambda home: (home / "out/notebooks/right.ipynb").unlink(), ["right"]),
        (lambda home: shutil.rmtree(home / "out/runs/gan-default-toy-s0"), ["left"]),
    ],
    ids=["nothing", "source", "executed notebook gone", "run folder gone"],
)
def test_what_changed_or_is_missing_is_redone(again, capsys, change, redone):
    change(again)
    assert plan(again, capsys).waiting == [*redone, "broken", "hopeless"]


def test_outputs_and_ids_of_a_notebook_are_no_change(again, capsys):
    path = again / "notebooks" / "left.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text="other")]
    notebook.cells[-1].id, notebook.cells[-1].execution_count = "another", 5
    nbformat.write(notebook, path)
    assert plan(again, capsys).waiting == ["broken", "hopeless"]


def test_changed_packages_redo_everything_and_set_the_runs_aside(again, capsys, monkeypatch):
    monkeypatch.setattr(fingerprint, "sources_hash", lambda *a: "other code")
    made = plan(again, capsys)
    assert made.waiting == [n.name for n in TABLE]
    assert (again / "out" / "runs").exists()  # figures changed, say: what was trained is as good as before
    monkeypatch.setattr(fingerprint, "training_hash", lambda: "other training code")
    made = plan(again, capsys)
    assert not (again / "out" / "runs").exists() and "set aside" in made.printed
    assert len(list((again / "out" / "stale").glob("*/runs/gan-default-toy-s0/summary.json"))) == 1


def test_a_notebook_that_runs_other_code_does_not_keep_its_old_findings(again, capsys):
    found = again / "out" / "findings" / "F-s0.json"
    found.parent.mkdir()
    found.write_text(json.dumps({"id": "F", "made_by": "left"}))
    write_notebook(again / "notebooks", "left", [SOURCES["left"][0], SOURCES["left"][1] + "# only a comment"])
    assert plan(again, capsys).waiting[0] == "left"
    plan(again, capsys)
    assert found.exists()
    write_notebook(again / "notebooks", "left", [*SOURCES["left"], "2"])
    plan(again, capsys)
    assert not found.exists() and len(list((again / "out" / "stale").glob("*/findings/F-s0.json"))) == 1
    assert (again / "out" / "runs" / "gan-default-toy-s0" / "metrics.json").exists()  # its settings are its own


def test_what_other_code_measured_is_measured_again(again, capsys, monkeypatch):
    plan(again, capsys)
    monkeypatch.setattr(fingerprint, "measuring_hash", lambda: "other measuring code")
    assert "metrics.json set aside" in plan(again, capsys).printed
    left = [path.name for path in (again / "out" / "runs" / "gan-default-toy-s0").iterdir()]
    assert "summary.json" in left and "metrics.json" not in left
    assert len(list((again / "out" / "stale").glob("*/runs/gan-default-toy-s0/metrics.json"))) == 1


def test_a_half_run_notebook_is_never_taken_for_done(again, capsys):
    state = read_json(again / "out" / "reproduce.json")
    state["notebooks"]["left"]["status"] = "interrupted"  # as it stands while the notebook runs
    (again / "out" / "reproduce.json").write_text(json.dumps(state))
    assert "left" in plan(again, capsys).waiting


# ---------------------------------------------------------------------- interruption

SLOW = """
import time
from pathlib import Path
checkpoint = Path(run_dir, "checkpoint")
if not checkpoint.exists():
    Path(run_dir, "running").touch()
    try:
        time.sleep(100)
    except KeyboardInterrupt:
        checkpoint.touch()
        raise
"""

PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it as ignored
from t2i_core import fingerprint, reproduce
fingerprint.sources_hash = lambda *a: "code"
fingerprint.training_hash = lambda: "training code"
table = (reproduce.Notebook("slow"),)
sys.exit(reproduce.reproduce("smoke", sys.argv[1], notebooks_dir=sys.argv[2], device="cpu", jobs=2, notebooks=table))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_call_lets_the_notebook_save_and_goes_on_later(tmp_path, number):
    write_notebook(tmp_path / "notebooks", "slow", [SLOW])
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "out"), str(tmp_path / "notebooks")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    wait_until(tmp_path / "out" / "running")
    process.send_signal(number)
    assert process.wait(timeout=300) == (130 if number == signal.SIGINT else -number)
    process.stdout.close()
    wait_until(tmp_path / "out" / "checkpoint")
    state = read_json(tmp_path / "out" / "reproduce.json")
    assert state["notebooks"]["slow"]["status"] == "interrupted"
    assert not list((tmp_path / "out").glob("notebooks/*")) and not (tmp_path / "out" / "results.json").exists()
    assert call(tmp_path, notebooks=(Notebook("slow"),)) == 0


def wait_until(path: Path, seconds: float = 300) -> None:
    began = time.monotonic()
    while not path.exists():
        assert time.monotonic() - began < seconds, f"{path} did not come"
        time.sleep(0.05)


def test_a_kernel_that_did_not_start_gets_one_more_try(again, capsys):
    made = plan(again, capsys)
    (again / "out" / ".work").mkdir(exist_ok=True)
    calls = []

    class Workers:
        def start(self, name, threads, retried=False):
            calls.append((name, threads, retried))
            return job(retried)

    def job(retried):
        dead = subprocess.Popen([sys.executable, "-c", "print('Address already in use'); raise SystemExit(3)"])
        dead.wait()
        log = again / "out" / "logs" / "broken.log"
        log.write_text("RuntimeError: Kernel died before replying\n")
        ended = Job("broken", dead, again / "out" / ".work" / "broken.ipynb", log, 1, retried)
        ended.ended()
        return ended

    made._finished(job(retried=False), Workers())
    assert calls == [("broken", 1, True)]
    made._finished(job(retried=True), Workers())
    assert len(calls) == 1
    entry = made.state["notebooks"]["broken"]
    assert entry["status"] == "failed" and "Kernel died before replying" in entry["error"]


# ---------------------------------------------------------------------- the user's mistakes


def refused(home: Path, match: str, **options) -> None:
    with pytest.raises(UserError, match=match):
        call(home, **options)


def test_a_parameter_that_a_notebook_does_not_know_is_an_error(tmp_path):
    for name in SOURCES:
        write_notebook(tmp_path / "notebooks", name, ["1"])
    write_notebook(tmp_path / "notebooks", "left", ["1"], parameters='profile = "x"\nseed = 1\ndevice = "cpu"')
    refused(tmp_path, r"left.ipynb does not know the parameter\(s\) run_dir")
    write_notebook(tmp_path / "notebooks", "left", ["1"], parameters=None)
    refused(tmp_path, r"profile, seed, run_dir, device")
    assert not (tmp_path / "out").exists()


def test_mistakes_are_named_before_anything_runs(first, tmp_path):
    refused(first, "did you mean 'cpu'", device="cpuu")
    refused(first, "jobs must be at least 1", jobs=0)
    refused(first, "did you mean 'after'", only=["aftr"])
    refused(first, "no notebook was chosen", only=[])
    refused(first, "missing.ipynb is missing", notebooks=(Notebook("missing"),))
    with pytest.raises(UserError, match="did you mean 'smoke'"):
        reproduce.reproduce("smok", tmp_path / "out")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "left.ipynb").write_text('{"cells": [')
    refused(tmp_path, "left.ipynb is not a notebook", only=["left"])
    with pytest.raises(UserError, match="is no folder"):
        reproduce.reproduce("smoke", tmp_path / "out", notebooks_dir=tmp_path / "nowhere")


def test_a_folder_of_another_configuration_is_refused_and_left_alone(again):
    before = (again / "out" / "reproduce.json").read_text()
    refused(again, "seed is 0 there and 1 here", seed=1)
    assert (again / "out" / "reproduce.json").read_text() == before
    (again / "out" / "reproduce.json").write_text("{")
    refused(again, "damaged")


def test_a_folder_of_something_else_is_refused(again):
    shutil.rmtree(again / "out")
    (again / "out").mkdir()
    (again / "out" / "thesis.docx").touch()
    refused(again, "thesis.docx")
    shutil.rmtree(again / "out")
    (again / "out").touch()
    refused(again, "is a file")


def test_two_reproductions_do_not_work_in_one_folder(again):
    with filelock.FileLock(again / "out" / ".lock"):
        refused(again, "another reproduction")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_or_an_unwritable_folder_is_the_users_to_mend(again, monkeypatch, number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(notebook_plan, "write_json", fail)
    refused(again, f"cannot write in .*{os.strerror(number)}")


def test_a_folder_that_cannot_be_made_is_refused(again):
    with pytest.raises(UserError, match="choose another"):
        reproduce.reproduce("smoke", "/proc/none/out", notebooks_dir=again / "notebooks", notebooks=TABLE)


def test_only_runs_what_was_chosen_and_what_it_needs():
    chosen = reproduce._chosen(reproduce.NOTEBOOKS, ["06"])
    assert [n.name[:2] for n in chosen] == ["01", "06"]
    assert [n.name[:2] for n in reproduce._chosen(reproduce.NOTEBOOKS, ["00", "03"])] == ["00", "01", "03"]
    assert len(reproduce._chosen(reproduce.NOTEBOOKS, None)) == len(reproduce.NOTEBOOKS) == 14


def test_the_table_has_every_need_before_what_needs_it():
    seen = set()
    for notebook in reproduce.NOTEBOOKS:
        assert set(notebook.needs) <= seen
        seen.add(notebook.name)


# ---------------------------------------------------------------------- several seeds


LEAVES_A_SEEDED_RUN = LEAVES_A_RUN.replace('"gan-default-toy-s0"', 'f"gan-default-toy-s{seed}"')
LEAVES_A_SEEDED_RUN += """
Path(run_dir, "findings").mkdir(exist_ok=True)
Path(run_dir, "findings", f"F-s{seed}.json").write_text(json.dumps({"id": "F", "seed": seed, "value": 1.0}))
"""


@pytest.fixture(scope="module")
def of_three(tmp_path_factory) -> tuple[Path, int]:
    home = tmp_path_factory.mktemp("seeds")
    write_notebook(home / "notebooks", "one", [LEAVES_A_SEEDED_RUN])
    options = {"notebooks_dir": home / "notebooks", "notebooks": (Notebook("one"),), "device": "cpu"}
    return home / "out", reproduce.reproduce_seeds("mini", home / "out", (4, 0, 7), **options)


def test_each_seed_is_a_reproduction_and_the_first_ones_results_hold_all(of_three):
    out, status = of_three
    assert status == 0
    found = read_json(out / "results.json")
    assert found["seeds"] == [0, 4, 7] and [run["seed"] for run in found["runs"]] == [0, 4, 7]
    assert [f["seed"] for f in results.findings(out)] == [0, 4, 7]
    for seed in (0, 7):
        assert read_json(out / "seeds" / str(seed) / "results.json")["seeds"] == [seed]
    assert (out / "notebooks" / "one.ipynb").exists() and not (out / "seeds" / "4").exists()


def test_what_concludes_runs_again_when_another_seed_is_there_and_nothing_else_does(tmp_path, capfd):
    for name in ("one", "end"):
        write_notebook(tmp_path / "notebooks", name, ["print(seed)"])
    table = (reproduce.Notebook("one"), reproduce.Notebook("end", needs=("one",), concludes=True))
    options = {"notebooks_dir": tmp_path / "notebooks", "notebooks": table, "device": "cpu", "jobs": 1}
    assert reproduce.reproduce_seeds("smoke", tmp_path / "out", (0, 1), **options) == 0
    said = capfd.readouterr().out
    assert said.count("done     end") == 3 and said.count("done     one") == 2
    assert reproduce.reproduce_seeds("smoke", tmp_path / "out", (0, 1), **options) == 0
    assert "done     end" not in capfd.readouterr().out


def test_a_failed_seed_fails_the_whole_and_ctrl_c_ends_it(monkeypatch, tmp_path):
    for statuses, expected, calls in (((0, 1, 0, 0), 1, 4), ((0, 130, 0, 0), 130, 2), ((0, 0, 0, 0), 0, 4)):
        left = list(statuses)
        monkeypatch.setattr(reproduce, "reproduce", lambda *a, left=left, **k: left.pop(0))
        assert reproduce.reproduce_seeds("smoke", tmp_path, (0, 1, 2)) == expected
        assert len(statuses) - len(left) == calls


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_are_named_once(seeds, tmp_path):
    with pytest.raises(UserError, match="each once"):
        reproduce.reproduce_seeds("smoke", tmp_path, seeds)


# ---------------------------------------------------------------------- hashes and small things


@pytest.mark.parametrize("names", [fingerprint.COLLECTING, fingerprint.LOOKING])
def test_what_is_left_out_of_a_hash_is_there(names):
    home = Path(fingerprint.__file__).parent
    assert all((home / name).is_dir() if name.endswith("/") else (home / f"{name}.py").is_file() for name in names)


def test_comments_and_docstrings_change_no_hash():
    one = 'def f(x):\n    """Old."""\n    return x + 1  # why\n'
    assert fingerprint.code(one) == fingerprint.code('def f( x ):\n    """New."""\n\n    return (x + 1)\n')
    assert fingerprint.code(one) != fingerprint.code(one.replace("+ 1", "+ 2"))
    assert fingerprint.code("%matplotlib inline") == "%matplotlib inline"


def test_seconds_count_once_what_ran_side_by_side():
    assert notebook_plan._covered([(0, 10), (5, 12), (20, 21)]) == 13
    assert notebook_plan._covered([]) == 0


def test_findings_are_collected_but_for_broken_ones(tmp_path):
    (tmp_path / "findings").mkdir()
    (tmp_path / "findings" / "whole.json").write_text('{"id": "b", "seed": 1, "value": NaN, "note": "log ratio"}')
    (tmp_path / "findings" / "half.json").write_text('{"id": "ALR')
    assert results.findings(tmp_path) == [{"id": "b", "seed": 1, "value": None, "note": "log ratio"}]
