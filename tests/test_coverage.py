"""The index equation -> function -> test -> notebook (t2i_core/coverage.toml) has no gap, and a gap would be found."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import nbformat
import pytest
from index_checks import missing_test, resolve

from t2i_core import coverage
from t2i_core.coverage import labels_of, rows

ROOT = Path(__file__).resolve().parent.parent
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
    "comparison study": (
        *(f"Q{n}" for n in range(1, 7)),
        *(f"{letter}{n}" for letter in "MON" for n in range(1, 4)),
    ),
}
KEYS = {"paper", "id", "says", "functions", "tests", "notebook", "label", "status"}


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
    found += [wrong for test in row["tests"] if (wrong := missing_test(test, root))]
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


# ---------------------------------------------------------------- the table that people read


def test_the_table_and_its_counts_hold_every_row():
    table = coverage.table()
    assert len(table) == len(rows()) == coverage.counts().to_numpy().sum()
    assert (table["tests"] > 0).sum() == sum(bool(row["tests"]) for row in rows())
    assert dict(zip(table["id"], table["kind"], strict=True))["Ab1"] == "ablations"
    e1 = table[(table["paper"] == "GR-GAN") & (table["id"] == "E1")].iloc[0]
    assert (e1["kind"], e1["notebook"], e1["status"]) == ("equations", "09_gradual_refinement", "covered")
    assert {coverage.kind({"id": id}) for id in ("Q1", "M1", "O3", "N1")} == {"claims"}
    assert [coverage.kind({"id": id}) for id in ("F1", "Tq", "T6")] == ["figures", "tables", "tables"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["label"])
def test_every_row_leads_to_a_heading_of_its_notebook(row):
    file, _, anchor = coverage.section(row).partition("#")
    assert file == Path(row["notebook"]).with_suffix(".ipynb").name and anchor


def test_a_link_leads_to_where_the_label_is_explained_and_not_to_where_it_is_mentioned(tmp_path):
    cells = ["# Title\n\nsee ALR-GAN E7", "## 1. A loss (new)\n\n```\n# no heading\n```\n\n**Claim (ALR-GAN E7).**"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(cell) for cell in cells])
    nbformat.write(notebook, tmp_path / "04.ipynb")
    row = GOOD | {"notebook": "notebooks/04.py"}
    assert coverage.section(row, tmp_path) == "04.ipynb#1.-A-loss-%28new%29"
    with pytest.raises(LookupError, match="04.ipynb does not say it"):
        coverage.section(row | {"label": "ALR-GAN E8"}, tmp_path)
