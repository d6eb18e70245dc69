"""From a caption to tokens: one tokeniser, a vocabulary as JSON with a hash that checkpoints remember."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from t2i_core.config import UserError, atomic_write

_WORD = re.compile(r"\w[\w\u0301]*(?:['’]\w[\w\u0301]*)*")
PAD, UNKNOWN = "<pad>", "<unk>"


def split_words(caption: str) -> list[tuple[str, int, int]]:
    """Lower-case words of a caption with their place: (word, start, end). Punctuation is dropped; a caption of
    nothing but symbols (an emoji, say) keeps each run of them as one, unknown, word."""
    spans = [m.span() for m in _WORD.finditer(_one_mark(caption))]
    spans = spans or [m.span() for m in re.finditer(r"\S+", caption)]
    return [(unicodedata.normalize("NFKC", caption[start:end]).lower(), start, end) for start, end in spans]


def _one_mark(caption: str) -> str:
    """The caption with U+0301 for every combining mark: marks belong to a word, and ``re`` has no name for them all."""
    if caption.isascii():
        return caption
    return "".join("\u0301" if unicodedata.category(c).startswith("M") else c for c in caption)


@dataclass(frozen=True)
class Tokens:
    """A batch of captions. B captions, T = the longest of them in words (at least 1).

    ids (B, T) int64, 0 where there is no word; mask (B, T) True where a token is real; lengths (B,) stays on the CPU,
    so that packing a batch for the recurrent encoder never waits for a GPU.
    """

    ids: Tensor
    lengths: Tensor
    words: tuple[tuple[str, ...], ...] = ()  # what each token was
    spans: tuple[tuple[tuple[int, int], ...], ...] = ()  # where it stands in its caption
    unknown: tuple[tuple[str, ...], ...] = ()  # words outside the vocabulary
    cut: tuple[int, ...] = ()  # how many words did not fit
    unit: str = "words"  # what a token is

    @property
    def mask(self) -> Tensor:
        return self.ids != 0

    def to(self, device: torch.device | str) -> Tokens:
        return Tokens(
            self.ids.to(device, non_blocking=True), *(getattr(self, f.name) for f in dataclasses.fields(self)[1:])
        )

    def __len__(self) -> int:
        return len(self.ids)

    def notes(self) -> list[str]:
        """What a user should know of how the captions were read: unknown words, words cut off."""
        notes = []
        for unknown, cut, words in zip(self.unknown, self.cut, self.words, strict=True):
            if unknown:
                notes.append(
                    f"not in the vocabulary, so without meaning to the system: {', '.join(dict.fromkeys(unknown))}"
                )
            if cut:
                notes.append(f"only the first {len(words)} {self.unit} are read; {cut} more were cut off")
        return notes


@dataclass(frozen=True)
class Vocabulary:
    """The words a system knows. Token 0 is padding, token 1 any unknown word."""

    words: tuple[str, ...]
    max_words: int = 18

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 1, max_words: int = 18) -> Vocabulary:
        """Every word seen ``min_count`` times or more, in alphabetical order."""
        counts = Counter(word for caption in captions for word, _, _ in split_words(caption))
        words = sorted(word for word, count in counts.items() if count >= min_count)
        if not words:
            raise UserError("no caption holds a word, so there is no vocabulary: check the captions of the dataset")
        return cls((PAD, UNKNOWN, *words), max_words)

    @cached_property
    def index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with any word, its order, or the length captions are cut at."""
        return hashlib.sha256(json.dumps([self.words, self.max_words]).encode()).hexdigest()[:12]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def start(self) -> int:
        """The token before a caption, for encoders that want one."""
        return len(self)

    @property
    def end(self) -> int:
        return len(self) + 1

    def model_ids(self, ids: Tensor) -> Tensor:
        """Token ids (B, T) as an encoder with start and end tokens knows them: these very ones."""
        return ids

    def __contains__(self, word: str) -> bool:
        return word in self.index

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        """Read captions; longer ones are cut at ``max_words`` (see :meth:`Tokens.notes`).

        Raises :class:`UserError` for a caption that is empty or nothing but white space.
        """
        if isinstance(captions, str):
            raise TypeError("tokenize takes a list of captions, not one string")
        read, spans, unknown, cut = [], [], [], []
        for i, caption in enumerate(captions):
            found = split_words(caption)
            if not found:
                which = f"caption {i + 1} of {len(captions)} is" if len(captions) > 1 else "the caption is"
                raise UserError(f"{which} empty: write at least one word")
            kept = found[: self.max_words]
            read.append(tuple(word for word, _, _ in kept))
            spans.append(tuple((start, end) for _, start, end in kept))
            unknown.append(tuple(word for word in read[-1] if word not in self.index))
            cut.append(len(found) - len(kept))
        ids = torch.zeros(len(read), max((len(words) for words in read), default=1), dtype=torch.long)
        for row, words in zip(ids, read, strict=True):
            row[: len(words)] = torch.tensor([self.index.get(word, 1) for word in words])
        lengths = torch.tensor([len(words) for words in read], dtype=torch.long)
        return Tokens(ids, lengths, tuple(read), tuple(spans), tuple(unknown), tuple(cut))

    def to_json(self) -> str:
        return json.dumps({"words": self.words, "max_words": self.max_words, "hash": self.hash}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, source: str = "vocabulary") -> Vocabulary:
        try:
            saved = json.loads(text)
            vocabulary = cls(tuple(saved["words"]), int(saved["max_words"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{source} is not a vocabulary ({error}): put the one it was trained with there") from error
        if vocabulary.hash != saved.get("hash"):
            raise UserError(
                f"{source} was changed after it was written, its words do not match its hash: "
                "put the one it was trained with there"
            )
        return vocabulary

    def save(self, path: str | Path) -> Path:
        return atomic_write(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {path} ({error}): put the vocabulary it was trained with there") from error
        return cls.from_json(text, str(path))
