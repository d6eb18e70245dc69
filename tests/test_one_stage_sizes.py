"""DF-GAN, GALIP and RATLIP: published sizes, what equals what, the published code's leak, and what is refused."""

from __future__ import annotations

import pytest
import torch
from tiny import CAPTIONS, VOCABULARY, batch, clip, damsm, one_stage, randn
from torch import Tensor
from torch.testing import assert_close

from t2i_core import systems
from t2i_core.config import PROFILES, RunConfig, UserError
from t2i_core.shuffle_attention import ShuffleAttention
from t2i_core.systems.df_gan import DFGAN
from t2i_core.systems.galip import GALIP, GALIPConfig
from t2i_core.systems.ratlip import HIDDEN, at_paper_size, table_ii
from t2i_core.train import train

exact = {"rtol": 1e-10, "atol": 1e-10}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def noise(seed: int = 3) -> torch.Tensor:
    return randn(4, 5, seed=seed)


# ---------------------------------------------------------------- published sizes


def test_df_gan_has_its_published_sizes():
    with torch.device("meta"):
        built = DFGAN(DFGAN.Config.of(PROFILES["paper"]), damsm())
    generator = built.generator
    assert (count(generator.start), count(generator.blocks), count(generator.to_rgb)) == (413_696, 9_329_568, 867)
    unused = 3 * (256 * 256 + 256)  # shortcuts of blocks that keep their channels
    assert built.parameter_counts() == {"generator": 9_744_131, "discriminators": 6_915_142 - unused}
    assert unused == 197_376


def test_galip_has_its_published_sizes():
    built = at_paper_size(GALIP)
    generator = built.generator
    parts = generator.code, generator.bridge, generator.blocks, generator.to_rgb
    assert [count(part) for part in parts] == [316_736, 15_999_616, 35_512_128, 1_731]
    unused = 2 * (768 * 768 + 768)
    assert built.parameter_counts() == {"generator": 51_830_211, "discriminators": 30_806_021 - unused}
    assert unused == 1_181_184


def test_ratlip_as_published_has_its_published_sizes():
    built = at_paper_size(as_published=True)
    generator = built.generator
    parts = generator.code, generator.bridge, generator.blocks, generator.to_rgb
    assert [count(part) for part in parts] == [316_736, 17_935_328, 35_517_584, 1_731]
    assert built.parameter_counts() == {"generator": 53_771_379, "discriminators": 30_806_021 - 1_181_184}


def test_one_lstm_for_all_affines_is_what_the_paper_describes():
    c, galip = GALIPConfig.of(PROFILES["paper"]), at_paper_size(GALIP, lambda_similarity=4.0)
    channels, steps = (32, 32, 64, 64), 16
    cell = 4 * 64 * (512 + 64 + 2)  # E4: [s; h] to four gates, with torch's two biases
    start = 2 * (c.noise_dim * 64 + 64)
    perceptrons = 4 * 2 * sum(64 * n + n + n * n + n for n in channels)
    of_galip = 4 * 2 * sum(612 * n + n + n * n + n for n in channels)
    attention = 4 * 3 * 64 // 8  # shuffle attention in each of four blocks: 3 C / G each
    shared, apart = at_paper_size(), at_paper_size(lstm="per-affine")
    assert count(shared.generator) - count(galip.generator) == start + cell + perceptrons - of_galip + attention
    assert count(apart.generator) - count(shared.generator) == (steps - 1) * cell
    assert count(at_paper_size(hidden=0, attention=False).generator) == count(galip.generator) == 51_830_211


def test_table_ii():
    rows = table_ii()
    assert [row["hidden"] for row in rows] == list(HIDDEN) == [0, 4, 8, 16, 32, 64, 128]
    for row in rows:
        for name in ("as published", "ours"):
            assert (name in row) == (name == "ours" or row["hidden"] > 0)
        generator, total = row["ours"]
        assert generator == pytest.approx((row["trainable, ours"] + 87_456_000) / 2**20, abs=0.02)
        assert total - generator == pytest.approx(30_806_021 / 2**20, abs=1e-9)
        if row["hidden"]:
            assert row["as published"] == pytest.approx(row["table"], abs=0.02)
    assert next(row for row in rows if row["hidden"] == 64)["trainable, as published"] == 53_771_379


# ---------------------------------------------------------------- what equals what


def modulated(x: Tensor, heads, condition: Tensor) -> Tensor:
    """RATLIP E1 and E2, and the leaky ReLU behind them."""
    gamma, beta = (
        last(first(condition).clamp(min=0))[:, :, None, None] for first, _, last in (heads.gamma, heads.beta)
    )
    x = gamma * x + beta
    return x.clamp(min=0) + 0.2 * x.clamp(max=0)


def image_generator_by_hand(built, x: Tensor, condition: Tensor) -> Tensor:
    for block in built.generator.blocks:
        if x.shape[-1] < block.size:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        residual = x
        for fuse, convolve in ((block.fuse1, block.conv1), (block.fuse2, block.conv2)):
            for affine in fuse.affines:
                residual = modulated(residual, affine.heads, condition)
            residual = convolve(residual)
        x = block.shortcut(x) + residual
    return x


def test_df_gan_draws_as_its_equations_say():
    built, z = one_stage("df-gan"), noise()
    s = built.matcher.encode_text(list(CAPTIONS)).sentence
    x = image_generator_by_hand(built, built.generator.start(z).view(4, 64, 4, 4), torch.cat([z, s], 1))
    assert x.shape == (4, 8, 32, 32)
    assert_close(built.generate(list(CAPTIONS), z).features[0], x, **exact)


@pytest.mark.parametrize("name", ["galip", "ratlip"])
def test_galip_and_ratlip_draw_as_their_equations_say(name):
    built, z = one_stage(name), noise()
    s = built.matcher.encode_text(list(CAPTIONS)).sentence
    condition, bridge = torch.cat([z, s], 1), built.generator.bridge
    heads = iter([bridge.affine.heads[k] for k in range(16)])
    states = built.generate(list(CAPTIONS), z).extras["states"]  # held to the cell below
    told = iter(states.unbind(1) if name == "ratlip" else [torch.cat([s, z], 1)] * 16)
    x = built.generator.code(z).view(4, 16, 4, 4)
    for block in bridge.blocks:
        residual = x
        for convolve in (block.conv1, block.conv2):
            residual = convolve(residual)
            for _ in range(2):
                residual = modulated(residual, next(heads), next(told))
        x = x + residual
    feature, prompts = bridge.into(x), bridge.prompts(condition).view(4, 2, 16)
    x = bridge.out_of(feature + 0.1 * built.matcher.through(feature, prompts))
    x = image_generator_by_hand(built, x, condition)
    assert_close(built.generate(list(CAPTIONS), z).features[0], x, **exact)


def test_ratlip_without_recurrence_and_attention_is_galip():
    galip, ratlip = one_stage("galip"), one_stage("ratlip", "hidden-0", attention=False, seed=5)
    assert ratlip.generator.to_rgb.weight.ne(galip.generator.to_rgb.weight).any()
    ratlip.load_state_dict(galip.state_dict())
    given = batch()
    ours, theirs = (built.generate(given.tokens, noise()) for built in (ratlip, galip))
    assert torch.equal(ours.images[-1], theirs.images[-1])
    for name in ("discriminator_losses", "generator_losses"):
        assert getattr(ratlip, name)(given, ours) == getattr(galip, name)(given, theirs)


@pytest.mark.parametrize(("hidden", "size"), [(64, 64), (16, 16), (0, 5)])
def test_states_of_all_sixteen_affines(hidden, size):
    built = one_stage("ratlip", hidden=hidden)
    states = built.generate(list(CAPTIONS), noise()).extras["states"]
    assert states.shape == (4, 16, size)
    if not hidden:  # no cell: only the noise passes by
        assert torch.equal(states, noise()[:, None].expand(-1, 16, -1))
        return
    assert (states.diff(dim=1).abs().amax((0, 2)) > 1e-4).all()
    bridge = built.generator.bridge
    state = bridge.affine.start(noise())
    for k in range(16):  # E4 to E6, from the noise, under the sentence alone
        *_, state = bridge.affine.modulation(k, built.matcher.encode_text(list(CAPTIONS)).sentence, state)
        assert_close(states[:, k], state.h, **exact)


def test_attention_stands_between_the_two_ratblks_of_each_block():
    """RATLIP III-C: two affines, convolution, shuffle attention, two affines; and nowhere else."""
    with_it, without = one_stage("ratlip"), one_stage("ratlip", "no-attention")
    attention = [block.conv2[1] for block in with_it.generator.bridge.blocks]
    assert sum(isinstance(layer, ShuffleAttention) for layer in with_it.generator.modules()) == len(attention) == 4
    plain = {k.replace("conv2.0.", "conv2."): v for k, v in with_it.generator.state_dict().items()}
    left = without.generator.load_state_dict(plain, strict=False)
    assert not left.missing_keys and all(".conv2.1." in key for key in left.unexpected_keys)
    pictures = [built.generate(list(CAPTIONS), noise()).features[0] for built in (with_it, without)]
    assert (pictures[0] - pictures[1]).abs().max() > 1e-4
    for layer in attention:
        layer.forward = lambda x: x
    assert_close(with_it.generate(list(CAPTIONS), noise()).features[0], pictures[1], **exact)


# ---------------------------------------------------------------- what the published code does


def test_as_published_a_picture_hangs_on_the_other_captions_of_its_batch():
    built = one_stage("ratlip", "as-published", ngf=16)
    edited = [*CAPTIONS[:3], "the blue dog"]
    before, after = (built.generate(captions, noise()).features[0] for captions in (list(CAPTIONS), edited))
    assert ((before - after)[:3].abs().amax((1, 2, 3)) > 1e-3).all()
    alone = built.generate(list(CAPTIONS[:1]), noise()[:1]).features[0]
    assert (alone[0] - before[0]).abs().max() > 1e-3
    turned = built.generate(list(CAPTIONS[::-1]), noise().flip(0)).features[0].flip(0)
    assert (turned - before).abs().max() > 1e-3
    leaf = noise().requires_grad_()
    picture = built.generate(list(CAPTIONS), leaf).features[0][0]
    (gradient,) = torch.autograd.grad(picture.square().sum(), leaf)
    assert (gradient.abs().amax(1) > 0).all()


def test_as_published_is_trained_where_it_is_asked_for_by_name_alone(tmp_path):
    named = systems.configure("ratlip", PROFILES["smoke"], "as-published")
    switched = systems.configure("ratlip", PROFILES["smoke"], switches={"as_published": True})
    assert named == switched and named.as_published
    systems.check_training("ratlip", named, "as-published")
    systems.check_training("ratlip", systems.configure("ratlip", PROFILES["smoke"]), "default")
    with pytest.raises(UserError, match='for looking at: .*ask for it by name: variant "as-published"'):
        systems.check_training("ratlip", switched, "default")
    config = RunConfig("ratlip", profile="smoke", data=str(tmp_path / "none"), switches={"as_published": True})
    with pytest.raises(UserError, match="for looking at"):
        train(config, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="hidden 0: the published affine has an LSTM"):
        one_stage("ratlip", "as-published", hidden=0)


# ---------------------------------------------------------------- what is refused


def test_a_system_is_built_on_its_own_kind_of_matching_model():
    for name in ("galip", "ratlip"):
        with pytest.raises(UserError, match=f"{name} is built on clip, not on damsm"):
            one_stage(name, matcher=damsm())
    with pytest.raises(UserError, match="attngan is built on damsm or itm, not on clip"):
        systems.create("attngan", "smoke", matcher=clip())
    with pytest.raises(UserError, match="df-gan .*clip"):
        one_stage("df-gan", "clip", matcher=damsm())
    with pytest.raises(UserError, match="df-gan .*clip"):
        one_stage("df-gan", matcher=clip())
    assert one_stage("df-gan", "clip").matcher.kind == "clip" == systems.matcher_kind("df-gan", "clip")
    assert systems.matcher_kind("df-gan") == "damsm" and systems.matcher_kind("ratlip", "hidden-16") == "clip"
    assert systems.matcher_kind("df-gan", switches={"encoder": "clip"}) == "clip"


@pytest.mark.parametrize(
    ("name", "switches", "said"),
    [
        ("ratlip", {"hidden": -1}, "hidden -1 is negative: choose 0"),
        ("ratlip", {"lstm": "sharde"}, "unknown lstm 'sharde'; did you mean 'shared'"),
        ("ratlip", {"penalty_norm": "jiont"}, "unknown penalty_norm 'jiont'; did you mean 'joint'"),
        ("df-gan", {"penalty_norm": "max"}, "unknown penalty_norm 'max'"),
        ("df-gan", {"encoder": "clap"}, "unknown .*'clap'; did you mean 'clip'"),
        ("galip", {"hidden": 3}, "unknown switch 'hidden'"),
        ("galip", {"resolutions": (16,)}, "16"),
        ("df-gan", {"resolutions": (48,)}, "image size 48 is not a power of two"),
        ("ratlip", {"code_channels": 24}, "24 channels cannot be cut into 8 groups"),
    ],
)
def test_switches_that_cannot_be_are_refused(name, switches, said):
    with pytest.raises(UserError, match=said):
        one_stage(name, **switches)


@pytest.mark.parametrize("profile", ["smoke", "mini"])
@pytest.mark.parametrize("name", ["df-gan", "galip", "ratlip"])
def test_every_variant_can_be_built_and_draws_at_every_profile_of_a_laptop(name, profile):
    for variant in systems.variants(name):
        built = systems.create(name, profile, VOCABULARY, variant=variant).eval()
        side = PROFILES[profile].resolutions[-1]
        assert built.generate(["a red house", "dog"]).images[-1].shape == (2, 3, side, side)
        assert built.config.resolutions == (side,)


def test_a_configuration_says_what_a_profile_does_not():
    config = GALIPConfig.of(PROFILES["paper"])
    assert (config.ngf, config.ndf, config.code_channels, config.middle_channels) == (64, 64, 64, 32)
    assert config.lambda_similarity == 4.0 and config.condition_dim == 0
