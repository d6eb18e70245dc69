"""The index equation -> function -> test -> notebook (t2i_core/coverage.toml) has no gap, and a gap would be found."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

import t2i_core

ROOT = Path(__file__).resolve().parent.parent
INDEX = Path(t2i_core.__file__).parent / "coverage.toml"
REQUIRED = {
    "ALR-GAN": (
        *(f"E{n}" for n in range(1, 16)),
        *(f"F{n}" for n in range(1, 7)),
        *(f"Ab{n}" for n in range(1, 5)),
        *(f"Q{n}" for n in range(1, 5)),
        "Tq",
        "Tt",
    ),
    "RATLIP": (
        *(f"E{n}" for n in range(1, 9)),
        *(f"F{n}" for n in range(1, 6)),
        *(f"T{n}" for n in range(1, 4)),
        *(f"Q{n}" for n in range(1, 9)),
    ),
    "GR-GAN": (
        *(f"E{n}" for n in range(1, 13)),
        *(f"F{n}" for n in range(1, 5)),
        *(f"T{n}" for n in range(1, 7)),
        *(f"Q{n}" for n in range(1, 11)),
    ),
}
KEYS = {"paper", "id", "says", "functions", "tests", "notebook", "label", "status"}
ID = r"(?:E\d+|F\d+|Ab\d+|Q\d+|T\d+|Tq|Tt)"
LABELS = re.compile(rf"({'|'.join(REQUIRED)}) ({ID}(?:(?:, | and ){ID})*)\b")


def rows() -> list[dict]:
    """The rows of the index, each with its paper."""
    index = tomllib.loads(INDEX.read_text())
    return [{"paper": index["paper"]} | row for row in index["row"]]


def resolve(path: str) -> object:
    """The object of a dotted path: the longest part that imports, then attributes. Raises LookupError."""
    names = path.split(".")
    for end in range(len(names), 0, -1):
        module = ".".join(names[:end])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise  # the module is there, and something that it imports is not
            continue
        for name in names[end:]:
            if not hasattr(found, name):
                raise LookupError(path)
            found = getattr(found, name)
        return found
    raise LookupError(path)


@cache
def names_of_tests(path: Path) -> set[str]:
    """The names of a file's test functions."""
    if not path.exists():
        return set()
    functions = ast.parse(path.read_text()).body
    return {f.name for f in functions if isinstance(f, ast.FunctionDef) and f.name.startswith("test_")}


def labels_of(text: str) -> set[str]:
    """Every label of a notebook: "ALR-GAN E3", and each of "RATLIP Q7, Q8"."""
    return {f"{paper} {id}" for paper, found in LABELS.findall(text) for id in re.findall(ID, found)}


def gaps(row: dict, root: Path = ROOT) -> list[str]:
    """What is wrong with one row, in words."""
    if missing := KEYS - set(row):
        return [f"it lacks {', '.join(sorted(missing))}"]
    found = []
    documented = False
    for path in row["functions"]:
        try:
            documentation = inspect.getdoc(resolve(path)) or ""
        except LookupError:
            found.append(f"there is no {path}")
            continue
        documented |= re.search(rf"\b{row['id']}\b", documentation) is not None
    if row["id"].startswith("E") and not documented:
        found.append(f"no docstring of its functions says {row['id']}")
    for test in row["tests"]:
        file, _, name = test.partition("::")
        if name not in names_of_tests(root / file):
            found.append(f"there is no test {test}")
    if row["status"] == "covered":
        found += [f"it names no {kind}" for kind in ("functions", "tests") if not row[kind]]
    elif row["status"] != "not testable":
        found.append(f"unknown status {row['status']!r}")
    elif not row.get("why"):
        found.append("it does not say why it cannot be tested")
    notebook = root / row["notebook"]
    if row["label"] != f"{row['paper']} {row['id']}":
        found.append(f"its label is {row['label']!r}")
    if not notebook.exists() or row["label"] not in labels_of(notebook.read_text()):
        found.append(f"{row['notebook']} does not say {row['label']!r}")
    return found


@pytest.mark.parametrize("paper", REQUIRED)
def test_every_row_of_a_paper_is_in_the_index_once(paper):
    assert sorted(row["id"] for row in rows() if row["paper"] == paper) == sorted(REQUIRED[paper])


def test_the_index_knows_no_other_paper():
    assert {row["paper"] for row in rows()} == set(REQUIRED)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["label"])
def test_there_is_no_gap(row):
    assert not gaps(row)


def test_notebooks_use_no_label_that_the_index_does_not_know():
    known = {f"{paper} {id}" for paper, ids in REQUIRED.items() for id in ids}
    for notebook in sorted((ROOT / "notebooks").glob("*.py")):
        assert labels_of(notebook.read_text()) <= known, notebook.name


# ---------------------------------------------------------------- a gap would be found

GOOD = {
    "paper": "ALR-GAN",
    "id": "E7",
    "says": "the loss",
    "functions": ["t2i_core.alr.alr_loss", "t2i_core.alr.ALRModule.alignment"],
    "tests": ["tests/test_some.py::test_it"],
    "notebook": "notebooks/04.py",
    "label": "ALR-GAN E7",
    "status": "covered",
}


@pytest.fixture
def place(tmp_path) -> Path:
    for folder in ("tests", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tests" / "test_some.py").write_text("def test_it():\n    pass\n\n\ndef helper():\n    pass\n")
    (tmp_path / "notebooks" / "04.py").write_text("# the loss (ALR-GAN E7)\n")
    (tmp_path / "notebooks" / "other.py").write_text("# ALR-GAN E77, E70, RATLIP E7\n")
    return tmp_path


def test_a_row_without_a_gap_passes(place):
    assert gaps(GOOD, place) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"functions": ["t2i_core.alr.alr_lost"]}, "there is no t2i_core.alr.alr_lost"),
        ({"functions": ["t2i_core.arl.alr_loss"]}, "there is no t2i_core.arl.alr_loss"),
        ({"functions": ["t2i_core.alr.ALRModule.align"]}, "there is no t2i_core.alr.ALRModule.align"),
        ({"functions": []}, "it names no functions"),
        ({"functions": ["t2i_core.lvr.gram_matrix"]}, "no docstring of its functions says E7"),
        ({"tests": ["tests/test_some.py::test_that"]}, "there is no test tests/test_some.py::test_that"),
        ({"tests": ["tests/test_some.py::helper"]}, "there is no test tests/test_some.py::helper"),
        ({"tests": ["tests/test_gone.py::test_it"]}, "there is no test tests/test_gone.py::test_it"),
        ({"tests": []}, "it names no tests"),
        ({"notebook": "notebooks/other.py"}, "notebooks/other.py does not say 'ALR-GAN E7'"),
        ({"notebook": "notebooks/gone.py"}, "notebooks/gone.py does not say 'ALR-GAN E7'"),
        ({"label": "Eq. E7"}, "its label is 'Eq. E7'"),
        ({"label": "RATLIP E7"}, "its label is 'RATLIP E7'"),
        ({"paper": "RATLIP", "label": "RATLIP E7"}, "notebooks/04.py does not say 'RATLIP E7'"),
        ({"status": "later"}, "unknown status 'later'"),
        ({"status": "not testable"}, "it does not say why it cannot be tested"),
    ],
)
def test_a_gap_is_found(place, change, said):
    assert said in gaps(GOOD | change, place)


def test_a_row_without_a_field_is_found(place):
    assert gaps({key: value for key, value in GOOD.items() if key != "notebook"}, place) == ["it lacks notebook"]


def test_labels_are_read_whole_and_in_lists():
    text = "**ALR-GAN E14** and (ALR-GAN Ab1, Ab2 and Ab3), **ALR-GAN Tq**; ALR-GAN's E3, ALR-GAN Theory, Q2"
    assert labels_of(text) == {f"ALR-GAN {id}" for id in ("E14", "Ab1", "Ab2", "Ab3", "Tq")}


def test_each_paper_has_labels_of_its_own():
    assert labels_of("ALR-GAN E1, RATLIP E1 and E2; RATLIP Q8") == {"ALR-GAN E1", "RATLIP E1", "RATLIP E2", "RATLIP Q8"}
