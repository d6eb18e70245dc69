"""`python -m tests.bench`: prints the table; exit status 1 if a promised ratio is missed."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .measure import Row, machine, table


def verdict(rows: list[Row]) -> int:
    """0 where every promise is kept, else 1, and on standard error which is not."""
    missed = [row for row in rows if not row.kept]
    for row in missed:
        what, value, promise, *_ = row.cells()
        print(f"missed: {what} is {value}, promised {promise}", file=sys.stderr)
    return 1 if missed else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how often each way is measured (default: 15)")
    rounds = parser.parse_args(arguments).rounds
    from . import comparisons, explorer, frechet, recurrent

    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = comparisons.compare_word_loss(rounds) + comparisons.compare_training(Path(folder), rounds)
        rows += recurrent.compare_ratlip(Path(folder), rounds)
    rows += frechet.compare_frechet(rounds)
    rows += explorer.time_explorer(rounds)
    rows += comparisons.compare_imports(max(3, rounds // 2))
    print(table(rows))
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
