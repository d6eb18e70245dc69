"""What of a reproduction is to be done, what is done, and the file that remembers it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_core import fingerprint, results
from t2i_core.config import STALE, UserError, set_aside, write_json
from t2i_core.notebook_jobs import Job, Jobs, wait_for

STATE = "reproduce.json"
STATE_FORMAT = 1
DONE, FAILED, SKIPPED, INTERRUPTED, NOT_RUN = "done", "failed", "skipped", "interrupted", "not run"
MEASURED = ("metrics.json", "stages.json")
HEARTBEAT = 30.0  # seconds between lines that say what runs


@dataclass(frozen=True)
class Notebook:
    """A notebook by its file name without .ipynb, and those that must have run before it.

    ``minutes``: about how long it takes on one core at `mini`; what a long chain waits for starts first.
    ``concludes``: it shows what all the others left, of every seed, and the verdicts on it.
    """

    name: str
    needs: tuple[str, ...] = ()
    minutes: float = 1.0
    concludes: bool = False


class Plan:
    """What is to be done, what is done, and the file that remembers it."""

    def __init__(self, out: Path, notebooks: Sequence[Notebook], read: dict[str, dict], parameters: dict):
        self.out, self.parameters, self.read = out, parameters, read
        self.notebooks = {notebook.name: notebook for notebook in notebooks}
        self.started = time.monotonic()
        configuration = {key: parameters[key] for key in ("profile", "seed", "device")}
        self.state = _read_state(out, configuration)
        wait_for([e["pid"] for e in self.state["notebooks"].values() if e.get("status") == INTERRUPTED and "pid" in e])
        sources = fingerprint.sources_hash()
        self.fingerprints: dict[str, str] = {}
        for notebook in notebooks:  # in the table's order, which has a need before what needs it
            needs = [self.fingerprints[name] for name in notebook.needs]
            code = sources
            if notebook.concludes:
                code, needs = fingerprint.concluding_hash(), needs + _further_seeds(out)
            self.fingerprints[notebook.name] = fingerprint.notebook_hash(
                read[notebook.name], configuration, code, needs
            )
        self.codes = {name: fingerprint.notebook_code_hash(content) for name, content in read.items()}
        self._set_aside_what_is_stale()
        self.waiting = [name for name in self.notebooks if not self._is_current(name)]
        self.dependents = {name: self._dependents(name) for name in self.notebooks}

    def run(self, workers: Jobs) -> None:
        """Start whatever can start, the beginning of the longest chain first, until nothing is left to start."""
        profile, n = self.parameters["profile"], len(self.notebooks)
        self.say(f"reproduction at profile {profile} in {self.out}: {n} notebooks, {workers.slots} at a time")
        for name in self.notebooks:
            if name not in self.waiting:
                self.say(f"kept     {name} (unchanged)")
        if self.waiting:
            for stale in ("results.json", "report.html"):
                (self.out / stale).unlink(missing_ok=True)
        beat = time.monotonic()
        while self.waiting or workers.running:
            self._skip_hopeless()
            for name in self._ready()[: workers.free]:
                self._start(name, workers)
            for job in workers.finished():
                self._finished(job, workers)
            if time.monotonic() - beat > HEARTBEAT:
                beat = time.monotonic()
                for job in workers.running.values():
                    self.say(f"...      {job.name}: {job.last_line()}")

    def interrupted(self, workers: Jobs) -> None:
        """Stop the running notebooks, and remember that they were cut short."""
        for job in workers.stop():
            self._remember(job.name, status=INTERRUPTED, seconds=job.seconds, peak_memory_bytes=job.peak_memory)

    def finish(self, every: Sequence[Notebook], peak_memory: int) -> int:
        """Write results.json and the report; the exit status."""
        from t2i_core import report  # it loads torch and matplotlib, whose memory the notebooks can use until now

        entries = [self.state["notebooks"].get(notebook.name, {}) for notebook in every]
        times = [(e["started"], e["started"] + e["seconds"]) for e in entries if e.get("status") in (DONE, FAILED)]
        self.state["peak_memory_bytes"] = max(peak_memory, self.state.get("peak_memory_bytes", 0))
        self._save()
        collected = results.collect(
            self.out,
            profile=self.parameters["profile"],
            seed=self.parameters["seed"],
            device=self.parameters["device"],
            seconds=_covered(times),
            notebooks=[
                {"name": n.name, "seconds": round(e.get("seconds", 0.0), 1), "status": e.get("status", NOT_RUN)}
                for n, e in zip(every, entries, strict=True)
            ],
        )
        collected["peak_memory_bytes"] = self.state["peak_memory_bytes"]
        write_json(self.out / "results.json", collected)
        report.write_report(self.out)
        good = all(self.state["notebooks"][name]["status"] == DONE for name in self.notebooks)
        memory = f"peak memory {self.state['peak_memory_bytes'] / 2**30:.2f} GB"
        self.say(f"{'done' if good else 'FAILED'}: {self.out / 'report.html'}, {self.out / 'results.json'}; {memory}")
        return 0 if good else 1

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:7.1f} s  {text}", flush=True)

    # ------------------------------------------------------------------ one notebook

    def _start(self, name: str, workers: Jobs) -> None:
        others = set(self.waiting) - {name} - self.dependents[name]
        threads = workers.threads(alone=not (workers.running or others))
        self.waiting.remove(name)
        for old in (f"{name}.ipynb", f"{name}.failed.ipynb"):
            (self.out / "notebooks" / old).unlink(missing_ok=True)
        self.state["notebooks"].pop(name, None)
        marks = {"fingerprint": self.fingerprints[name], "code": self.codes[name]}
        self._remember(name, status=INTERRUPTED, started=time.time(), **marks)  # true until it ends otherwise
        self._remember(name, pid=workers.start(name, threads).process.pid)
        self.say(f"start    {name} ({threads} thread{'s' * (threads > 1)})")

    def _finished(self, job: Job, workers: Jobs) -> None:
        if job.never_started and not job.retried:
            self.say(f"again    {job.name}: its kernel did not start")
            self._remember(job.name, pid=workers.start(job.name, job.threads, retried=True).process.pid)
            return
        name = job.name if job.error is None else f"{job.name}.failed"
        place = self.out / "notebooks" / f"{name}.ipynb"
        job.keep(place)
        measured = {"seconds": job.seconds, "peak_memory_bytes": job.peak_memory, "threads": job.threads}
        if job.error is None:
            self._remember(job.name, status=DONE, made=_owned(self.out, job.name), **measured)
            self.say(f"done     {job.name} in {job.seconds:.1f} s, {job.peak_memory / 2**20:.0f} MB")
        else:
            self._remember(job.name, status=FAILED, error=job.error, **measured)
            where = place if place.exists() else job.log
            self.say(f"FAILED   {job.name} after {job.seconds:.1f} s: {job.error}; see {where}")

    def _skip_hopeless(self) -> None:
        """Give up the notebooks that need one that failed or was given up."""
        for name in list(self.waiting):
            bad = [
                n for n in self.notebooks[name].needs if self._status(n) in (FAILED, SKIPPED) and n not in self.waiting
            ]
            if bad:
                self.waiting.remove(name)
                (self.out / "notebooks" / f"{name}.ipynb").unlink(missing_ok=True)
                self.state["notebooks"].pop(name, None)
                self._remember(name, status=SKIPPED, seconds=0.0)
                self.say(f"skipped  {name}: it needs {', '.join(bad)}")

    def _ready(self) -> list[str]:
        def can_start(name: str) -> bool:
            return all(n not in self.waiting and self._status(n) == DONE for n in self.notebooks[name].needs)

        return sorted(filter(can_start, self.waiting), key=self._minutes_from, reverse=True)

    def _minutes_from(self, name: str) -> float:
        """How long it takes from here to the end of the longest chain of notebooks that need this one."""
        after = [self._minutes_from(n.name) for n in self.notebooks.values() if name in n.needs]
        return self.notebooks[name].minutes + max(after, default=0.0)

    def _dependents(self, name: str) -> set[str]:
        direct = {n.name for n in self.notebooks.values() if name in n.needs}
        return direct.union(*(self._dependents(d) for d in direct)) if direct else set()

    # ------------------------------------------------------------------ what is done

    def _status(self, name: str) -> str | None:
        return self.state["notebooks"].get(name, {}).get("status")

    def _is_current(self, name: str) -> bool:
        """Is this notebook done, from these very sources, and is everything still there that it left?"""
        entry = self.state["notebooks"].get(name, {})
        left = [self.out / "notebooks" / f"{name}.ipynb", *(self.out / made for made in entry.get("made", ()))]
        same = entry.get("status") == DONE and entry.get("fingerprint") == self.fingerprints[name]
        return same and all(path.exists() for path in left)

    def _remember(self, name: str, **facts: Any) -> None:
        self.state["notebooks"].setdefault(name, {}).update(facts)
        self._save()

    def _save(self) -> None:
        write_json(self.out / STATE, self.state)

    def _set_aside_what_is_stale(self) -> None:
        """Move away what other code left. Nothing is deleted: it goes to `stale/`.

        Where the packages train otherwise, that is every run; where they measure otherwise, all metrics; where a
        notebook changed, its findings. (A run that the notebook now asks for with other settings is set aside when it
        is asked for: see `workbench`.)
        """
        now = {"training_sources": fingerprint.training_hash(), "measuring_sources": fingerprint.measuring_hash()}
        changed = {name for name, code in now.items() if self.state.get(name) not in (None, code)}
        moved: list[str] = []
        if "training_sources" in changed:
            keep = {"notebooks", "logs", STALE}
            moved = [p.name for p in self.out.iterdir() if p.is_dir() and p.name not in keep and p.name[0] != "."]
        else:
            if "measuring_sources" in changed:
                moved = [p.relative_to(self.out).as_posix() for name in MEASURED for p in self.out.glob(f"*/*/{name}")]
            for name, entry in self.state["notebooks"].items():
                if name in self.codes and entry.get("code") not in (None, self.codes[name]):
                    moved += [path for path in _owned(self.out, name) if path.startswith("findings/")]
        if moved:
            shelf = set_aside(self.out, moved)
            self.say(f"the code changed since they ran: {', '.join(sorted(moved))} set aside in {shelf}")
        self.state |= now
        self._save()


def _owned(out: Path, name: str) -> list[str]:
    """The run folders and findings that say a notebook of this name made them, relative to `out`."""
    owned = []
    for path in (*out.glob("*/*/config.json"), *out.glob("findings/*.json")):
        content = results.read_json(path)
        if isinstance(content, dict) and content.get("made_by") == name:
            owned.append((path if path.parent.name == "findings" else path.parent).relative_to(out).as_posix())
    return sorted(owned)


def _further_seeds(out: Path) -> list[str]:
    """What stands in the folders of further seeds, as the fingerprints of the notebooks that are done there."""
    states = (results.read_json(path) or {} for path in sorted((out / results.SEEDS).glob(f"*/{STATE}")))
    entries = (entry for state in states for _, entry in sorted(state.get("notebooks", {}).items()))
    return [entry["fingerprint"] for entry in entries if entry.get("status") == DONE]


def _read_state(out: Path, configuration: dict[str, Any]) -> dict[str, Any]:
    """The remembered state of the folder, or a fresh one; UserError for a folder of something else."""
    path = out / STATE
    if not path.exists():
        strangers = [p.name for p in out.iterdir() if not p.name.startswith(".")]
        if strangers:
            raise UserError(f"{out} holds {strangers[0]!r} but no reproduction: choose an empty or a new folder")
        return {"format": STATE_FORMAT, "configuration": configuration, "notebooks": {}}
    state = results.read_json(path)
    if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
        raise UserError(f"{path} is damaged or of another version: choose a new folder")
    if state["configuration"] != configuration:
        there = state["configuration"]
        different = [
            f"{k} is {there.get(k)!r} there and {v!r} here" for k, v in configuration.items() if there.get(k) != v
        ]
        raise UserError(
            f"{out} holds a reproduction of another configuration ({'; '.join(different)}): choose another folder"
        )
    return state


def _covered(times: Sequence[tuple[float, float]]) -> float:
    """The seconds that the union of the (start, end) intervals covers: what ran side by side counts once."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(times):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
