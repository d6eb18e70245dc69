"""The index equation -> function -> test -> notebook of `coverage.toml`, read and counted.

`tests/test_coverage.py` holds every row to what it says; the report and the results notebook print it.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import pandas as pd

from t2i_core.notebook_links import checkout_notebooks, link

INDEX = Path(__file__).parent / "coverage.toml"
ID = r"(?:Ab\d+|[EFTQMON]\d+|Tq|Tt)"
KINDS = {"E": "equations", "F": "figures", "T": "tables", "Ab": "ablations"}  # everything else is a claim
STATUSES = ("covered", "not testable")


@cache
def rows() -> tuple[dict, ...]:
    """The rows of the index in its order, each with its paper."""
    index = tomllib.loads(INDEX.read_text(encoding="utf-8"))
    return tuple({"paper": index["paper"]} | row for row in index["row"])


def papers() -> tuple[str, ...]:
    return tuple(dict.fromkeys(row["paper"] for row in rows()))


def kind(row: dict) -> str:
    """What a row is about, by the letters of its id: equations, figures, tables, ablations or claims."""
    return KINDS.get(re.match("Ab|.", row["id"])[0], "claims")


def mentions(text: str) -> list[tuple[int, str]]:
    """Where a text says a label: (position, "ALR-GAN E3"), and each of "RATLIP Q7, Q8" or "RATLIP E4, E5 and E6"."""
    lists = re.finditer(rf"({'|'.join(map(re.escape, papers()))}) ({ID}(?:(?:, | and ){ID})*)\b", text)
    return [(found.start(), f"{found[1]} {id}") for found in lists for id in re.findall(ID, found[2])]


def labels_of(text: str) -> set[str]:
    """Every label of a text."""
    return {label for _, label in mentions(text)}


def section(row: dict, notebooks: Path | None = None) -> str:
    """`04_name.ipynb#The-heading` above the row's label, in bold where it is said so; a LookupError where it is not."""
    notebook = (notebooks or checkout_notebooks()) / Path(row["notebook"]).with_suffix(".ipynb").name

    def said(source: str, marks: tuple[str, ...]) -> int:
        return next((at for at, label in mentions(source) if label == row["label"] and _bold(source, at, marks)), -1)

    try:  # the place that explains it is set in bold; elsewhere a label only refers to it
        return link(notebook, lambda source: said(source, ("**", "\\textbf{")))
    except LookupError:
        return link(notebook, lambda source: said(source, ("",)))


def _bold(source: str, at: int, marks: tuple[str, ...]) -> bool:
    return any(mark in source[max(0, at - 40) : at].rpartition("\n")[2] for mark in marks)


def table() -> pd.DataFrame:
    """A row for each entry: paper, id, kind, what it says, functions, number of tests, notebook, status, why."""
    columns = ("paper", "id", "kind", "says", "functions", "tests", "notebook", "status", "why")
    return pd.DataFrame([[_told(row)[name] for name in columns] for row in rows()], columns=columns)


def _told(row: dict) -> dict:
    told = {"kind": kind(row), "functions": ", ".join(row["functions"]), "tests": len(row["tests"])}
    return row | told | {"notebook": Path(row["notebook"]).stem, "why": row.get("why", "")}


def counts() -> pd.DataFrame:
    """How many rows are covered and how many are not testable: a row a paper and kind, a column a status."""
    found = table().groupby(["paper", "kind", "status"], sort=False).size().unstack(fill_value=0)
    return found.reindex(columns=STATUSES, fill_value=0)
