"""Where a paper contradicts itself, its code or arithmetic, what we do, and the cell that proves it: `deviations.toml`.

`tests/test_deviations.py` holds every row to what it says; the report and the results notebook print the table.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import pandas as pd

from t2i_core.notebook_links import checkout_notebooks, link

INDEX = Path(__file__).parent / "deviations.toml"
KINDS = ("error in print", "contradiction", "claim without support", "paper against code", "left open")
STATUSES = ("proven", "stated only", "not testable")
COLUMNS = ("id", "paper", "kind", "where", "says", "problem", "ours", "variant", "status", "why", "proof")


@cache
def rows() -> tuple[dict, ...]:
    """The rows in the order of the file. ``variant``, ``test``, ``notebook`` with ``snippet``, and ``why`` (the reason
    why it is not proven) are there where they apply."""
    return tuple(tomllib.loads(INDEX.read_text(encoding="utf-8"))["row"])


def section(row: dict, notebooks: Path | None = None) -> str:
    """`10_name.ipynb#The-heading` above the cell that holds the row's snippet; "" for a row without a cell.

    Raises LookupError where the snippet is in no cell.
    """
    if "notebook" not in row:
        return ""
    place = (notebooks or checkout_notebooks()) / f"{row['notebook']}.ipynb"
    return link(place, lambda source: source.find(row["snippet"]))


def table() -> pd.DataFrame:
    """A row for each deviation; ``proof`` names the notebook, the test, or both."""
    told = [row | {"proof": ", ".join(row[key] for key in ("notebook", "test") if key in row)} for row in rows()]
    return pd.DataFrame([[row.get(name, "") for name in COLUMNS] for row in told], columns=COLUMNS)


def markdown(paper: str, notebooks: Path | None = None, before: str = "") -> str:
    """One paper's rows as a Markdown table, each with a link to the cell that proves it.

    ``before`` stands before each link: the way from the page to the notebooks' folder, such as "notebooks/".
    """
    lines = ["| | where | the problem | what we do | status, proof |", "|-|-|-|-|-|"]
    for row in rows():
        if row["paper"] != paper:
            continue
        proof = row["status"]
        if "notebook" in row:
            proof += f": [notebook {row['notebook'][:2]}]({before}{section(row, notebooks)})"
        if "test" in row:
            proof += f"{',' if 'notebook' in row else ':'} test `{row['test'].partition('::')[2]}`"
        ours = row["ours"] + (f" (switch: `{row['variant']}`)" if "variant" in row else "")
        cells = (f"**{row['id']}**", row["where"], f"{row['says']} {row['problem']}", ours, proof)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
