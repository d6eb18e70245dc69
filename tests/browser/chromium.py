"""Which browser drives the browser tests, and what a machine lacks for them."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")


def program() -> str | None:
    """The path of the browser on this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def missing() -> str | None:
    """What the browser tests lack here, and how to get it; None where they lack nothing."""
    if not program():
        return "no chromium found: install it with `apt-get install chromium` (as root, `make test` does so)"
    if not shutil.which("make"):
        return "no make found: JupyterLab is started as `make lab` starts it"
    return None
