"""A notebook in the browser, as its reader sees it: run cells, move controls, compare pictures."""

from __future__ import annotations

import base64
import io
import re
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

LOADED = 120_000  # milliseconds for JupyterLab's page, its kernel, a cell; a machine that runs other tests is slow
TRACEBACK = "Traceback (most recent call last)"  # JupyterLab marks an error's output in no other way
EXECUTED = re.compile(r"^\[\d+\]:?$")


class NotebookPage:
    """One notebook, open in JupyterLab. ``errors`` holds what went wrong in the browser so far."""

    def __init__(self, page: Page, artefacts: Path):
        self.page, self.artefacts = page, artefacts
        self.errors: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    # ------------------------------------------------------------ the notebook

    @property
    def path(self) -> str:
        """Where the server has this notebook, by the page's address."""
        return unquote(urlsplit(self.page.url).path.partition("/lab/tree/")[2])

    @property
    def notebook(self) -> Locator:
        return self.page.locator(".jp-NotebookPanel:visible")

    @property
    def code_cells(self) -> Locator:
        return self.notebook.locator(".jp-CodeCell")

    def wait_until_ready(self) -> NotebookPage:
        """Until the notebook stands there and its kernel waits for work."""
        expect(self.notebook.locator(".jp-RenderedMarkdown h1").first).to_be_visible(timeout=LOADED)
        expect(self.page.locator(".jp-Spinner:visible")).to_have_count(0, timeout=LOADED)
        self.wait_until_idle()
        return self

    def wait_until_idle(self, timeout: float = LOADED) -> None:
        status = self.notebook.locator(".jp-Notebook-ExecutionIndicator")
        expect(status).to_have_attribute("data-status", "idle", timeout=timeout)

    def cell(self, text: str) -> Locator:
        """The first code cell whose source has ``text``."""
        return self.code_cells.filter(has=self.page.locator(".jp-InputArea", has_text=text)).first

    def run_all(self, timeout: float = LOADED) -> None:
        """Run > Run All Cells, as a reader would; ends when every cell has run, and fails where one did not."""
        before = self._prompts()
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        self._wait_for_cells(dict(enumerate(before)), timeout)

    def run_cell(self, text: str, timeout: float = LOADED) -> Locator:
        """Run the code cell whose source has ``text``, with Shift+Enter, and give it back."""
        cell = self.cell(text)
        number = self.code_cells.evaluate_all("(all, one) => all.indexOf(one)", cell.element_handle())
        before = self._prompts()[number]
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        self._wait_for_cells({number: before}, timeout)
        return cell

    def _prompts(self) -> list[str]:
        return [prompt.strip() for prompt in self.code_cells.locator(".jp-InputPrompt").all_inner_texts()]

    def _wait_for_cells(self, before: dict[int, str], timeout: float) -> None:
        """Until these cells have a number that they did not have before; an error ends the wait."""
        failed = self.notebook.locator(".jp-OutputArea-output", has_text=TRACEBACK)
        end, open_cells = time.monotonic() + timeout / 1000, before
        while open_cells and time.monotonic() < end:
            self.page.wait_for_timeout(100)  # lets the browser's events come in, which a sleep would not
            assert not failed.count(), failed.first.inner_text()
            now = self._prompts()
            open_cells = {k: now[k] for k, old in before.items() if now[k] == old or not EXECUTED.match(now[k])}
        assert not open_cells, f"still to run after {timeout / 1000:.0f} s: {open_cells}"
        assert not failed.count(), failed.first.inner_text()

    # ------------------------------------------------------------ controls and pictures

    def slider(self, label: str) -> Locator:
        """The handle of the slider with this label; arrow keys move it."""
        return self.notebook.locator(".widget-slider", has_text=label).get_by_role("slider")

    def picture(self, number: int = 0) -> Locator:
        """The n-th picture that a widget shows."""
        return self.notebook.locator("img.widget-image").nth(number)

    def pixels(self, picture: Locator) -> np.ndarray:
        """The picture as the browser has decoded it, (H, W, 3) in 0..255, wherever the page is scrolled to."""
        address = picture.evaluate(
            """async image => {
                await image.decode();
                const canvas = document.createElement("canvas");
                [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
                canvas.getContext("2d").drawImage(image, 0, 0);
                return canvas.toDataURL("image/png");
            }"""
        )
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB"))

    def wait_for_new_picture(self, picture: Locator, old: str, timeout: float = LOADED) -> str:
        """Until the picture shows another file than ``old`` (its src before), wholly loaded; gives the new src."""
        expect(picture).not_to_have_attribute("src", old, timeout=timeout)
        picture.evaluate("image => image.decode()")
        return picture.get_attribute("src")

    def screenshot(self, name: str) -> Path:
        """Keep what the browser shows now, among the test run's artefacts."""
        self.artefacts.mkdir(parents=True, exist_ok=True)
        path = self.artefacts / f"{name}.png"
        self.page.screenshot(path=path)
        return path


def changed_share(before: np.ndarray, after: np.ndarray, tolerance: int = 8) -> float:
    """The share of pixels that differ by more than ``tolerance`` in some channel; 1 for pictures of other sizes."""
    if before.shape != after.shape:
        return 1.0
    return float((np.abs(before.astype(int) - after.astype(int)).max(2) > tolerance).mean())
