"""GR-GAN: the roles of its stages, what each reads and is judged by, its losses by hand, its published sizes."""

from __future__ import annotations

import pytest
import torch
from tiny import CAPTIONS, RESOLUTIONS, SIZES, batch, itm, matcher, noise, system
from torch import Tensor
from torch.testing import assert_close

from t2i_core import systems
from t2i_core.blocks import StageDiscriminator
from t2i_core.config import PROFILES, UserError
from t2i_core.memory import DynamicMemory
from t2i_core.systems.dm_gan import MemoryAttention
from t2i_core.systems.gr_gan import GRGAN, GradualGenerator, GRGANConfig, mean_word
from t2i_core.text_encoder import Text

ORDERS = ("ISW", "IWS", "SWI")
WEIGHTS = {"lambda1": 3.0, "lambda2": 5.0, "lambda_damsm": 2.0, "lambda_kl": 7.0}


def drawn(built: systems.System):
    given = batch()
    return given, built.generate(given.tokens, noise(len(given)))


def logits(built: GRGAN, stage: int, images: Tensor, text: Text) -> Tensor:
    judge, role = built.discriminators[stage], built.config.order[stage]
    seen = judge.features(images)
    if role == "I":
        return judge.judge_alone(seen)
    words = torch.stack([w[:, m].mean(1) for w, m in zip(text.words, text.mask, strict=True)])
    return judge.judge_with(seen, text.sentence if role == "S" else words)


# ---------------------------------------------------------------- E1, E3, E4, E6, E7


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("encoder", ["itm", "damsm"])
def test_e1_e3_e6_the_discriminators_by_hand(order, encoder):
    built = system("gr-gan", order=order, encoder=encoder)
    given, out = drawn(built)
    losses = built.discriminator_losses(given, out)
    assert list(losses) == ["d0", "d1", "d2"]
    for i in range(3):
        real, fake = (logits(built, i, x, out.text).sigmoid() for x in (given.images[i], out.images[i]))
        assert_close(losses[f"d{i}"], -0.5 * real.log().mean() - 0.5 * (1 - fake).log().mean())


@pytest.mark.parametrize("order", ORDERS)
def test_e4_e7_the_generator_by_hand(order):
    built = system("gr-gan", order=order, **WEIGHTS)
    given, out = drawn(built)
    losses = built.generator_losses(given, out)
    expected = {f"g{i}": -0.5 * logits(built, i, out.images[i], out.text).sigmoid().log().mean() for i in range(3)}
    s, w = order.index("S"), order.index("W")
    at = {i: built.matcher.losses(out.images[i], out.text, given.class_ids) for i in (s, w)}
    expected[f"itm{s}_sentence"] = 2.0 * 5.0 * at[s]["sentence"]  # E4: lambda_2
    expected[f"itm{w}_sentence"] = 2.0 * 3.0 * at[w]["sentence"]  # E7: lambda_1
    expected[f"itm{w}_words"] = 2.0 * 5.0 * at[w]["words"]
    mu, log_variance = out.extras["mu"], out.extras["log_variance"]
    expected["kl"] = 7.0 * (mu.square() + log_variance.exp() - 1 - log_variance).mean() / 2
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(losses[name], value, msg=lambda text, name=name: f"{name}: {text}")


def test_g20_mismatched_captions_share_the_fakes_of_the_judges_that_read():
    plain, built = system("gr-gan"), system("gr-gan", "mismatch")
    given, out = drawn(built)
    before, after = plain.discriminator_losses(given, out), built.discriminator_losses(given, out)
    assert before["d0"] == after["d0"]
    for i, read in ((1, out.text.sentence), (2, mean_word(out.text))):
        judge = built.discriminators[i]
        seen, fake = judge.features(given.images[i]), judge.features(out.images[i])
        wrong = judge.judge_with(seen, read[[3, 0, 1, 2]])
        expected = -0.5 * judge.judge_with(seen, read).sigmoid().log().mean()
        expected -= 0.25 * (1 - judge.judge_with(fake, read).sigmoid()).log().mean()
        assert_close(after[f"d{i}"], expected - 0.25 * (1 - wrong.sigmoid()).log().mean())


def test_g25_the_mean_word_is_that_of_the_real_words():
    text = itm().encode_text(list(CAPTIONS))
    found = mean_word(text)
    assert_close(found[1], text.words[1, :, 0])  # "dog": one word
    rubbish = text._replace(words=text.words.masked_fill(~text.mask[:, None], 1e3))
    assert torch.equal(mean_word(rubbish), found)
    empty = mean_word(text._replace(mask=torch.zeros_like(text.mask)))
    assert torch.equal(empty, torch.zeros_like(empty))


def test_each_judge_has_the_verdict_of_its_role_and_no_other():
    for order in ORDERS:
        for role, judge in zip(order, system("gr-gan", order=order).discriminators, strict=True):
            assert hasattr(judge, "unconditional") == (role == "I")
            assert hasattr(judge, "conditional") == hasattr(judge, "joint") == (role != "I")


def test_all_parameters_learn_and_the_matching_model_does_not():
    for order in ORDERS:
        built = system("gr-gan", order=order).train()
        given, out = drawn(built)
        (sum(built.discriminator_losses(given, out).values())).backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in built.discriminators.parameters())
        built.zero_grad()
        sum(built.generator_losses(given, out).values()).backward()
        still = [n for n, p in built.generator.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9]
        # a sentence read in copies is attended to uniformly, whatever the key; and a key's bias that all words have
        # alike drops out of the softmax over them
        still = {name for name in still if not name.endswith("memory.key.0.bias")}
        assert still == ({f"stages.{order.index('S') - 1}.attention.memory.key.0.weight"} if order[0] != "S" else set())
        assert all(p.grad is None for p in built.matcher.parameters())


# ---------------------------------------------------------------- E2, E5: what a stage reads


def test_e2_the_sentence_stage_reads_copies_and_e5_the_words_stage_words():
    built = system("gr-gan")
    text = built.matcher.encode_text(list(CAPTIONS))
    s, w = built.generator.read(1, text), built.generator.read(2, text)
    assert w is text and s.words.shape == (4, 12, built.config.max_words) and s.mask.all()
    assert all(torch.equal(s.words[:, :, k], text.sentence) for k in range(s.words.shape[2]))


def test_g7_attention_over_copies_is_uniform_and_their_number_means_nothing():
    built = system("gr-gan")
    out = built.generate(list(CAPTIONS), noise(4))
    copies = built.config.max_words
    assert_close(out.attention[0], torch.full_like(out.attention[0], 1 / copies))
    assert (out.attention[1] - 1 / 8).abs().max() > 1e-3
    built.generator.copies = 1
    for a, b in zip(out.images, built.generate(list(CAPTIONS), noise(4)).images, strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_a_word_reaches_the_stage_of_the_words_and_those_after_it(order):
    """Moving one word's vector alone leaves every earlier image as it was."""
    built = system("gr-gan", order=order)
    text = built.matcher.encode_text(list(CAPTIONS))
    moved = text._replace(words=text.words + text.mask[:, None])
    pairs = zip(built.generate(text, noise(4)).images, built.generate(moved, noise(4)).images, strict=True)
    changed = [bool((a - b).abs().max() > 1e-9) for a, b in pairs]
    assert changed == [i >= order.index("W") for i in range(3)]


def test_an_image_stage_at_the_end_reads_no_text():
    built = system("gr-gan", order="SWI")
    out = built.generate(list(CAPTIONS), noise(4))
    assert len(out.attention) == 1  # of the words; the first stage has none, the last one reads nothing
    assert not any(isinstance(m, DynamicMemory) for m in built.generator.stages[1].modules())
    h = out.features[1]
    assert_close(built.generator.stages[1].refine(torch.cat([h, h], 1)), out.features[2])


def test_without_grg_and_with_it_the_backbones_are_the_same_layers():
    for backbone, name in (("attention", "attngan"), ("memory", "dm-gan")):
        plain, graded = system(name, encoder="itm"), system("gr-gan", backbone=backbone)
        assert plain.generator.state_dict().keys() == graded.generator.state_dict().keys()
        graded.generator.load_state_dict(plain.generator.state_dict())
        text = plain.matcher.encode_text(list(CAPTIONS))
        ours, theirs = (built.generate(text, noise(4)).images for built in (graded, plain))
        assert torch.equal(ours[0], theirs[0]) and not torch.equal(ours[1], theirs[1])


# ---------------------------------------------------------------- sizes, variants, mistakes


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_f1_published_parameter_counts():
    c = GRGANConfig.of(PROFILES["paper"], text_dim=512)
    assert (c.residual_blocks, c.ngf, c.ndf, c.lambda1, c.lambda2, c.lambda_damsm) == (3, 64, 32, 4.0, 1.0, 1.0)
    with torch.device("meta"):
        generator = GradualGenerator(c, MemoryAttention)
        judges = [GRGAN.build_discriminator(type("", (), {"config": c}), r) for r in c.resolutions]
        unused = StageDiscriminator(64, c.ndf, c.text_dim, "spectral")
    assert count(generator) == 22_503_762 and count(generator.condition) == 205_200
    assert [count(stage) for stage in generator.stages] == [1_568_321, 1_568_321]
    never_asked = count(unused.joint) + count(unused.conditional)
    assert sum(map(count, judges)) == 27_059_876 - never_asked and never_asked == 1_773_825


def test_f1_three_stages():
    for order in ORDERS:
        out = system("gr-gan", order=order).generate(list(CAPTIONS), noise(4))
        assert [image.shape for image in out.images] == [(4, 3, r, r) for r in RESOLUTIONS]


def test_table_2_has_ten_cells():
    cells = [("attngan", v) for v in ("no-damsm", "default", "itm")] + [("gr-gan", "attention-damsm")]
    cells += [("gr-gan", "attention"), ("gr-gan", "damsm"), ("gr-gan", "default")]
    cells += [("dm-gan", v) for v in ("no-damsm", "default", "itm")]
    losses = {}
    for name, variant in cells:
        built = system(name, variant)
        given, out = drawn(built)
        terms = set(built.generator_losses(given, out)) | set(built.discriminator_losses(given, out))
        memory = any(isinstance(m, DynamicMemory) for m in built.generator.modules())
        losses[name, variant] = (memory, frozenset(terms), built.matcher.kind)
        assert memory == (name == "dm-gan" or variant in ("damsm", "default") and name == "gr-gan")
    assert len(cells) == len(set(losses.values())) == 10  # no two cells have the same layers and losses
    assert {kind for *_, kind in losses.values()} == {"damsm", "itm"}


def test_table_4_has_six_settings():
    named = {"itm-1-1", "itm-2-1", "itm-3-1", "itm", "itm-4-2", "itm-5-2"}
    found = {(v["lambda1"], v["lambda2"]) for n, v in systems.variants("dm-gan").items() if n in named}
    assert found == {(1, 1), (2, 1), (3, 1), (4, 1), (4, 2), (5, 2)}


def test_the_weight_of_a_matching_loss_follows_the_profile():
    for name, variant, expected in (("attngan", "default", 5.0), ("attngan", "itm", 1.0), ("gr-gan", "damsm", 5.0)):
        assert systems.configure(name, PROFILES["paper"], variant).lambda_damsm == expected
        mini = systems.configure(name, PROFILES["mini"], variant).lambda_damsm
        assert mini == pytest.approx(expected * PROFILES["mini"].lambda_damsm / 5)


def test_what_weighs_nothing_is_not_computed():
    built = system("gr-gan", lambda1=0.0, lambda2=0.0)
    given, out = drawn(built)
    built.matcher.encode_image = None  # it would be called
    assert set(built.generator_losses(given, out)) == {"g0", "g1", "g2", "kl"}


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"order": "ISS"}, "order 'ISS'.*each once"),
        ({"order": "WS"}, "order 'WS'"),
        ({"encoder": "clip"}, "unknown encoder 'clip'"),
        ({"lambda1": -1.0}, "lambda1 -1.0 is negative"),
        ({"resolutions": (8, 16)}, "2 image sizes for 3 stages"),
    ],
)
def test_mistakes_are_named(switches, message):
    with pytest.raises(UserError, match=message):
        GRGANConfig.of(PROFILES["smoke"], **switches)


def test_an_unknown_backbone_is_named():
    with pytest.raises(UserError, match="did you mean 'memory'"):
        system("gr-gan", backbone="memmory")


def test_a_matching_model_of_the_wrong_kind_is_named():
    with pytest.raises(UserError, match="reads itm's sentences and is given a model of kind damsm"):
        systems.create("gr-gan", "smoke", matcher=matcher(), **SIZES)


def test_a_sample_is_the_same_alone_and_in_any_order():
    for order in ORDERS:
        built, draws = system("gr-gan", order=order), noise(4)
        whole = built.generate(list(CAPTIONS), draws)
        for rows in ([2], [3, 1], [1, 1, 0]):
            some = built.generate([CAPTIONS[i] for i in rows], draws[rows])
            for a, b in zip(whole.images, some.images, strict=True):
                assert_close(a[rows], b)
        text = built.matcher.encode_text(list(CAPTIONS))
        rubbish = text._replace(words=text.words.masked_fill(~text.mask[:, None], 1e3))
        clean, dirty = built.generate(text, draws), built.generate(rubbish, draws)
        assert all(torch.equal(a, b) for a, b in zip(clean.images, dirty.images, strict=True))
