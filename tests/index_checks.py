"""What the tests of both indices ask: does a dotted path lead to something, and which tests does a file hold?"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path


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


def missing_test(test: str, root: Path) -> str | None:
    """What is wrong with "tests/test_some.py::test_it", in words, or None."""
    file, _, name = test.partition("::")
    return None if name in names_of_tests(root / file) else f"there is no test {test}"
