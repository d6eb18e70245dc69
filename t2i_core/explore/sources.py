"""Where the explorer's systems come from: given by the user, shipped (the zoo), or trained in a run folder."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from t2i_core import systems, zoo
from t2i_core.captions import Vocabulary
from t2i_core.clip import CLIP
from t2i_core.clip_tokens import BytePairs
from t2i_core.config import UserError, project_root
from t2i_core.explore.drawing import Drawer, Source, opened
from t2i_core.results import run_folders
from t2i_core.runs import Run

SHIPPED, TRAINED, GIVEN = "shipped", "trained", "given"


@dataclass(frozen=True)
class Shelf:
    """The systems of a world by name, where each comes from, and for those that are nowhere the command that trains
    them. A system is opened when it is first asked for."""

    world: str
    sources: Mapping[str, Source]
    origins: Mapping[str, str]
    missing: Mapping[str, str] = field(default_factory=dict)
    _open: dict[str, Drawer] = field(default_factory=dict, repr=False)
    _words: dict[str, Vocabulary | BytePairs] = field(default_factory=dict, repr=False)

    def drawer(self, name: str) -> Drawer:
        """The opened system; a UserError that says how to train it where it is missing or its weights are."""
        if name not in self.sources:
            told = f"train it with `{self.missing[name]}`" if name in self.missing else "choose another"
            raise UserError(f"there is no trained {name} for {self.world}: {told}")
        if name not in self._open:
            self._open[name] = opened(self.sources[name])
        return self._open[name]

    def vocabulary(self, name: str) -> Vocabulary | BytePairs:
        """The words of a system, from its run folder alone: nobody who types waits for weights to be opened."""
        source = self.sources.get(name)
        if isinstance(source, Run):
            if name not in self._words:
                self._words[name] = CLIP.read_vocabulary(source.folder / "vocabulary.json")  # words or byte pairs
            return self._words[name]
        return self.drawer(name).system.vocabulary

    def distance(self, name: str) -> float:
        """The FID that its run was measured to have; infinite where it was not."""
        source = self.sources[name]
        told = source.metrics.get("fid", {}) if isinstance(source, Run) else {}
        return told.get("value", math.inf)

    def call(self, name: str, caption: str, seed: int, truncation: float) -> str:
        """The shell command, or where that cannot say it the Python expression, that draws the same picture."""
        source = self.sources[name]
        if self.origins[name] == TRAINED and truncation == 1:
            return sample_command(source, caption, seed)
        if self.origins[name] == SHIPPED:
            return f'explore.render(zoo.run("{name}", "{self.world}"), {_arguments(caption, seed, truncation)})'
        where = f'"{_short(source.folder)}"' if isinstance(source, Run) else f'systems["{name}"]'
        return f"explore.render({where}, {_arguments(caption, seed, truncation)})"


def find(world: str, run_dir: str | Path | None = None, given: Mapping[str, Source] | None = None) -> Shelf:
    """The systems for a world: those ``given``, and no others; else the shipped ones, and in ``run_dir`` the finished
    runs of whole systems (no ablations) that are not shipped."""
    if given is not None:
        sources = {name: Run(one) if isinstance(one, str | Path) else one for name, one in given.items()}
        origins = {name: TRAINED if isinstance(one, Run) else GIVEN for name, one in sources.items()}
        return Shelf(world, sources, origins)
    shipped = {name for name, where in zoo.available() if where == world}
    trained = _trained(world, run_dir)
    sources, origins, missing = {}, {}, {}
    for name in systems.available():
        if name in shipped:
            sources[name], origins[name] = zoo.run(name, world), SHIPPED
        elif name in trained:
            sources[name], origins[name] = trained[name], TRAINED
        else:
            missing[name] = train_command(name, world, run_dir)
    return Shelf(world, sources, origins, missing)


def _trained(world: str, run_dir: str | Path | None) -> dict[str, Run]:
    """The finished runs of a world, of each system the one with the lowest seed in the variant that stands for it."""
    found: dict[str, Run] = {}
    if run_dir is None:
        return found
    for run in run_folders(project_root() / run_dir):
        system, variant = run.record["system"], run.record["variant"]
        if run.record["world"] == world and variant == zoo.VARIANTS.get(system, "default"):
            found.setdefault(system, Run(run.path))
    return found


def train_command(name: str, world: str, run_dir: str | Path | None = None) -> str:
    """What trains a system at the size of a laptop, its dataset first: into ``run_dir``, as a notebook would."""
    variant = f" --variant {zoo.VARIANTS[name]}" if name in zoo.VARIANTS else ""
    out = f"runs/{name}-{world}"
    if run_dir is not None:
        folder = project_root() / run_dir / "runs" / f"{name}-{zoo.VARIANTS.get(name, 'default')}-{world}-s0"
        out = shlex.quote(_short(folder))
    return (
        f"t2i prepare {world} --profile mini && "
        f"t2i train --system {name}{variant} --world {world} --profile mini --out {out}"
    )


def sample_command(run: Run, caption: str, seed: int) -> str:
    """The `t2i sample` call that draws the picture of a run, its pixels enlarged to squares of 8."""
    words = ("t2i", "sample", "--run", _short(run.folder), "--caption", caption, "--seed", str(seed))
    return shlex.join((*words, "--enlarge", "8", "--out", "picture.png"))


def _short(folder: Path) -> str:
    """The folder as a call made here names it: relative where it lies below the working folder."""
    folder, here = Path(folder).resolve(), Path.cwd().resolve()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _arguments(caption: str, seed: int, truncation: float) -> str:
    scaled = "" if truncation == 1 else f", truncation={truncation:g}"
    return f"{caption!r}, seed={seed}{scaled}"
