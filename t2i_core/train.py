"""The one loop that trains every system, on a CPU, one GPU or several.

Alternating updates: the discriminators on detached images, then the generator through the updated discriminators.
Images, captions and noise of a step are a pure function of (seed, step), so a run that was killed and resumed ends
with the weights it would have had.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from threading import Event

import torch
from torch import Tensor, nn

from t2i_core import encoders, systems
from t2i_core.config import MADE_BY, RunConfig, UserError, atomic_write, profile, write_json
from t2i_core.data import BatchStream, CaptionDataset, load, random_generator, training_set
from t2i_core.manifest import dataset_hash
from t2i_core.matcher import Matcher, write_weights
from t2i_core.ownership import alone_in, finished
from t2i_core.process import (
    average_gradients,
    device_name,
    flushed_denormals,
    interrupt_flag,
    make_accelerator,
    versions,
)
from t2i_core.runs import CHECKPOINT, Run, load_checkpoint, progress, read_log, save_checkpoint
from t2i_core.systems.base import System

SAMPLE_CAPTIONS = 16
SETTLE_BATCHES = 16


class NonFiniteLoss(FloatingPointError):
    """A loss term became NaN or infinite; the message names it, and the last good checkpoint is kept."""


def train(config: RunConfig, run_dir: str | Path, device: str = "auto", show_progress: bool = True) -> Run:
    """Train one system into ``run_dir`` and return its run.

    A folder that holds this run already is loaded, a part-way one is gone on with (also to more steps than before), one
    that another process trains into is waited for; a folder of another configuration raises a UserError. Ctrl-C
    finishes the step, writes a checkpoint and raises KeyboardInterrupt. A non-finite loss raises
    :class:`NonFiniteLoss`.
    """
    config, folder = config.resolve(), Path(run_dir)
    resolved = systems.configure(config.system, profile(config.profile), config.variant, config.switches)
    systems.check_training(config.system, resolved, config.variant)
    resolutions = resolved.resolutions
    if run := finished(config, folder):
        return run
    accelerator = make_accelerator(device, config.precision)
    dataset = training_set(config.data, resolutions, accelerator.device)
    given = None if config.matcher is None else _given_matcher(config, dataset, accelerator)
    if accelerator.is_main_process:  # a folder that cannot be written to is heard of before the work, not after it
        atomic_write(folder / ".writable", b"").unlink(missing_ok=True)
    with alone_in(folder, accelerator):
        if run := finished(config, folder):  # another process may have ended it since the first look
            return run
        p = profile(config.profile)
        system = systems.create(
            config.system,
            p,
            variant=config.variant,
            matcher=given or _own_matcher(config, folder, dataset, p, accelerator),
            seed=config.seed,
            **config.switches,
        ).to(accelerator.device)
        Loop(config, folder, system, dataset, accelerator).run(show_progress)
    return Run(folder)


def _given_matcher(config: RunConfig, dataset: CaptionDataset, accelerator) -> Matcher:
    return _knowing(encoders.load(config.matcher), config.matcher, dataset, config).to(accelerator.device)


def _own_matcher(config: RunConfig, folder: Path, dataset: CaptionDataset, p, accelerator) -> Matcher:
    """The run's own matching model, trained as its first step, or loaded where it is there."""
    kind = systems.matcher_kind(config.system, config.variant, config.switches)
    with accelerator.main_process_first():
        own = encoders.trained(
            kind, dataset, folder / "matcher", p, config.seed, progress=lambda steps: progress(steps, "matching model")
        )
    return _knowing(own, folder / "matcher", dataset, config)


def _knowing(matcher: Matcher, where: str | Path, dataset: CaptionDataset, config: RunConfig) -> Matcher:
    if not matcher.knows(dataset):
        raise UserError(f"the matching model {where} was trained on other captions than {config.data}")
    return matcher


def cooled(step: int, config: RunConfig) -> float:
    """The share of the learning rates in a step: 1, and over the last ``cooldown`` of the steps linearly towards 0.

    A generator and its judges that take large steps circle around what they have learnt; smaller ones let it settle.
    The rate of a step follows from the step alone, so that a resumed run goes on as if it had not stopped.
    """
    falling = config.cooldown * config.steps
    return min(1.0, (config.steps - step) / falling) if falling else 1.0


class Loop:
    """One training run's state and its steps."""

    def __init__(self, config: RunConfig, folder: Path, system: System, dataset: CaptionDataset, accelerator):
        self.config, self.folder, self.system, self.accelerator = config, folder, system, accelerator
        self.main = accelerator.is_main_process
        rank, world = accelerator.process_index, accelerator.num_processes
        self.rank = rank
        self.stream = BatchStream(
            dataset, system.vocabulary, config.batch_size, config.seed, rank, world, system.falsifies
        )
        betas = (config.beta1, config.beta2)
        self.rates = {"generator": config.learning_rate, "discriminators": config.discriminator_rate}
        self.optimisers = {
            part: torch.optim.Adam(getattr(system, part).parameters(), rate, betas, fused=True)
            for part, rate in self.rates.items()
        }
        self.averaged = torch.optim.swa_utils.AveragedModel(
            system.generator, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema)
        )
        self.sample_captions = sample_captions(config.data)
        self.step = 0
        self.seconds = 0.0  # of training, over all the times it was resumed
        self.window: list[Tensor] = []
        self.names: list[str] = []

    # ------------------------------------------------------------------ one step

    def train_step(self) -> None:
        """One update of the discriminators and one of the generator; losses stay on the device, in ``window``."""
        system, accelerator = self.system, self.accelerator
        batch = self.stream.at(self.step)
        draw = random_generator(self.config.seed, self.step, purpose=1000 + self.rank)
        noise = torch.randn(len(batch), system.noise_size, generator=draw).to(accelerator.device, non_blocking=True)
        with accelerator.autocast():
            with torch.no_grad():
                text = system.matcher.encode_text(batch.tokens)
            out = system.generate(text, noise)
            judged = system.discriminator_losses(batch, out)
        self._update("discriminators", judged)
        system.discriminators.requires_grad_(False)  # the generator's step needs no gradient of theirs
        with accelerator.autocast():
            drawn = system.generator_losses(batch, out)
        self._update("generator", drawn)
        system.discriminators.requires_grad_(True)
        self.averaged.update_parameters(system.generator)
        terms = judged | drawn | {name: value for name, value in out.extras.items() if value.dim() == 0}
        self.names = list(terms)
        self.window.append(torch.stack([value.detach().float() for value in terms.values()]))
        self.step += 1

    def _update(self, part: str, losses: dict[str, Tensor]) -> None:
        optimiser = self.optimisers[part]
        for group in optimiser.param_groups:
            group["lr"] = self.rates[part] * cooled(self.step, self.config)
        optimiser.zero_grad(set_to_none=True)
        self.accelerator.backward(sum(losses.values()))
        if self.accelerator.num_processes > 1:
            average_gradients(getattr(self.system, part), self.accelerator)
        optimiser.step()

    # ------------------------------------------------------------------ the run

    def run(self, show_progress: bool = True) -> None:
        self._start()
        self.system.train()
        with interrupt_flag() as interrupted:
            with flushed_denormals():
                self._steps(interrupted, show_progress and self.main)
            if self.main:
                self._finish()
        self.accelerator.wait_for_everyone()
        if interrupted.is_set():  # after the last step was done: the run is whole, and what called it is to stop
            raise KeyboardInterrupt

    def _steps(self, interrupted: Event, shown: bool) -> None:
        """Every step from here to the last, with its log, grids and checkpoints."""
        config = self.config
        started, seconds_before = time.perf_counter(), self.seconds
        steps = range(self.step, config.steps)
        for _ in progress(steps, f"{config.system} {config.variant} seed {config.seed}") if shown else steps:
            self.train_step()
            self.seconds = seconds_before + time.perf_counter() - started
            stop = self._stopped(interrupted)  # asked once: a Ctrl-C from here on stops the next step
            checkpoint_due = stop or self.step == config.steps or self.step % config.checkpoint_every == 0
            if checkpoint_due or self.step % config.log_every == 0:
                self._log()
            if self.main and (self.step % config.sample_every == 0 or self.step == config.steps):
                self._sample()
            if checkpoint_due:  # after the log and the grid: what a resumed run has behind it is there
                self._checkpoint()
            if stop:
                print(f"stopped by hand after step {self.step}; the same command goes on from here", flush=True)
                raise KeyboardInterrupt

    def _stopped(self, interrupted: Event) -> bool:
        """Did Ctrl-C ask for an end? Several processes ask one another, at each log line, and stop together."""
        if self.accelerator.num_processes == 1:
            return interrupted.is_set()
        if self.step % self.config.log_every:
            return False
        asked = torch.tensor(float(interrupted.is_set()), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, reduction="sum") > 0)

    def _start(self) -> None:
        """Resume from the folder's checkpoint; write down what is about to run."""
        has_checkpoint = (self.folder / CHECKPOINT).exists()
        self.accelerator.wait_for_everyone()
        if has_checkpoint:
            self._resume()  # before anything is written: a checkpoint that does not fit changes nothing here
        if not self.main:
            return
        matcher = self.system.matcher
        saved = {"run": self.config.to_dict(), "system": self.system.config.to_dict(), "versions": versions()}
        saved |= {"made_by": os.environ.get(MADE_BY)}
        write_json(self.folder / "config.json", saved | {"dataset": dataset_hash(self.config.data)})
        matcher.describe(self.folder)
        for leftover in self.folder.glob(f".{CHECKPOINT}.*"):  # of a process that was killed while it wrote
            leftover.unlink()
        if not has_checkpoint:
            (self.folder / "log.jsonl").unlink(missing_ok=True)
            self._sample()

    def _checkpoint(self) -> None:
        if not self.main:
            return
        state = {
            "system_name": self.config.system,
            "vocabulary": self.system.vocabulary.hash,
            "config": json.dumps(self.config.to_dict()),
            "step": self.step,
            "seconds": self.seconds,
            "generator": self.system.generator.state_dict(),
            "discriminators": self.system.discriminators.state_dict(),
            "matcher": self.system.matcher.state_dict() if self.system.matcher.stored else {},
            "averaged": self.averaged.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "rng": torch.get_rng_state(),
        }
        save_checkpoint(self.folder, state)

    def _resume(self) -> None:
        state = load_checkpoint(self.folder, system=self.config.system, vocabulary=self.system.vocabulary.hash)
        try:
            for part in ("generator", "discriminators", *(("matcher",) if self.system.matcher.stored else ())):
                getattr(self.system, part).load_state_dict(state[part])
            self.averaged.load_state_dict(state["averaged"])
        except RuntimeError as error:
            raise UserError(
                f"the checkpoint in {self.folder} has other layers than this configuration: {error}"
            ) from error
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        torch.set_rng_state(state["rng"])
        self.step, self.seconds = state["step"], state["seconds"]
        if self.main:  # lines of steps that the checkpoint does not know will be written again
            kept = [json.dumps(line) + "\n" for line in read_log(self.folder) if line["step"] <= self.step]
            atomic_write(self.folder / "log.jsonl", "".join(kept))
            for outdated in ("summary.json", "metrics.json", "stages.json"):
                (self.folder / outdated).unlink(missing_ok=True)
            print(f"going on from step {self.step}", flush=True)

    def _log(self) -> None:
        """Bring the window's losses to the CPU in one transfer, check them, append their means to the log."""
        if not self.window:
            return
        values = torch.stack(self.window)
        if self.accelerator.num_processes > 1:  # the mean over all processes: what one of them lost is lost to all
            values = self.accelerator.reduce(values, reduction="mean")
        values, self.window = values.cpu(), []
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            step = self.step - len(values) + row + 1
            raise NonFiniteLoss(
                f"the loss term {self.names[column]!r} of {self.config.system} became {values[row, column].item()} in "
                f"step {step}; the last good checkpoint in {self.folder} is kept. Lower the learning rate or its weight"
            )
        if self.main:
            means = dict(zip(self.names, values.mean(0).tolist(), strict=True))
            line = {"step": self.step, "seconds": round(self.seconds, 3)} | {k: round(v, 6) for k, v in means.items()}
            path = self.folder / "log.jsonl"
            try:
                with open(path, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            except OSError as error:
                raise UserError(
                    f"cannot write {path}: {error.strerror or error}; free some space, then the same command goes on"
                ) from error

    # ------------------------------------------------------------------ looking at it

    def finished_generator(self) -> nn.Module:
        """The averaged generator with batch-norm statistics of its own (see :func:`settle`), in eval mode."""
        generator = deepcopy(self.averaged.module)
        with torch.no_grad(), self.accelerator.autocast():
            settle(generator, (self._settling_inputs(k) for k in range(SETTLE_BATCHES)))
        return generator.eval()

    def _settling_inputs(self, k: int) -> tuple:
        batch = self.stream.at(k)
        draw = random_generator(self.config.seed, k, purpose=999)
        noise = torch.randn(len(batch), self.system.noise_size, generator=draw).to(self.accelerator.device)
        return self.system.generator_inputs(self.system.matcher.encode_text(batch.tokens), noise)

    @torch.no_grad()
    def _sample(self) -> None:
        """A grid with the same captions and noise at every step of every run on this dataset."""
        system = self.system
        captions = self.sample_captions
        generator = self.finished_generator()
        with self.accelerator.autocast():
            text, noise = system.matcher.encode_text(captions), system.noise(len(captions), seed=0)
            drawn = generator(*system.generator_inputs(text, noise)).images[-1]
        folder = self.folder / "samples"
        save_grid(drawn.float(), folder / f"step_{self.step:06d}.png")
        write_json(folder / "captions.json", captions)

    def _finish(self) -> None:
        system = self.system
        parts = {"generator.": self.finished_generator()}
        if system.matcher.stored:
            parts["matcher."] = system.matcher
        write_weights(self.folder / "weights.safetensors", system.vocabulary, parts)
        c = self.config
        summary = {
            "system": c.system,
            "variant": c.variant,
            "world": c.world,
            "seed": c.seed,
            "profile": c.profile,
            "steps": self.step,
            "batch_size": c.batch_size * self.accelerator.num_processes,
            "train_seconds": round(self.seconds, 2),
            "parameters": system.parameter_counts(),
            "trained_here": True,
            "device": device_name(self.accelerator.device),
        }
        write_json(self.folder / "summary.json", summary)


def settle(generator: nn.Module, inputs: Iterator[tuple]) -> None:
    """Measure an averaged generator's batch-norm statistics, as plain averages over ``inputs``.

    Its weights are a mean over many steps, so the running statistics of the last ones are not its own.
    """
    norms = [m for m in generator.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    generator.train()
    for arguments in inputs:
        generator(*arguments)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def sample_captions(data: str | Path, count: int = SAMPLE_CAPTIONS) -> list[str]:
    """The first caption of the first test images: what every sample grid of this dataset shows."""
    test = load(data, "test", resolutions=())
    return [test.caption(i) for i in range(min(count, len(test)))]


def save_grid(images: Tensor, path: Path, columns: int = 8) -> Path:
    """Images (B, 3, H, W) in [-1, 1] as one PNG, written whole or not at all."""
    import io

    from torchvision.transforms.functional import to_pil_image
    from torchvision.utils import make_grid

    grid = make_grid(images.cpu().add(1).div(2).clamp(0, 1), nrow=columns, padding=2, pad_value=1.0)
    buffer = io.BytesIO()
    to_pil_image(grid.mul(255).round().byte()).save(buffer, "PNG")  # rounded as every other picture here
    return atomic_write(path, buffer.getvalue())
