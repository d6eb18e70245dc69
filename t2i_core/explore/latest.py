"""Work in a thread where only the newest job counts: typing never waits, and an older picture never follows a newer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Latest(Generic[Job, Result]):
    """``work(job)`` gives results one by one, ``show(result)`` takes them; both run in one thread, never side by side.

    A job that is submitted while another one is worked on takes its place: of the older one no further result is
    shown, and what waited in between is never begun. An exception of ``work`` goes to ``failed``, if its job is still
    the newest. The thread ends when nothing is left to do.
    """

    def __init__(
        self,
        work: Callable[[Job], Iterable[Result]],
        show: Callable[[Result], None],
        failed: Callable[[Exception], None],
    ):
        self._work, self._show, self._failed = work, show, failed
        self._lock = threading.RLock()
        self._idle = threading.Event()
        self._idle.set()
        self._newest, self._waiting = 0, False
        self._job: Job | None = None

    def submit(self, job: Job) -> None:
        """Return at once; ``job`` is the newest from now on."""
        with self._lock:
            self._newest += 1
            self._job, self._waiting = job, True
            if self._idle.is_set():
                self._idle.clear()
                threading.Thread(target=self._run, name="explorer", daemon=True).start()

    def wait(self, seconds: float | None = None) -> bool:
        """Until the newest job is done; False where that takes longer than ``seconds``."""
        return self._idle.wait(seconds)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._idle.set()
                    return
                job, number, self._waiting = self._job, self._newest, False
            self._finish(job, number)

    def _finish(self, job: Job, number: int) -> None:
        try:
            for result in self._work(job):
                if not self._hand_over(number, self._show, result):
                    return
        except Exception as error:  # shown to the user: in a thread nobody would see it
            self._hand_over(number, self._failed, error)

    def _hand_over(self, number: int, to: Callable, what: object) -> bool:
        """Under the lock no newer job can be submitted between the question and the showing."""
        with self._lock:
            if number != self._newest:
                return False
            to(what)
            return True
