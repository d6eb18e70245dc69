"""The helpers of the browser tests notice what they are for, and leave nothing behind."""

from __future__ import annotations

import shutil

import chromium
import numpy as np
import psutil
import pytest
from jupyter_lab import Lab
from notebook_page import NotebookPage, changed_share

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def test_a_cell_that_fails_ends_the_wait_and_is_quoted(lab):
    page = lab.open(lab.server.write("broken.ipynb", "Broken", "answer = 6 * 7\nanswer", "1 / 0", "answer"))
    assert "42" in page.run_cell("6 * 7").locator(".jp-OutputArea").inner_text()
    page.run_cell("6 * 7")  # a second time: not finished before it has begun
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        page.run_all()


def test_a_reader_finds_no_tab_and_no_kernel_of_the_one_before(server, reader, tmp_path):
    for name in ("first.ipynb", "second.ipynb"):
        server.write(name, "A notebook", "6 * 7")
        with reader(tmp_path) as lab:
            page = lab.open(name)
            page.run_all()
            assert page.page.locator(".jp-NotebookPanel").count() == 1
            assert lab.connected() == [session["path"] for session in server.sessions()] == [f"notebooks/{name}"]
            while name not in "".join(path.read_text() for path in (server.home / "workspaces").glob("*")):
                page.page.wait_for_timeout(100)  # until JupyterLab has noted what stands open


def test_an_error_in_the_console_is_kept(browser, tmp_path):
    with browser.new_context() as context:
        page = NotebookPage(context.new_page(), tmp_path)
        page.page.evaluate("console.log('fine')")
        assert page.errors == []
        page.page.evaluate("console.error('not fine')")
        page.page.evaluate("setTimeout(() => { throw new Error('thrown') })")
        page.page.wait_for_timeout(100)
        assert [text.split(" (")[0] for text in page.errors] == ["not fine", "thrown"]
        assert page.screenshot("seen").stat().st_size > 0


def test_the_lab_ends_with_its_kernels_when_its_parent_is_gone(server):
    lab = Lab(server.home / "second").start()
    try:
        lab.ask(lab.url + "api/kernels", body={"name": "python3"})
        running = lab.processes()
        assert len(running) >= 2  # the server and a kernel
        lab.process.stdin.close()  # as the operating system does it for a parent that was killed
        _, left = psutil.wait_procs(running, timeout=60)
        assert not left
    finally:
        lab.stop()


def test_pixels_are_compared():
    black = np.zeros((4, 5, 3), np.uint8)
    dot = black.copy()
    dot[0, 0, 1] = 200
    assert changed_share(black, black) == 0.0 and changed_share(black, dot) == 1 / 20
    assert changed_share(black, black + np.uint8(3)) == 0.0  # a shade that nobody sees
    assert changed_share(black, black[:2]) == 1.0


def test_a_machine_without_chromium_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "apt-get install chromium" in chromium.missing()
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "make" else name)
    assert "make" in chromium.missing()
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert chromium.missing() is None
