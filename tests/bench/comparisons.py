"""The comparisons themselves. Sizes are the mini profile's."""

from __future__ import annotations

import subprocess
import sys
from itertools import count
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F

from data_prep import toyworld
from t2i_core import systems
from t2i_core.captions import Vocabulary
from t2i_core.config import RunConfig, profile
from t2i_core.damsm import DAMSM, MatcherConfig
from t2i_core.data import BatchStream, CaptionDataset, load
from t2i_core.matching import word_loss
from t2i_core.process import flushed_denormals, make_accelerator
from t2i_core.train import Loop

from .measure import Row, Stopwatch, interleaved, milliseconds, ratio

MINI = profile("mini")
IMAGES = 512


class FromFiles(CaptionDataset):
    """A dataset too large for memory: every batch is decoded."""

    fits_in_memory = False


# -------------------------------------------------------------------------------------------------------- word loss


def word_loss_as_published(regions, words, mask, gamma1=5.0, gamma2=5.0, gamma3=10.0):
    """A loop over captions in the form that published implementations share: words repeated for every image, and
    every change of layout a copy."""
    batch, features, flat = len(words), words.shape[1], regions.flatten(2)
    regions_count, columns = flat.shape[2], []
    for caption, length in zip(words, mask.sum(1).tolist(), strict=True):
        word = caption[None, :, :length].contiguous().repeat(batch, 1, 1)
        scores = torch.bmm(flat.transpose(1, 2).contiguous(), word)
        by_word = scores.view(batch * regions_count, length).softmax(1).view(batch, regions_count, length)
        by_word = by_word.transpose(1, 2).contiguous().view(batch * length, regions_count)
        attention = (gamma1 * by_word).softmax(1).view(batch, length, regions_count)
        contexts = torch.bmm(flat, attention.transpose(1, 2).contiguous())
        contexts = contexts.transpose(1, 2).contiguous().view(batch * length, features)
        word = word.transpose(1, 2).contiguous().view(batch * length, features)
        cosines = ((contexts * word).sum(1) / (contexts.norm(dim=1) * word.norm(dim=1)).clamp_min(1e-8)).view(batch, -1)
        columns.append((gamma2 * cosines).exp().sum(1).log() / gamma2)
    return contrast(gamma3 * torch.stack(columns, 1))


def word_loss_in_a_lean_loop(regions, words, mask, gamma1=5.0, gamma2=5.0, gamma3=10.0):
    """The same loop without a copy that can be had as a view."""
    batch = len(words)
    flat = regions.flatten(2)
    columns = []
    for caption, real in zip(words, mask, strict=True):
        word = caption[:, real].expand(batch, -1, -1)
        scores = torch.bmm(word.transpose(1, 2), flat).softmax(1)
        attention = (gamma1 * scores).softmax(2)
        contexts = torch.bmm(flat, attention.transpose(1, 2))
        cosines = F.cosine_similarity(contexts, word, dim=1)
        columns.append((gamma2 * cosines).logsumexp(1) / gamma2)
    return contrast(gamma3 * torch.stack(columns, 1))


def word_loss_in_two_loops(regions, words, mask, gamma1=5.0, gamma2=5.0, gamma3=10.0):
    """By the book: one caption and one image after the other."""
    rows = []
    for image in regions.flatten(2):
        row = []
        for caption, real in zip(words, mask, strict=True):
            word = caption[:, real]
            attention = (gamma1 * (word.T @ image).softmax(0)).softmax(1)
            cosines = F.cosine_similarity(image @ attention.T, word, dim=0)
            row.append((gamma2 * cosines).logsumexp(0) / gamma2)
        rows.append(torch.stack(row))
    return contrast(gamma3 * torch.stack(rows))


def contrast(scores):
    target = torch.arange(len(scores))
    return F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)


def matching_batch(batch: int, text_dim: int, side: int, words: int):
    """Random regions and words that want gradients, captions of different lengths."""
    draw = torch.Generator().manual_seed(0)
    regions = torch.randn(batch, text_dim, side, side, generator=draw).requires_grad_()
    embedded = torch.randn(batch, text_dim, words, generator=draw).requires_grad_()
    lengths = torch.randint(5, words + 1, (batch, 1), generator=draw)
    return regions, embedded, torch.arange(words) < lengths


WORD_LOSSES = {
    "captions, as published": word_loss_as_published,
    "captions, without copies": word_loss_in_a_lean_loop,
    "captions and images": word_loss_in_two_loops,
}


def compare_word_loss(rounds: int) -> list[Row]:
    """On one thread, as in trainings side by side. The promise is made at the papers' size (Inception-v3's regions)."""
    encoder = DAMSM(MatcherConfig.of(MINI), toy_vocabulary()).image_encoder
    side = encoder(torch.zeros(1, 3, 32, 32)).regions.shape[-1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = compare_word_loss_at("paper", 32, 256, 17, 18, rounds // 3, promise={"captions, as published": 5})
        return rows + compare_word_loss_at("mini", 32, MINI.text_dim, side, MINI.max_words, rounds)
    finally:
        torch.set_num_threads(threads)


def compare_word_loss_at(size, batch, text_dim, side, words, rounds, promise=None) -> list[Row]:
    arguments = matching_batch(batch, text_dim, side, words)
    rows = []
    for name, by_hand in WORD_LOSSES.items():
        ways = {
            "by hand": lambda f=by_hand: f(*arguments).backward(),
            "vectorised": lambda: word_loss(*arguments).backward(),
        }
        seconds = interleaved(ways, max(3, rounds))
        detail = f"batch {batch}, {text_dim} features, {side} x {side} regions, with gradient: "
        detail += f"{milliseconds(seconds['by hand'])} by hand, {milliseconds(seconds['vectorised'])} vectorised"
        faster = ratio(seconds["by hand"], seconds["vectorised"])
        title = f"word loss, {size}: loop over {name} / vectorised"
        rows.append(Row(title, faster, detail, at_least=(promise or {}).get(name)))
    return rows


def toy_vocabulary() -> Vocabulary:
    scenes = (toyworld.draw("toy-scenes", 0, index, 8) for index in range(20))
    return Vocabulary.build((caption for scene in scenes for caption in scene.captions), max_words=MINI.max_words)


# --------------------------------------------------------------------------------------------------- the training loop


def prepared(folder: Path) -> Path:
    size = MINI.resolutions[-1]
    toyworld.prepare("toy-scenes", folder / "toy-scenes", size=size, train=IMAGES, test=32)
    return folder / "toy-scenes"


def new_loop(system: str, folder: Path, dataset: CaptionDataset) -> Loop:
    config = RunConfig(system=system, profile="mini", data=str(dataset.folder)).resolve()
    damsm = DAMSM(MatcherConfig.of(MINI), dataset.vocabulary(MINI.max_words))
    built = systems.create(system, MINI, matcher=damsm)
    (folder / system).mkdir(exist_ok=True)
    return Loop(config, folder / system, built.train(), dataset, make_accelerator("cpu"))


def compare_training(folder: Path, rounds: int) -> list[Row]:
    dataset = load(prepared(folder), "train", MINI.resolutions).to("cpu")
    with flushed_denormals():
        return [
            *loop_overhead(new_loop("alr-gan", folder, dataset), rounds),
            *batches_and_steps(folder, dataset, rounds),
        ]


def loop_overhead(loop: Loop, rounds: int) -> list[Row]:
    """A round is a window of the log: ten steps and its line. Grids and checkpoints come as often as in a mini run."""
    compute = Stopwatch()
    compute.watch(loop.system.matcher, "encode_text")
    for method in ("generate", "discriminator_losses", "generator_losses"):
        compute.watch(loop.system, method)
    compute.watch(loop.accelerator, "backward")
    for optimiser in loop.optimisers.values():
        compute.watch(optimiser, "zero_grad")
        compute.watch(optimiser, "step")
    shares, steps = [], []
    for _ in range(1 + max(3, rounds // 3)):
        before = compute.seconds
        (spent,) = interleaved({"window": lambda: window(loop)}, 1, warm_up=0)["window"]
        shares.append(1 - (compute.seconds - before) / spent)
        steps.append(spent / loop.config.log_every)
    pauses = interleaved({"grid": loop._sample, "checkpoint": loop._checkpoint}, 3)
    every = {"grid": loop.config.sample_every, "checkpoint": loop.config.checkpoint_every}
    a_step, share = median(steps[1:]), median(shares[1:])  # the first window warms up
    pausing = sum(median(pauses[name]) / steps_between for name, steps_between in every.items()) / a_step
    detail = f"of {1000 * a_step:.3g} ms an alr-gan step: batch, noise, average, log {100 * share:.2g} %, "
    detail += f"grids and checkpoints {100 * pausing:.2g} %"
    whole = (share + pausing) / (1 + pausing)
    return [Row("training loop: all but forward, backward, optimiser", whole, detail, at_most=0.05, percent=True)]


def window(loop: Loop) -> None:
    for _ in range(loop.config.log_every):
        loop.train_step()
    loop._log()


def batches_and_steps(folder: Path, dataset: CaptionDataset, rounds: int) -> list[Row]:
    loops = {name: new_loop(name, folder, dataset) for name in ("attngan", "alr-gan")}
    vocabulary = loops["attngan"].system.vocabulary
    large = FromFiles(dataset.folder, "train", MINI.resolutions)
    inside, outside = (BatchStream(source, vocabulary, MINI.batch_size, 0) for source in (dataset, large))
    numbers = {"in memory": count(), "from files": count()}
    ways = {name: loop.train_step for name, loop in loops.items()}
    ways["in memory"] = lambda: inside.at(next(numbers["in memory"]))
    ways["from files"] = lambda: outside.at(next(numbers["from files"]))
    seconds = interleaved(ways, rounds)
    step = seconds["alr-gan"]
    rows = []
    for name in ("in memory", "from files"):
        detail = f"{milliseconds(seconds[name])} a batch of {MINI.batch_size}"
        rows.append(Row(f"batch {name} / alr-gan step", ratio(seconds[name], step), detail, percent=True))
    detail = f"{milliseconds(step)} and {milliseconds(seconds['attngan'])}"
    rows.append(Row("alr-gan step / attngan step", ratio(step, seconds["attngan"]), detail))
    return rows


# ----------------------------------------------------------------------------------------------------------- import


def compare_imports(rounds: int) -> list[Row]:
    def imported(module: str):
        return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True)

    modules = ("torch", "t2i_core", "t2i_core.train")
    seconds = interleaved({name: imported(name) for name in modules}, rounds)
    torch_takes = f"torch {milliseconds(seconds['torch'])}"
    return [
        Row(
            f"import {name} / import torch",
            ratio(seconds[name], seconds["torch"]),
            f"{milliseconds(seconds[name])}, {torch_takes}",
            at_most=1.2 if name == "t2i_core" else None,
        )
        for name in modules[1:]
    ]
