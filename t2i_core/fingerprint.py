"""What a notebook's result hangs on, as one hash: its cells, its parameters, the packages' code, and what it needs.

Comments, docstrings and formatting change no result, so they change no hash: the code is hashed as its syntax tree.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import t2i_core

PACKAGES = ("t2i_core", "data_prep")
COLLECTING = ("book", "claims/", "cli", "cli_evaluate", "cli_prepare", "coverage", "deviations", "doctor", "evidence")
COLLECTING += ("fingerprint", "forest", "notebook_jobs", "notebook_links", "notebook_plan", "notebook_worker")
COLLECTING += ("report", "report_figures", "report_worlds", "reproduce", "results", "zoo")
# these change what a notebook shows or measures, not what a run is
LOOKING = ("comparison_figures", "exercises/", "explore/", "failures/", "figures", "human/", "teaching", "metrics/")


def sources_hash(without: Iterable[str] = COLLECTING) -> str:
    """A hash of the code of both packages, but for the modules named in `without`."""
    skipped = tuple(f"t2i_core/{module}" + ("" if module.endswith("/") else ".py") for module in without)
    return _hash_of_files(lambda name: not name.startswith(skipped))


def training_hash() -> str:
    """A hash of the code that decides what a trained run is; figures and widgets are not in it."""
    return sources_hash((*COLLECTING, *LOOKING))


def measuring_hash() -> str:
    """A hash of the code that decides what a run is measured to have."""
    return _hash_of_files(lambda name: name.startswith("t2i_core/metrics/"))


def concluding_hash() -> str:
    """A hash of all code, that which collects and judges included, and of the indices that a conclusion prints."""
    indices = sorted(Path(t2i_core.__file__).parent.glob("*.toml"))
    return _hash([sources_hash(()), *(path.read_text(encoding="utf-8") for path in indices)])


def notebook_hash(notebook: dict, parameters: dict, sources: str, needs: Iterable[str]) -> str:
    """A hash over the cells of an nbformat notebook (not their outputs), and over all else that its result hangs on.

    `needs` are the hashes of the notebooks it needs, `sources` is that of the packages.
    """
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]]
    return _hash([cells, parameters, sources, list(needs)])


def notebook_code_hash(notebook: dict) -> str:
    """A hash over what the notebook runs: its code cells, without comments and formatting."""
    return _hash([code("".join(cell["source"])) for cell in notebook["cells"] if cell["cell_type"] == "code"])


def code(text: str) -> str:
    """Python code as its syntax tree without docstrings; what does not parse (a notebook's magics) stays as it is."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return text
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return ast.dump(tree)


def _hash_of_files(wanted: Callable[[str], bool]) -> str:
    """A hash of the names and the code of the packages' files whose name is wanted."""
    home = Path(t2i_core.__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (home / package).rglob("*.py")):
        if wanted(name := path.relative_to(home).as_posix()):
            digest.update(f"{name}\n{code(path.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
