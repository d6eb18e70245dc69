"""The whole reproduction: every notebook in its order by papermill, then results.json and the report.

OUT/notebooks/NAME.ipynb          executed to its end; NAME.failed.ipynb where a cell failed
OUT/runs/, OUT/findings/          what the notebooks left (see `t2i_core.results`)
OUT/results.json, OUT/report.html
OUT/logs/NAME.log                 what the notebook printed, as it printed it
OUT/reproduce.json                what is done, by fingerprint: a second call redoes what is missing or changed
OUT/seeds/N/                      the same again for each further seed N; results.json and the report are of all
OUT/stale/                        runs of earlier code, set aside and never deleted
OUT/.work/                        notebooks being executed, and the kernel's own folders
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock
import nbformat

import t2i_core
from t2i_core.config import UserError, cores, nearest
from t2i_core.config import profile as find_profile
from t2i_core.notebook_jobs import Jobs
from t2i_core.notebook_plan import Notebook, Plan
from t2i_core.results import SEEDS

__all__ = ["NOTEBOOKS", "PARAMETERS", "Notebook", "reproduce", "reproduce_seeds"]

PARAMETERS = ("profile", "seed", "run_dir", "device")
INTERRUPT_STATUS = 130  # the shell's convention for Ctrl-C
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
MAX_JOBS = 4  # each kernel holds a torch of its own in memory

# Of two that want the same run, the first trains it and the other waits for it (`train`): that is not a need.
NOTEBOOKS = (
    Notebook("00_start_here"),
    Notebook("01_captions_and_matching", minutes=3),
    Notebook("02_attngan_baseline", needs=("01_captions_and_matching",)),
    Notebook("03_ssm_tvm_reconstruction", needs=("01_captions_and_matching",)),
    Notebook("04_alr_weights", needs=("01_captions_and_matching",)),
    Notebook("05_lvr", needs=("01_captions_and_matching",)),
    Notebook("06_training_alr_gan", needs=("01_captions_and_matching",), minutes=5),
    Notebook("07_rat_lstm", minutes=4),
    Notebook("08_training_ratlip", needs=("07_rat_lstm",), minutes=8),
    Notebook("09_gradual_refinement", needs=("01_captions_and_matching",), minutes=8),
    Notebook("10_cross_model_distance", needs=("01_captions_and_matching",)),
    Notebook("11_comparison", needs=("06_training_alr_gan", "09_gradual_refinement"), minutes=9),
    Notebook(
        "12_results",
        needs=(
            "02_attngan_baseline",
            "03_ssm_tvm_reconstruction",
            "04_alr_weights",
            "05_lvr",
            "08_training_ratlip",
            "10_cross_model_distance",
            "11_comparison",
        ),
        concludes=True,
    ),
    Notebook("13_explorer"),
)


def reproduce(
    profile: str,
    out: str | Path,
    *,
    notebooks_dir: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    jobs: int | None = None,
    only: Sequence[str] | None = None,
    notebooks: Sequence[Notebook] = NOTEBOOKS,
) -> int:
    """Run the notebooks into the folder `out`; 0 if all of them ran, 1 if one failed or was skipped, 130 after Ctrl-C.

    `jobs` notebooks run side by side (default: as many as there are cores, at most 4); `only` names some (their first
    letters are enough), which run with all they need. Whatever stopped an earlier call in the same folder, this one
    goes on: it redoes what is missing or changed. Raises UserError for unknown names, a notebook that does not know its
    parameters, a folder of another configuration or of somebody else, and one that a reproduction is working in.
    """
    find_profile(profile)
    nearest(device, ("auto", "cpu", "cuda"), "device")
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs must be at least 1, not {jobs}")
    chosen = _chosen(notebooks, only)
    source = _notebooks_folder(notebooks_dir)
    out = Path(out)
    parameters = {"profile": profile, "seed": int(seed), "run_dir": str(out), "device": device}
    read = {notebook.name: _read(source / f"{notebook.name}.ipynb") for notebook in chosen}
    with _locked(out):
        plan = Plan(out, chosen, read, parameters)
        with Jobs(out, source, parameters, jobs or min(MAX_JOBS, cores())) as workers:
            try:
                plan.run(workers)
                return plan.finish(notebooks, workers.peak_memory)
            except KeyboardInterrupt:
                print("interrupted: running notebooks get a moment to leave a checkpoint ...", flush=True)
                plan.interrupted(workers)
                print(f"the same command goes on from here; what is done stays in {out}", flush=True)
                return INTERRUPT_STATUS


def reproduce_seeds(profile: str, out: str | Path, seeds: Sequence[int], **options) -> int:
    """:func:`reproduce` for each of ``seeds``: the first into `out`, seed N of the others into `out`/seeds/N. Then the
    claims are judged over all of them. 0 if all went well, else the first other status; 130 at once after Ctrl-C."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {' '.join(map(str, seeds))}: name one or more, each once")
    first, *others = seeds
    places = [(first, Path(out)), *((seed, Path(out, SEEDS, str(seed))) for seed in others)]
    again = [(first, Path(out))] if others else []  # only what concludes is run anew; results then hold all seeds
    failed = 0
    for seed, place in (*places, *again):
        status = reproduce(profile, place, seed=seed, **options)
        if status == INTERRUPT_STATUS:
            return status
        failed = failed or status
    return failed


def _chosen(notebooks: Sequence[Notebook], only: Sequence[str] | None) -> list[Notebook]:
    """The notebooks to run, in the table's order: all, or those that `only` names together with all they need."""
    table = {notebook.name: notebook for notebook in notebooks}
    if only is None:
        return list(notebooks)
    wanted: set[str] = set()

    def want(name: str) -> None:
        wanted.add(name)
        for need in table[name].needs:
            want(need)

    for given in only:
        matches = [name for name in table if name.startswith(given)]
        want(matches[0] if len(matches) == 1 else nearest(given, table, "notebook"))
    if not wanted:
        raise UserError("no notebook was chosen: name at least one, or leave the choice out to run all")
    return [notebook for notebook in notebooks if notebook.name in wanted]


def _notebooks_folder(given: str | Path | None) -> Path:
    """The folder of the notebooks: the given one, the checkout's this package lies in, or `notebooks/` here."""
    if given is not None:
        if not Path(given).is_dir():
            raise UserError(f"{given} is no folder: give the one that holds the notebooks")
        return Path(given)
    places = (Path(t2i_core.__file__).resolve().parents[1] / "notebooks", Path("notebooks"))
    for place in places:
        if place.is_dir():
            return place
    raise UserError(f"no notebooks at {' or '.join(map(str, places))}: work in a checkout, or say where they are")


def _read(path: Path, parameters: Sequence[str] = PARAMETERS) -> dict:
    """Read a notebook and make sure that it knows each of the parameters; papermill itself would only log a line."""
    import papermill

    if not path.is_file():
        raise UserError(f"{path} is missing: restore it, or choose other notebooks")
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat reports a damaged notebook by several exception types
        raise UserError(f"{path} is not a notebook ({error}): restore it") from error
    logging.getLogger("papermill").setLevel(logging.WARNING)
    try:
        known = papermill.inspect_notebook(str(path).replace("{", "{{").replace("}", "}}"))
    except ValueError as error:
        raise UserError(f"{path}: {error} Save it from JupyterLab with a Python kernel") from error
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise UserError(
            f"{path} does not know the parameter(s) {', '.join(unknown)}: its cell tagged 'parameters' must set "
            f"{', '.join(parameters)}"
        )
    return notebook


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Make the folder, and keep every other reproduction out of it while this one works; a crash frees it.

    A folder that cannot be written, now or later (a full disk), is a UserError.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{out} is a file, or lies in one: choose another folder") from error
    except OSError as error:
        raise UserError(f"cannot make the folder {out}: {error.strerror}; choose another one") from error
    try:
        with filelock.FileLock(out / ".lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise UserError(f"another reproduction is working in {out}: wait for it, or choose another folder") from error
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"cannot write in {out}: {error.strerror}; free some space, or choose another folder"
        ) from error
