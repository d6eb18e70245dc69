"""Fixtures of the browser tests: a JupyterLab, Debian's chromium driven by Playwright, and a place for screenshots.

A test takes ``lab`` and asks it for a notebook:

    def test_it(lab):
        page = lab.open("00_start_here.ipynb")
        page.run_all()
        page.screenshot("after")

After the test, an error in the browser's console fails it, and what the browser showed last is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import chromium
import pytest

ARTEFACTS = Path(__file__).resolve().parents[2] / "build" / "browser"
SIZE = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A headless chromium. One a module: while Playwright runs, its event loop is this thread's."""
    if reason := chromium.missing():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # without the sandbox, which a container's root cannot have; the pages are our own
        browser = playwright.chromium.launch(executable_path=chromium.program(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory) -> Iterator:
    """A running JupyterLab (``jupyter_lab.Lab``); a module's tests share it."""
    from jupyter_lab import Lab

    lab = Lab(tmp_path_factory.mktemp("lab")).start()
    yield lab
    lab.stop()


class OpenLab:
    """The JupyterLab as one test sees it: a browser of its own, which forgets everything afterwards."""

    def __init__(self, server, context, artefacts: Path):
        self.server, self.context, self.artefacts = server, context, artefacts
        self.pages = []

    def open(self, notebook: str):
        """A notebook of ``notebooks/`` in a new tab, ready to run, as a ``NotebookPage``."""
        return self.visit(f"lab/tree/notebooks/{notebook}")

    def visit(self, address: str = ""):
        """The same for any address of the server that shows a notebook; "" is where `make lab` leads."""
        from notebook_page import NotebookPage

        page = NotebookPage(self.context.new_page(), self.artefacts)
        self.pages.append(page)
        page.page.goto(f"{self.server.url}{address}?token={self.server.token}")
        page.wait_until_ready()
        # JupyterLab shows a kernel at rest before there is one, and then drops what it is asked to run
        while page.path not in self.connected():
            page.page.wait_for_timeout(100)
        return page

    def connected(self) -> list[str]:
        """The notebooks whose kernel some page listens to."""
        return [session["path"] for session in self.server.sessions() if session["kernel"]["connections"]]


@pytest.fixture
def reader(server, browser) -> Callable:
    """Opens JupyterLab in a fresh browser, as if nobody had used it before; an error in its console is raised."""

    @contextmanager
    def arrives(artefacts: Path) -> Iterator[OpenLab]:
        server.forget()
        with browser.new_context(viewport=SIZE) as context:
            opened = OpenLab(server, context, artefacts)
            yield opened
            for number, page in enumerate(opened.pages, start=1):
                page.screenshot(f"end-{number}")
            errors = [error for page in opened.pages for error in page.errors]
        assert not errors, "the browser's console has errors:\n" + "\n".join(errors)

    return arrives


@pytest.fixture
def lab(reader, request) -> Iterator[OpenLab]:
    """JupyterLab as one reader opens it. A test that leaves an error in the console fails."""
    with reader(ARTEFACTS / re.sub(r"\W+", "-", request.node.name).strip("-")) as opened:
        yield opened
