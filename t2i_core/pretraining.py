"""The training of a matching model, the first step of every run from scratch: one cycle of the learning rate.

An interrupted one goes on from its checkpoint, and ends as if nothing had been.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from t2i_core.config import Profile, UserError, nearest
from t2i_core.data import BatchStream, CaptionDataset, random_generator
from t2i_core.matcher import Matcher, read_facts
from t2i_core.process import flushed_denormals
from t2i_core.runs import CHECKPOINT, load_checkpoint, save_checkpoint

PERTURBING = 3000  # what a random generator is for: see `data.random_generator`
CHECKPOINT_EVERY = 500  # steps


def pretrain(
    cls: type[Matcher],
    dataset: CaptionDataset,
    out: str | Path,
    profile: Profile,
    seed: int = 0,
    steps: int | None = None,
    learning_rate: float | None = None,
    config: Any = None,
    precision: str = "fp32",
    progress=None,
    **parts: Matcher,
) -> Matcher:
    """Train a matching model on a split and save it to ``out``; a folder that holds this very training is loaded, or
    gone on with where it was interrupted.

    One-cycle schedule, gradients clipped. ``progress(steps)`` gives an iterable of steps that shows how far it is;
    ``parts`` are trained models that this one is built on; ``precision`` "bf16" is autocast's.
    Raises a UserError where the folder holds another training, FloatingPointError where a loss became non-finite.
    """
    out = Path(out)
    steps = steps or cls.steps(profile)
    learning_rate = learning_rate or cls.rate(profile)
    nearest(precision, ("fp32", "bf16"), "precision")
    config = config or cls.Config.of(profile)
    vocabulary = next((part.vocabulary for part in parts.values()), None) or dataset.vocabulary(profile.max_words)
    asked = {
        "kind": cls.kind,
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        "seed": seed,
        "steps": steps,
        "batch_size": profile.matcher_batch,
        "learning_rate": learning_rate,
        "vocabulary": vocabulary.hash,
        "data": dataset.manifest["name"],
        "images": len(dataset),
    }
    asked |= {"precision": precision} if precision != "fp32" else {}  # as it was before there was a choice
    if (out / "matcher.json").exists():
        found = read_facts(out / "matcher.json")
        if all(found.get(key) == value for key, value in asked.items()):
            return cls.load(out).to(dataset.device)
        raise UserError(f"{out} holds a matching model of another configuration: choose another folder or remove it")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cls(config, vocabulary, **parts)
    model.begin()
    model.to(dataset.device).train()
    training = _Training(model, out, asked)
    stream = BatchStream(dataset, vocabulary, profile.matcher_batch, seed, falsify=model.falsifies)
    halved = torch.autocast(dataset.device.type, torch.bfloat16, enabled=precision == "bf16")
    left = range(training.step, steps)
    with flushed_denormals():
        for step in progress(left) if progress else left:
            batch, draw = stream.at(step), random_generator(seed, step, purpose=PERTURBING)
            with halved:
                losses = model.training_losses(batch, draw, step / steps)
            training.advance(losses)
    log = training.log()
    facts = {key: value for key, value in asked.items() if key not in ("kind", "config")}
    model.freeze().save(out, **facts, train_seconds=training.seconds(), log=log)
    training.checkpoint.unlink(missing_ok=True)
    return model


class _Training:
    """What a step changes: the model, its optimiser, the schedule, the losses so far. All of it is in a checkpoint."""

    def __init__(self, model: Matcher, out: Path, asked: dict[str, Any]):
        self.model, self.out, self.asked = model, out, asked
        self.optimiser = model.optimiser(model, asked["learning_rate"])
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, asked["learning_rate"], total_steps=asked["steps"] + 1, pct_start=0.1
        )
        self.step, self.history, self.before = 0, {}, 0.0
        self.checkpoint = out / CHECKPOINT
        if self.checkpoint.exists():
            self._resume()
        self.started = time.perf_counter()

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    def advance(self, losses: dict[str, Tensor]) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.model.clip_gradient)
        self.optimiser.step()
        self.schedule.step()
        for name, loss in losses.items():
            self.history.setdefault(name, []).append(loss.detach())
        self.step += 1
        if self.step % CHECKPOINT_EVERY == 0 and self.step < self.asked["steps"]:
            self._save()

    def log(self) -> dict[str, list[float]]:
        """The losses of every step; FloatingPointError where one is not finite, and then nothing is left to go on
        from."""
        log = {name: torch.stack(values) for name, values in self.history.items()}
        for name, values in log.items():
            if not values.isfinite().all():
                self.checkpoint.unlink(missing_ok=True)
                raise FloatingPointError(
                    f"the {self.model.title}'s {name} loss became non-finite: lower the learning rate"
                )
        return {name: values.tolist() for name, values in log.items()}

    def _save(self) -> None:
        state = {
            "system_name": self.model.kind,
            "vocabulary": self.model.vocabulary.hash,
            "asked": self.asked,
            "log": self.log(),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "seconds": self.seconds(),
        }
        save_checkpoint(self.out, state)

    def _resume(self) -> None:
        state = load_checkpoint(self.out, system=self.model.kind, vocabulary=self.model.vocabulary.hash)
        if state["asked"] != self.asked:
            raise UserError(
                f"{self.out} holds an unfinished matching model of another configuration: choose another folder or "
                "remove it"
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        device = next(self.model.parameters()).device
        self.history = {name: list(torch.tensor(values, device=device)) for name, values in state["log"].items()}
        self.step, self.before = state["step"], state["seconds"]
        print(f"{self.model.title}: going on from step {self.step} of {self.asked['steps']}", flush=True)
