"""Notebooks being executed, each in a process of its own, side by side: starting, watching, measuring, stopping.

The kernel is this very interpreter, whatever kernels are installed, and sees nothing of the user's IPython profile.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import nbformat
import psutil

import t2i_core
from t2i_core.config import MADE_BY, THREAD_LIMITS, atomic_write, cores
from t2i_core.notebook_worker import GRACE

KERNEL = "t2i-reproduce"
WORKER = "t2i_core.notebook_worker"
POLL = 0.2  # seconds
MEASURE = 0.5  # seconds between measurements of memory, which cost a few milliseconds each
# MPLBACKEND would keep figures out of the notebooks; JPY_SESSION_NAME says that somebody watches, which makes progress
# bars widgets.
UNWANTED = ("MPLBACKEND", "JPY_SESSION_NAME", "JPY_PARENT_PID")


class Job:
    """One notebook being executed, or executed: `error` is None where every cell ran."""

    def __init__(self, name: str, process: subprocess.Popen, work: Path, log: Path, threads: int, retried: bool):
        self.name, self.process, self.work, self.log = name, process, work, log
        self.threads, self.retried = threads, retried
        self.began = time.monotonic()
        self.seconds = 0.0
        self.peak_memory = 0  # bytes
        self.error: str | None = None
        self.never_started = False

    def ended(self) -> None:
        """Read how it ended from the exit status and the notebook itself."""
        self.seconds = round(time.monotonic() - self.began, 2)
        cells = [c for c in self._cells() if c["cell_type"] == "code"]
        self.never_started = self.process.returncode != 0 and not any(c.get("execution_count") for c in cells)
        if self.process.returncode == 0 and cells:
            return
        for position, cell in enumerate(cells, start=1):
            for output in cell["outputs"]:
                if output["output_type"] == "error":
                    first = (output["evalue"].strip() or "no message").splitlines()[0]
                    self.error = f"{output['ename']}: {first} (code cell {position})"
                    return
        self.error = f"its process ended with status {self.process.returncode}: {self.last_line() or 'no output'}"

    def keep(self, place: Path) -> None:
        """Put the executed notebook, whole, in its place; the paths that papermill notes mean nothing there."""
        if not self.work.exists():
            return
        notebook = nbformat.read(self.work, as_version=4)
        for key in ("input_path", "output_path"):
            notebook.metadata.get("papermill", {})[key] = place.name
        atomic_write(place, nbformat.writes(notebook) + "\n")
        self.work.unlink()

    def last_line(self) -> str:
        """The last line the notebook has logged."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 4000))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip()]
        return said[-1][:160] if said else ""

    def _cells(self) -> list:
        try:
            return nbformat.read(self.work, as_version=4)["cells"]
        except Exception:  # killed while it wrote: nbformat and json have many names for a damaged file
            return []


class Jobs:
    """The running notebooks. Leaving the context stops and ends whatever still runs."""

    def __init__(self, out: Path, source: Path, parameters: dict, slots: int):
        self.out, self.source, self.parameters, self.slots = out, source, parameters, slots
        self.running: dict[str, Job] = {}
        self.peak_memory = 0  # bytes, of this process and all below it
        self._measured = 0.0

    def __enter__(self) -> Jobs:
        jupyter = (self.out / ".work" / "jupyter").resolve()
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3 (this interpreter)",
            "language": "python",
        }
        atomic_write(jupyter / "kernels" / KERNEL / "kernel.json", json.dumps(spec))
        (self.out / "logs").mkdir(exist_ok=True)
        self.environment = {key: value for key, value in os.environ.items() if key not in UNWANTED}
        self.environment |= {
            "JUPYTER_PATH": os.pathsep.join(filter(None, [str(jupyter), os.environ.get("JUPYTER_PATH")])),
            "JUPYTER_RUNTIME_DIR": str(jupyter / "runtime"),
            "IPYTHONDIR": str(jupyter / "ipython"),
            "PYTHONUNBUFFERED": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # or every kernel's log begins with a warning of the debugger's
        }
        home = Path(t2i_core.__file__).resolve().parents[1]
        if home.name not in ("site-packages", "dist-packages"):  # a checkout: the kernel imports the same one
            paths = [str(home), os.environ.get("PYTHONPATH")]
            self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.out / ".work" / "jupyter", ignore_errors=True)

    @property
    def free(self) -> int:
        return self.slots - len(self.running)

    def threads(self, alone: bool) -> int:
        """Threads for a notebook: all cores if it will run alone, else its share of them."""
        return cores() if alone else max(1, cores() // self.slots)

    def start(self, name: str, threads: int, retried: bool = False) -> Job:
        """Execute a notebook in a process of its own, with so many threads for torch and every other library."""
        work, log = self.out / ".work" / f"{name}.ipynb", self.out / "logs" / f"{name}.log"
        work.unlink(missing_ok=True)
        limits = dict.fromkeys(THREAD_LIMITS, str(threads))
        order = {
            "input": str(self.source / f"{name}.ipynb"),
            "output": str(work),
            "parameters": self.parameters,
            "kernel": KERNEL,
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment | limits | {MADE_BY: name},
                start_new_session=True,  # Ctrl-C reaches it by its standard input, once and in order
            )
        with suppress(BrokenPipeError):  # it died at once: its exit status will tell
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        self.running[name] = Job(name, process, work, log, threads, retried)
        return self.running[name]

    def finished(self) -> list[Job]:
        """Wait a moment; the notebooks that have ended meanwhile."""
        time.sleep(POLL)
        if time.monotonic() - self._measured > MEASURE:
            self._measure_memory()
        ended = [job for job in self.running.values() if job.process.poll() is not None]
        for job in ended:
            del self.running[job.name]
            job.process.stdin.close()
            job.ended()
        return ended

    def stop(self) -> list[Job]:
        """Interrupt what runs, give it time for a checkpoint, end it; the notebooks that were stopped."""
        stopped = list(self.running.values())
        families = [_family(job.process.pid) for job in stopped]
        for job in stopped:
            job.process.stdin.close()
        deadline = time.monotonic() + GRACE + 2
        try:
            for job in stopped:
                job.process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass  # no more patience: what is left ends below
        for process in [p for family in families for p in family]:
            with suppress(psutil.Error):
                process.kill()
        for job in stopped:
            job.process.wait()
            job.seconds = round(time.monotonic() - job.began, 2)
        self.running.clear()
        return stopped

    def _measure_memory(self) -> None:
        """Resident memory over the process tree. Pages that processes share count in each: an upper bound."""
        self._measured = time.monotonic()
        total = _resident([psutil.Process()])
        for job in self.running.values():
            memory = _resident(_family(job.process.pid))
            job.peak_memory = max(job.peak_memory, memory)
            total += memory
        self.peak_memory = max(self.peak_memory, total)


def wait_for(pids: list[int]) -> None:
    """Wait until the workers that a killed reproduction left behind have ended, as they do within their grace."""
    left = []
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if WORKER in process.cmdline():
                left.append(process)
    psutil.wait_procs(left, timeout=GRACE + 5)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _resident(processes: list[psutil.Process]) -> int:
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total
