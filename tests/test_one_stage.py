"""DF-GAN, GALIP and RATLIP as wholes: shapes, batches, the losses of RATLIP E8 from logits, and what learns."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from tiny import CAPTIONS, assert_drawn_alike_in_any_company, batch, clip, one_stage, randn
from torch import Tensor
from torch.testing import assert_close

from t2i_core import systems
from t2i_core.clip import CLIP
from t2i_core.config import PROFILES
from t2i_core.data import Batch

PAIRS = [
    ("df-gan", "default"),
    ("df-gan", "clip"),
    ("galip", "default"),
    ("ratlip", "default"),
    ("ratlip", "no-attention"),
    ("ratlip", "hidden-0"),
    ("ratlip", "hidden-16"),
    ("ratlip", "per-affine"),
]
ONE_EACH = [("df-gan", "default"), ("galip", "default"), ("ratlip", "default")]
ORDER = torch.tensor([2, 0, 3, 1])
exact = {"rtol": 1e-10, "atol": 1e-10}


def noise(count: int = 4, seed: int = 3) -> Tensor:
    return randn(count, 5, seed=seed)


def drawn(built: systems.System, given: Batch | None = None):
    given = given or batch()
    return given, built.generate(given.tokens, noise(len(given)))


def gradients(loss: Tensor, module: torch.nn.Module) -> dict[str, float]:
    """The largest gradient in each parameter of a module; 0 where there is none."""
    named = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    return {name: 0.0 if g is None else float(g.abs().max()) for name, g in zip(named, found, strict=True)}


# ---------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("resolution", [32, 64])
def test_one_picture_a_caption_in_its_range(pair, resolution):
    built = one_stage(*pair, resolutions=(resolution,))
    out = built.generate(list(CAPTIONS), 5 * noise())
    (picture,) = out.images
    assert picture.shape == (4, 3, resolution, resolution) and picture.abs().max() <= 1
    assert out.features[0].shape == (4, 8, resolution, resolution)
    assert built.noise_size == 5 and built.noise(2).shape == (2, 5)
    assert picture.std(0).mean() > 0.05 and not out.attention


def test_galip_draws_linearly_while_it_learns_and_is_cut_off_afterwards():
    built = one_stage("galip")
    built.generator.to_rgb.weight.data *= 20
    free = built.train().generate(list(CAPTIONS), noise()).images[-1]
    shown = built.eval().generate(list(CAPTIONS), noise()).images[-1]
    assert (free.abs() > 1).float().mean() > 0.2
    assert_close(shown, free.clamp(-1, 1), **exact)


def test_df_gan_draws_through_tanh():
    built = one_stage("df-gan")
    out = built.generate(list(CAPTIONS), noise())
    assert_close(out.images[0], built.generator.to_rgb(F.leaky_relu(out.features[0], 0.2)).tanh(), **exact)


@pytest.mark.parametrize("name", ["df-gan", "galip", "ratlip"])
def test_the_published_resolutions(name):
    config = systems.configure(name, PROFILES["paper"])
    assert config.resolutions == ((256,) if name == "df-gan" else (224,))
    assert (config.penalty_weight, config.penalty_power, config.noise_dim) == (2.0, 6.0, 100)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_caption_and_its_noise_give_one_picture_alone_in_a_batch_and_in_any_order(pair, training):
    built, draws = one_stage(*pair).train(training), noise()
    assert_drawn_alike_in_any_company(built, draws, **exact)
    leaf = draws.clone().requires_grad_()
    picture = built.generate(list(CAPTIONS), leaf).features[0][1]
    (gradient,) = torch.autograd.grad(picture.square().sum(), leaf)
    assert gradient[1].abs().min() > 0 and (gradient[ORDER[[0, 1, 2]]] == 0).all()


@pytest.mark.parametrize("pair", PAIRS)
def test_another_caption_changes_its_own_picture_alone(pair):
    built = one_stage(*pair)
    edited = [CAPTIONS[0].replace("red", "blue"), *CAPTIONS[1:]]
    before, after = (built.generate(captions, noise()).features[0] for captions in (list(CAPTIONS), edited))
    assert (before[0] - after[0]).abs().max() > 1e-4
    assert_close(before[1:], after[1:], **exact)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_discriminator_judges_each_pair_alone(pair):
    built, given = one_stage(*pair), batch()
    judge, sentence = built.discriminators, built.matcher.encode_text(list(CAPTIONS)).sentence
    seen = built.look(given.images[-1])

    def verdict(rows: Tensor) -> Tensor:
        return judge.verdict(judge.features(seen[rows]), sentence[rows])

    together = verdict(torch.arange(4))
    assert together.shape == (4,) and together.std() > 1e-4
    for rows in (*torch.arange(4).split(1), ORDER):
        assert_close(verdict(rows), together[rows], **exact)
    told = judge.verdict(judge.features(seen), sentence[ORDER])
    assert (told - together).abs().min() > 1e-9  # it listens to the sentence


# ---------------------------------------------------------------- RATLIP E8


def penalty_by_hand(built, seen: Tensor, sentence: Tensor, k: float, p: float, joint: bool) -> Tensor:
    """k E[(||grad_x|| + ||grad_s||)^p], one pair at a time."""
    judge, powers = built.discriminators, []
    for x, s in zip(seen.detach(), sentence.detach(), strict=True):
        x, s = x[None].requires_grad_(), s[None].requires_grad_()
        of_x, of_s = torch.autograd.grad(judge.verdict(judge.features(x), s).sum(), (x, s))
        a, b = float(of_x.square().sum()), float(of_s.square().sum())
        powers.append((a + b) ** (p / 2) if joint else (a**0.5 + b**0.5) ** p)
    return torch.tensor(k * sum(powers) / len(powers), dtype=torch.float64)


def look(built, images: Tensor) -> Tensor:
    """C(x): the picture itself, or the ViT's features of it."""
    return images if built.name == "df-gan" else built.matcher.encode_image(images).features


@pytest.mark.parametrize("pair", [*PAIRS, ("galip", "joint-penalty"), ("df-gan", "joint-penalty")])
@pytest.mark.parametrize("settings", [(2.0, 6.0), (3.0, 2.0)])
def test_e8_of_the_discriminator_by_hand(pair, settings):
    built = one_stage(*pair, penalty_weight=settings[0], penalty_power=settings[1])
    given, out = drawn(built)
    judge, s = built.discriminators, out.text.sentence
    seen, fake = look(built, given.images[-1]), look(built, out.images[-1])
    judge.verdict.net[-1].weight.data *= 2 / judge.verdict(judge.features(seen), s).abs().max()  # beyond the margins
    real = [judge.verdict(judge.features(seen[[i]]), s[[i]]).item() for i in range(4)]
    forged = [judge.verdict(judge.features(fake[[i]]), s[[i]]).item() for i in range(4)]
    others = [judge.verdict(judge.features(seen[[i]]), s[[i - 1]]).item() for i in range(4)]
    hinge = sum(max(0, 1 - d) for d in real) / 4
    hinge += 0.5 * sum(max(0, 1 + d) for d in forged) / 4 + 0.5 * sum(max(0, 1 + d) for d in others) / 4
    losses = built.discriminator_losses(given, out)
    assert list(losses) == ["d", "penalty"]
    assert_close(losses["d"].item(), hinge, **exact)
    expected = penalty_by_hand(built, seen, s, *settings, joint=pair[1] == "joint-penalty")
    assert expected > 0 and max(map(abs, real)) > 1
    assert_close(losses["penalty"], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("pair", PAIRS)
def test_e8_of_the_generator_by_hand(pair):
    weights = {} if pair[0] == "df-gan" else {"lambda_similarity": 4.0}
    built = one_stage(*pair, **weights)
    given, out = drawn(built)
    judge, s = built.discriminators, out.text.sentence
    losses = built.generator_losses(given, out)
    assert_close(losses["g"], -judge.verdict(judge.features(look(built, out.images[-1])), s).mean(), **exact)
    if pair[0] == "df-gan":
        assert list(losses) == ["g"]
        return
    assert list(losses) == ["g", "similarity"]
    embedded = built.matcher.encode_image(out.images[-1]).image
    cosines = [(v @ t / (v.norm() * t.norm())).item() for v, t in zip(embedded, s, strict=True)]
    assert_close(losses["similarity"].item(), -4 * sum(cosines) / 4, **exact)
    half = one_stage(*pair, lambda_similarity=2.0)
    assert_close(half.generator_losses(*drawn(half))["similarity"], losses["similarity"] / 2, **exact)


def test_no_similarity_drops_its_term_and_no_other():
    full, built = one_stage("galip"), one_stage("galip", "no-similarity")
    losses, without = (each.generator_losses(*drawn(each)) for each in (full, built))
    assert list(without) == ["g"] and without["g"] == losses["g"]


def test_the_similarity_draws_the_picture_towards_its_caption():
    built = one_stage("galip")
    given, out = drawn(built)
    (gradient,) = torch.autograd.grad(built.generator_losses(given, out)["similarity"], out.images[-1])
    closer = (out.images[-1] - 1e-3 * gradient / gradient.norm()).detach()
    alike = [
        F.cosine_similarity(built.matcher.encode_image(x).image, out.text.sentence).sum()
        for x in (out.images[-1], closer)
    ]
    assert alike[1] > alike[0]


def test_discriminators_start_as_their_shortcuts_and_open_every_level():
    fresh = systems.create("galip", "smoke", matcher=clip(), ngf=8, ndf=4, noise_dim=5).double().discriminators
    seen = clip().encode_image(batch().images[-1]).features
    assert_close(fresh.features(seen), fresh.narrow.shortcut(seen[:, 0]), **exact)
    opened = one_stage("galip").discriminators
    leaf = seen.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(opened.features(leaf).square().sum(), leaf)
    assert (gradient.abs().amax((2, 3, 4)) > 0).all()


# ---------------------------------------------------------------- which gradient goes where


@pytest.mark.parametrize("pair", PAIRS)
def test_the_discriminators_losses_stop_at_the_pictures(pair):
    built = one_stage(*pair).train()
    given, out = drawn(built)
    losses = built.discriminator_losses(given, out)
    assert not any(gradients(sum(losses.values()), built.generator).values())
    found = gradients(sum(losses.values()), built.discriminators)
    assert all(found.values()), found
    # of the penalty, too, the discriminator alone learns
    assert any(gradients(losses["penalty"], built.discriminators).values())
    assert not any(image.requires_grad for image in given.images)


@pytest.mark.parametrize("pair", ONE_EACH)
def test_the_batch_is_left_as_it_was(pair):
    built = one_stage(*pair).float()
    given = batch()
    given = dataclasses.replace(given, images=[image.float() for image in given.images])
    before = [image.clone() for image in given.images]
    out = built.generate(given.tokens, noise().float())
    sum(built.discriminator_losses(given, out).values()).backward()
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(given.images, before, strict=True))


@pytest.mark.parametrize("pair", PAIRS)
def test_all_of_the_generator_learns_and_nothing_of_the_matching_model(pair):
    built = one_stage(*pair).train()
    given, out = drawn(built)
    losses = built.generator_losses(given, out)
    found = gradients(sum(losses.values()), built.generator)
    still = {name for name, size in found.items() if not size}
    assert not still, still
    before = {key: value.clone() for key, value in built.state_dict().items()}
    optimiser = torch.optim.Adam(built.parameters(), 1e-3)
    (sum(built.discriminator_losses(given, out).values()) + sum(losses.values())).backward()
    assert all(p.grad is None and not p.requires_grad for p in built.matcher.parameters())
    optimiser.step()
    assert not built.matcher.training
    for key, value in built.state_dict().items():
        if key.startswith("matcher."):
            assert torch.equal(value, before[key]), key
        elif key in dict(built.named_parameters()):
            assert not torch.equal(value, before[key]), key


@pytest.mark.parametrize("pair", [("galip", "default"), ("ratlip", "default")])
def test_drawn_pictures_are_seen_once_a_step(pair, monkeypatch):
    built, given, looked = one_stage(*pair).train(), batch(), []
    encode_image = CLIP.encode_image

    def counted(self, images):
        looked.append(images)
        return encode_image(self, images)

    monkeypatch.setattr(CLIP, "encode_image", counted)
    out = built.generate(given.tokens, noise())
    assert not looked
    built.discriminator_losses(given, out)
    built.generator_losses(given, out)
    assert len(looked) == 2 and looked[0] is given.images[-1] and looked[1] is out.images[-1]
    again = built.generate(given.tokens, noise(seed=4))
    built.generator_losses(given, again)
    assert len(looked) == 3 and looked[2] is again.images[-1]
