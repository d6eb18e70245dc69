"""The ground: torchvision beside any torch, import order and cost, pins, make targets, the workflow, the README."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from t2i_core import torchvision_ops

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

# The reading order. A module imports only from those before it; a package's modules stand where the package does.
ORDER = (
    "torchvision_ops config process runs captions manifest ownership pictures picture_folder blocks falsify data "
    "attention text_encoder image_encoder clip_tokens ssm "
    "alr lvr affine shuffle_attention memory matching matcher pretraining word_reader damsm clip clip_resnet itm "
    "encoders adversarial systems train metrics "
    "evidence claims notebook_links coverage deviations results figures forest comparison_figures failures human "
    "trainers zoo report_figures report_worlds report teaching explore exercises workbench fingerprint notebook_worker "
    "notebook_jobs notebook_plan reproduce doctor book cli_prepare cli_evaluate cli"
).split()
# Opening a run builds its system, so `runs` looks ahead when it is asked to, and only then.
LOOKS_AHEAD = {("runs", "systems"), ("runs", "captions"), ("runs", "matcher"), ("runs", "encoders")}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---------------------------------------------------------------------- torchvision


def test_torchvision_and_torchmetrics_work_after_the_import():
    out = python("""
import sys
import t2i_core
assert not {"torch", "torchvision"} & set(sys.modules), "the import itself must load neither"
import gc, torch, torchvision
from torchvision.models import vgg11
from torchvision.transforms.functional import to_pil_image, resize
from torchvision.utils import make_grid
import torchmetrics
from torchmetrics.image.fid import FrechetInceptionDistance
gc.collect()  # the declared operators must outlive this
assert make_grid(torch.rand(4, 3, 8, 8)).shape == (3, 12, 42)
assert resize(torch.rand(3, 8, 8), [4, 4], antialias=True).shape == (3, 4, 4)
assert vgg11(weights=None)(torch.rand(1, 3, 32, 32)).shape == (1, 1000)
assert hasattr(torch.ops.torchvision, "nms")
print("fine")
""")
    assert out == "fine"


def test_torchvision_works_where_torch_came_first():
    assert python("import torch, t2i_core, torchvision; print(torchvision.ops.__name__)") == "torchvision.ops"


def test_a_compiled_operator_answers_or_raises_but_never_guesses():
    out = python("""
import t2i_core, torch, torchvision
from t2i_core.torchvision_ops import compiled_part_loads
boxes, scores = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]]), torch.tensor([0.5, 0.9])
try:
    kept = torchvision.ops.nms(boxes, scores, 0.5).tolist()
except (RuntimeError, NotImplementedError):
    kept = None
print(kept == ([1] if compiled_part_loads() else None))
""")
    assert out == "True"


def test_nothing_is_declared_where_the_compiled_part_loads(monkeypatch):
    monkeypatch.setattr(torchvision_ops, "compiled_part_loads", lambda: True)
    assert torchvision_ops.declare_missing_operators() == ()


def test_an_unloadable_compiled_part_is_noticed(monkeypatch, tmp_path):
    (tmp_path / "_C.so").write_bytes(b"no library")
    monkeypatch.setattr(torchvision_ops, "compiled_part", lambda: tmp_path / "_C.so")
    assert not torchvision_ops.compiled_part_loads()
    monkeypatch.setattr(torchvision_ops, "compiled_part", lambda: None)
    assert not torchvision_ops.compiled_part_loads()


def test_installing_twice_hooks_once():
    out = python("""
import sys, t2i_core
from t2i_core.torchvision_ops import install
install(); install()
print(sum(type(finder).__name__ == "_BeforeTorchvision" for finder in sys.meta_path))
""")
    assert out == "1"


def test_the_import_costs_little_beside_torch():
    def seconds(module: str) -> float:
        started = time.perf_counter()
        python(f"import {module}")
        return time.perf_counter() - started

    python("import torch, t2i_core")  # whatever is read from disk is now in memory
    assert min(seconds("t2i_core") for _ in range(2)) <= 1.2 * min(seconds("torch") for _ in range(2))


# ---------------------------------------------------------------------- the package's shape


def modules() -> dict[str, list[Path]]:
    """Name in the reading order -> its files; a package counts as one."""
    found: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "t2i_core").rglob("*.py")):
        name = path.relative_to(ROOT / "t2i_core").parts[0].removesuffix(".py")
        if name != "__init__":
            found.setdefault(name, []).append(path)
    return found


def imported(path: Path) -> set[str]:
    """The names of our modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the order"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    ours = {name.split(".")[1] for name in names if name.startswith("t2i_core.")}
    return ours & set(modules()) | ({"data_prep"} if any(n.split(".")[0] == "data_prep" for n in names) else set())


def test_every_module_has_its_place_in_the_order():
    assert not set(modules()) - set(ORDER), "a new module: give it its place in ORDER"


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_from_those_before_it(name):
    for path in modules()[name]:
        ahead = {other for other in imported(path) - {"data_prep", name} if ORDER.index(other) > ORDER.index(name)}
        allowed = {other for module, other in LOOKS_AHEAD if module == name}
        assert not ahead - allowed, f"{path.relative_to(ROOT)} imports {sorted(ahead - allowed)}, which come after it"


def test_only_the_command_line_calls_data_prep():
    callers = {name for name, paths in modules().items() if any("data_prep" in imported(path) for path in paths)}
    assert callers == {"cli_prepare"}


def test_data_prep_takes_only_what_reads_files():
    taken = {"config", "manifest", "pictures", "picture_folder"}
    for path in (ROOT / "data_prep").rglob("*.py"):
        assert imported(path) - {"data_prep"} <= taken, path


def project_files() -> list[Path]:
    """The project's own text files: what git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    if shutil.which("git") and (ROOT / ".git").exists():
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        paths = [ROOT / name for name in listed]
    else:
        made = {".venv", "data", "runs", "build"}
        paths = [p for p in ROOT.rglob("*") if not made & set(p.relative_to(ROOT).parts)]
    kinds = (".py", ".ipynb", ".md", ".toml", ".yml", ".txt", ".json", ".html", "")
    return [path for path in paths if path.is_file() and path.suffix in kinds]


def test_no_file_names_a_place_on_somebodys_machine():
    place = re.compile(r"(?<![\w.~$}/-])/(?:work|opt|root|home|Users|tmp|mnt|content)/[\w.]|file:///\w")
    found = {
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in project_files()
        if path.parent.name != "tests"  # tests may hold such places as examples
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if place.search(line)
    }
    assert not found, "\n".join(sorted(found))


def test_the_command_is_installed():
    (script,) = (entry for entry in entry_points(group="console_scripts") if entry.name == "t2i")
    from t2i_core.cli import main

    assert script.load() is main


def test_what_is_no_python_belongs_to_the_package_too():
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["t2i_core"]
    folder = ROOT / "t2i_core"
    packed = {path for pattern in patterns for path in folder.glob(pattern)}
    others = {p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert others and others <= packed


# ---------------------------------------------------------------------- pins


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for pin in parsed:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin} is not one public version"
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in parsed}


def requirements() -> list[Requirement]:
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    return [
        Requirement(line) for line in [*PYPROJECT["project"]["dependencies"], *(r for extra in extras for r in extra)]
    ]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_each_requirement_is_a_range_with_a_pin_inside_it(requirement):
    assert all(part.operator != "==" for part in requirement.specifier)
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_torch_and_torchvision_are_a_pair():
    assert (pins()["torch"], pins()["torchvision"]) == ("2.13.0", "0.28.0")
    (torch,) = (r for r in requirements() if r.name == "torch")
    assert torch.specifier.contains("2.6.0") and torch.specifier.contains("2.11.0")


def test_conda_gets_the_same_environment():
    wanted = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (item["pip"] for item in wanted if isinstance(item, dict))
    (python_version,) = (item.split("=")[1] for item in wanted if isinstance(item, str) and item.startswith("python="))
    assert Requirement(f"python{PYPROJECT['project']['requires-python']}").specifier.contains(python_version)
    assert "-c constraints.txt" in pip and any(line.startswith("-e .[") for line in pip)


# ---------------------------------------------------------------------- make


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *arguments], capture_output=True, text=True, cwd=cwd, env=clean)


def test_every_target_is_there_and_explained():
    listed = {line.split()[0] for line in make("help").stdout.splitlines() if line[:1].isalpha()}
    assert listed >= {"help", "install", "test", "lint", "reproduce", "prepare", "lab", "bench", "clean"}
    for target in listed - {"options:"}:
        done = make("--dry-run", target)
        assert done.returncode == 0, done.stderr


def test_make_test_checks_style_pairs_and_behaviour():
    recipe = make("--dry-run", "test").stdout
    wanted = ["jupytext", "ruff check", "ruff format --check", "-m pytest"]
    places = [recipe.index(step) for step in wanted]
    assert places == sorted(places), "style first: it answers in seconds"


def test_make_reproduce_passes_profile_and_folder_on():
    assert "t2i reproduce --profile mini --out runs/reproduce" in make("--dry-run", "reproduce").stdout
    chosen = make("--dry-run", "reproduce", "PROFILE=smoke", "OUT=runs/ci").stdout
    assert "t2i reproduce --profile smoke --out runs/ci" in chosen


def test_set_up_is_pinned_and_may_take_torch_from_elsewhere(tmp_path):
    fresh = f"VENV={tmp_path / 'venv'}"
    recipe = make("--dry-run", "install", fresh, "TORCH_INDEX=https://example.org/cpu").stdout
    assert f"install --quiet torch=={pins()['torch']} torchvision=={pins()['torchvision']}" in recipe
    assert "--index-url https://example.org/cpu" in recipe
    assert recipe.count("index-url") == 1, "only torch comes from there"
    assert "--constraint constraints.txt --editable '.[" in recipe
    assert "index-url" not in make("--dry-run", "install", fresh).stdout


def test_a_machine_without_python_is_told_so(tmp_path):
    done = make("install", f"VENV={tmp_path / 'venv'}", "PYTHON=")
    assert done.returncode == 2 and "no Python 3.11 or newer found" in done.stderr


@pytest.fixture(scope="module")
def pair_template(tmp_path_factory) -> Path:
    """A project of one notebook pair in step."""
    folder = tmp_path_factory.mktemp("pair")
    for name in ("Makefile", "jupytext.toml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    page = folder / "notebooks" / "n.py"
    page.parent.mkdir()
    page.write_text('# %% [markdown]\n# # A page\n\n# %% tags=["parameters"]\nx = 1\n')
    jupytext = [sys.executable, "-m", "jupytext", "--quiet"]
    subprocess.run([*jupytext, "--update", "--to", "ipynb", str(page)], cwd=folder, check=True)
    back = [*jupytext, "--to", "py:percent", "--output", "-", str(page.with_suffix(".ipynb"))]
    page.write_text(subprocess.run(back, cwd=folder, check=True, capture_output=True, text=True).stdout)
    return folder


@pytest.fixture
def paired(pair_template, tmp_path) -> Path:
    return Path(shutil.copytree(pair_template, tmp_path / "project"))


def check_pairs(folder: Path) -> subprocess.CompletedProcess:
    return make("pairs", f"VENV={sys.prefix}", "--old-file", f"{sys.prefix}/.ready", cwd=folder)


def test_a_pair_in_step_passes(paired):
    done = check_pairs(paired)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_drifted_pair_fails_and_is_shown(paired):
    page = paired / "notebooks" / "n.py"
    page.write_text(page.read_text().replace("x = 1", "x = 2"))
    done = check_pairs(paired)
    assert done.returncode != 0 and "-x = 2" in done.stdout and "+x = 1" in done.stdout


def test_a_single_half_of_a_pair_fails(paired):
    (paired / "notebooks" / "n.py").unlink()
    done = check_pairs(paired)
    assert done.returncode != 0 and "missing" in done.stderr


# ---------------------------------------------------------------------- continuous integration


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_asks_for_little_and_ends(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert all(job["timeout-minutes"] <= 90 for job in workflow["jobs"].values())
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/checkout@v0"))
        for target in re.findall(r"\bmake (\w+)", step.get("run", "")):
            assert make("--dry-run", target).returncode == 0


def test_the_pipeline_does_what_a_user_does():
    (path,) = (p for p in WORKFLOWS if p.name == "check.yml")
    every = steps(yaml.safe_load(path.read_text()))
    runs = [step["run"] for step in every if "run" in step]
    (kept,) = (step["with"]["path"].split() for step in every if "upload-artifact" in step.get("uses", ""))
    assert kept == ["runs/ci", "build/browser"]  # what the notebooks left, and what the browser showed
    assert runs.index("make test") < runs.index(f"make reproduce PROFILE=smoke OUT={kept[0]}")
    assert any(step.get("with", {}).get("cache") == "pip" for step in every)


def test_ci_runs_the_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK) and script.read_text().splitlines()[-1] == "make test"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


# ---------------------------------------------------------------------- the README


README = (ROOT / "README.md").read_text()


def code_lines() -> list[str]:
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", README, flags=re.M | re.S)
    return [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]


def test_the_readme_names_only_targets_that_exist():
    named = set(re.findall(r"\bmake ([a-z]+)\b", " ".join(re.findall(r"`([^`\n]+)`", README) + code_lines())))
    assert named >= {"reproduce", "test", "lab"}
    for target in named:
        assert make("--dry-run", target).returncode == 0, target


def test_the_readme_links_to_files_that_exist():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading: first cell -> the others."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_readmes_profiles_are_the_profiles():
    from t2i_core.config import PROFILES

    table = rows("What you get")
    for name, profile in PROFILES.items():
        assert table[name][0] == "-".join(map(str, profile.resolutions))


def test_the_readmes_systems_are_the_systems():
    from t2i_core import systems

    table = rows("Systems")
    assert set(table) - {"name", "---"} == set(systems.available())
    for name in systems.available():
        assert set(re.findall(r"`([\w-]+)`", table[name][1])) == set(systems.variants(name)) - {"default"}


def test_the_readmes_notebooks_are_the_notebooks():
    from t2i_core.reproduce import NOTEBOOKS

    assert re.findall(r"\(notebooks/(\w+)\.ipynb\)", README) == [notebook.name for notebook in NOTEBOOKS]
