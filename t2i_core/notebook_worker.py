"""The child process that executes one notebook: `python -m t2i_core.notebook_worker`, with its order on standard input.

The order is one line of JSON: input, output, parameters, kernel. Standard input then stays open. When it ends, because
the parent closed it or was killed, the kernel is interrupted as by Ctrl-C, so that a training run leaves a checkpoint,
and after a while of grace everything stops: no notebook outlives the reproduction it belongs to.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress

import psutil

GRACE = 20.0  # seconds from the interrupt to the end, for a step of training and its checkpoint
START_TIMEOUT = 180  # seconds for a kernel to start; a busy machine is slow


def main() -> int:
    """Execute the notebook; 0 if every cell ran, 1 if one failed (the output notebook then holds the error)."""
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    import nbformat
    import papermill

    notebook = nbformat.read(order["input"], as_version=4)
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    try:
        papermill.execute_notebook(
            notebook,
            order["output"].replace("{", "{{").replace("}", "}}"),  # papermill formats paths with the parameters
            parameters=order["parameters"],
            kernel_name=order["kernel"],
            language="python",
            progress_bar=False,
            log_output=True,
            start_timeout=START_TIMEOUT,
            autosave_cell_every=30,
        )
    except papermill.PapermillExecutionError as error:
        print(error, flush=True)
        return 1
    return 0


def _stop_with_parent() -> None:
    """Wait for the end of standard input, then interrupt the kernel, wait, and end it with this process."""
    while os.read(0, 1):
        pass
    kernels = psutil.Process().children(recursive=True)
    for process in kernels:
        with suppress(psutil.Error):
            if "ipykernel_launcher" in process.cmdline():
                process.send_signal(signal.SIGINT)
    time.sleep(GRACE)
    for process in kernels:
        with suppress(psutil.Error):
            process.kill()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
