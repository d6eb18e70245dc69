"""Prepared datasets as batches: images at every stage's resolution, one caption each, and the ground truth beside them.

What a batch holds is a pure function of (seed, step): nothing to save, nothing to lose when a run is resumed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from t2i_core.blocks import resize
from t2i_core.captions import Tokens, Vocabulary, split_words
from t2i_core.config import UserError, nearest
from t2i_core.falsify import KINDS, Falsified, Falsifier
from t2i_core.manifest import dataset_hash, read_manifest

FALSIFYING = 2000  # what a random generator is for: see `random_generator`
IN_MEMORY_BYTES = 2 << 30  # decoded pixels up to this size are kept in memory, all resolutions together


def random_generator(seed: int, step: int = 0, purpose: int = 0) -> torch.Generator:
    """A CPU generator for one step and purpose: the same numbers on every device, and after every restart."""
    if seed < 0:
        raise UserError(f"seed {seed} is negative: choose 0 or more")
    mixed = np.random.SeedSequence((seed, step, purpose)).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(mixed[0]) << 31 | int(mixed[1]) >> 1)


@dataclass(frozen=True)
class Batch:
    """images: one (B, 3, R, R) in [-1, 1] a stage, coarse to fine; class_ids (B,): equal ids are no negatives."""

    images: list[Tensor]
    tokens: Tokens
    class_ids: Tensor
    indices: Tensor  # (B,) into the split, on the CPU
    caption_indices: Tensor  # (B,) which of the image's captions, on the CPU
    falsified: Falsified | None = None  # the same captions made false, where the stream was asked for them

    def __len__(self) -> int:
        return len(self.indices)


class CaptionDataset:
    """One split of a prepared dataset. ``resolutions`` are the sizes that batches hold, coarse to fine."""

    def __init__(self, folder: str | Path, split: str = "train", resolutions: Sequence[int] = (8, 16, 32)):
        from datasets import disable_progress_bars, load_from_disk

        self.folder, self.split, self.resolutions = Path(folder), split, tuple(resolutions)
        self.manifest = read_manifest(self.folder)
        nearest(split, self.manifest["splits"], "split")
        self.size: int = self.manifest["size"]
        if self.size < max(self.resolutions, default=0):
            raise UserError(
                f"{self.folder} holds images of {self.size} px, but {max(self.resolutions)} px are asked for: "
                f"prepare it again with --size {max(self.resolutions)}"
            )
        disable_progress_bars()
        try:
            self._table = load_from_disk(str(self.folder / split)).with_format("arrow")
            columns = self._table.select_columns([c for c in self._table.column_names if c not in ("image", "mask")])[:]
            self.captions: list[list[str]] = columns["captions"].to_pylist()
            self.names: list[str] = columns["name"].to_pylist()
            self._truth_json: list[str] = columns["truth"].to_pylist()
            classes = torch.tensor(columns["class_id"].to_pylist(), dtype=torch.long)
        except Exception as error:  # a damaged file is reported by many exception types
            raise UserError(
                f"{self.folder / split} cannot be read ({type(error).__name__}: {error}): "
                f"delete {self.folder} and prepare it again"
            ) from error
        # an image without a class is a class of its own, apart from all real ones
        self.class_ids = torch.where(classes >= 0, classes, -1 - torch.arange(len(classes)))
        self._pixels: dict[int, Tensor] = {}
        self._vocabularies: dict[int, Vocabulary] = {}
        self._tokens: dict[str, Tokens] = {}
        self.device = torch.device("cpu")

    def __len__(self) -> int:
        return len(self.captions)

    @cached_property
    def truth(self) -> list[dict]:
        """Ground truth an image (see the manifest's format): attributes, parts, relations, words of each caption."""
        return [json.loads(text) for text in self._truth_json]

    def _decode(self, indices: Sequence[int], column: str = "image") -> Tensor:
        """Stored pictures as uint8 (n, C, size, size)."""
        rows = self._table.select(indices)[:][column].to_pylist()
        mode = "RGB" if column == "image" else "L"

        def one(index: int, row: dict) -> np.ndarray:
            try:
                return np.asarray(Image.open(BytesIO(row["bytes"])).convert(mode))
            except Exception as error:  # Pillow reports a damaged picture by many exception types
                raise UserError(
                    f"the {column} of {self.names[index]!r} in {self.folder / self.split} is damaged ({error}): "
                    f"delete {self.folder} and prepare it again"
                ) from error

        with ThreadPoolExecutor(4) as pool:  # decoding releases the interpreter's lock
            pixels = torch.from_numpy(np.stack(list(pool.map(one, indices, rows))))
        return pixels.permute(0, 3, 1, 2) if column == "image" else pixels[:, None]

    @property
    def fits_in_memory(self) -> bool:
        return len(self) * 3 * (self.size**2 + sum(r * r for r in self.resolutions)) <= IN_MEMORY_BYTES

    def to(self, device: torch.device | str) -> CaptionDataset:
        """Decode everything once onto ``device`` where it fits in memory; larger sets are decoded batch by batch."""
        self.device = torch.device(device)
        if self.fits_in_memory:
            for resolution in self.resolutions:
                self._resident(resolution)
        return self

    def _resident(self, resolution: int) -> Tensor:
        """All pixels at one resolution; pictures are decoded once for all the resolutions that are still missing."""
        missing = [r for r in dict.fromkeys((*self.resolutions, resolution)) if r not in self._pixels]
        if resolution in missing:
            parts: dict[int, list[Tensor]] = {r: [] for r in missing}
            for chunk in torch.arange(len(self)).split(1024):
                full = self._decode(chunk.tolist()).to(self.device)
                for r, shrunk in parts.items():
                    shrunk.append(_shrink(full, r))
            self._pixels |= {r: torch.cat(shrunk).contiguous() for r, shrunk in parts.items()}
        pixels = self._pixels[resolution]
        if pixels.device != self.device:
            pixels = self._pixels[resolution] = pixels.to(self.device)
        return pixels

    def images(self, indices: Tensor | Sequence[int], resolution: int | None = None) -> Tensor:
        """(n, 3, R, R) in [-1, 1] on the dataset's device; R is the finest resolution unless given."""
        resolution = resolution or self.resolutions[-1]
        indices = torch.as_tensor(indices)
        if self.fits_in_memory:
            pixels = self._resident(resolution)[indices.to(self.device)]
        else:
            pixels = _shrink(self._decode(indices.tolist()).to(self.device), resolution)
        return pixels.float() / 127.5 - 1

    def stages(self, indices: Tensor | Sequence[int]) -> list[Tensor]:
        """:meth:`images` at every resolution, coarse to fine; what is not in memory is decoded once for all of them."""
        if self.fits_in_memory:
            return [self.images(indices, resolution) for resolution in self.resolutions]
        full = self._decode(torch.as_tensor(indices).tolist()).to(self.device)
        return [_shrink(full, resolution).float() / 127.5 - 1 for resolution in self.resolutions]

    def masks(self, indices: Tensor | Sequence[int], resolution: int | None = None) -> Tensor:
        """(n, R, R) int64: 0 background, k for the part whose "mask" is k in the truth; read at the pixels' middles.

        Toy worlds only.
        """
        if "mask" not in self._table.column_names:
            raise UserError(f"{self.folder} holds no masks: only the toy worlds know where everything is")
        masks = self._decode(torch.as_tensor(indices).tolist(), "mask")
        resolution = resolution or self.size
        middles = (2 * torch.arange(resolution) + 1) * self.size // (2 * resolution)
        return masks[:, 0, middles][:, :, middles].long()

    def caption(self, index: int, caption_index: int = 0) -> str:
        return self.captions[index][caption_index]

    def said(self, kind: str) -> set[str]:
        """The single words by which captions say ``kind`` ("name", "color", ...) of things; none without a truth."""
        found = {
            caption[start:end].lower()
            for truth, captions in zip(self.truth, self.captions, strict=True)
            for caption, words in zip(captions, truth.get("words", []), strict=False)
            for start, end, part, what in words
            if part >= 0 and what == kind
        }
        return {word for word in found if len(split_words(word)) == 1}

    def vocabulary(self, max_words: int = 18) -> Vocabulary:
        """Every word of this split's captions."""
        if max_words not in self._vocabularies:
            every = (caption for captions in self.captions for caption in captions)
            self._vocabularies[max_words] = Vocabulary.build(every, max_words=max_words)
        return self._vocabularies[max_words]

    def tokens(self, vocabulary: Vocabulary) -> Tokens:
        """All captions, one image's after another's, read once for all runs that share this dataset."""
        if vocabulary.hash not in self._tokens:
            every = [caption for captions in self.captions for caption in captions]
            self._tokens[vocabulary.hash] = vocabulary.tokenize(every)
        return self._tokens[vocabulary.hash]


def _shrink(pixels: Tensor, resolution: int) -> Tensor:
    """uint8 (n, C, S, S) -> uint8 (n, C, R, R), antialiased."""
    if pixels.shape[-1] == resolution:
        return pixels
    return resize(pixels.float(), resolution).round().clamp(0, 255).to(torch.uint8)


def load(folder: str | Path, split: str = "train", resolutions: Sequence[int] = (8, 16, 32)) -> CaptionDataset:
    """Open one split of a prepared dataset; a missing or foreign folder raises, saying how to prepare it."""
    return CaptionDataset(folder, split, resolutions)


def training_set(data: str | Path, resolutions: Sequence[int], device: torch.device) -> CaptionDataset:
    """The training images, decoded on ``device``. The last one is kept: runs that one process trains one after the
    other mostly share it, and decoding takes longer than a short run's steps."""
    return _training_set(str(data), dataset_hash(data), tuple(resolutions), device)


@lru_cache(maxsize=1)
def _training_set(data: str, content: str, resolutions: tuple[int, ...], device: torch.device) -> CaptionDataset:
    return load(data, "train", resolutions).to(device)


class BatchStream:
    """Endless shuffled batches: epoch after epoch, every image once an epoch, a random caption of it each time.

    ``rank`` and ``world`` share each batch between processes: ``batch_size`` is that of one process. With
    ``falsify``, every batch has its captions made false as well; a UserError where that cannot be.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        vocabulary: Vocabulary,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        falsify: bool = False,
    ):
        if len(dataset) < 2:
            raise UserError(f"{dataset.folder} has {len(dataset)} image(s) to train on: at least 2 are needed")
        self.dataset, self.vocabulary = dataset, vocabulary
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        counts = [len(captions) for captions in dataset.captions]
        self._counts = torch.tensor(counts)
        self._first = self._counts.cumsum(0) - self._counts
        tokens = dataset.tokens(vocabulary)
        self._ids, self._lengths = tokens.ids, tokens.lengths
        self._order: dict[int, Tensor] = {}
        self._falsify = Falsifier(vocabulary, {kind: dataset.said(kind) for kind in KINDS}) if falsify else None

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._order:
            order = torch.randperm(len(self.dataset), generator=random_generator(self.seed, epoch, purpose=1))
            self._order = {e: o for e, o in self._order.items() if e == epoch - 1} | {epoch: order}
        return self._order[epoch]

    def indices(self, step: int) -> Tensor:
        """Which images step ``step`` sees, (B,)."""
        total, size = self.batch_size * self.world, len(self.dataset)
        places = torch.arange(step * total, (step + 1) * total)[self.rank :: self.world]
        epochs = places // size
        return torch.cat([self._epoch(int(e))[places[epochs == e] % size] for e in epochs.unique()])

    def at(self, step: int) -> Batch:
        """The batch of step ``step``, on the dataset's device."""
        indices = self.indices(step)
        draw = torch.rand(len(indices), generator=random_generator(self.seed, step, purpose=2 + self.rank))
        which = (draw * self._counts[indices]).long()
        rows = self._first[indices] + which
        lengths = self._lengths[rows]
        tokens = Tokens(self._ids[rows, : int(lengths.max())], lengths)
        device = self.dataset.device
        images, classes = self.dataset.stages(indices), self.dataset.class_ids[indices].to(device)
        falsified = None
        if self._falsify is not None:
            draw = random_generator(self.seed, step, purpose=FALSIFYING + self.rank)
            falsified = self._falsify(tokens, draw).to(device)
        return Batch(images, tokens.to(device), classes, indices, which, falsified)
