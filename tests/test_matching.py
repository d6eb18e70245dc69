"""DAMSM's word and sentence losses against a double loop over captions and images, written from the equations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import CAPTIONS, RESOLUTIONS, batch, false_captions, matcher, randn
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from t2i_core import encoders
from t2i_core.captions import Vocabulary
from t2i_core.config import PROFILES, UserError
from t2i_core.damsm import DAMSM, MatcherConfig
from t2i_core.data import load
from t2i_core.image_encoder import Residual
from t2i_core.matcher import read_facts
from t2i_core.matching import FalseSentences, sentence_loss, word_contexts, word_loss, word_scores
from t2i_core.word_reader import WordReader

LENGTHS = (4, 1, 3, 2)
MASK = torch.arange(4) < torch.tensor(LENGTHS)[:, None]
CLASSES = (0, 1, 0, 2)  # the first and the third are of one class


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def word_score(regions: Tensor, words: Tensor, gamma1: float, gamma2: float) -> float:
    """R(Q, D) of one image's regions (D, N) and one caption's real words (D, T), word by word."""
    n, t = regions.shape[1], words.shape[1]
    similarity = [[float(words[:, j] @ regions[:, k]) for k in range(n)] for j in range(t)]
    over_words = [[math.exp(similarity[j][k]) for k in range(n)] for j in range(t)]
    for k in range(n):
        total = sum(over_words[j][k] for j in range(t))
        for j in range(t):
            over_words[j][k] /= total
    powers = 0.0
    for j in range(t):
        sharp = [math.exp(gamma1 * over_words[j][k]) for k in range(n)]
        context = sum(sharp[k] / sum(sharp) * regions[:, k] for k in range(n))
        powers += math.exp(gamma2 * cosine(context, words[:, j]))
    return math.log(powers) / gamma2


def contrast(scores: list[list[float]], gamma: float, classes=None) -> float:
    """-log of the share of the pair (i, i) among image i's captions, and among caption i's images; means, added."""
    n = len(scores)
    loss = 0.0
    for i in range(n):
        others = [j for j in range(n) if j == i or classes is None or classes[j] != classes[i]]
        own = math.exp(gamma * scores[i][i])
        loss -= math.log(own / sum(math.exp(gamma * scores[i][j]) for j in others)) / n
        loss -= math.log(own / sum(math.exp(gamma * scores[j][i]) for j in others)) / n
    return loss


def inputs(seed: int = 0) -> tuple[Tensor, Tensor]:
    return randn(4, 5, 2, 3, seed=seed), randn(4, 5, 4, seed=seed + 1)


def scores_by_loop(regions: Tensor, words: Tensor, gamma1: float, gamma2: float) -> list[list[float]]:
    captions = [caption[:, :length] for caption, length in zip(words, LENGTHS, strict=True)]
    return [[word_score(image.flatten(1), caption, gamma1, gamma2) for caption in captions] for image in regions]


@pytest.mark.parametrize(("gamma1", "gamma2"), [(5.0, 5.0), (4.0, 5.0), (1.0, 2.0)])
def test_word_scores_against_a_loop_over_images_and_captions(gamma1, gamma2):
    regions, words = inputs()
    expected = tensor(scores_by_loop(regions, words, gamma1, gamma2))
    assert_close(word_scores(regions, words, MASK, gamma1, gamma2), expected)


@pytest.mark.parametrize("classes", [None, CLASSES])
@pytest.mark.parametrize("gammas", [(5.0, 5.0, 10.0), (4.0, 5.0, 10.0), (2.0, 3.0, 1.0)])
def test_word_loss_against_a_double_loop(classes, gammas):
    regions, words = inputs()
    expected = contrast(scores_by_loop(regions, words, *gammas[:2]), gammas[2], classes)
    ids = None if classes is None else torch.tensor(classes)
    assert_close(word_loss(regions, words, MASK, ids, *gammas).item(), expected)


@pytest.mark.parametrize("classes", [None, CLASSES])
@pytest.mark.parametrize("gamma", [1.0, 10.0])
def test_sentence_loss_against_a_double_loop(classes, gamma):
    image, sentence = randn(4, 6), randn(4, 6, seed=1)
    expected = contrast([[cosine(v, s) for s in sentence] for v in image], gamma, classes)
    ids = None if classes is None else torch.tensor(classes)
    assert_close(sentence_loss(image, sentence, gamma, ids).item(), expected)


def test_defaults_are_the_published_gammas():
    (regions, words), image, sentence = inputs(), randn(4, 6), randn(4, 6, seed=1)
    assert_close(word_loss(regions, words, MASK), word_loss(regions, words, MASK, None, 5.0, 5.0, 10.0))
    assert_close(sentence_loss(image, sentence), sentence_loss(image, sentence, 10.0))


@pytest.mark.parametrize("gamma", [1.0, 10.0])
def test_gamma_stands_inside_of_the_exponent(gamma):
    # cosines are the identity: each direction is ln(1 + e^-gamma). Outside of the exponent, gamma would cancel
    image = sentence = tensor([[2, 0], [0, 3]])
    assert_close(sentence_loss(image, sentence, gamma).item(), 2 * math.log(1 + math.exp(-gamma)))


def test_samples_of_one_class_are_no_negatives_of_each_other():
    image, sentence, same = randn(3, 4), randn(3, 4, seed=1), torch.tensor([5, 5, 5])
    assert sentence_loss(image, sentence, class_ids=same) == 0
    regions, words = inputs()
    assert word_loss(regions, words, MASK, torch.zeros(4)) == 0
    different = torch.tensor([2, 0, 1])
    assert_close(sentence_loss(image, sentence, class_ids=different), sentence_loss(image, sentence))


def test_sentence_loss_gradient():
    image, sentence = randn(3, 4).requires_grad_(), randn(3, 4, seed=1).requires_grad_()
    assert gradcheck(lambda v, s: sentence_loss(v, s, 3.0, torch.tensor([0, 1, 0])), (image, sentence))
    # with an identity of cosines, dL/dcos is -2 gamma (1 - p) / B on the diagonal; the gradient turns v_1 away from s_2
    image = tensor([[1, 0], [0, 1]]).requires_grad_()
    sentence_loss(image, tensor([[1, 0], [0, 1]]), gamma=2.0).backward()
    wrong = math.exp(-2) / (1 + math.exp(-2))
    assert_close(image.grad, tensor([[0, 2.0 * wrong], [2.0 * wrong, 0]]))


def test_false_captions_are_more_negatives_of_their_own_image():
    image, sentence, false = randn(3, 4), randn(3, 4, seed=1), randn(2, 3, 4, seed=2)
    possible = torch.tensor([[True, False, True], [False, False, True]])
    expected = 0.0
    for i in range(3):
        own, others = cosine(image[i], sentence[i]), [cosine(image[i], s) for s in sentence]
        others += [cosine(image[i], false[k, i]) for k in range(2) if possible[k, i]]
        expected -= math.log(math.exp(7 * own) / sum(math.exp(7 * x) for x in others)) / 3
        others = [cosine(v, sentence[i]) for v in image]
        expected -= math.log(math.exp(7 * own) / sum(math.exp(7 * x) for x in others)) / 3
    found = sentence_loss(image, sentence, 7.0, false=FalseSentences(false, possible))
    assert_close(found.item(), expected)
    none = FalseSentences(false, torch.zeros_like(possible))
    assert_close(sentence_loss(image, sentence, 7.0, false=none), sentence_loss(image, sentence, 7.0))

    leaf = false.clone().requires_grad_()
    sentence_loss(image, sentence, 7.0, false=FalseSentences(leaf, possible)).backward()
    assert ((leaf.grad.abs().sum(2) > 0) == possible).all() and leaf.grad.isfinite().all()


def test_one_false_caption_is_picked_for_each_image():
    false, otherwise = randn(2, 3, 4), randn(3, 4, seed=1)
    possible = torch.tensor([[True, False, False], [True, False, True]])
    picked = FalseSentences(false, possible).of(torch.tensor([0, 0, 1]), otherwise)
    assert_close(picked, torch.stack([false[0, 0], otherwise[1], false[1, 2]]))


def test_word_loss_gradient():
    regions, words = randn(2, 3, 4).requires_grad_(), randn(2, 3, 2, seed=1).requires_grad_()
    mask = torch.tensor([[True, True], [True, False]])
    assert gradcheck(lambda r, w: word_loss(r, w, mask, None, 2.0, 2.0, 3.0), (regions, words))
    loss = word_loss(regions, words, mask)
    loss.backward()
    assert (words.grad[1, :, 1] == 0).all()  # padding learns nothing
    step = 0.01 / regions.grad.norm()
    assert word_loss((regions - step * regions.grad).detach(), words, mask) < loss


# ---------------------------------------------------------------- masks


def test_padding_gets_no_attention_and_the_real_words_all_of_it():
    regions, words = inputs()
    attention, cosines = word_contexts(regions, words, MASK)
    assert attention.shape == (4, 4, 4, 6) and cosines.shape == (4, 4, 4)
    assert (attention[:, ~MASK] == 0).all()
    assert_close(attention[:, MASK].sum(-1), torch.ones(4, sum(LENGTHS), dtype=torch.float64))


def test_what_stands_in_the_padding_changes_nothing():
    regions, words = inputs()
    rubbish = words.masked_fill(~MASK[:, None], 50.0)
    assert_close(word_scores(regions, rubbish, MASK), word_scores(regions, words, MASK), rtol=0, atol=0)
    wider, wider_mask = torch.nn.functional.pad(rubbish, (0, 3), value=9.0), torch.nn.functional.pad(MASK, (0, 3))
    assert_close(word_loss(regions, wider, wider_mask), word_loss(regions, words, MASK))


def test_every_score_is_that_of_its_own_image_and_caption_alone():
    regions, words = inputs()
    together = word_scores(regions, words, MASK)
    for i in range(4):
        for c, length in enumerate(LENGTHS):
            alone = word_scores(regions[i : i + 1], words[c : c + 1, :, :length], MASK[c : c + 1, :length])
            assert_close(together[i, c], alone[0, 0])


def test_losses_do_not_depend_on_the_order_of_the_batch():
    regions, words = inputs()
    order, ids = torch.tensor([2, 0, 3, 1]), torch.tensor(CLASSES)
    assert_close(word_loss(regions[order], words[order], MASK[order], ids[order]), word_loss(regions, words, MASK, ids))
    image, sentence = randn(4, 6), randn(4, 6, seed=1)
    assert_close(
        sentence_loss(image[order], sentence[order], 10.0, ids[order]), sentence_loss(image, sentence, 10.0, ids)
    )


# ---------------------------------------------------------------- the matching model


def test_the_matching_model_adds_nothing_to_the_two_losses():
    model, given = matcher(), batch(class_ids=CLASSES)
    text = model.encode_text(list(CAPTIONS))
    losses = model.losses(given.images[-1], text, given.class_ids)
    seen = model.encode_image(given.images[-1])
    c = model.config
    captions = [words[:, :length] for words, length in zip(text.words, text.mask.sum(1).tolist(), strict=True)]
    scores = [[word_score(v.flatten(1), words, c.gamma1, c.gamma2) for words in captions] for v in seen.regions]
    assert set(losses) == {"words", "sentence"}
    assert_close(losses["words"].item(), contrast(scores, c.gamma3, CLASSES))
    cosines = [[cosine(v, s) for s in text.sentence] for v in seen.image]
    assert_close(losses["sentence"].item(), contrast(cosines, c.gamma3, CLASSES))


def test_the_matching_model_reads_images_of_any_stage():
    model = matcher()
    for given, resolution in zip(batch().images, RESOLUTIONS, strict=True):
        seen = model.encode_image(given)
        assert given.shape[-1] == resolution
        assert seen.regions.shape == (4, 12, 8, 8) and seen.image.shape == (4, 12)


@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained")
def test_the_published_image_encoder_is_read_from_its_file_and_kept_with_what_was_trained(tmp_path, monkeypatch):
    from torchvision.models import inception_v3

    file, words = tmp_path / "inception.pth", Vocabulary.build(CAPTIONS)
    monkeypatch.setenv("T2I_INCEPTION", str(file))
    with pytest.raises(UserError, match="inception.pth is no file: let T2I_INCEPTION name the inception_v3_google"):
        MatcherConfig.of(PROFILES["paper"])
    network = inception_v3(weights=None, aux_logits=True, init_weights=False)
    torch.save(network.state_dict(), file)
    trained = encoders.fresh("damsm", PROFILES["paper"], words)

    def is_published(model):
        read = model.image_encoder.network.state_dict()
        return bool(read) and all(tensor.equal(network.state_dict()[name]) for name, tensor in read.items())

    assert is_published(trained)
    trained.save(tmp_path / "matcher")
    file.unlink()
    assert is_published(DAMSM.load(tmp_path / "matcher")), "its own weights hold the network"
    torch.save(inception_v3(weights=None, aux_logits=True, init_weights=False).Mixed_5b.state_dict(), file)
    with pytest.raises(UserError, match="inception.pth is not torchvision's Inception-v3"):
        trained.begin()
    file.write_bytes(b"rubbish")
    with pytest.raises(UserError, match="inception.pth is not torchvision's Inception-v3"):
        trained.begin()


# ---------------------------------------------------------------- words told one by one


def test_what_is_said_against_a_loop_over_words():
    vocabulary = Vocabulary.build(["red dog", "blue dog a a"])
    tokens, x, s = vocabulary.tokenize(["red dog", "blue dog a a"]), randn(2, 6), randn(2, 6)
    reader, asked = WordReader(6, len(vocabulary)).double(), ("a", "blue", "dog")
    words, expected = torch.tensor([vocabulary.index[word] for word in asked]), 0.0
    for vectors in (x, s):
        for vector, caption in zip(vectors, (("red", "dog"), ("blue", "dog", "a")), strict=True):
            for word, k in zip(asked, words.tolist(), strict=True):
                odds = reader.layer.weight[k] @ (16 * vector / vector.norm()) + reader.layer.bias[k]
                p = 1 / (1 + torch.exp(-odds))
                expected -= torch.log(p if word in caption else 1 - p) / 2
    assert_close(reader.loss(tokens, words, x, s), expected, rtol=1e-6, atol=1e-6, check_dtype=False)
    assert_close(reader.loss(tokens, words, 3 * x, s), reader.loss(tokens, words, x, s))
    assert_close(reader.loss(tokens, words, x), reader.loss(tokens, words, x, x) / 2)


def test_words_are_told_from_image_and_sentence_where_the_matching_model_is_asked_to():
    plain, asked = matcher(), matcher(falsified=True, lambda_said=0.5).requires_grad_(True)
    false = false_captions()
    given = replace(batch(), falsified=false)
    assert plain.word_reader is None and not any("word_reader" in name for name in plain.state_dict())
    assert list(plain.training_losses(given, torch.Generator())) == ["words", "sentence"]
    found = asked.training_losses(given, torch.Generator())
    seen, text = asked.encode_image(given.images[-1]), asked.encode_text(given.tokens)
    assert_close(found["said"], 0.5 * asked.word_reader.loss(given.tokens, false.words, seen.image, text.sentence))
    found["said"].backward()
    for part in (asked.image_encoder.image_head.weight, asked.text_encoder.embedding.weight):
        assert part.grad.abs().sum() > 0
    assert asked.image_encoder.region_head.weight.grad is None, "whole images are read, not regions"
    assert asked.word_reader.layer.weight.grad.abs().sum(1).nonzero().flatten().tolist() == sorted(false.words.tolist())
    with pytest.raises(UserError, match="lambda_said -1 is negative"):
        MatcherConfig(lambda_said=-1)
    with pytest.raises(UserError, match="choose falsified=True as well"):
        MatcherConfig(lambda_said=1)


# ---------------------------------------------------------------- a matching model that is not pleased by small changes


def test_a_perturbation_has_the_norm_it_is_given_and_raises_the_loss_most():
    model, given = matcher(), batch()
    text, radius = model.encode_text(given.tokens), tensor([0.0, 0.01, 0.02, 0.03])
    starts = randn(6, *given.images[-1].shape, seed=5)

    def loss(images: Tensor) -> float:
        return model.losses(images, text, given.class_ids, ("sentence",))["sentence"].item()

    changed = model.perturbed(given.images[-1], text, given.class_ids, None, radius, starts[0])
    assert_close((changed - given.images[-1]).flatten(1).norm(dim=1), radius)
    assert not changed.requires_grad and all(p.grad is None for p in model.parameters())
    norms = starts.flatten(2).norm(dim=2)
    by_chance = given.images[-1] + starts * (radius / norms)[:, :, None, None, None]
    assert loss(changed) > max(loss(given.images[-1]), *(loss(images) for images in by_chance))


def test_a_perturbation_follows_the_false_captions_and_teaches_the_text_encoder_nothing():
    model = matcher().requires_grad_(True)
    given, radius = batch(), torch.full((4,), 0.5, dtype=torch.float64)
    text = model.encode_text(given.tokens)
    false = FalseSentences(model.encode_text(given.tokens).sentence.roll(2, 0)[None], torch.ones(1, 4).bool())
    start = randn(*given.images[-1].shape)
    with_them, without = (model.perturbed(given.images[-1], text, None, f, radius, start) for f in (false, None))
    assert (with_them - without).abs().max() > 1e-3
    assert not with_them.requires_grad and all(p.grad is None for p in model.parameters())


def test_it_is_perturbed_in_the_last_third_of_its_training(monkeypatch):
    model, given = matcher(perturbation=0.5), batch()
    plain = model.losses(given.images[-1], model.encode_text(given.tokens), given.class_ids)
    for done, changed in ((0.0, False), (0.66, False), (0.67, True), (1.0, True)):
        found = model.training_losses(given, torch.Generator().manual_seed(0), done)
        assert (found["sentence"] > plain["sentence"]) == changed == (found["words"] != plain["words"])


def test_one_that_is_trained_so_is_another_model_and_is_read_again(tiny_scenes, tmp_path):
    dataset = load(tiny_scenes)
    settings = {"residual": True, "falsified": True, "perturbation": 2.0, "lambda_said": 0.2}
    made = encoders.trained("damsm", dataset, tmp_path / "m", PROFILES["smoke"], settings=settings)
    again = encoders.trained("damsm", dataset, tmp_path / "m", PROFILES["smoke"], settings=settings)
    assert made.config == again.config and made.config.perturbation == 2.0 and made.falsifies
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True))
    assert any(isinstance(part, Residual) for part in made.image_encoder.modules())
    with pytest.raises(UserError, match="another configuration"):
        encoders.trained("damsm", dataset, tmp_path / "m", PROFILES["smoke"])
    with pytest.raises(UserError, match="perturbation -1 is negative"):
        MatcherConfig(perturbation=-1)


def test_half_precision_is_another_training_and_said_so(tiny_scenes, tmp_path):
    dataset = load(tiny_scenes)
    whole, half = (
        encoders.trained("damsm", dataset, tmp_path / precision, PROFILES["smoke"], precision=precision)
        for precision in ("fp32", "bf16")
    )
    told = [read_facts(tmp_path / name / "matcher.json") for name in ("fp32", "bf16")]
    assert "precision" not in told[0] and told[1]["precision"] == "bf16"
    assert all(parameter.dtype == torch.float32 for parameter in half.parameters())
    starts, ends = ([facts["log"]["sentence"][k] for facts in told] for k in (0, -1))
    assert starts[0] == pytest.approx(starts[1], rel=0.02) and starts[0] != starts[1]
    assert ends[1] < starts[1] and ends[0] == pytest.approx(ends[1], rel=0.3)
    with pytest.raises(UserError, match="another configuration"):
        encoders.trained("damsm", dataset, tmp_path / "fp32", PROFILES["smoke"], precision="bf16")
    with pytest.raises(UserError, match="unknown precision 'half'"):
        encoders.trained("damsm", dataset, tmp_path / "new", PROFILES["smoke"], precision="half")
