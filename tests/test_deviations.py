"""The table of deviations (t2i_core/deviations.toml) has no gap, and a gap would be found."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import nbformat
import pytest
from index_checks import missing_test, resolve

from t2i_core import deviations, systems
from t2i_core.notebook_links import cells, link

ROOT = Path(__file__).resolve().parent.parent
REQUIRED = (
    *(f"g{n}" for n in range(1, 29)),  # GR-GAN
    *(f"r{n}" for n in range(1, 24)),  # RATLIP
    *(f"a{n}" for n in range(1, 8)),  # ALR-GAN
    *(f"c{n}" for n in range(1, 6)),  # the comparison study
    "t1",
    "t2",
)
KEYS = {"id", "paper", "kind", "where", "says", "problem", "ours", "status"}
OPTIONAL = {"variant", "why", "notebook", "snippet", "test"}


def wrong_variant(variant: str) -> str | None:
    """What is wrong with "system variant" or "t2i_core.module.call(option=...)", in words, or None."""
    if "(" not in variant:
        system, _, name = variant.partition(" ")
        known = system in systems.available() and name in systems.variants(system)
        return None if known else f"there is no variant {variant}"
    call = ast.parse(variant, mode="eval").body
    try:
        options = inspect.signature(resolve(ast.unparse(call.func))).parameters
    except LookupError:
        return f"there is no {ast.unparse(call.func)}"
    unknown = [keyword.arg for keyword in call.keywords if keyword.arg not in options]
    return f"{variant}: no option {', '.join(unknown)}" if unknown or not call.keywords else None


def gaps(row: dict, root: Path = ROOT) -> list[str]:
    """What is wrong with one row, in words."""
    if missing := KEYS - set(row):
        return [f"it lacks {', '.join(sorted(missing))}"]
    found = [f"unknown field {key}" for key in sorted(set(row) - KEYS - OPTIONAL)]
    found += [f"its {key} is empty" for key, value in row.items() if not str(value).strip()]
    if row["kind"] not in deviations.KINDS:
        found.append(f"unknown kind {row['kind']!r}")
    if row["status"] not in deviations.STATUSES:
        found.append(f"unknown status {row['status']!r}")
    if (row["status"] == "proven") == ("why" in row):
        found.append("why it is not proven: to be said where it is not, and only there")
    if row["status"] == "proven" and not {"notebook", "test"} & set(row):
        found.append("nothing proves it")
    if ("notebook" in row) != ("snippet" in row):
        found.append("a notebook without a snippet, or a snippet without a notebook")
    elif "notebook" in row:
        found += [wrong] if (wrong := missing_cell(row, root)) else []
    if "test" in row:
        found += [wrong] if (wrong := missing_test(row["test"], root)) else []
    if "variant" in row:
        found += [wrong] if (wrong := wrong_variant(row["variant"])) else []
    return found


def missing_cell(row: dict, root: Path) -> str | None:
    notebook = root / "notebooks" / f"{row['notebook']}.ipynb"
    if not notebook.exists():
        return f"there is no notebook {row['notebook']}"
    held = any(row["snippet"] in source for _, source in cells(notebook))
    return None if held else f"{row['notebook']} does not hold its snippet"


def test_every_deviation_is_there_once():
    assert sorted(row["id"] for row in deviations.rows()) == sorted(REQUIRED)


@pytest.mark.parametrize("row", deviations.rows(), ids=lambda row: row["id"])
def test_there_is_no_gap(row):
    assert not gaps(row)


@pytest.mark.parametrize("row", deviations.rows(), ids=lambda row: row["id"])
def test_a_row_is_written_for_people(row):
    told = " ".join(str(value) for key, value in row.items() if key not in ("snippet", "test"))
    assert not any(word in told.lower() for word in ("ledger", "s1:", "s2:", "s3:", "s4:", ".py:", "todo"))
    for key in ("says", "problem", "ours"):
        assert row[key].endswith((".", "?")) and "\n" not in row[key], key


def test_what_is_called_proven_by_a_cell_is_proven_by_code_or_by_a_test():
    for row in deviations.rows():
        if row["status"] == "proven" and "test" not in row:
            notebook = ROOT / "notebooks" / f"{row['notebook']}.ipynb"
            kinds = {kind for kind, source in cells(notebook) if row["snippet"] in source}
            assert "code" in kinds, row["id"]


# ---------------------------------------------------------------- the table that people read


def test_the_table_has_a_row_each_and_names_its_proof():
    table = deviations.table().set_index("id")
    assert len(table) == len(REQUIRED)
    assert table.loc["g1", "proof"].startswith("10_cross_model_distance, tests/test_metrics_cmd.py::test_g1")
    assert table.loc["g2", "variant"] == "" and table.loc["r12", "variant"] == "ratlip as-published"


def test_markdown_has_the_rows_of_one_paper_with_links():
    text = deviations.markdown("RATLIP", before="notebooks/")
    lines = text.splitlines()
    assert len(lines) == 2 + 23 and len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "](notebooks/07_rat_lstm.ipynb#4.-The-published-code:-a-batch-read-as-a-sentence)" in text


def test_the_link_leads_to_the_nearest_heading_above_the_cell():
    rows = {row["id"]: row for row in deviations.rows()}
    assert deviations.section(rows["g1"]) == "10_cross_model_distance.ipynb#3.-The-long-form,-and-what-is-wrong-with-it"
    assert deviations.section(rows["g17"]) == ""  # a test alone
    for row in rows.values():
        assert ("notebook" in row) == bool(deviations.section(row))


# ---------------------------------------------------------------- a gap would be found

GOOD = {
    "id": "g1",
    "paper": "GR-GAN",
    "kind": "error in print",
    "where": "Eq. 12",
    "says": "This.",
    "problem": "That.",
    "ours": "Another.",
    "variant": "gr-gan mismatch",
    "status": "proven",
    "notebook": "10_distance",
    "snippet": "assert printed == mended",
    "test": "tests/test_some.py::test_it",
}


@pytest.fixture
def place(tmp_path) -> Path:
    for folder in ("tests", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tests" / "test_some.py").write_text("def test_it():\n    pass\n")
    content = [
        nbformat.v4.new_markdown_cell("# 10 · Distance\n\n## 3. The long form"),
        nbformat.v4.new_code_cell("# a comment\nassert printed == mended"),
        nbformat.v4.new_markdown_cell("## 4. Another"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=content), tmp_path / "notebooks" / "10_distance.ipynb")
    return tmp_path


def test_a_row_without_a_gap_passes(place):
    assert gaps(GOOD, place) == []
    assert deviations.section(GOOD, place / "notebooks") == "10_distance.ipynb#3.-The-long-form"
    with pytest.raises(LookupError, match="does not say it"):
        link(place / "notebooks" / "10_distance.ipynb", lambda source: source.find("nowhere"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"snippet": "assert printed != mended"}, "10_distance does not hold its snippet"),
        ({"notebook": "11_gone"}, "there is no notebook 11_gone"),
        ({"test": "tests/test_some.py::test_that"}, "there is no test tests/test_some.py::test_that"),
        ({"variant": "gr-gan mismatsch"}, "there is no variant gr-gan mismatsch"),
        ({"variant": "gr-gun default"}, "there is no variant gr-gun default"),
        ({"variant": "t2i_core.clip.similarity(a=1)"}, "t2i_core.clip.similarity(a=1): no option a"),
        ({"variant": "t2i_core.clip.KlipConfig(a=1)"}, "there is no t2i_core.clip.KlipConfig"),
        ({"problem": " "}, "its problem is empty"),
        ({"kind": "joke"}, "unknown kind 'joke'"),
        ({"status": "later"}, "unknown status 'later'"),
        ({"page": "3"}, "unknown field page"),
        ({"status": "stated only"}, "why it is not proven: to be said where it is not, and only there"),
        ({"why": "no time"}, "why it is not proven: to be said where it is not, and only there"),
    ],
)
def test_a_gap_is_found(place, change, said):
    assert said in gaps(GOOD | change, place)


@pytest.mark.parametrize(
    ("without", "said"),
    [
        (("ours",), "it lacks ours"),
        (("snippet",), "a notebook without a snippet, or a snippet without a notebook"),
        (("notebook", "snippet", "test"), "nothing proves it"),
    ],
)
def test_a_row_without_a_field_is_found(place, without, said):
    assert gaps({key: value for key, value in GOOD.items() if key not in without}, place) == [said]
