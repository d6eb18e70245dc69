"""The process that a training runs in: its device and precision, its gradients among several, Ctrl-C, tiny numbers."""

from __future__ import annotations

import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from t2i_core.config import UserError


def make_accelerator(device: str = "auto", precision: str = "auto"):
    """An accelerate.Accelerator for "auto" (a GPU where there is one), "cpu" or "cuda"."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {device!r}: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA GPU is visible here: choose --device cpu, or install a CUDA build of torch")
    cpu = device == "cpu" or not torch.cuda.is_available()
    if PartialState._shared_state and PartialState().num_processes == 1:
        # accelerate keeps one state a process; runs of one process may differ in device and precision
        AcceleratorState._reset_state(reset_partial_state=True)
    mixed = "bf16" if precision == "bf16" or (precision == "auto" and not cpu) else "no"
    return Accelerator(cpu=cpu, mixed_precision=mixed)


def average_gradients(module: nn.Module, accelerator) -> None:
    """One all-reduce for all gradients of a module. (A DDP wrapper wants every loss inside one forward call.)"""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


@contextmanager
def interrupt_flag() -> Iterator[threading.Event]:
    """Ctrl-C sets a flag, so that a step is never cut in half; a second Ctrl-C interrupts at once."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def stop(number, frame):
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers below 1e-38 count as 0 while training: some CPUs compute with them a hundred times slower."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU ({platform.processor() or platform.machine()}, {threads} thread{'s' * (threads > 1)})"


def versions() -> dict[str, str]:
    import torchvision

    return {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
