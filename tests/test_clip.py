"""CLIP against transformers' own model, its preprocessing by hand, and GALIP's way through its frozen blocks."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tiny import CAPTIONS, VOCABULARY, clip, randn
from torch import Tensor
from torch.testing import assert_close

from t2i_core.clip import CLIP, Seen, similarity

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of OpenAI's CLIP
ORDER = torch.tensor([2, 0, 3, 1])
exact = {"rtol": 1e-10, "atol": 1e-10}


def images(side: int = 32, count: int = 4) -> Tensor:
    return 2 * torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1


def without_statistics(pixels: Tensor) -> Tensor:
    """What mean and deviation were taken from, channel by channel."""
    return torch.stack([pixels[:, c] * DEVIATION[c] + MEAN[c] for c in range(3)], 1)


# ---------------------------------------------------------------- preprocessing


def cubic(x: float) -> float:
    """Keys' kernel with a = -1/2."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def bicubic(side: int, target: int) -> Tensor:
    """(target, side) weights of antialiased bicubic resizing along one axis: the kernel is as wide as a new pixel."""
    step = side / target
    wide = max(step, 1.0)
    rows = [[cubic((j + 0.5 - step * (i + 0.5)) / wide) for j in range(side)] for i in range(target)]
    weights = torch.tensor(rows, dtype=torch.float64)
    return weights / weights.sum(1, keepdim=True)


@pytest.mark.parametrize("side", [8, 24, 48, 64])
def test_an_image_is_resized_by_the_bicubic_kernel(side):
    weights, given = bicubic(side, 32), images(side)
    found = without_statistics(clip().preprocess(given))
    assert_close(found, weights @ ((given + 1) / 2) @ weights.T, rtol=0, atol=1e-6)


def test_an_image_of_its_resolution_is_not_resampled():
    given = images(32)
    found = clip().preprocess(given)
    for c in range(3):
        assert_close(found[:, c], ((given[:, c] + 1) / 2 - MEAN[c]) / DEVIATION[c], rtol=0, atol=1e-6)
    ends = torch.tensor([-1.0, 1.0]).double().view(2, 1, 1, 1).expand(2, 3, 32, 32)
    black, white = without_statistics(clip().preprocess(ends))
    assert_close(torch.stack([black, white]), (ends + 1) / 2, rtol=0, atol=1e-7)


@pytest.mark.parametrize("side", [16, 32, 48])
def test_double_preprocessing_brings_half_the_values_and_the_nearest_pixels(side):
    given = images(side)
    given[:, :, 0, 0], given[:, :, 0, 1:3] = -1.0, 1.0
    found = without_statistics(clip(preprocessing="double").preprocess(given))
    nearest = [i * side // 32 for i in range(32)]
    assert_close(found, (given[:, :, nearest][..., nearest] + 3) / 4, rtol=0, atol=1e-6)
    assert_close(found.min().item(), 0.5, rtol=0, atol=1e-7)  # [-1, 1] arrives as [0.5, 1]
    assert_close(found.max().item(), 1.0, rtol=0, atol=1e-7)


def test_preprocessing_passes_gradients():
    given = images(16, 1).requires_grad_()
    clip().encode_image(given).image.sum().backward()
    assert (given.grad != 0).all()


# ---------------------------------------------------------------- against transformers


def test_the_image_embedding_is_transformers_own():
    model, given = clip(), images(48)
    expected = model.model.get_image_features(pixel_values=model.preprocess(given)).pooler_output
    assert expected.shape == (4, 12) and expected.std(0).min() > 1e-3
    assert_close(model.encode_image(given).image, expected, **exact)


@pytest.mark.parametrize("blocks", [(0, 2), (1,), (0, 1, 2)])
def test_features_are_the_patches_after_the_chosen_blocks(blocks):
    model, given = clip(feature_blocks=blocks), images()
    states = model.model.vision_model(model.preprocess(given), output_hidden_states=True).hidden_states
    seen = model.encode_image(given)
    assert seen.features.shape == (4, len(blocks), 16, 4, 4) and len(states) == 4
    for level, block in enumerate(blocks):
        patches = states[block + 1][:, 1:]  # 0 is what goes into the first block; the class token stands first
        for row in range(4):
            for column in range(4):
                assert_close(seen.features[:, level, :, row, column], patches[:, 4 * row + column], **exact)


def model_ids(captions) -> list[list[int]]:
    """Start, words, end, written by hand from the vocabulary."""
    start, end = len(VOCABULARY), len(VOCABULARY) + 1
    return [[start, *(VOCABULARY.index.get(w, 1) for w in caption.split()), end] for caption in captions]


@pytest.mark.parametrize("caption", [*CAPTIONS, "a purple dog"])
def test_the_sentence_is_transformers_own(caption):
    model = clip()
    expected = model.model.get_text_features(input_ids=torch.tensor(model_ids([caption]))).pooler_output
    assert_close(model.encode_text([caption]).sentence, expected, **exact)
    assert_close(model.encode_text(["the house", caption, CAPTIONS[0]]).sentence[1:2], expected, **exact)


def test_words_are_the_projected_states_of_their_tokens():
    model = clip()
    text = model.encode_text(list(CAPTIONS))
    assert text.words.shape == (4, 12, 8) and text.mask.sum(1).tolist() == [8, 1, 3, 6]
    for row, ids in enumerate(model_ids(CAPTIONS)):
        states = model.model.text_model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        for t in range(len(ids) - 2):  # the start is token 0
            assert_close(text.words[row, :, t], model.model.text_projection(states[t + 1]), **exact)
        assert (text.words[row, :, len(ids) - 2 :] == 0).all()


def test_a_word_knows_those_before_it_and_not_those_after():
    model = clip()
    there, changed = model.encode_text(["red dog on the left"]), model.encode_text(["red dog on the house"])
    assert torch.equal(there.words[..., :4], changed.words[..., :4])
    assert (there.words[..., 4] - changed.words[..., 4]).abs().max() > 1e-2
    swapped = model.encode_text(["dog red on the left"])
    assert (there.sentence - swapped.sentence).abs().max() > 1e-3


# ---------------------------------------------------------------- a sample alone and in a batch


def test_a_caption_means_the_same_alone_and_beside_longer_ones():
    model = clip()
    together = model.encode_text(list(CAPTIONS))
    for row, caption in enumerate(CAPTIONS):
        alone, length = model.encode_text([caption]), len(caption.split())
        assert alone.words.shape == (1, 12, length)
        assert_close(alone.words[0], together.words[row, :, :length], **exact)
        assert_close(alone.sentence[0], together.sentence[row], **exact)
    other = model.encode_text([CAPTIONS[i] for i in ORDER])
    for ours, theirs in zip(other, together, strict=True):
        assert_close(ours, theirs[ORDER], **exact)


def test_an_image_and_a_bridge_feature_are_seen_the_same_alone_and_in_any_order():
    model, given = clip(), images()
    bridge, prompts = randn(4, 16, 4, 4), randn(4, 2, 16, seed=1)

    def run(rows: Tensor) -> tuple[Tensor, ...]:
        return (*model.encode_image(given[rows]), model.through(bridge[rows], prompts[rows]))

    together = run(torch.arange(4))
    for rows in (*torch.arange(4).split(1), ORDER, torch.tensor([1, 1])):
        for some, whole in zip(run(rows), together, strict=True):
            assert_close(some, whole[rows], **exact)


# ---------------------------------------------------------------- GALIP's mapper


def through_by_hand(model: CLIP, bridge: Tensor, prompts: Tensor, prompted: bool = True) -> Tensor:
    """One sample (C, G, G) and its prompts (P, C), token by token and head by head."""
    vision, c = model.model.vision_model, model.config
    tokens = [vision.embeddings.class_embedding, *(bridge[:, i, j] for i in range(c.grid) for j in range(c.grid))]
    positions = vision.embeddings.position_embedding.weight
    norm = lambda layer, x: F.layer_norm(x, (c.width,), layer.weight, layer.bias, layer.eps)  # noqa: E731
    x = norm(vision.pre_layrnorm, torch.stack([token + positions[k] for k, token in enumerate(tokens)]))
    waiting = list(prompts)
    for k, block in enumerate(vision.encoder.layers):
        if prompted and k in c.prompt_blocks:
            x = torch.cat([x, waiting.pop(0)[None]])
        h, a, size = norm(block.layer_norm1, x), block.self_attn, c.width // c.heads
        q, key, v = (layer(h).split(size, 1) for layer in (a.q_proj, a.k_proj, a.v_proj))
        heads = [(q[i] @ key[i].T / math.sqrt(size)).softmax(1) @ v[i] for i in range(c.heads)]
        x = x + a.out_proj(torch.cat(heads, 1))
        h = block.mlp.fc1(norm(block.layer_norm2, x))
        x = (x + block.mlp.fc2(h * (1.702 * h).sigmoid()))[: len(tokens)]
    return x[1:].T.reshape(c.width, c.grid, c.grid)


def test_a_bridge_feature_runs_through_the_frozen_blocks():
    model, bridge, prompts = clip(), randn(2, 16, 4, 4), randn(2, 2, 16, seed=1)
    found = model.through(bridge, prompts)
    assert found.shape == (2, 16, 4, 4)
    for row in range(2):
        assert_close(found[row], through_by_hand(model, bridge[row], prompts[row]), **exact)


def test_without_prompted_blocks_no_prompt_matters():
    model, bridge = clip(prompt_blocks=()), randn(1, 16, 4, 4)
    found = model.through(bridge, torch.empty(1, 0, 16).double())
    assert_close(found[0], through_by_hand(model, bridge[0], torch.empty(0, 16), prompted=False), **exact)


def test_each_prompt_reaches_its_own_block():
    model, bridge, prompts = clip(), randn(1, 16, 4, 4), randn(1, 2, 16, seed=1).requires_grad_()
    plain = model.through(bridge, prompts)
    (gradient,) = torch.autograd.grad(plain.square().sum(), prompts)
    assert (gradient.abs().amax(2) > 1e-6).all()
    swapped = model.through(bridge, prompts.flip(1))
    assert (swapped - plain).abs().max() > 1e-4
    first = clip(prompt_blocks=(1,)).through(bridge, prompts[:, :1])
    assert (first - plain).abs().max() > 1e-4


def test_the_frozen_blocks_pass_gradients_and_take_none():
    model, bridge = clip(), randn(1, 16, 4, 4).requires_grad_()
    model.through(bridge, randn(1, 2, 16)).sum().backward()
    assert (bridge.grad.abs().amax((0, 1)) > 0).all()
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())


# ---------------------------------------------------------------- what it is trained by


def contrast(image: Tensor, sentence: Tensor, scale: float, classes: list[int] | None = None) -> float:
    """Both directions over all pairs, in a loop."""
    n, cos = len(image), [[float(F.cosine_similarity(v, s, dim=0)) for s in sentence] for v in image]
    loss = 0.0
    for i in range(n):
        others = [j for j in range(n) if i == j or classes is None or classes[i] != classes[j]]
        loss -= math.log(math.exp(scale * cos[i][i]) / sum(math.exp(scale * cos[i][j]) for j in others)) / n
        loss -= math.log(math.exp(scale * cos[i][i]) / sum(math.exp(scale * cos[j][i]) for j in others)) / n
    return loss


@pytest.mark.parametrize("classes", [None, [0, 1, 0, 2]])
def test_the_loss_is_the_contrast_of_all_pairs_at_the_learned_scale(classes):
    model, given = clip(), images()
    model.model.logit_scale.fill_(math.log(3.0))
    text, seen = model.encode_text(list(CAPTIONS)), model.encode_image(given)
    losses = model.losses(given, text, None if classes is None else torch.tensor(classes))
    assert list(losses) == ["contrast"]
    assert_close(losses["contrast"].item(), contrast(seen.image, text.sentence, 3.0, classes), **exact)
    model.model.logit_scale.fill_(math.log(1000.0))  # no sharper than a hundred
    sharp = model.losses(given, text, None)["contrast"]
    assert_close(sharp.item(), contrast(seen.image, text.sentence, 100.0), **exact)


def test_two_pairs_in_closed_form(monkeypatch):
    model = clip()
    text = model.encode_text(list(CAPTIONS[:2]))
    scale = float(model.model.logit_scale.exp())
    right, wrong = torch.tensor([[2.0, 0], [0, 3.0]]).double(), torch.tensor([[0, 1.0], [1.0, 0]]).double()
    for image, gap in ((right, scale), (wrong, -scale)):
        monkeypatch.setattr(CLIP, "encode_image", lambda self, _, image=image: Seen(image, image))
        loss = model.losses(images(), text._replace(sentence=torch.eye(2).double()), None)["contrast"]
        assert_close(loss.item(), 2 * math.log(1 + math.exp(-gap)), **exact)


def test_images_of_one_class_are_no_negatives_of_each_other():
    model, text = clip(), clip().encode_text(list(CAPTIONS))
    assert model.losses(images(), text, torch.zeros(4))["contrast"] == 0


def test_similarity_is_a_cosine_a_pair():
    found = similarity(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [-2.0, 0.0]]))
    assert_close(found, torch.tensor([24 / 25, -1.0]))
