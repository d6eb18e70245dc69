"""Which names and colours does the caption say? Read off the image and off the sentence, by one layer for both.

DAMSM's contrast asks an image to find its caption among those of the batch, and colours and setting nearly always
settle that. Two names that it does not need (kite, balloon) may become one: both encoders lose what tells them apart,
and neither finds it again alone, since the other has no use for it. Here each word must be told from all others by
itself. One layer for both encoders gives a word one direction in the space that they share.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2i_core.captions import Tokens

SHARPNESS = 16.0  # length of the vectors that are read: they have a direction only, as for the cosines of DAMSM
RARE = -2.0  # log-odds at the beginning: most words are not said


class WordReader(nn.Module):
    """x (B, D), an image's vector or a sentence's -> log-odds of each word, (B, V): 16 U x / ||x|| + b."""

    def __init__(self, dim: int, vocabulary_size: int):
        super().__init__()
        self.layer = nn.Linear(dim, vocabulary_size)
        nn.init.constant_(self.layer.bias, RARE)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(SHARPNESS * F.normalize(x, dim=1))

    def loss(self, tokens: Tokens, words: Tensor, *vectors: Tensor) -> Tensor:
        """L_said: the sum over ``vectors``, each (B, D), and over ``words`` (n,), some of the tokens, of the
        cross-entropy -y_w log p_w - (1 - y_w) log(1 - p_w), p the odds of :meth:`forward` as probabilities; y_w = 1
        where the caption says w, anywhere and as often as it likes. Mean over the batch.

        Words that no picture can tell, such as those of the wording, are better left out: they would take the
        sentence's length, and leave none for the order of its words.

        Source: ours; words of captions as labels of images after Joulin et al. 2016, "Learning visual features from
        large weakly supervised data".
        """
        said = torch.zeros(len(tokens.ids), self.layer.out_features, device=tokens.ids.device)
        said = said.scatter_(1, tokens.ids, 1.0)[:, words].repeat(len(vectors), 1)
        odds = torch.cat([self(x).float() for x in vectors])[:, words]
        errors = F.binary_cross_entropy_with_logits(odds, said, reduction="none")
        return len(vectors) * errors.sum(1).mean()
