"""DM-GAN's dynamic memory (GR-GAN E2, E5) against the equations written out, and what copying a sentence does to it."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import randn
from torch.autograd import gradcheck
from torch.testing import assert_close

from t2i_core.memory import DynamicMemory

LENGTHS = (4, 1, 3)
MASK = torch.arange(4) < torch.tensor(LENGTHS)[:, None]


def memory(seed: int = 0, features: int = 5, text_dim: int = 6) -> DynamicMemory:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DynamicMemory(features, text_dim).double()


def inputs(seed: int = 0):
    return randn(3, 5, 2, 3, seed=seed), 2 * randn(3, 6, 4, seed=seed + 1)


def linear(layer, vector):
    """One 1 x 1 convolution with its ReLU, on one vector."""
    weight = layer[0].weight[:, :, 0]
    return (weight @ vector + layer[0].bias).relu()


def by_hand(module: DynamicMemory, h, words):
    """One sample, h (D, N) and its real words (text_dim, T): h' (D, N) and attention (T, N), word by word."""
    image = h.mean(1)
    slots = []
    for word in words.T:
        gate = torch.sigmoid(module.write_word.weight[0] @ word + module.write_image.weight[0] @ image)
        slots.append(linear(module.of_word, word) * gate + linear(module.of_image, image) * (1 - gate))
    keys, values = ([linear(layer, slot) for slot in slots] for layer in (module.key, module.value))
    out, attention = torch.empty_like(h), torch.empty(len(slots), h.shape[1], dtype=h.dtype)
    for j, region in enumerate(h.T):
        powers = [math.exp(float((key @ region).detach())) for key in keys]
        attention[:, j] = torch.tensor(powers, dtype=h.dtype) / sum(powers)
        read = sum(a * value for a, value in zip(attention[:, j], values, strict=True))
        weight, bias = module.respond.weight[0, :, 0, 0], module.respond.bias[0]
        gate = torch.sigmoid(weight @ torch.cat([region, read]) + bias)
        out[:, j] = read * gate + region * (1 - gate)
    return out, attention


def test_e5_by_hand():
    module, (h, words) = memory(), inputs()
    out, attention = module(h, words, MASK)
    for i, length in enumerate(LENGTHS):
        expected, layout = by_hand(module, h[i].flatten(1), words[i, :, :length])
        assert_close(out[i].flatten(1), expected)
        assert_close(attention[i, :length], layout)


def test_e5_gradient():
    module, (h, words) = memory(), inputs()
    image = h.mean((2, 3))  # passes no gradient, so that finite differences must hold it still

    def response(h, words):
        module.write = lambda _, w: DynamicMemory.write(module, image[:, :, None, None].expand(-1, -1, 2, 3), w)
        return module(h, words, MASK)[0]

    assert gradcheck(response, (h.requires_grad_(), words.requires_grad_()))


def test_the_mean_over_regions_passes_no_gradient():
    module, (h, words) = memory(), inputs()
    written = module.write(h.requires_grad_(), words).sum()
    assert torch.autograd.grad(written, h, allow_unused=True) == (None,)


def test_attention_is_a_distribution_over_the_real_words_and_padding_gets_nothing():
    module, (h, words) = memory(), inputs()
    _, attention = module(h, words, MASK)
    assert_close(attention.sum(1), torch.ones(3, 6, dtype=torch.float64))
    assert (attention[~MASK] == 0).all() and (attention[MASK] > 0).all()


def test_what_stands_at_the_padding_changes_nothing():
    module, (h, words) = memory(), inputs()
    rubbish = torch.where(MASK[:, None], words, torch.full_like(words, 1e3))
    assert_close(module(h, rubbish, MASK)[0], module(h, words, MASK)[0], rtol=0, atol=0)


def test_a_sample_is_the_same_alone_and_in_any_order():
    module, (h, words) = memory(), inputs()
    together = module(h, words, MASK)[0]
    order = torch.tensor([2, 0, 1])
    assert_close(module(h[order], words[order], MASK[order])[0], together[order])
    for i, length in enumerate(LENGTHS):
        assert_close(module(h[i : i + 1], words[i : i + 1, :, :length])[0], together[i : i + 1])


@pytest.mark.parametrize("copies", [1, 2, 12])
def test_e2_copies_of_a_sentence_are_attended_to_alike_and_their_number_means_nothing(copies):
    """GR-GAN Eq. 2 copies the sentence L times: the memory then holds one thing L times."""
    module, (h, words) = memory(), inputs()
    sentence = words[:, :, :1]
    out, attention = module(h, sentence.expand(-1, -1, copies))
    assert_close(attention, torch.full_like(attention, 1 / copies))
    assert_close(out, module(h, sentence)[0])
