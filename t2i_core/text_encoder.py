"""Words W and sentence s: a bidirectional LSTM over a caption (AttnGAN's text encoder)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from t2i_core.captions import Tokens


class Text(NamedTuple):
    """words (B, D, T), sentence (B, D), mask (B, T) True where a token is real. Words at padding are 0."""

    words: Tensor
    sentence: Tensor
    mask: Tensor


class TextEncoder(nn.Module):
    """Tokens (B, T) -> :class:`Text`. Every direction has D/2 units; the sentence is the last state of both.

    The batch is packed by length, so a caption means the same alone and beside longer ones.
    """

    def __init__(self, vocabulary_size: int, text_dim: int, embedding_dim: int | None = None):
        super().__init__()
        if text_dim % 2:
            raise ValueError(f"text_dim must be even (two directions), not {text_dim}")
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim or text_dim, padding_idx=0)
        self.lstm = nn.LSTM(embedding_dim or text_dim, text_dim // 2, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tokens) -> Text:
        packed = pack_padded_sequence(
            self.embedding(tokens.ids), tokens.lengths, batch_first=True, enforce_sorted=False
        )
        states, (last, _) = self.lstm(packed)
        words, _ = pad_packed_sequence(states, batch_first=True, total_length=tokens.ids.shape[1])
        return Text(words.transpose(1, 2).contiguous(), torch.cat([last[0], last[1]], 1), tokens.mask)
