"""torchvision must import beside every torch, also where its compiled operators cannot load.

torchvision's wheels are built against one build of torch. Beside another one (a CPU-only torch, say) the compiled
part does not load, and `import torchvision` dies with "operator torchvision::nms does not exist": torchvision describes
the operators `nms` and `qnms` to torch's compiler without asking whether they exist. Declaring the two operators is
enough: transforms, models, datasets and everything built on them work, and the compiled operators themselves still
raise when they are called.

The declaration waits for the first import of torchvision, so that `import t2i_core` costs nothing.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

SIGNATURES = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# torch forgets an operator when the Library that declared it is collected, so the object lives as long as the process.
_declared: list[object] = []


def compiled_part() -> Path | None:
    """The file of torchvision's compiled operators, or None where torchvision or that file is not installed."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return None
    loader = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    for folder in spec.submodule_search_locations:
        found = importlib.machinery.FileFinder(folder, loader).find_spec("_C")
        if found is not None and found.origin is not None:
            return Path(found.origin)
    return None


def compiled_part_loads() -> bool:
    """Whether torchvision's compiled operators work beside the installed torch (loading them twice does no harm)."""
    import torch

    path = compiled_part()
    if path is None:
        return False
    try:
        torch.ops.load_library(str(path))
    except (ImportError, OSError):
        return False
    return True


def declare_missing_operators() -> tuple[str, ...]:
    """Declare `nms` and `qnms` where the compiled part cannot load; returns the names declared by this call."""
    import torch

    if compiled_part_loads():
        return ()
    missing = tuple(name for name in SIGNATURES if not hasattr(torch.ops.torchvision, name))
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(SIGNATURES[name])
        _declared.append(library)
    return missing


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Finds no module itself: it declares the operators just before another finder finds torchvision."""

    waiting = True

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision" and self.waiting:
            self.waiting = False  # the declaration looks torchvision up itself, so this comes first
            declare_missing_operators()
        return None


def install() -> None:
    """Make the next `import torchvision` of this process declare the missing operators first (once a process)."""
    if "torchvision" in sys.modules or any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _BeforeTorchvision())
