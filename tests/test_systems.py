"""AttnGAN and ALR-GAN as wholes: published sizes, shapes of the stages, what goes in, and what a seed decides."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import CAPTIONS, RESOLUTIONS, SIZES, batch, matcher, noise, system
from torch.nn.utils.parametrize import is_parametrized
from torch.testing import assert_close

from t2i_core.alr import ALRModule
from t2i_core.config import PROFILES, UserError
from t2i_core.data import Batch
from t2i_core.systems.alr_gan import ALRGAN, ALRGANConfig
from t2i_core.systems.attngan import AttnGAN, AttnGANConfig, Generator, WordAttention
from t2i_core.systems.dm_gan import DMGAN
from t2i_core.text_encoder import Text


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_paper(cls: type[AttnGAN], **switches) -> AttnGAN:
    """A system of the published sizes, without memory for its weights."""
    with torch.device("meta"):
        return cls(cls.Config.of(PROFILES["paper"], **switches), matcher())


def test_published_parameter_counts_on_cub():
    built = on_paper(AttnGAN)
    generator = built.generator
    assert count(generator.condition) == 102_800
    assert count(generator.initial) == 6_444_928
    assert [count(stage) for stage in generator.stages] == [267_136, 267_136]
    assert [count(head) for head in generator.heads] == [864, 864, 864]
    assert built.parameter_counts() == {"generator": 7_084_592, "discriminators": 97_596_678}


def test_published_parameter_counts_on_coco():
    built = on_paper(AttnGAN, ngf=48, ndf=96, residual_blocks=3)
    assert built.parameter_counts() == {"generator": 13_811_456, "discriminators": 216_878_982}


def test_dm_gan_has_its_published_sizes():
    built = on_paper(DMGAN)
    generator = built.generator
    assert count(generator.initial) == 19_156_736
    assert [count(stage) for stage in generator.stages] == [1_092_161, 1_092_161]
    assert [count(head) for head in generator.heads] == [1_728, 1_728, 1_728]
    assert built.parameter_counts() == {"generator": 21_449_042, "discriminators": 25_298_598}
    on_coco = on_paper(DMGAN, residual_blocks=3)
    assert on_coco.parameter_counts() == {"generator": 22_335_314, "discriminators": 25_298_598}


def test_dm_gans_discriminators_are_in_spectral_norm_but_for_their_verdicts():
    (judge, *_) = system("dm-gan").discriminators
    normed = {name for name, layer in judge.named_modules() if is_parametrized(layer)}
    plain = {name for name, layer in judge.named_modules() if isinstance(layer, torch.nn.Conv2d)} - normed
    assert plain == {"unconditional", "conditional"} and "joint.0" in normed
    judge.train()
    for _ in range(50):  # the singular value is found by iteration, one step a call
        judge.features(torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    assert_close(torch.linalg.matrix_norm(judge.down[0].weight.flatten(1), 2).item(), 1.0, rtol=1e-3, atol=0)


def test_alr_gan_adds_the_weight_networks_and_the_real_encoders():
    built = on_paper(ALRGAN)
    phi = 2 * (32 * 32 * 9 + 32)  # two 3 x 3 convolutions of 32 features
    encoder = 3 * 64 * 16 + 2 * 64 + 64 * 64 * 9 + 2 * 64  # a 4 x 4 and a 3 x 3 convolution, each with its norm
    expected = {"generator": 7_084_592 + 2 * 2 * phi + 2 * encoder, "discriminators": 97_596_678}
    assert built.parameter_counts() == expected


@pytest.mark.parametrize("name", ["attngan", "dm-gan", "alr-gan"])
def test_f1_three_stages_each_twice_as_fine(name):
    built = system(name)
    out = built.generate(list(CAPTIONS), noise(4))
    assert [image.shape for image in out.images] == [(4, 3, r, r) for r in RESOLUTIONS]
    assert [h.shape for h in out.features] == [(4, 8, r, r) for r in RESOLUTIONS]
    assert [theta.shape for theta in out.attention] == [(4, 8, r * r) for r in RESOLUTIONS[:-1]]
    assert all(image.abs().max() <= 1 for image in out.images)
    assert len(built.discriminators) == 3
    assert built.noise_size == SIZES["noise_dim"] + SIZES["condition_dim"]


@pytest.mark.parametrize("resolutions", [(8, 16, 32), (16, 32, 64), (64, 128, 256)])
def test_f1_any_base_resolution(resolutions):
    built = on_paper(AttnGAN, resolutions=resolutions, ngf=8, ndf=4, text_dim=12)
    with torch.device("meta"):
        text = Text(torch.empty(2, 12, 3), torch.empty(2, 12), torch.ones(2, 3, dtype=torch.bool))
        out = built.generator(text, torch.empty(2, built.noise_size))
        for i, (judge, image) in enumerate(zip(built.discriminators, out.images, strict=True)):
            assert image.shape == (2, 3, resolutions[i], resolutions[i])
            assert judge.judge_alone(judge.features(image)).shape == (2,)


def test_f1_stages_that_do_not_double_are_refused():
    with pytest.raises(UserError, match="doubles"):
        system("attngan", resolutions=(8, 16, 64))


def test_more_words_than_features_are_refused_before_training():
    with pytest.raises(UserError, match="8 words.*4 features.*ngf"):
        system("alr-gan", ngf=4)


def test_f6_a_changed_word_changes_the_layout_of_its_own_image_alone():
    built = system("alr-gan")
    edited = [CAPTIONS[0].replace("left", "house"), *CAPTIONS[1:]]
    before, after = built.generate(list(CAPTIONS), noise(4)), built.generate(edited, noise(4))
    for a, b in zip((*before.images, *before.attention), (*after.images, *after.attention), strict=True):
        assert (a[0] - b[0]).abs().max() > 1e-6
        assert_close(a[1:], b[1:])


def test_q1_nothing_but_images_captions_and_classes_goes_in():
    assert {f.name for f in dataclasses.fields(Batch)} == {
        "images",
        "tokens",
        "class_ids",
        "indices",
        "caption_indices",
        "falsified",
    }
    built = system("alr-gan")
    given, out = batch(), built.generate(list(CAPTIONS), noise(4))
    blind = dataclasses.replace(given, indices=None, caption_indices=None)
    assert sum(built.generator_losses(blind, out).values()).isfinite()
    assert sum(built.discriminator_losses(blind, out).values()).isfinite()


def test_q3_the_alr_module_takes_the_place_of_another_systems_attention():
    torch.manual_seed(0)
    config = AttnGANConfig.of(PROFILES["smoke"], **SIZES, text_dim=12, max_words=8)
    plain, refined = (Generator(config, attention).double().eval() for attention in (WordAttention, ALRModule))
    added = refined.load_state_dict(plain.state_dict(), strict=False)
    assert added.missing_keys and all("phi_" in key for key in added.missing_keys) and not added.unexpected_keys
    text = matcher().encode_text(list(CAPTIONS))
    for ours, theirs in zip(refined(text, noise(4)).images, plain(text, noise(4)).images, strict=True):
        assert_close(ours, theirs, rtol=0, atol=0)  # it draws as before and can give its loss besides
    theta = refined(text, noise(4)).attention[0]
    terms = refined.stages[0].attention.alignment(theta, theta.flip(2), refined(text, noise(4)).features[0])
    assert terms.loss > 0


@pytest.mark.parametrize("name", ["attngan", "dm-gan", "alr-gan"])
def test_the_same_seed_gives_the_same_system(name):
    state = torch.get_rng_state()
    one, two, other = system(name), system(name), system(name, seed=1)
    assert torch.equal(torch.get_rng_state(), state)  # and nobody else's random numbers are touched
    a, b, c = (built.generate(list(CAPTIONS), noise(4)).images[-1] for built in (one, two, other))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_the_papers_switches_are_fields_of_the_configuration():
    known = {f.name for f in dataclasses.fields(ALRGANConfig)}
    assert {"gamma", "lambda_rec", "lambda_damsm", "alr", "weights", "perception", "style"} <= known
    with pytest.raises(UserError, match="did you mean 'lambda_rec'"):
        system("alr-gan", lambda_rek=1.0)
