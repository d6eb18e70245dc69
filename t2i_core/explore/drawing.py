"""Ask a system for a picture and see how it came about, as data: everything that the explorer shows starts here.

Shapes: T words, R an image's side, h and w of a feature map.
"""

from __future__ import annotations

import difflib
import math
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from t2i_core.captions import Tokens
from t2i_core.config import UserError
from t2i_core.runs import Run
from t2i_core.systems.base import Generated, System
from t2i_core.text_encoder import Text

KEPT = 16  # encoded captions: enough for a word that is typed and taken back


class Drawer:
    """A system that remembers the captions it has read last, so that another seed costs no second reading."""

    def __init__(self, system: System):
        self.system = system
        self._read: OrderedDict[str, tuple[Tokens, Text]] = OrderedDict()

    @torch.no_grad()
    def encode(self, caption: str) -> tuple[Tokens, Text]:
        """The caption's words and what they became. An empty caption raises a UserError."""
        if not isinstance(caption, str):
            raise UserError("the caption must be one string")
        if caption in self._read:
            self._read.move_to_end(caption)
        else:
            tokens = self.system.vocabulary.tokenize([caption])
            self._read[caption] = tokens, self.system.matcher.encode_text(tokens.to(self.system.device))
            while len(self._read) > KEPT:
                self._read.popitem(last=False)
        return self._read[caption]

    def noise(self, seed: int, truncation: float) -> Tensor:
        """The row of noise (1, noise_size) of a seed, times ``truncation``."""
        if not 0 <= truncation < math.inf:
            raise UserError(f"truncation {truncation} must be 0 (no noise at all) or more; 1 is as in training")
        return truncation * self.system.noise(1, seed)

    @torch.no_grad()
    def draw(self, text: Text, noise: Tensor) -> Generated:
        """As `System.generate` in eval mode; the system is left as it was."""
        was_training = self.system.training
        try:
            return self.system.eval().generate(text, noise)
        finally:
            self.system.train(was_training)


Source = System | Run | str | Path | Drawer


def opened(source: Source) -> Drawer:
    """A drawer of a system, a run, or a run's folder. A run without finished weights raises a UserError."""
    if isinstance(source, Drawer):
        return source
    if isinstance(source, str | Path):
        source = Run(source)
    return Drawer(source.system() if isinstance(source, Run) else source)


@dataclass(frozen=True)
class Rendering:
    """One caption drawn. images: (3, R, R) in [-1, 1] a stage; attention: (T, h, w) a refining stage, a softmax over
    what it reads in every region; acts: for every image the (T, h, w) by which the *words* act on it, or None where the
    stage reads none; notes: what the user should know of how the caption was read; spans: where each word stands."""

    caption: str
    seed: int
    system: str
    words: tuple[str, ...]
    images: tuple[Tensor, ...]
    attention: tuple[Tensor, ...]
    notes: tuple[str, ...]
    truncation: float = 1.0
    acts: tuple[Tensor | None, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    unknown: tuple[str, ...] = ()


def render(system: Source, caption: str, seed: int = 0, truncation: float = 1.0) -> Rendering:
    """Draw ``caption`` with ``system`` (or the run folder of one). The same arguments give the same picture.

    ``truncation`` scales the whole row of noise (:func:`noise_layout`): at 1 it is what the system was trained with, at
    0 nothing is random, and every seed gives the caption's one mean picture.
    """
    drawer = opened(system)
    tokens, text = drawer.encode(caption)
    out = drawer.draw(text, drawer.noise(seed, truncation))
    return Rendering(
        caption=caption,
        seed=seed,
        system=drawer.system.name,
        words=tokens.words[0],
        images=tuple(image[0].float().cpu() for image in out.images),
        attention=tuple(_on_grid(theta) for theta in out.attention),
        notes=tuple(tokens.notes()),
        truncation=truncation,
        acts=_acts(drawer.system, out),
        spans=tokens.spans[0],
        unknown=tokens.unknown[0],
    )


def _on_grid(theta: Tensor) -> Tensor:
    """Theta (1, T, N) of a square feature map -> (T, h, w)."""
    side = math.isqrt(theta.shape[2])
    return theta[0].unflatten(1, (side, side)).float().cpu()


def _acts(system: System, out: Generated) -> tuple[Tensor | None, ...]:
    """For every image the Theta of its words. The first stage has none; a stage of GR-GAN has one only in the role W:
    with I it reads nothing, with S copies of the sentence."""
    roles = getattr(system.config, "order", "W" * len(out.images))
    thetas = iter(out.attention)
    acts: list[Tensor | None] = [None]
    for role in roles[1 : len(out.images)]:
        theta = next(thetas, None) if role != "I" else None
        acts.append(None if theta is None or role == "S" else _on_grid(theta))
    return tuple(acts)


def noise_layout(system: System) -> tuple[tuple[str, int], ...]:
    """What a row of the system's noise is made of: ("z", how many numbers), then an "epsilon" for every conditioning
    augmentation, by which c = mu(s) + sigma(s) epsilon varies the sentence. Truncation scales all of them alike."""
    c = system.config
    rest = system.noise_size - c.noise_dim
    count = rest // c.condition_dim if c.condition_dim else 0
    names = ["epsilon"] if count == 1 else [f"epsilon {k + 1}" for k in range(count)]
    return (("z", c.noise_dim), *((name, c.condition_dim) for name in names))


# ------------------------------------------------------------------------------------------------ one change


@dataclass(frozen=True)
class Change:
    """One noise under two captions. differences: (R, R) a stage, the mean over the channels of |before - after| / 2, in
    [0, 1]; regions: where the changed words act on that image, the greatest share that one of them has in either
    drawing, (h, w), or None; words: the pieces that differ, (before, after)."""

    before: Rendering
    after: Rendering
    words: tuple[tuple[str, str], ...]
    differences: tuple[Tensor, ...]
    regions: tuple[Tensor | None, ...]


def compare(system: Source, before: str, after: str, seed: int = 0, truncation: float = 1.0) -> Change:
    """Draw two captions with the same noise, and see where the pictures differ and where the changed words act."""
    drawer = opened(system)
    first, second = (render(drawer, caption, seed, truncation) for caption in (before, after))
    edits = difflib.SequenceMatcher(None, first.words, second.words, autojunk=False).get_opcodes()
    edits = [edit[1:] for edit in edits if edit[0] != "equal"]
    words = tuple((" ".join(first.words[a:b]), " ".join(second.words[c:d])) for a, b, c, d in edits)
    old = [k for a, b, _, _ in edits for k in range(a, b)]
    new = [k for _, _, c, d in edits for k in range(c, d)]
    differences = tuple((a - b).abs().mean(0) / 2 for a, b in zip(first.images, second.images, strict=True))
    regions = tuple(_region(a, old, b, new) for a, b in zip(first.acts, second.acts, strict=True))
    return Change(first, second, words, differences, regions)


def _region(a: Tensor | None, old: list[int], b: Tensor | None, new: list[int]) -> Tensor | None:
    if a is None or b is None or not old + new:
        return None
    return torch.cat([a[old], b[new]]).amax(0)


def inside_and_outside(change: Change, stage: int = -1, share: float = 0.25) -> tuple[float, float] | None:
    """The mean difference inside the ``share`` of the picture where the changed words act most, and outside of it; None
    at a stage where no changed word acts."""
    region, difference = change.regions[stage], change.differences[stage]
    if region is None:
        return None
    large = F.interpolate(region[None, None], size=difference.shape, mode="bilinear", align_corners=False).flatten()
    inside = torch.zeros_like(large, dtype=torch.bool)
    inside[large.topk(max(1, round(share * large.numel()))).indices] = True
    return float(difference.flatten()[inside].mean()), float(difference.flatten()[~inside].mean())


def without_word(system: Source, drawn: Rendering, word: int) -> tuple[Tensor, ...] | None:
    """How each of the images changes when ``word`` is left out of the caption, as :attr:`Change.differences`: where a
    word acts in a system without attention. None where nothing would be left."""
    start, end = drawn.spans[word]
    rest = " ".join((drawn.caption[:start] + drawn.caption[end:]).split())
    try:
        return compare(system, drawn.caption, rest, drawn.seed, drawn.truncation).differences
    except UserError:
        return None


# ------------------------------------------------------------------------------------------------ a walk


@dataclass(frozen=True)
class Walk:
    """Pictures (n, 3, R, R) on the way from one caption and seed to another; ``at``: how far, from 0 to 1."""

    captions: tuple[str, str]
    seeds: tuple[int, int]
    system: str
    truncation: float
    at: tuple[float, ...]
    images: Tensor


def walk(
    system: Source, captions: tuple[str, str], seeds: tuple[int, int] = (0, 0), steps: int = 7, truncation: float = 1.0
) -> Walk:
    """Walk from (captions[0], seeds[0]) to (captions[1], seeds[1]) in ``steps`` pictures, both ends among them.

    The sentence and the words go straight (:func:`text_between`), the noise along the sphere (:func:`noise_between`).
    The ends are the pictures that :func:`render` draws.
    """
    if steps < 2:
        raise UserError(f"a walk of {steps} pictures has no way to go: choose 2 or more")
    drawer = opened(system)
    (_, first), (_, last) = (drawer.encode(caption) for caption in captions)
    start, end = (drawer.noise(seed, truncation) for seed in seeds)
    at = torch.linspace(0, 1, steps, device=start.device)
    out = drawer.draw(text_between(first, last, at), noise_between(start, end, at))
    return Walk(captions, seeds, drawer.system.name, truncation, tuple(at.tolist()), out.images[-1].float().cpu())


def text_between(a: Text, b: Text, at: Tensor) -> Text:
    """(1 - t) a + t b for every t of ``at`` (n,): texts of one caption each -> one of n.

    Captions of Ta and Tb words meet in L = lcm(Ta, Tb) places: each word of a stands in L / Ta neighbouring ones, each
    of b in L / Tb. A softmax over the words, or a mean of them, does not change when all are repeated equally often, so
    at t = 0 and t = 1 the systems see just a and b.
    """
    length = math.lcm(a.words.shape[2], b.words.shape[2])
    a, b = (_repeated(text, length) for text in (a, b))
    t = at.to(a.sentence.dtype)
    sentence = torch.lerp(a.sentence, b.sentence, t[:, None])
    words = torch.lerp(a.words, b.words, t[:, None, None])
    return Text(words, sentence, a.mask.expand(len(t), -1))


def _repeated(text: Text, length: int) -> Text:
    times = length // text.words.shape[2]
    return Text(text.words.repeat_interleave(times, 2), text.sentence, text.mask.repeat_interleave(times, 1))


def noise_between(a: Tensor, b: Tensor, at: Tensor) -> Tensor:
    """Spherical interpolation, sin((1 - t) w) / sin w a + sin(t w) / sin w b with w the angle between a and b (1, n).

    Straight lines lead through noise that is too short: the middle of two normal vectors has about 0.7 of their length,
    and no training has seen it. On the sphere the length stays. Parallel vectors (the same seed) go straight.
    """
    t = at.to(a.dtype)[:, None]
    angle = torch.arccos(F.cosine_similarity(a, b, dim=1).clamp(-1, 1))
    if angle.sin() < 1e-4:
        return torch.lerp(a, b, t)
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
