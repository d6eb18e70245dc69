"""What the environment has, and what to do about what is missing (`t2i doctor`).

A finding is good or not, and needed or not: the environment is usable where everything needed is good. Nothing is
installed, downloaded or changed.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from t2i_core import torchvision_ops
from t2i_core.config import UserError, data_root
from t2i_core.manifest import MANIFEST, read_manifest

GIB = 2**30
DISK_NEEDED = 2 * GIB  # of a reproduction: data, runs and executed notebooks, with room to spare
MEMORY_NEEDED = 4 * GIB
LIBRARIES = (
    "accelerate",
    "captum",
    "datasets",
    "torchmetrics",
    "transformers",
    "safetensors",
    "scipy",
    "pandas",
    "matplotlib",
)
NOTEBOOK_TOOLS = ("jupyterlab", "ipykernel", "papermill", "jupytext")
WEIGHTS = Path(__file__).parent / "weights"
INSTALL = "run `make install`, or `pip install -e . -c constraints.txt`"


@dataclass(frozen=True)
class Finding:
    """One line of the table. `advice` says what to do, and is empty where there is nothing to do."""

    name: str
    good: bool
    says: str
    advice: str = ""
    needed: bool = True


def examine() -> list[Finding]:
    """Everything `t2i doctor` looks at, in the order of its table."""
    findings = []
    for check in CHECKS:
        try:
            findings += check()
        except Exception as error:  # a broken package may fail in any way, and the table is there to say so
            name = check.__name__.removeprefix("check_").replace("_", " ")
            findings.append(Finding(name, False, f"{type(error).__name__}: {error}", INSTALL))
    return findings


def table(findings: list[Finding]) -> str:
    """Plain text: a mark, a word, what was looked at, what is there; below it what to do."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        word = "✓ ok     " if finding.good else "✗ missing" if finding.needed else "✗ without"
        lines.append(f"{word}  {finding.name:{width}}  {finding.says}")
        if finding.advice:
            lines.append(f"{'':{len(word) + 2}}{'':{width}}  -> {finding.advice}")
    broken = [finding.name for finding in findings if finding.needed and not finding.good]
    lines.append("")
    lines.append(f"not usable yet: {', '.join(broken)}" if broken else "usable: everything that is needed is there")
    return "\n".join(lines)


def check_python() -> list[Finding]:
    good = sys.version_info >= (3, 11)
    says = f"{platform.python_version()} on {platform.system()} {platform.machine()} ({sys.executable})"
    return [Finding("Python", good, says, "" if good else "install Python 3.11 or newer")]


def check_torch() -> list[Finding]:
    import torch

    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPU only"
    findings = [Finding("torch", True, f"{torch.__version__}, {built}")]
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        says = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {memory:.0f} GB; training uses it"
        return [*findings, Finding("device", True, says)]
    says = f"CPU with {torch.get_num_threads()} threads; enough for the profiles smoke and mini"
    advice = (
        "" if torch.version.cuda is None else "torch sees no GPU: check the driver with nvidia-smi, if there is one"
    )
    return [*findings, Finding("device", True, says, advice)]


def check_torchvision() -> list[Finding]:
    import torchvision
    from torchvision.transforms import functional  # noqa: F401  (what a broken torchvision fails at)

    if torchvision_ops.compiled_part_loads():
        return [Finding("torchvision", True, f"{torchvision.__version__}, its compiled part loads")]
    says = f"{torchvision.__version__}; its compiled part does not load beside this torch, which nothing here needs"
    return [Finding("torchvision", True, says)]


def check_libraries() -> list[Finding]:
    return [_versions("libraries", LIBRARIES)]


def check_notebooks() -> list[Finding]:
    """Jupyter's programs, the widgets (with their part in the browser), and a kernel to run the notebooks."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_core.paths import jupyter_path

    extension = Path("@jupyter-widgets") / "jupyterlab-manager"
    in_browser = any((Path(place) / extension).exists() for place in jupyter_path("labextensions"))
    widgets = _versions("Jupyter widgets", ("ipywidgets", "jupyterlab_widgets"))
    if widgets.good and not in_browser:
        widgets = Finding(widgets.name, False, f"{widgets.says}, but not in JupyterLab", INSTALL)
    kernels = sorted(KernelSpecManager().find_kernel_specs())
    advice = "" if "python3" in kernels else "run `python -m ipykernel install --sys-prefix`"
    kernel = Finding("Jupyter kernel", not advice, ", ".join(kernels) or "none", advice)
    return [_versions("notebook tools", NOTEBOOK_TOOLS), widgets, kernel]


def check_npm() -> list[Finding]:
    found = shutil.which("npm")
    advice = (
        "" if found else "install Node.js, or give `t2i prepare emoji --packages DIR`; only the emoji dataset needs it"
    )
    return [Finding("npm", bool(found), found or "not found", advice, needed=False)]


def check_room() -> list[Finding]:
    import psutil

    place = _existing(data_root())
    disk, memory = shutil.disk_usage(place).free, psutil.virtual_memory()
    clear = "free some space, or point T2I_DATA and --out to another disk"
    return [
        Finding(
            "free disk", disk > DISK_NEEDED, f"{disk / GIB:.1f} GB at {place}", "" if disk > DISK_NEEDED else clear
        ),
        _writable(data_root()),
        Finding(
            "memory",
            memory.available > MEMORY_NEEDED,
            f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GB free",
            ""
            if memory.available > MEMORY_NEEDED
            else "close other programs, or run one notebook at a time (--jobs 1), which takes 2.5 GB at most",
            needed=False,
        ),
    ]


def check_prepared_data() -> list[Finding]:
    """What lies in the data root; a damaged dataset is bad, having none yet is not."""
    root = data_root()
    # the root's folders and theirs: not deeper, since raw datasets with many thousand files may lie there too
    folders = sorted(path.parent for pattern in ("*", "*/*") for path in root.glob(f"{pattern}/{MANIFEST}"))
    if not folders:
        return [Finding("prepared data", False, f"none in {root}", "`t2i prepare toy-scenes` makes some", needed=False)]
    findings = []
    for folder in folders:
        try:
            manifest = read_manifest(folder)
        except UserError as error:
            findings.append(Finding(f"data {folder.relative_to(root)}", False, "damaged", str(error), needed=False))
            continue
        counts = " and ".join(f"{n['images']:,} {split}" for split, n in manifest["splits"].items())
        says = f"{manifest['name']}, {manifest['size']} px, {counts} images"
        findings.append(Finding(f"data {folder.relative_to(root)}", True, says))
    return findings


def check_weights() -> list[Finding]:
    """The networks that measure, as shipped: inspectors and scorers, each beside the JSON with its provenance."""
    found = []
    for card in sorted(WEIGHTS.glob("*.json")):
        facts = json.loads(card.read_text())
        size = card.with_suffix(".safetensors").stat().st_size if card.with_suffix(".safetensors").exists() else None
        if size != facts["bytes"]:
            advice = "fetch it again, or rebuild it with `t2i inspector --world " + facts["world"] + "`"
            return [Finding("weights", False, f"{card.stem} is missing or damaged", advice)]
        found.append(f"{facts['world']} {facts['kind']}")
    advice = "" if found else "build them with `t2i inspector`"
    return [Finding("weights", bool(found), ", ".join(found) or f"none in {WEIGHTS}", advice)]


def check_clip() -> list[Finding]:
    """OpenAI's two CLIPs: only profile "paper" reads them, the others train a tiny one."""
    from t2i_core.clip import published_folder
    from t2i_core.clip_resnet import published_resnet_folder

    found = []
    for name, place in (("CLIP ViT-B/32", published_folder), ("CLIP RN101", published_resnet_folder)):
        try:
            found.append(Finding(name, True, f"in {place()}"))
        except UserError as error:
            found.append(Finding(name, False, "only profile paper needs it", str(error), needed=False))
    return found


def _versions(name: str, packages: tuple[str, ...]) -> Finding:
    there, missing = [], []
    for package in packages:
        try:
            there.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    says = ", ".join(there)
    return Finding(name, not missing, says, f"{', '.join(missing)} missing: {INSTALL}" if missing else "")


def _writable(folder: Path) -> Finding:
    reason = why_not_writable(folder)
    says = f"{folder} cannot be written: {reason}" if reason else f"{folder} can be written"
    return Finding("data folder", not reason, says, "point T2I_DATA to a folder of yours" if reason else "")


def why_not_writable(folder: Path) -> str:
    """The reason why nothing can be written to a folder, which may not exist yet; empty where one can."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)) as file:
            file.write(b"1")
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _existing(folder: Path) -> Path:
    folder = folder.expanduser().absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())


CHECKS: tuple[Callable[[], list[Finding]], ...] = (
    check_python,
    check_torch,
    check_torchvision,
    check_libraries,
    check_notebooks,
    check_npm,
    check_room,
    check_prepared_data,
    check_weights,
    check_clip,
)
