"""The losses of AttnGAN and ALR-GAN as wholes: E2, E12 to E15 put together by hand, their gradients, the ablations."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import RESOLUTIONS, batch, false_captions, noise, system
from torch import Tensor
from torch.testing import assert_close

from t2i_core import systems
from t2i_core.alr import ALRModule
from t2i_core.config import UserError
from t2i_core.data import Batch
from t2i_core.matching import FalseSentences, sentence_loss
from t2i_core.systems.alr_gan import ALRGAN

GAMMA, FLOOR = 0.1, 0.1
WEIGHTS = {"gamma": GAMMA, "weight_floor": FLOOR, "lambda_rec": 3.0, "lambda_damsm": 7.0, "lambda_kl": 2.0}
ADVERSARIAL = {"g0", "g1", "g2"}
ATTNGAN = ADVERSARIAL | {"kl", "damsm_words", "damsm_sentence"}
REFINEMENT = {f"{term}{stage}" for term in ("rec", "alr", "pr", "sr") for stage in (1, 2)}


def drawn(built: systems.System, given: Batch | None = None):
    given = given or batch()
    return given, built.generate(given.tokens, noise(len(given)))


# ---------------------------------------------------------------- the losses, written out


def log_d(logits: Tensor) -> Tensor:
    return logits.sigmoid().log().mean()


def log_1_minus_d(logits: Tensor) -> Tensor:
    return (1 - logits.sigmoid()).log().mean()


def discriminator_loss_by_hand(judge, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
    """E13: both pairs of one stage."""
    h, h_fake = judge.features(real), judge.features(fake)
    alone = -0.5 * log_d(judge.judge_alone(h)) - 0.5 * log_1_minus_d(judge.judge_alone(h_fake))
    return alone - 0.5 * log_d(judge.judge_with(h, sentence)) - 0.5 * log_1_minus_d(judge.judge_with(h_fake, sentence))


def alr_by_hand(module: ALRModule, theta: Tensor, theta_real: Tensor, h_real: Tensor) -> Tensor:
    """Steps 1 to 4 for one sample: Theta, Theta* (T, N), H* (D, H, W)."""
    residual = (theta_real - theta).abs()
    size = h_real.shape[0]
    easy, hard = torch.zeros(2, size, residual.shape[1], dtype=torch.float64)
    for j, k in residual.nonzero():
        (hard if residual[j, k] >= GAMMA else easy)[j, k] = residual[j, k]
    alpha, beta = (
        FLOOR + (1 - FLOOR) * phi((part.view_as(h_real) * h_real)[None])[0].flatten(1).sigmoid()
        for phi, part in ((module.phi_alpha, easy), (module.phi_beta, hard))
    )
    order = (1 + (alpha.max() - beta.min()).exp()).log()
    norms = (alpha * easy).square().sum().sqrt() + (beta * hard).square().sum().sqrt()
    return (norms + order) / easy.numel()


def mask_by_hand(theta: Tensor, size: int) -> Tensor:
    """One sample's layout mask at twice the size of Theta (T, N), T real words -> (2 size, 2 size)."""
    words = len(theta)
    coarse = torch.ones(size, size).double()
    if words > 1:
        coarse = ((theta.max(0).values - 1 / words) / (1 - 1 / words)).view(size, size)
    return coarse.repeat_interleave(2, 0).repeat_interleave(2, 1)


def lvr_by_hand(h: Tensor, h_real: Tensor) -> tuple[Tensor, Tensor]:
    """PR and SR of one sample's masked features (D, H, W)."""
    a, b = h.flatten(1), h_real.flatten(1)
    return (a - b).square().sum().sqrt() / a.numel(), (a @ a.T - b @ b.T).square().sum().sqrt() / a.numel()


@torch.no_grad()
def generator_losses_by_hand(built: ALRGAN, given: Batch, out) -> dict[str, Tensor]:
    """Every term of E14 but DAMSM's, before the weights."""
    generator, text = built.generator, out.text
    terms = {}
    for i, (judge, fake) in enumerate(zip(built.discriminators, out.images, strict=True)):
        seen = judge.features(fake)
        terms[f"g{i}"] = -0.5 * log_d(judge.judge_alone(seen)) - 0.5 * log_d(judge.judge_with(seen, text.sentence))
    for i in (1, 2):
        before = generator.encoders[i - 1](given.images[i])
        after, theta_real = generator.stages[i - 1](before, text)
        terms[f"rec{i}"] = (generator.heads[i](after) - given.images[i]).abs().mean()
        theta, size = out.attention[i - 1], RESOLUTIONS[i - 1]
        each = []
        for b, length in enumerate(text.mask.sum(1)):
            masks = [mask_by_hand(t[b, :length], size) for t in (theta, theta_real)]
            alr = alr_by_hand(generator.stages[i - 1].attention, theta[b], theta_real[b], before[b])
            each.append((alr, *lvr_by_hand(masks[0] * out.features[i][b], masks[1] * after[b])))
        terms |= {
            f"{name}{i}": sum(x) / len(each)
            for name, x in zip(("alr", "pr", "sr"), zip(*each, strict=True), strict=True)
        }
    return terms


def test_e14_put_together_by_hand():
    built = system("alr-gan", **WEIGHTS)
    given, out = drawn(built)
    losses = built.generator_losses(given, out)
    by_hand = generator_losses_by_hand(built, given, out)
    for i in (1, 2):
        by_hand[f"rec{i}"] = 3.0 * by_hand[f"rec{i}"]  # lambda_1
    for name, expected in by_hand.items():
        assert_close(losses[name], expected, rtol=1e-6, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")
    matching = built.matcher.losses(out.images[-1], out.text, given.class_ids)  # held to a loop in test_matching.py
    mu, log_variance = out.extras["mu"], out.extras["log_variance"]
    kl = (mu.square() + log_variance.exp() - 1 - log_variance).mean() / 2
    total = sum(by_hand.values()) + 7.0 * (matching["words"] + matching["sentence"]) + 2.0 * kl
    assert_close(sum(losses.values()), total, rtol=1e-7, atol=0)


def test_e12_and_the_matching_term_are_all_that_attngan_has():
    switches = {"lambda_damsm": 7.0, "lambda_kl": 2.0}
    built, refined = system("attngan", **switches), system("alr-gan", **WEIGHTS)
    given, out = drawn(built)
    losses = built.generator_losses(given, out)
    assert set(losses) == ATTNGAN
    refined.discriminators.load_state_dict(built.discriminators.state_dict())
    theirs = refined.generator_losses(
        given, dataclasses.replace(refined.generate(given.tokens, noise(4)), images=out.images)
    )
    assert all(losses[name] == theirs[name] for name in ATTNGAN - {"kl"})


@pytest.mark.parametrize("name", ["attngan", "dm-gan", "alr-gan"])
def test_e13_e15_put_together_by_hand(name):
    built = system(name)
    given, out = drawn(built)
    losses = built.discriminator_losses(given, out)
    assert list(losses) == ["d0", "d1", "d2"]
    for i, judge in enumerate(built.discriminators):
        expected = discriminator_loss_by_hand(judge, given.images[i], out.images[i], out.text.sentence)
        assert_close(losses[f"d{i}"], expected)


@pytest.mark.parametrize("name", ["attngan", "dm-gan", "alr-gan"])
def test_mismatch_shares_the_conditional_fake_half_with_wrong_captions(name):
    plain, built = system(name), system(name, "mismatch")
    given, out = drawn(built)
    wrong = [1, 2, 3, 0]
    for i, judge in enumerate(built.discriminators):
        real, fake = judge.features(given.images[i]), judge.features(out.images[i])
        s = out.text.sentence
        expected = -0.5 * log_d(judge.judge_alone(real)) - 0.5 * log_1_minus_d(judge.judge_alone(fake))
        expected -= 0.5 * log_d(judge.judge_with(real, s)) + 0.25 * log_1_minus_d(judge.judge_with(fake, s))
        others = torch.empty_like(s)
        others[wrong] = s
        expected -= 0.25 * log_1_minus_d(judge.judge_with(real, others))
        assert_close(built.discriminator_losses(given, out)[f"d{i}"], expected)
    assert plain.discriminator_losses(given, out) != built.discriminator_losses(given, out)


@pytest.mark.parametrize("name", ["attngan", "dm-gan"])
def test_captions_made_false_are_one_more_quarter_of_fakes_and_negatives_of_the_sentence(name):
    switches = {"matching_noise": 0.0, "lambda_damsm": 2.0}
    built, mismatched = (system(name, variant, **switches) for variant in ("falsified", "mismatch"))
    assert built.falsifies and not mismatched.falsifies
    given, out = drawn(built)
    given = dataclasses.replace(given, falsified=false_captions())
    with pytest.raises(TypeError, match="falsify=True"):
        built.discriminator_losses(batch(), out)
    before = mismatched.discriminator_losses(given, out)
    found = built.discriminator_losses(given, out)
    s, false = out.text.sentence, built.matcher.encode_text(given.falsified.tokens).sentence
    told = torch.stack([false[4], s[0], false[6], false[7]])  # the second has nothing to falsify: another image's
    for i, judge in enumerate(built.discriminators):
        extra = -0.25 * log_1_minus_d(judge.judge_with(judge.features(given.images[i]), told))
        assert_close(found[f"d{i}"], before[f"d{i}"] + extra)

    losses = built.generator_losses(given, out)
    image = built.matcher.encode_image(out.images[-1]).image
    negatives = FalseSentences(false.unflatten(0, (2, 4)), given.falsified.possible)
    expected = 2.0 * 5.0 * sentence_loss(image, s, 10.0, given.class_ids, negatives)
    assert_close(losses["damsm_sentence"], expected)
    assert losses["damsm_sentence"] > 2.0 * 5.0 * sentence_loss(image, s, 10.0, given.class_ids)


def test_noise_hides_from_the_matching_loss_what_is_small():
    built = system("attngan", "falsified", matching_noise=0.5)
    given, out = drawn(built)
    torch.manual_seed(0)
    twice = [built.matching(out.images[-1], out.text, given.class_ids)["damsm_sentence"] for _ in range(2)]
    assert twice[0] != twice[1]
    deviation = []
    built.matcher.losses = lambda images, *rest: deviation.append((images - out.images[-1]).flatten(1).std(1)) or {}
    built.matching(out.images[-1], out.text, given.class_ids)
    assert (deviation[0] > 0).all() and (deviation[0] < 0.52).all() and len(deviation[0].unique()) == 4


def test_falsified_captions_are_refused_where_they_mean_nothing():
    with pytest.raises(UserError, match="mismatch=True as well"):
        system("attngan", falsified=True)
    with pytest.raises(UserError, match="matching_noise -1 is negative"):
        system("attngan", matching_noise=-1)
    with pytest.raises(UserError, match="GR-GAN's stages judge words too"):
        system("gr-gan", "mismatch", falsified=True)


# ---------------------------------------------------------------- E2: reconstruction


def test_e2_by_hand(monkeypatch):
    built = system("alr-gan", **WEIGHTS)
    given, out = drawn(built)
    before, real = built.generator.reconstruct(given.images, out.text)

    def losses_of(rebuilt: list[Tensor]) -> dict[str, Tensor]:
        reconstructed = before, dataclasses.replace(real, images=rebuilt)
        monkeypatch.setattr(built.generator, "reconstruct", lambda images, text: reconstructed)
        return built.generator_losses(given, out)

    exact = losses_of(given.images[1:])
    assert exact["rec1"] == exact["rec2"] == 0
    off = [(image + (-1) ** i * 0.25).requires_grad_() for i, image in enumerate(given.images[1:])]
    losses = losses_of(off)
    assert_close(torch.stack([losses["rec1"], losses["rec2"]]), torch.full((2,), 3.0 * 0.25).double())
    (losses["rec1"] + losses["rec2"]).backward()
    for sign, rebuilt in zip((1, -1), off, strict=True):  # lambda_1 sign(I** - I*) / number of values
        assert_close(rebuilt.grad, torch.full_like(rebuilt, sign * 3.0 / rebuilt.numel()))


def test_e2_the_generators_own_stage_decodes_the_real_image():
    built = system("alr-gan")
    given, out = drawn(built)
    before, real = built.generator.reconstruct(given.images, out.text)
    for i in (1, 2):
        h, theta = built.generator.stages[i - 1](before[i - 1], out.text)
        assert before[i - 1].shape == out.features[i - 1].shape  # E_i gives H* in the space of H
        assert_close(real.features[i - 1], h)
        assert_close(real.attention[i - 1], theta)
        assert_close(real.images[i - 1], built.generator.heads[i](h))
        assert real.images[i - 1].shape == given.images[i].shape


# ---------------------------------------------------------------- which gradient goes where


def gradients(loss: Tensor, module: torch.nn.Module) -> dict[str, float]:
    """The largest gradient in each parameter of a module; 0 where there is none."""
    named = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    return {name: 0.0 if g is None else float(g.abs().max()) for name, g in zip(named, found, strict=True)}


@pytest.mark.parametrize("name", ["attngan", "dm-gan", "alr-gan"])
def test_the_discriminators_losses_stop_at_the_images(name):
    built = system(name)
    given, out = drawn(built)
    losses = built.discriminator_losses(given, out)
    assert not any(gradients(sum(losses.values()), built.generator).values())
    for i, judge in enumerate(built.discriminators):
        assert all(gradients(losses[f"d{i}"], judge).values())
        others = [other for k, other in enumerate(built.discriminators) if k != i]
        assert not any(any(gradients(losses[f"d{i}"], other).values()) for other in others)


@pytest.mark.parametrize("variant", ["default", "fixed-weights", "as-printed"])
def test_the_real_layout_and_features_are_constant_targets(variant):
    built = system("alr-gan", variant)
    given, out = drawn(built)
    losses = built.generator_losses(given, out)
    for i in (1, 2):
        for name in ("alr", "pr", "sr"):
            found = gradients(losses[f"{name}{i}"], built.generator)
            assert not any(size for key, size in found.items() if key.startswith("encoders."))
            assert any(size for key, size in found.items() if key.startswith("initial."))  # the drawn side learns
        found = gradients(losses[f"rec{i}"], built.generator)
        reached = {key.split(".")[0] + key.split(".")[1] for key, size in found.items() if size}
        assert reached == {f"encoders{i - 1}", f"stages{i - 1}", f"heads{i}"}


def test_the_layout_loss_moves_theta_towards_theta_star():
    built = system("alr-gan")
    given, out = drawn(built)
    _, real = built.generator.reconstruct(given.images, out.text)
    losses = built.generator_losses(given, out)
    for i in (1, 2):
        theta = out.attention[i - 1]
        # LVR's masks come from Theta as well: only the layout loss is asked
        (gradient,) = torch.autograd.grad(losses[f"alr{i}"], theta, retain_graph=True)
        apart = theta - real.attention[i - 1]
        assert (gradient.sign() == apart.sign())[apart.abs() > 1e-9].all()


@pytest.mark.parametrize("name", ["attngan", "dm-gan", "alr-gan"])
def test_the_frozen_matching_model_teaches_and_does_not_learn(name):
    built = system(name).train()
    assert not built.matcher.training and not any(p.requires_grad for p in built.matcher.parameters())
    given, out = drawn(built)
    before = {key: value.clone() for key, value in built.state_dict().items()}
    losses = built.generator_losses(given, out)
    taught = gradients(losses["damsm_words"] + losses["damsm_sentence"], built.generator)
    assert taught["heads.2.0.weight"] > 0 and taught["heads.1.0.weight"] == 0  # it sees the finest image
    optimiser = torch.optim.Adam(built.parameters(), 1e-3)
    (sum(built.discriminator_losses(given, out).values()) + sum(losses.values())).backward()
    assert all(p.grad is None for p in built.matcher.parameters())
    optimiser.step()
    for key, value in built.state_dict().items():
        if key.startswith("matcher."):
            assert torch.equal(value, before[key]), key
        elif key in dict(built.named_parameters()):
            assert not torch.equal(value, before[key]), key


# ---------------------------------------------------------------- ablations

DROPPED = {
    "default": set(),
    "brief": set(),
    "no-alr": {"alr1", "alr2"},
    "fixed-weights": set(),
    "no-pr": {"pr1", "pr2"},
    "no-sr": {"sr1", "sr2"},
    "as-printed": set(),
    "mismatch": set(),
}


def test_every_variant_is_known_here():
    assert set(systems.variants("alr-gan")) == set(DROPPED)
    assert set(systems.variants("attngan")) == {
        "default",
        "brief",
        "mismatch",
        "falsified",
        "no-attention",
        "no-damsm",
        "itm",
    }
    with pytest.raises(UserError, match="did you mean 'no-alr'"):
        system("alr-gan", "no-arl")


@pytest.mark.parametrize("variant", DROPPED)
def test_each_ablation_drops_its_own_terms_and_no_other(variant):
    full, built = system("alr-gan", **WEIGHTS), system("alr-gan", variant, **WEIGHTS)
    missing = built.load_state_dict(full.state_dict(), strict=False)
    assert not missing.missing_keys
    given, out = drawn(full)
    losses = built.generator_losses(given, built.generate(given.tokens, noise(4)))
    assert set(losses) == (ATTNGAN | REFINEMENT) - DROPPED[variant]
    for name, expected in full.generator_losses(given, out).items():
        reweighted = variant in ("fixed-weights", "as-printed") and name.startswith("alr")
        if name not in DROPPED[variant] and not reweighted:
            assert losses[name] == expected, name


def test_fixed_weights_are_one_and_have_no_network():
    built = system("alr-gan", "fixed-weights")
    given, out = drawn(built)
    built.generator_losses(given, out)
    assert {out.extras[f"{name}{i}"].item() for name in ("alpha_max", "beta_min") for i in (1, 2)} == {1.0}
    assert not any("phi" in name for name, _ in built.named_parameters())


def test_without_attention_every_region_reads_the_mean_of_the_real_words():
    whole, built = system("attngan"), system("attngan", "no-attention")
    built.load_state_dict(whole.state_dict())  # the same layers
    given, out = drawn(built)
    text = out.text
    even = text.mask.double() / text.mask.sum(1, keepdim=True)
    for theta in out.attention:
        assert torch.equal(theta, even[:, :, None].expand_as(theta))
    stage, features = built.generator.stages[0], out.features[0]
    _, joined = stage.attention.layout(text.words, features, text.mask)
    words = stage.attention.project(text.words)
    for row, mask in enumerate(text.mask):
        mean = words[row][:, mask].mean(1)
        assert_close(joined[row, features.shape[1] :], mean[:, None, None].expand_as(features[row]))
    assert not torch.allclose(out.images[-1], whole.generate(given.tokens, noise(4)).images[-1])


def test_alr_gan_has_no_backbone_without_attention():
    with pytest.raises(UserError, match="unknown backbone 'mean'"):
        system("alr-gan", backbone="mean")


def test_no_damsm_drops_the_matching_term():
    built = system("attngan", "no-damsm")
    given, out = drawn(built)
    assert set(built.generator_losses(given, out)) == ATTNGAN - {"damsm_words", "damsm_sentence"}


@pytest.mark.parametrize(
    ("switch", "names"),
    [
        ("lambda_rec", {"rec1", "rec2"}),
        ("lambda_alr", {"alr1", "alr2"}),
        ("lambda_lvr", {"pr1", "pr2", "sr1", "sr2"}),
        ("lambda_damsm", {"damsm_words", "damsm_sentence"}),
        ("lambda_kl", {"kl"}),
    ],
)
def test_each_lambda_weighs_its_own_terms(switch, names):
    one, three = system("alr-gan", **{switch: 1.0}), system("alr-gan", **{switch: 3.0})
    given, out = drawn(one)
    weighed = three.generator_losses(given, out)
    for name, loss in one.generator_losses(given, out).items():
        assert_close(weighed[name], 3 * loss if name in names else loss)


def test_gamma_reaches_every_stage():
    built = system("alr-gan", gamma=0.3, weight_floor=0.25)
    assert [stage.attention.gamma for stage in built.generator.stages] == [0.3, 0.3]
    assert [stage.attention.weight_floor for stage in built.generator.stages] == [0.25, 0.25]
