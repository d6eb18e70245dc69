"""What a training log says of the game between discriminator and generator: did one side win it for long?

A discriminator that tells every drawn image from every real one has a loss at its least, its judgement is the same all
around a drawn image, and the generator's gradient through it vanishes (Arjovsky and Bottou 2017). The log holds losses
and no gradients, so what is looked for is their signature: D's loss near its least while the generator's stays high.
The thresholds are decisions of this project.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import pandas as pd

from t2i_core.config import UserError
from t2i_core.runs import Run

NEAR = 0.1  # D has all but won from here down: a tenth of the way from its least loss to that of a blind one
LOST = 0.1  # the probability below which D takes drawn images for real (hinge: the margin, a logit of -1)
SUSTAINED = 0.25  # of the training steps
FALLING = 0.9  # a generator whose loss ends a stretch below this share of where it began is getting out of it
LINES = 10  # a shorter log cannot tell a stretch from a moment
SMOOTH = 3  # lines of the running median: one lucky batch neither makes nor ends a stretch

_LEAST = math.log(1.5) + 0.5 * math.log(3)  # of softplus(-r) + softplus(r)/2, at D = 2/3


@dataclass(frozen=True)
class Game:
    """Three values of logged losses: D's with logits of 0 (``blind``), D's least (``won``), the generator's where D
    takes drawn images for real with probability `LOST` only (``lost``).

    A matching-aware D judges real images with wrong captions too. One that knows all drawn images, and reads no
    caption, does not get to 0 but to ``won``: 1 for the hinge terms of RATLIP E8, log 1.5 + log(3)/2 for GAN-CLS's.
    """

    blind: float
    won: float
    lost: float

    @property
    def near(self) -> float:
        """The loss from which down D has all but won."""
        return self.won + NEAR * (self.blind - self.won)


@dataclass(frozen=True)
class Stretch:
    """Steps ``first`` to ``last`` in which the discriminator ``d`` (the log's column) had won; ``share`` of all."""

    d: str
    g: str
    first: int
    last: int
    share: float
    d_loss: float
    g_loss: float


def game(system: str, switches: dict, stage: int = 0) -> Game:
    """What the losses "d" and "g" of a stage mean, by the system's own formula and its configuration.

    A logged loss is a sum of pairs, -log D(real) - log(1 - D(drawn)) times a weight: 1 (cgan, gan-cls, stackgan, sdn),
    1/2 without and 1/2 with the sentence (ALR-GAN E13), 1/2 (GR-GAN E1-E7); or the hinge of RATLIP E8.
    """
    pair, never = 2 * math.log(2), -math.log(LOST)
    mismatch = bool(switches.get("mismatch"))
    if system in ("df-gan", "galip", "ratlip"):
        return Game(2.0, 1.0, 1.0)
    if system in ("stackgan", "sdn", "gan-cls", "cgan"):
        aware = mismatch if system == "gan-cls" else system != "cgan"
        return Game(pair, _LEAST if aware else 0.0, never)
    if system == "gr-gan":
        reads = switches["order"][stage] != "I"
        return Game(pair / 2, _LEAST / 2 if mismatch and reads else 0.0, never / 2)
    if system in ("attngan", "dm-gan", "alr-gan"):
        if switches.get("falsified"):  # wrong captions weigh 1/4 more, as much as the right ones of real images
            return Game(pair + math.log(2) / 4, math.log(2), never)
        return Game(pair, _LEAST / 2 if mismatch else 0.0, never)
    raise UserError(f"what a blind discriminator's loss is in {system!r} is not written down in failures.log.game")


def games(run: Run) -> dict[tuple[str, str], Game]:
    """{("d0", "g0"): its game, ...}: the pairs of losses that the run's log holds."""
    columns = run.log().columns
    names = [(d, f"g{d[1:]}") for d in columns if re.fullmatch(r"d\d*", d)]
    known = run.config.system, run.system_config
    return {(d, g): game(*known, int(d[1:] or 0)) for d, g in names if g in columns}


def stretches(log: pd.DataFrame, pairs: dict[tuple[str, str], Game]) -> list[Stretch]:
    """All stretches of consecutive log lines in which a discriminator had won, the longest first.

    In each line of the running median D's loss is at ``near`` or below and the generator's at ``lost`` or above; and
    over the stretch the generator does not get out of it: its loss at the end (mean of the last third) is no less than
    `FALLING` of that at the beginning.
    """
    found = []
    steps = log["step"].to_numpy()
    if not len(steps):
        return found
    before = [0, *steps[:-1]]
    for (d, g), meaning in pairs.items():
        quiet = log[[d, g]].rolling(SMOOTH, center=True, min_periods=1).median()
        won = ((quiet[d] <= meaning.near) & (quiet[g] >= meaning.lost)).tolist()
        for start, end in _spans(won):
            losses = quiet[g].iloc[start:end]
            third = max(1, len(losses) // 3)
            if losses.iloc[-third:].mean() < FALLING * losses.iloc[:third].mean():
                continue
            share = (steps[end - 1] - before[start]) / steps[-1]
            means = float(quiet[d].iloc[start:end].mean()), float(losses.mean())
            found.append(Stretch(d, g, int(before[start]) + 1, int(steps[end - 1]), float(share), *means))
    return sorted(found, key=lambda stretch: -stretch.share)


def _spans(flags: list[bool]) -> list[tuple[int, int]]:
    """[start, end) of every run of True."""
    edges = [k for k in range(len(flags) + 1) if (k < len(flags) and flags[k]) != (k > 0 and flags[k - 1])]
    return list(zip(edges[::2], edges[1::2], strict=True))
