"""The notebooks: they run at smoke, their pairs are in step, and they keep the habits that make them readable."""

from __future__ import annotations

import ast
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebooks_at_smoke import FOLDER, NAMES, ROOT, cells, executed, read

from t2i_core import reproduce
from t2i_core.config import UserError

pytestmark = [pytest.mark.xdist_group("notebooks"), pytest.mark.timeout(1800)]
every_notebook = pytest.mark.parametrize("name", NAMES)
PARAMETERS = {"profile": "mini", "seed": 0, "run_dir": "runs/notebooks", "device": "auto"}
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
# the usual places, and the one that this very checkout lies in
PLACES = ("home", "root", "tmp", "Users", "private", "var", "mnt", Path(__file__).resolve().parts[1])
MACHINE_PATH = re.compile(rf"(?<![\w.:/<~-])/(?:{'|'.join(map(re.escape, PLACES))})/\w")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    return executed(tmp_path_factory)


def lines(source: str) -> int:
    return len(source.strip().splitlines())


def last_call(source: str) -> str | None:
    """The name of the function that the cell's last expression calls."""
    tree = ast.parse(source).body
    if not tree or not isinstance(tree[-1], ast.Expr) or not isinstance(tree[-1].value, ast.Call):
        return None
    return ast.unparse(tree[-1].value.func)


# ---------------------------------------------------------------- they run


@every_notebook
def test_it_runs_at_smoke(smoke, name):
    state = json.loads((smoke / "out" / "reproduce.json").read_text())["notebooks"][name]
    assert state["status"] == "done", state.get("error")


def test_the_reproduction_ends_well_and_leaves_runs_findings_and_a_report(smoke):
    assert (smoke / "status").read_text() == "0"
    results = json.loads((smoke / "out" / "results.json").read_text())
    assert [notebook["status"] for notebook in results["notebooks"]] == ["done"] * len(NAMES)
    assert {"attngan", "alr-gan"} <= {run["system"] for run in results["runs"]}
    left = {path.stem for path in (smoke / "out" / "findings").glob("*.json")}
    assert {"retrieval-image-to-text-r1-s0", "retrieval-text-to-image-r10-s0", "matching-reads-relation-s0"} <= left
    assert (smoke / "out" / "report.html").stat().st_size > 10_000


# ---------------------------------------------------------------- pairs and parameters


def test_the_folder_holds_the_table_of_notebooks_and_nothing_else():
    for suffix in (".py", ".ipynb"):
        assert sorted(path.stem for path in FOLDER.glob(f"*{suffix}")) == sorted(NAMES)


def test_pairs_are_in_step():
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "pairs", f"VENV={sys.prefix}", "--old-file", f"{sys.prefix}/.ready"]
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@every_notebook
def test_one_cell_of_parameters_all_of_them_literals(name):
    tagged = [cell for cell in read(name).cells if cell.metadata.get("tags")]
    assert [cell.metadata["tags"] for cell in tagged] == [["parameters"]]
    assigned = ast.parse(tagged[0].source).body
    assert all(isinstance(line, ast.Assign) for line in assigned)
    assert {line.targets[0].id: ast.literal_eval(line.value) for line in assigned} == PARAMETERS
    code = [cell for cell in read(name).cells if cell.cell_type == "code"]
    assert code[0] == tagged[0]


@every_notebook
def test_a_parameter_that_no_notebook_knows_is_refused(name):
    with pytest.raises(UserError, match="does not know the parameter.*batch_sise"):
        reproduce._read(FOLDER / f"{name}.ipynb", (*reproduce.PARAMETERS, "batch_sise"))


def test_the_parameters_are_those_of_the_reproduction():
    assert tuple(PARAMETERS) == reproduce.PARAMETERS


# ---------------------------------------------------------------- they read well


@every_notebook
def test_code_cells_are_short_and_stand_between_prose(name):
    lengths = [lines(source) for source in cells(name)]
    assert statistics.median(lengths) <= 8 and max(lengths) <= 40
    untagged = [cell for cell in read(name).cells if not cell.metadata.get("tags")]  # the parameters stand alone
    assert "ccc" not in "".join(cell.cell_type[0] for cell in untagged)  # c for code, m for markdown


@every_notebook
def test_it_defines_no_class_and_installs_nothing(name):
    for source in cells(name):
        assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(ast.parse(source)))  # no magics either
        assert "pip install" not in source and "subprocess" not in source


@every_notebook
def test_the_set_up_is_ten_lines_at_most(name):
    assert lines(cells(name)[1]) <= 10


@every_notebook
def test_it_opens_with_what_for_and_how_long(name):
    opening = cells(name, "markdown")[0]
    assert opening.startswith(f"# {name[:2]} · ")
    assert "smoke" in opening or "any profile" in opening
    assert "You will" in opening and "t2i_core/" in opening


@every_notebook
def test_it_ends_with_a_failure_takeaways_and_exercises(name):
    text = "\n\n".join(cells(name, "markdown"))
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[-2:] == ["Takeaways", "Exercises"]
    assert any("failure case" in heading.lower() for heading in headings)
    takeaways = text.split("## Takeaways")[1].split("## Exercises")[0]
    assert len(re.findall(r"^\* ", takeaways, re.M)) == 3


@every_notebook
def test_it_links_to_its_neighbours(name):
    here = NAMES.index(name)
    opening, closing = cells(name, "markdown")[0], cells(name, "markdown")[-1]
    if here > 0:
        assert f"({NAMES[here - 1]}.ipynb)" in opening
    if here + 1 < len(NAMES):
        assert f"({NAMES[here + 1]}.ipynb)" in opening and f"({NAMES[here + 1]}.ipynb)" in closing


@every_notebook
def test_every_link_leads_to_a_file(name):
    links = [link for text in cells(name, "markdown") for link in LINK.findall(text) if "://" not in link]
    assert links
    for link in links:
        assert (FOLDER / link).exists(), link


@every_notebook
def test_a_widget_comes_after_a_static_figure_of_the_same_function(name):
    shown = []
    for source in cells(name):
        for function in re.findall(r"figure_explorer\(\s*(\w+)", source):
            assert function in shown, f"{function} has no static figure before its widget"
        shown.append(last_call(source))


# ---------------------------------------------------------------- what is committed


@every_notebook
def test_committed_outputs_are_whole_small_and_without_errors(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 500_000
    code = [cell for cell in read(name).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code), "execute it before committing it"
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2


@every_notebook
def test_committed_outputs_name_no_place_on_the_machine_that_made_them(name):
    text = nbformat.writes(read(name))
    assert not MACHINE_PATH.findall(re.sub(r'"image/png": "[^"]*"', "", text))


@pytest.mark.parametrize(
    ("text", "found"),
    [("in /home/me/x", 1), ('"/tmp/out"', 1), ("runs/tmp/x ../home/x", 0), ("https://a.org/home/x", 0)],
)
def test_a_place_on_a_machine_is_recognised(text, found):
    assert len(MACHINE_PATH.findall(text)) == found
