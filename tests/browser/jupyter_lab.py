"""A JupyterLab for tests: started as `make lab` starts it, on loopback with a token, over copies of the notebooks.

Run as a program, it is that JupyterLab: it ends, with its kernels, when its standard input does. So it outlives no test
run, not even one that was killed.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
import psutil

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 180  # seconds; a machine that runs other tests beside is slow
GRACE = 20.0  # seconds for the server to end its kernels
NOT_A_READERS = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MPLBACKEND")  # what the test run has set, and a reader has not
SETTINGS = {
    # no question about news over the first page, and no request to the network
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    # every cell is in the page, also those out of sight, so that tests can wait for them
    "notebook-extension/tracker": {"windowingMode": "none"},
}


def environment() -> dict[str, str]:
    """The variables of the test run that a reader could have, too."""
    return {name: value for name, value in os.environ.items() if name not in NOT_A_READERS}


def make_lab_arguments(project: Path) -> list[str]:
    """What `make lab` passes to `jupyter lab` in the folder ``project``."""
    command = ["make", "--dry-run", "lab", f"VENV={sys.prefix}", "--old-file", f"{sys.prefix}/.ready"]
    command.append(f"CURDIR={project}")
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    program, lab, *arguments = shlex.split(done.stdout.replace("\\\n", ""))
    assert Path(program).name == "jupyter" and lab == "lab", done.stdout
    return arguments


class Lab:
    """A running JupyterLab. ``home/project`` holds its copies of the notebooks, without outputs."""

    def __init__(self, home: Path):
        self.home, self.project = home, home / "project"
        self.token = secrets.token_hex(16)
        (self.project / "notebooks").mkdir(parents=True)
        for path in (ROOT / "notebooks").glob("*.ipynb"):
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "code":  # what a cell shows is then of this very lab
                    cell.outputs, cell.execution_count = [], None
            nbformat.write(notebook, self.project / "notebooks" / path.name)
        (self.project / "t2i_core").symlink_to(ROOT / "t2i_core")  # by this a notebook knows its project's folder
        for name, values in SETTINGS.items():
            file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))

    def start(self) -> Lab:
        folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "share", "JUPYTER_RUNTIME_DIR": "runtime"}
        folders |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
        folders |= {"IPYTHONDIR": "ipython", "T2I_DATA": "data"}
        arguments = [
            *make_lab_arguments(self.project),
            f"--IdentityProvider.token={self.token}",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.open_browser=False",
        ]
        with (self.home / "lab.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, *arguments],
                cwd=self.project,
                env=environment() | {name: str(self.home / folder) for name, folder in folders.items()},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.url = self._when_ready()["url"]
        except BaseException:
            self.stop()
            raise
        return self

    def _when_ready(self) -> dict:
        """The server's own note of its address, once it answers there."""
        note = self.home / "runtime" / f"jpserver-{self.process.pid}.json"
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError, ValueError):
                server = json.loads(note.read_text())
                self.ask(server["url"] + "api/status")
                return server
            time.sleep(0.1)
        raise RuntimeError(f"JupyterLab did not start:\n{self.log()[-4000:]}")

    def ask(self, url: str, body: dict | None = None, method: str | None = None) -> Any:
        """What the server's API says at an address; with a body, what it says to that (POST). None for no words."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Authorization": f"token {self.token}"}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def sessions(self) -> list[dict]:
        """The notebooks that have a kernel, as the server's API tells them."""
        return self.ask(self.url + "api/sessions")

    def forget(self) -> None:
        """Be as at the start, for the next reader: no kernel at work, no tab that opens again by itself.

        JupyterLab opens what stood open when it was left. A notebook that comes back so may lie over the one that a
        test asked for, and take its Run All Cells.
        """
        for session in self.sessions():
            self.ask(f"{self.url}api/sessions/{session['id']}", method="DELETE")
        shutil.rmtree(self.home / "workspaces", ignore_errors=True)

    def write(self, name: str, title: str, *code: str) -> str:
        """A notebook with a heading and these code cells, among the others; its name, to open it by."""
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
        notebook.cells = [nbformat.v4.new_markdown_cell(f"# {title}"), *map(nbformat.v4.new_code_cell, code)]
        nbformat.write(notebook, self.project / "notebooks" / name)
        return name

    def log(self) -> str:
        return (self.home / "lab.log").read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """The server and all that it has started."""
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self.process.pid)
            return [server, *server.children(recursive=True)]
        return []

    def stop(self) -> None:
        """End the server and its kernels; whatever is left after a while of grace is killed."""
        running = self.processes()
        self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(2 * GRACE)
        for process in running:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def _stop_with_parent() -> None:
    """Wait for the end of standard input; then ask the server to end, and insist after a while."""
    while os.read(0, 1):
        pass
    started = psutil.Process().children(recursive=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    os._exit(1)


if __name__ == "__main__":
    from jupyterlab.labapp import main

    threading.Thread(target=_stop_with_parent, daemon=True).start()
    main(sys.argv[1:])
