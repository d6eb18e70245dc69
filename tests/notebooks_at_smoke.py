"""The notebooks as two test files see them: their cells, and one run of all of them at smoke with the solutions of
their exercises as extra cells at the end, so that each notebook runs once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import filelock
import nbformat
import pytest

from t2i_core import reproduce

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
NAMES = [notebook.name for notebook in reproduce.NOTEBOOKS]
RIGHT = "this solution is right"

# In a copy of the notebook's names, so that no solution leans on another; a wrong one stops nothing.
_SOLUTION = """import traceback
try:
    exec(compile({code!r}, {label!r}, "exec"), dict(globals()))
    print({right!r})
except Exception:
    print(traceback.format_exc())"""


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def cells(name: str, kind: str = "code") -> list[str]:
    return [cell.source for cell in read(name).cells if cell.cell_type == kind]


def solutions(name: str) -> list[str]:
    """The python blocks inside the notebook's <details>, in order."""
    folded = re.findall(r"<details>.*?</details>", "\n\n".join(cells(name, "markdown")), re.S)
    return [code for part in folded for code in re.findall(r"^```python\n(.*?)^```", part, re.S | re.M)]


def solution_cell(code: str, label: str) -> str:
    """A cell that runs a solution and prints `RIGHT`, or the traceback."""
    return _SOLUTION.format(code=code, label=label, right=RIGHT)


def executed(factory: pytest.TempPathFactory) -> Path:
    """The folder of the one reproduction at smoke, made by whoever asks first; other workers wait for it."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    home = shared / "notebooks-at-smoke"
    with filelock.FileLock(shared / "notebooks-at-smoke.lock"):
        if not (home / "status").exists():
            _run(home)
    return home


def _run(home: Path) -> None:
    for name in NAMES:
        notebook = read(name)
        for number, code in enumerate(solutions(name), start=1):
            notebook.cells.append(nbformat.v4.new_code_cell(solution_cell(code, f"{name}, exercise {number}")))
        (home / "notebooks").mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, home / "notebooks" / f"{name}.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("T2I_DATA", str(home / "data"))
        status = reproduce.reproduce("smoke", home / "out", notebooks_dir=home / "notebooks", device="cpu", jobs=2)
    (home / "status").write_text(str(status))


def printed(home: Path, name: str) -> list[str]:
    """What each code cell of the executed notebook printed."""
    notebook = nbformat.read(home / "out" / "notebooks" / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(o.text for o in cell.outputs if o.output_type == "stream") for cell in code]
