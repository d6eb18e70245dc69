"""Dynamic memory: words are written into a memory that knows the picture, and read by every region of it.

DM-GAN's module, which GR-GAN calls F^DM (its Eqs 2 and 5). r_j are the regions of the features, w_i the words, m_i the
slots of the memory, one a word. Shapes: B batch, D features, N regions (= H x W), T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2i_core.attention import masked_softmax, region_word_scores


class DynamicMemory(nn.Module):
    """GR-GAN E2 and E5: h (B, D, H, W) and words (B, text_dim, T) -> h' (B, D, H, W) and attention (B, T, N).

    writing     g_i = sigma(A w_i + B mean_j r_j),  m_i = M_w(w_i) g_i + M_r(mean_j r_j) (1 - g_i)
    addressing  a_ij = softmax over i of key(m_i)^T r_j, over the real words alone
    reading     o_j = sum_i a_ij value(m_i)
    response    g_j = sigma(W [r_j; o_j]),  h'_j = o_j g_j + r_j (1 - g_j)

    M_w, M_r, key and value are one linear layer with a ReLU each; M has 2 D features. The mean over regions passes no
    gradient, as in the published code. Padding gets an attention of exactly 0; without a real word, h' = h (1 - g).
    """

    def __init__(self, features: int, text_dim: int):
        super().__init__()
        self.write_word, self.write_image = nn.Linear(text_dim, 1, bias=False), nn.Linear(features, 1, bias=False)
        self.of_word, self.of_image = _slots(text_dim, 2 * features), _slots(features, 2 * features)
        self.key, self.value = _slots(2 * features, features), _slots(2 * features, features)
        self.respond = nn.Conv2d(2 * features, 1, 1)

    def forward(self, h: Tensor, words: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        memory = self.write(h, words)
        scores = region_word_scores(h, self.key(memory))
        attention = masked_softmax(scores, None if mask is None else mask[:, :, None], dim=1)
        read = (self.value(memory) @ attention).view_as(h)
        gate = self.respond(torch.cat([h, read], 1)).sigmoid()
        return read * gate + h * (1 - gate), attention

    def write(self, h: Tensor, words: Tensor) -> Tensor:
        """The memory (B, 2 D, T)."""
        image = h.mean((2, 3)).detach()
        gate = self.write_word(words.transpose(1, 2)).transpose(1, 2) + self.write_image(image)[:, :, None]
        gate = gate.sigmoid()  # (B, 1, T)
        return self.of_word(words) * gate + self.of_image(image[:, :, None]) * (1 - gate)


def _slots(inputs: int, outputs: int) -> nn.Sequential:
    """A linear layer and a ReLU on every slot: (B, inputs, T) -> (B, outputs, T)."""
    return nn.Sequential(nn.Conv1d(inputs, outputs, 1), nn.ReLU())
