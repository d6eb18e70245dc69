"""Published CLIP's captions: byte pairs, up to 77 tokens, behind the interface of `captions.Vocabulary`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from t2i_core.captions import Tokens
from t2i_core.config import UserError, atomic_write


@dataclass(frozen=True)
class Ends:
    """A vocabulary of which only the two tokens around a caption are known: enough to build a CLIP of some size."""

    start: int
    end: int


class BytePairs:
    """The tokeniser in ``folder`` (vocab.json, merges.txt). Ids are one higher than CLIP's, so that 0 can be padding;
    start and end of a caption are added by the encoder. No word is unknown."""

    def __init__(self, folder: str | Path, max_words: int = 75):
        from transformers import CLIPTokenizer

        self.folder, self.max_words = Path(folder), max_words
        try:
            self._tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:  # tokenizers reports a damaged file by many exception types
            raise UserError(
                f"{folder} holds no CLIP tokeniser ({error}): put vocab.json and merges.txt there"
            ) from error
        self.start, self.end = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id

    def __len__(self) -> int:
        return len(self._tokenizer) + 1

    @cached_property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with the byte pairs, or the length captions are cut at."""
        listed = sorted(self._tokenizer.get_vocab().items())
        return hashlib.sha256(json.dumps([listed, self.max_words]).encode()).hexdigest()[:12]

    def tokenize(self, captions: Sequence[str]) -> Tokens:
        """Read captions; longer ones are cut between two words. Raises UserError for an empty caption."""
        if isinstance(captions, str):
            raise TypeError("tokenize takes a list of captions, not one string")
        for i, caption in enumerate(captions):
            if not caption.strip():
                which = f"caption {i + 1} of {len(captions)} is" if len(captions) > 1 else "the caption is"
                raise UserError(f"{which} empty: write at least one word")
        read = self._tokenizer(list(captions), add_special_tokens=False, return_offsets_mapping=True)
        ids, pieces, spans, cut = [], [], [], []
        for i, caption in enumerate(captions):
            places, numbers = read["offset_mapping"][i], read["input_ids"][i]
            kept = len(numbers)
            if kept > self.max_words:
                # a piece starts a word where the letter before it is a space; a word longer than all room is cut inside
                starts = [k for k, (start, _) in enumerate(places) if start == 0 or caption[start - 1].isspace()]
                kept = max((k for k in starts if 0 < k <= self.max_words), default=self.max_words)
            ids.append(numbers[:kept])
            spans.append(tuple(places[:kept]))
            pieces.append(tuple(caption[start:end] for start, end in places[:kept]))
            cut.append(len(caption[places[kept][0] :].split()) if kept < len(numbers) else 0)
        table = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long)
        for row, numbers in zip(table, ids, strict=True):
            row[: len(numbers)] = torch.tensor(numbers) + 1
        lengths = torch.tensor([len(numbers) for numbers in ids])
        return Tokens(table, lengths, tuple(pieces), tuple(spans), ((),) * len(ids), tuple(cut), unit="tokens")

    def model_ids(self, ids: Tensor) -> Tensor:
        return ids - 1

    def save(self, path: str | Path) -> Path:
        told = {"byte_pairs": str(self.folder), "max_words": self.max_words, "hash": self.hash}
        return atomic_write(path, json.dumps(told))

    @staticmethod
    def wrote(path: Path) -> bool:
        try:
            return "byte_pairs" in json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False

    @classmethod
    def load(cls, path: Path) -> BytePairs:
        """What :meth:`save` wrote; a UserError where it is damaged or the byte pairs are others now."""
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            folder, max_words, written = saved["byte_pairs"], int(saved["max_words"]), saved["hash"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no vocabulary ({error!r}): put the one it was trained with there") from error
        found = cls(folder, max_words)
        if found.hash != written:
            raise UserError(
                f"{found.folder} holds other byte pairs than {path} was written with: put the same ones there"
            )
        return found
