"""The `t2i` command: prepare, train, sample, evaluate, reproduce, inspector, zoo, doctor.

Exit status: 0 done, 1 it ran and failed, 2 a mistake that the user can mend, 130 after Ctrl-C. What a command produces
goes to standard output, what is wrong to standard error. Each command imports what it needs when it runs, so that
`t2i --help` answers at once.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from t2i_core.cli_evaluate import evaluate
from t2i_core.cli_prepare import DATASETS, Text, Whole, at_least_zero, datasets, draw_measuring, shown
from t2i_core.config import RunConfig, UserError, data_root, nearest, project_root
from t2i_core.doctor import why_not_writable
from t2i_core.manifest import BUILT_IN, MANIFEST

if TYPE_CHECKING:
    from t2i_core.runs import Run

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130
COMMANDS = ("prepare", "train", "sample", "evaluate", "reproduce", "inspector", "zoo", "doctor")
FULL_OR_FORBIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT)

app = tyro.extras.SubcommandApp()


app.command(datasets, name="prepare", help="Prepare a dataset: a toy world, emoji, or a folder of your own.")


# ---------------------------------------------------------------------- train, sample, evaluate


@app.command
def train(
    out: str,
    system: Annotated[str | None, shown(RunConfig.system, "STR")] = None,
    variant: Annotated[str | None, shown(RunConfig.variant, "STR")] = None,
    world: Annotated[str | None, shown(RunConfig.world, "STR")] = None,
    data: Annotated[str | None, shown("the prepared folder of the world", "DIR")] = None,
    profile: Annotated[str | None, shown(RunConfig.profile, "STR")] = None,
    seed: Annotated[int | None, shown(str(RunConfig.seed), "INT")] = None,
    steps: Whole = None,
    batch_size: Whole = None,
    learning_rate: Annotated[float | None, shown("the profile's", "FLOAT")] = None,
    discriminator_rate: Annotated[float | None, shown("the profile's", "FLOAT")] = None,
    matcher: Annotated[str | None, shown("trained as the first step", "DIR")] = None,
    precision: Annotated[str | None, shown(RunConfig.precision, "STR")] = None,
    device: str = "auto",
    resume: bool = False,
) -> int:
    """Train a system on a prepared dataset. The same command goes on where a stopped run left off.

    Args:
        out: The run folder; it then holds the configuration, log, checkpoint, sample grids and weights.
        system: Which system: alr-gan, attngan, cgan, df-gan, dm-gan, galip, gan-cls, gr-gan, ratlip, sdn, stackgan.
        variant: An ablation of the system, such as no-alr.
        world: The prepared dataset's name.
        data: A prepared folder elsewhere.
        profile: Image sizes, widths and step counts: smoke, mini, small or paper.
        seed: Of weights, batches and noise.
        steps: Training steps.
        batch_size: Images a step.
        learning_rate: Of the generator.
        discriminator_rate: Of the discriminators.
        matcher: A folder with a matching model trained before, on the same captions.
        precision: auto (bf16 on a GPU), fp32 or bf16.
        device: auto (a GPU where there is one), cpu or cuda.
        resume: Take the configuration from the run folder and go on with it; --steps may ask for more.
    """
    options = dict(
        system=system, variant=variant, world=world, data=data, profile=profile, seed=seed, steps=steps,
        batch_size=batch_size, learning_rate=learning_rate, discriminator_rate=discriminator_rate,
        matcher=matcher, precision=precision,
    )  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    config = dataclasses.replace(_run(out).config if resume else RunConfig(), **given).resolve()
    _find_dataset(config, by_name=data is None and not resume)
    if reason := why_not_writable(Path(out)):
        raise UserError(f"cannot write to {out}: {reason}; choose another folder with --out")
    from t2i_core import systems
    from t2i_core.train import train as run_training

    nearest(config.variant, systems.variants(config.system), f"variant of {config.system}")
    speaks = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts
    if speaks:
        print(json.dumps(config.to_dict(), indent=1))
    run = run_training(config, out, device=device)
    if speaks:
        print(f"{run.folder}: {run.summary['steps']} steps in {run.summary['train_seconds']:.0f} s")
    return 0


def _run(folder: str) -> Run:
    """The run in a folder; a UserError where there is none."""
    from t2i_core.runs import Run

    run = Run(folder)
    run.config  # noqa: B018  (reading it is the check)
    return run


def _newest_run(system: str | None) -> Run:
    """The newest finished run (of a system) anywhere under the project's runs/; it is named on standard error."""
    from t2i_core.runs import Run

    summaries = sorted(project_root().glob("runs/**/summary.json"), key=lambda path: -path.stat().st_mtime)
    for path in summaries:
        run = Run(path.parent)
        if system is None or run.summary["system"] == system:
            print(f"note: drawn by {run.folder}", file=sys.stderr)
            return run
    which = system or "any system"
    raise UserError(
        f"no finished run of {which} under runs/: train one with `t2i train --out runs/mine`, or give --run"
    )


def _find_dataset(config: RunConfig, by_name: bool) -> None:
    """A missing dataset is named before anything heavy is loaded, with the command that prepares it."""
    folder = Path(config.data)
    if folder.exists() or not by_name:
        return  # the reader of manifests says what is wrong with a folder that was named
    prepared = (path.parent.name for path in data_root().glob(f"*/{MANIFEST}"))
    nearest(config.world, {*BUILT_IN, *(name for name in prepared if not name.startswith("toy-"))}, "world")
    toy = f" --profile {config.profile}" if config.world.startswith("toy-") else ""
    raise UserError(f"no prepared dataset at {folder}; make it with `t2i prepare {config.world}{toy}`")


@app.command
def sample(
    caption: str,
    out: str,
    run: Annotated[str | None, shown("the newest finished one under runs/", "DIR")] = None,
    seed: int = 0,
    count: int = 1,
    enlarge: int = 1,
    system: Text = None,
    device: str = "auto",
) -> int:
    """Draw an image for your own caption with a trained system.

    Args:
        caption: What to draw.
        out: The PNG file to write.
        run: The run folder of the trained system.
        seed: Another seed draws another image for the same caption.
        count: How many images, side by side, each from its own noise.
        enlarge: Show each pixel as a square of this many.
        system: Which system; with --run, refuse a run of any other.
        device: auto (a GPU where there is one), cpu or cuda.
    """
    if not caption.strip():
        raise UserError("the caption is empty: say what to draw, such as --caption 'a small red house on the left'")
    if Path(out).suffix.lower() != ".png":
        raise UserError(f"--out {out}: images are written as PNG; choose a name that ends in .png")
    at_least_zero(seed=seed)
    if count < 1 or enlarge < 1:
        raise UserError(f"--count {count} --enlarge {enlarge}: both start at 1")
    opened = _run(run) if run else _newest_run(system)
    if system is not None and opened.config.system != system:
        from t2i_core.systems import available

        nearest(system, available(), "system")
        raise UserError(f"{run} holds a run of {opened.config.system}, not of {system}; choose another --run")
    import torch

    from t2i_core.process import make_accelerator
    from t2i_core.train import save_grid

    drawer = opened.system(make_accelerator(device, "fp32").device)
    for note in drawer.vocabulary.tokenize([caption]).notes():
        print(f"note: {note}", file=sys.stderr)
    with torch.no_grad():
        images = drawer.generate([caption] * count, seed=seed).images[-1].float()
    images = images.repeat_interleave(enlarge, dim=2).repeat_interleave(enlarge, dim=3)
    save_grid(images, Path(out), columns=count)
    print(out)
    return 0


app.command(evaluate)


# ---------------------------------------------------------------------- reproduce, inspector, doctor


@app.command
def reproduce(
    profile: str = "mini",
    out: str = "runs/reproduce",
    seeds: Annotated[tuple[int, ...], shown("0", "INT ...")] = (0,),
    device: str = "auto",
    jobs: Annotated[int | None, shown("one a core, at most 4", "INT")] = None,
    only: Annotated[tuple[str, ...], shown("all", "NAME ...")] = (),
    notebooks: Annotated[str | None, shown("the project's", "DIR")] = None,
) -> int:
    """Run the notebooks in their order, then write results.json and report.html; a second call does what is missing.

    Args:
        profile: smoke, mini, small or paper.
        out: The folder for executed notebooks, runs, results and report.
        seeds: Of everything that is drawn or trained. The claims need three to be judged; each takes as long as one.
        device: auto (a GPU where there is one), cpu or cuda.
        jobs: Notebooks that run side by side.
        only: Only these notebooks, by the first letters of their names, and those they need.
        notebooks: The folder with the notebooks.
    """
    for seed in seeds:
        at_least_zero(seeds=seed)
    from t2i_core.reproduce import reproduce_seeds

    options = {"notebooks_dir": notebooks, "device": device, "jobs": jobs, "only": only or None}
    return reproduce_seeds(profile, out, seeds, **options)


@app.command
def inspector(
    world: str = RunConfig.world,
    data: Annotated[str | None, shown("drawn anew, as for the shipped one", "DIR")] = None,
    steps: int = 2000,
    seed: int = 20,
    out: Annotated[str | None, shown("the package's weights", "DIR")] = None,
    device: str = "cpu",
) -> int:
    """Rebuild the networks that measure toy worlds: the inspector and the scorer, with their provenance.

    Args:
        world: The dataset they learn to read.
        data: Its prepared folder.
        steps: Training steps of each.
        seed: Of weights and batches.
        out: The folder for the weights.
        device: cpu or cuda.
    """
    at_least_zero(seed=seed)
    from t2i_core.metrics.build import build
    from t2i_core.runs import progress

    if data is None:
        data = draw_measuring(world)
    for kind, path in build(world, data, out, steps, device, seed, progress=lambda s: progress(s, "inspector")).items():
        print(f"{kind}: {path}")
    return 0


@app.command
def zoo(
    systems: Annotated[tuple[str, ...], shown("all", "NAME ...")] = (),
    world: str = RunConfig.world,
    profile: str = RunConfig.profile,
    steps: Annotated[int | None, shown("6000, and more of the best", "INT")] = None,
    matcher_steps: Annotated[int | None, shown("4000, and more for the best", "INT")] = None,
    seed: int = 0,
    jobs: int = 2,
    out: str = "runs/zoo",
    device: str = "auto",
) -> int:
    """Train the systems that are shipped with the package, and pack them into it. It goes on where it was stopped.

    Args:
        systems: Only these.
        world: What they draw; `t2i prepare` has prepared it.
        profile: Image sizes and widths.
        steps: Training steps of every system.
        matcher_steps: Training steps of every matching model that reads for them.
        seed: Of weights, batches and noise.
        jobs: Trainings side by side, on a CPU.
        out: The folder for the training runs.
        device: auto (a GPU where there is one), cpu or cuda.
    """
    at_least_zero(seed=seed)
    from t2i_core.explore.gallery import draw_gallery
    from t2i_core.explore.words import EXAMPLES
    from t2i_core.zoo import build

    nearest(world, EXAMPLES, "world")  # whose gallery can be drawn

    sizes = {"steps": steps, "matcher_steps": matcher_steps}
    for place in build(
        out, names=systems, world=world, profile_name=profile, seed=seed, jobs=jobs, device=device, **sizes
    ):
        print(place)
    print(draw_gallery(world))
    return 0


@app.command
def doctor() -> int:
    """Show what the environment has, and what to do about what is missing."""
    from t2i_core.doctor import examine, table

    findings = examine()
    print(table(findings))
    return FAILED if any(finding.needed and not finding.good for finding in findings) else 0


# ---------------------------------------------------------------------- the command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. `arguments` default to the command line's."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _check_names(words)
        return app.cli(
            prog="t2i", description=__doc__.partition("\n")[0], args=words, config=(tyro.conf.FlagCreatePairsOff,)
        )
    except UserError as error:
        return _complain(str(error), MISTAKE)
    except FloatingPointError as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except OSError as error:
        if error.errno not in FULL_OR_FORBIDDEN:
            raise
        return _complain(f"{error}; check the path, its permissions and the free space", MISTAKE)


def _check_names(words: Sequence[str]) -> None:
    """The nearest name for a mistyped command; the parser itself only lists the known ones."""
    if words and not words[0].startswith("-"):
        nearest(words[0], COMMANDS, "command")
        if words[0] == "prepare" and len(words) > 1 and not words[1].startswith("-"):
            nearest(words[1], DATASETS, "dataset")


def _complain(message: str, status: int) -> int:
    print(f"t2i: {message}", file=sys.stderr)
    return status
