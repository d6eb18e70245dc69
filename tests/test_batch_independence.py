"""A sample is the same alone, in a batch beside longer captions, and in another order; padding gets exactly 0.

Published code breaks this in places (a word mask repeated in the wrong order, an LSTM that runs over the batch), so
every module is held to it: its own result alone, and no gradient from any other sample.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny import CAPTIONS, RESOLUTIONS, SIZES, VOCABULARY, batch, layouts, matcher, noise, randn, system
from torch import Tensor
from torch.testing import assert_close

from t2i_core import systems
from t2i_core.alr import ALRModule
from t2i_core.attention import masked_softmax
from t2i_core.blocks import ConditioningAugmentation, InitialTransform
from t2i_core.image_encoder import ImageEncoder, InceptionEncoder
from t2i_core.lvr import LVRLoss, layout_mask
from t2i_core.matching import word_scores
from t2i_core.ssm import similarity_matrix
from t2i_core.systems.attngan import RefiningStage, WordAttention
from t2i_core.text_encoder import Text, TextEncoder

LENGTHS = (5, 1, 3, 4)
MASK = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
ORDER = torch.tensor([2, 0, 3, 1])
SYSTEMS = ("attngan", "dm-gan", "alr-gan")
Outputs = tuple[Tensor, ...]


def text(seed: int = 0, features: int = 6, padding: float = 0.0) -> Text:
    """Four captions of 5, 1, 3 and 4 words; at the padding stands ``padding``."""
    words = randn(4, features, 5, seed=seed).masked_fill(~MASK[:, None], padding)
    return Text(words, randn(4, features, seed=seed + 1), MASK)


def pick(given: Text, rows: Tensor) -> Text:
    """Some captions of a batch, as wide as their longest."""
    mask = given.mask[rows]
    width = int(mask.sum(1).max())
    return Text(given.words[rows][..., :width], given.sentence[rows], mask[:, :width])


def same_for_every_selection(run: Callable[[Tensor], Outputs], count: int = 4, word_axes: tuple = ()) -> None:
    """``run(rows)`` gives a module's outputs for these rows of a fixed batch, batch first.

    Output ``k`` has its words along ``word_axes[k]`` (None: no such axis): there a selection may be narrower than the
    whole, whose rest must be 0.
    """
    together = run(torch.arange(count))
    for rows in (*torch.arange(count).split(1), torch.arange(count).flip(0), ORDER[:count], torch.tensor([1, 1])):
        some = run(rows)
        assert len(some) == len(together)
        for k, (part, whole) in enumerate(zip(some, together, strict=True)):
            expected, axis = whole[rows], (word_axes + (None,) * len(some))[k]
            if axis is not None:
                narrow = part.shape[axis]
                assert (expected.narrow(axis, narrow, expected.shape[axis] - narrow) == 0).all()
                expected = expected.narrow(axis, 0, narrow)
            assert_close(part, expected, rtol=1e-9, atol=1e-11)


def no_gradient_from_others(inputs: Tensor, outputs: Outputs, sample: int = 1) -> None:
    """The outputs of one sample depend on its own input and on no other's."""
    (gradient,) = torch.autograd.grad(sum(part[sample].square().sum() for part in outputs), inputs)
    assert gradient[sample].abs().max() > 0
    assert (gradient[torch.arange(len(inputs)) != sample] == 0).all()


# ---------------------------------------------------------------- text and images


def test_text_encoder():
    encoder = TextEncoder(len(VOCABULARY), 12).double().eval()
    same_for_every_selection(lambda rows: encoder(VOCABULARY.tokenize([CAPTIONS[i] for i in rows]))[:2], word_axes=(2,))
    encoded = encoder(VOCABULARY.tokenize(CAPTIONS))
    assert encoded.mask.sum(1).tolist() == [8, 1, 3, 6]
    assert (encoded.words.masked_select(~encoded.mask[:, None]) == 0).all()


def test_text_encoder_reads_words_in_order_and_both_ways():
    encoder = TextEncoder(len(VOCABULARY), 12).double().eval()
    there = encoder(VOCABULARY.tokenize(["red dog on the left"]))
    back = encoder(VOCABULARY.tokenize(["left the on dog red"]))
    assert (there.sentence - back.sentence).abs().max() > 1e-3
    changed = encoder(VOCABULARY.tokenize(["red dog on the house"]))
    forward, backward = (there.words - changed.words).abs().amax(1)[0], slice(6, 12)
    assert (there.words[0, :6, :4] == changed.words[0, :6, :4]).all()  # what comes later is not known yet
    assert (there.words - changed.words)[0, backward, 0].abs().max() > 1e-6  # but the other direction knows it
    assert (forward > 0).all()


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_image_encoder(training, residual):
    encoder = ImageEncoder(12, resolution=32, width=8, residual=residual).double().train(training)
    images = batch().images[-1]
    same_for_every_selection(lambda rows: tuple(encoder(images[rows])))
    leaf = images[:2].clone().requires_grad_()
    no_gradient_from_others(leaf, tuple(encoder(leaf)))


@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained")
def test_inception_encoder_keeps_its_statistics_while_training():
    torch.manual_seed(0)
    encoder, images = InceptionEncoder(8), batch().images[-1][:2].float()
    norms = [m for m in encoder.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:  # give it the statistics of these two images: a random network's features vanish without
        norm.train().momentum = 1.0
    with torch.no_grad():
        encoder(images)
        encoder.train()
        before = [norm.running_mean.clone() for norm in norms]
        together, alone = encoder(images), encoder(images[1:])
    assert together.regions.shape == (2, 8, 17, 17) and together.image.shape == (2, 8)
    for both, one in zip(together, alone, strict=True):
        assert (both[0] - both[1]).abs().max() > 0.01
        assert_close(both[1:], one, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    assert {name.split(".")[0] for name, p in encoder.named_parameters() if p.requires_grad} == {
        "region_head",
        "image_head",
    }


def test_matching_scores():
    model, images = matcher(), batch().images[-1]

    def run(rows: Tensor) -> Outputs:
        encoded, seen = model.encode_text([CAPTIONS[i] for i in rows]), model.encode_image(images[rows])
        own_words = word_scores(seen.regions, encoded.words, encoded.mask).diagonal()
        return own_words, torch.cosine_similarity(seen.image, encoded.sentence), encoded.sentence

    same_for_every_selection(run)


# ---------------------------------------------------------------- attention and layout


def test_masked_softmax_gives_padding_exactly_0_and_an_empty_row_no_nan():
    scores, mask = randn(2, 3), torch.tensor([[True, False, True], [False, False, False]])
    result = masked_softmax(scores, mask, 1)
    assert result[0, 1] == 0 and (result[1] == 0).all()
    assert_close(result[0, [0, 2]], scores[0, [0, 2]].softmax(0))
    assert_close(masked_softmax(scores.masked_fill(~mask, 1e300), mask, 1), result)
    assert_close(masked_softmax(scores, None, 1), scores.softmax(1))


@pytest.mark.parametrize("make", [WordAttention, ALRModule])
def test_word_attention_and_alr_module_layouts(make):
    module = make(8, 6).double().eval()
    features, given = randn(4, 8, 2, 3), text()

    def run(rows: Tensor) -> Outputs:
        chosen = pick(given, rows)
        return module.layout(chosen.words, features[rows], chosen.mask)

    same_for_every_selection(run, word_axes=(1,))
    theta, joined = run(torch.arange(4))
    assert (theta.masked_select(~MASK[:, :, None]) == 0).all()
    rubbish = text(padding=1e3)
    for clean, dirty in zip((theta, joined), module.layout(rubbish.words, features, MASK), strict=True):
        assert_close(dirty, clean, rtol=0, atol=0)
    leaf = features.clone().requires_grad_()
    no_gradient_from_others(leaf, module.layout(given.words, leaf, MASK))


@pytest.mark.parametrize("weights", ["adaptive", "fixed", "as_printed"])
def test_alr_loss_of_a_batch_is_the_mean_of_its_samples_alone(weights):
    module = ALRModule(8, 6, weights=weights).double().eval()
    drawn, real, given = randn(4, 8, 2, 3), randn(4, 8, 2, 3, seed=5), text()

    def run(rows: Tensor) -> tuple[Tensor, Outputs]:
        chosen = pick(given, rows)
        theta, theta_real = (
            similarity_matrix(h[rows], module.project(chosen.words), chosen.mask) for h in (drawn, real)
        )
        terms = module.alignment(theta, theta_real, real[rows])
        assert_close(module(chosen.words, drawn[rows], real[rows], chosen.mask)[1], terms.loss)
        return terms.loss, terms[1:]

    same_for_every_selection(lambda rows: run(rows)[1], word_axes=(None, None, 1, 1))
    alone = torch.stack([run(torch.tensor([i]))[0] for i in range(4)])
    assert_close(run(torch.arange(4))[0], alone.mean())
    assert alone.std() > 0


def test_layout_masks():
    theta = layouts(4, 5, 6).masked_fill(~MASK[:, :, None], 0)
    theta = theta / theta.sum(1, keepdim=True)
    same_for_every_selection(
        lambda rows: (layout_mask(theta[rows][:, : int(MASK[rows].sum(1).max())], pick(text(), rows).mask),)
    )


@pytest.mark.parametrize("name", ["pr", "sr"])
def test_lvr_terms_of_a_batch_are_the_mean_of_its_samples_alone(name):
    drawn, real, mask, real_mask = randn(4, 8, 2, 3), randn(4, 8, 2, 3, seed=1), randn(4, 1, 2, 3), randn(4, 1, 2, 3)
    arguments = drawn, real, mask.sigmoid(), real_mask.cos()

    def term(rows: slice) -> Tensor:
        return LVRLoss().terms(*(x[rows] for x in arguments))[name]

    alone = torch.stack([term(slice(i, i + 1)) for i in range(4)])
    assert_close(term(slice(None)), alone.mean())
    assert alone.std() > 0


# ---------------------------------------------------------------- the systems


def test_no_system_is_forgotten():
    held_elsewhere = {"df-gan", "galip", "ratlip", "gr-gan", "cgan", "gan-cls", "stackgan", "sdn"}
    assert set(systems.available()) == {*SYSTEMS, *held_elsewhere}


def test_blocks_of_the_generator():
    condition, initial = ConditioningAugmentation(6, 4).double().eval(), InitialTransform(9, 8, 8).double().eval()
    stage = RefiningStage(WordAttention(8, 6), 8, residual_blocks=1).double().eval()
    sentence, epsilon, x, h, given = randn(4, 6), randn(4, 4), randn(4, 9), randn(4, 8, 3, 3), text()
    same_for_every_selection(lambda rows: condition(sentence[rows], epsilon[rows]))
    same_for_every_selection(lambda rows: (initial(x[rows]),))
    same_for_every_selection(lambda rows: stage(h[rows], pick(given, rows)), word_axes=(None, 1))


@pytest.mark.parametrize("name", SYSTEMS)
def test_generators(name):
    built, draws = system(name), noise(4)

    def run(rows: Tensor) -> Outputs:
        out = built.generate([CAPTIONS[i] for i in rows], draws[rows])
        return (*out.attention, *out.images, *out.features, out.extras["mu"])

    same_for_every_selection(run, word_axes=(1, 1))
    leaf = draws.clone().requires_grad_()
    no_gradient_from_others(leaf, tuple(built.generate(list(CAPTIONS), leaf).images))


@pytest.mark.parametrize("name", SYSTEMS)
def test_generators_attend_to_no_padding(name):
    out = system(name).generate(list(CAPTIONS), noise(4))
    assert len(out.attention) == len(RESOLUTIONS) - 1
    for theta, resolution in zip(out.attention, RESOLUTIONS, strict=False):
        assert theta.shape == (4, 8, resolution**2)
        assert (theta.masked_select(~out.text.mask[:, :, None]) == 0).all()
        assert_close(theta.sum(1), torch.ones(4, resolution**2, dtype=torch.float64))


@pytest.mark.parametrize("name", SYSTEMS)
def test_generators_do_not_see_what_stands_in_the_padding(name):
    built, encoded = system(name), matcher().encode_text(list(CAPTIONS))
    rubbish = encoded._replace(words=encoded.words.masked_fill(~encoded.mask[:, None], 1e3))
    clean, dirty = built.generate(encoded, noise(4)), built.generate(rubbish, noise(4))
    for a, b in zip((*clean.images, *clean.attention), (*dirty.images, *dirty.attention), strict=True):
        assert_close(a, b, rtol=0, atol=0)


def test_the_reconstruction_path():
    built, given, encoded = system("alr-gan"), batch().images, matcher().encode_text(list(CAPTIONS))

    def run(rows: Tensor) -> Outputs:
        before, real = built.generator.reconstruct([x[rows] for x in given], pick(encoded, rows))
        return (*real.attention, *before, *real.images, *real.features)

    same_for_every_selection(run, word_axes=(1, 1))


@pytest.mark.parametrize("stage", range(3))
def test_discriminators(stage):
    judge, images, sentence = system("attngan").discriminators[stage], batch().images[stage], randn(4, 12)

    def run(images: Tensor, sentence: Tensor) -> Outputs:
        features = judge.features(images)
        return judge.judge_alone(features), judge.judge_with(features, sentence)

    same_for_every_selection(lambda rows: run(images[rows], sentence[rows]))
    leaf = images.clone().requires_grad_()
    no_gradient_from_others(leaf, run(leaf, sentence))
    leaf = sentence.clone().requires_grad_()
    no_gradient_from_others(leaf, run(images, leaf)[1:])


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_caption_and_a_seed_give_one_image_however_many_are_drawn(name):
    built = system(name)
    size = SIZES["noise_dim"] + SIZES["condition_dim"]
    many = built.noise(5, seed=4)
    assert many.shape == (5, size)
    for count in (1, 2, 3):
        assert_close(built.noise(count, seed=4), many[:count], rtol=0, atol=0)
    assert (built.noise(5, seed=5) != many).all()
    assert abs(built.noise(2000).mean()) < 0.05 and abs(built.noise(2000).std() - 1) < 0.05
