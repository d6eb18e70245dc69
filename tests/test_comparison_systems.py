"""The conditional GAN, GAN-CLS, StackGAN and SDN: what they draw, their losses by hand, what learns, their sizes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from short_runs import assert_same_run, config, trained
from tiny import CAPTIONS, RESOLUTIONS, assert_drawn_alike_in_any_company, batch, comparison, matcher, randn
from torch import Tensor
from torch.testing import assert_close

from t2i_core import systems
from t2i_core.adversarial import bce_matching
from t2i_core.config import PROFILES, RunConfig, UserError
from t2i_core.data import Batch
from t2i_core.image_encoder import Regions
from t2i_core.systems.cgan import CGAN
from t2i_core.systems.gan_cls import GANCLS
from t2i_core.systems.sdn import SDN, Layer, MatcherTeacher, VGG19Teacher
from t2i_core.systems.stackgan import StackGAN
from t2i_core.text_encoder import Text
from t2i_core.train import train

VARIANTS = {
    "cgan": {"default"},
    "gan-cls": {"default", "int", "int-cls"},
    "stackgan": {"default", "one-stage", "end-to-end"},
    "sdn": {"default", "no-distillation"},
}
PAIRS = [(name, variant) for name, variants in VARIANTS.items() for variant in sorted(variants)]
ORDER = torch.tensor([2, 0, 3, 1])
exact = {"rtol": 1e-9, "atol": 1e-10}


def noise(built: systems.System, count: int = 4, seed: int = 3) -> Tensor:
    return randn(count, built.noise_size, seed=seed)


def drawn(built: systems.System, given: Batch | None = None):
    given = given or batch()
    return given, built.generate(given.tokens, noise(built, len(given)))


def judges(built: systems.System) -> list[torch.nn.Module]:
    return list(built.discriminators) if built.name == "stackgan" else [built.discriminators]


def real_images(built: systems.System, given: Batch) -> list[Tensor]:
    return given.images[-len(judges(built)) :]


def probabilities(judge, images: Tensor, sentence: Tensor) -> Tensor:
    """D, one pair at a time."""
    return torch.cat(
        [judge.verdict(judge.features(x[None]), s[None]) for x, s in zip(images, sentence, strict=True)]
    ).sigmoid()


def gradients(loss: Tensor, module: torch.nn.Module) -> dict[str, float]:
    """The largest gradient in each parameter of a module; 0 where there is none."""
    named = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    return {name: 0.0 if g is None else float(g.abs().max()) for name, g in zip(named, found, strict=True)}


# ---------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("resolutions", [RESOLUTIONS, (16, 32, 64)])
def test_of_the_sizes_the_finest_are_drawn(pair, resolutions):
    built = comparison(*pair, resolutions=resolutions)
    out = built.generate(list(CAPTIONS), 3 * noise(built))
    count = 2 if pair[0] == "stackgan" and pair[1] != "one-stage" else 1
    assert [image.shape for image in out.images] == [(4, 3, r, r) for r in resolutions[-count:]]
    assert built.config.resolutions == resolutions[-count:]
    for image in out.images:
        assert image.abs().max() <= 1 and image.std(0).mean() > 0.02
    assert not out.attention
    assert len(judges(built)) == count


@pytest.mark.parametrize("pair", PAIRS)
def test_a_caption_and_its_noise_give_one_image_alone_in_a_batch_and_in_any_order(pair):
    built = comparison(*pair)
    draws = noise(built)
    assert_drawn_alike_in_any_company(built, draws, **exact)
    leaf = draws.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(built.generate(list(CAPTIONS), leaf).images[-1][1].square().sum(), leaf)
    assert gradient[1].abs().min() > 0  # all of its own noise counts
    assert (gradient[torch.tensor([0, 2, 3])] == 0).all()


@pytest.mark.parametrize("pair", PAIRS)
def test_another_caption_changes_its_own_image_alone(pair):
    built = comparison(*pair)
    edited = [CAPTIONS[0].replace("red", "blue"), *CAPTIONS[1:]]
    for a, b in zip(*(built.generate(c, noise(built)).images for c in (list(CAPTIONS), edited)), strict=True):
        assert (a[0] - b[0]).abs().max() > 1e-5
        assert_close(a[1:], b[1:], **exact)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_discriminators_judge_each_pair_alone(pair):
    built = comparison(*pair)
    given, sentence = batch(), randn(4, 12)
    for judge, images in zip(judges(built), real_images(built, given), strict=True):
        together = judge.verdict(judge.features(images), sentence)
        assert together.shape == (4,) and together.std() > 1e-4
        assert_close(together.sigmoid(), probabilities(judge, images, sentence), **exact)
        assert_close(judge.verdict(judge.features(images[ORDER]), sentence[ORDER]), together[ORDER], **exact)
        assert (judge.verdict(judge.features(images), sentence[ORDER]) - together).abs().min() > 1e-9  # it reads


@pytest.mark.parametrize("pair", PAIRS)
def test_a_seed_gives_the_same_noise_however_many_are_drawn(pair):
    built = comparison(*pair)
    many = built.noise(5, seed=4)
    assert many.shape == (5, built.noise_size)
    for count in (1, 2, 3):
        assert torch.equal(built.noise(count, seed=4), many[:count])


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_seed_gives_the_same_system(name):
    one, two, other = comparison(name), comparison(name), comparison(name, seed=1)
    a, b, c = (built.generate(list(CAPTIONS), noise(built)).images[-1] for built in (one, two, other))
    assert torch.equal(a, b) and not torch.equal(a, c)


# ---------------------------------------------------------------- the losses, by hand


def test_the_matching_aware_loss_of_three_verdicts():
    right, drawn_, wrong = (torch.tensor(p, dtype=torch.float64) for p in ([0.8, 0.5], [0.25, 0.1], [0.4, 0.6]))
    logits = [p.logit().requires_grad_() for p in (right, drawn_, wrong)]
    loss = bce_matching(*logits)
    expected = -right.log().mean() - 0.5 * ((1 - wrong).log().mean() + (1 - drawn_).log().mean())
    assert_close(loss, expected)
    loss.backward()
    for leaf, slope in zip(logits, (-(1 - right) / 2, drawn_ / 4, wrong / 4), strict=True):
        assert_close(leaf.grad, slope)


def test_the_conditional_gan_by_hand():
    built = comparison("cgan")
    given, out = drawn(built)
    real, fake = (probabilities(built.discriminators, x[-1], out.text.sentence) for x in (given.images, out.images))
    losses = built.discriminator_losses(given, out)
    assert list(losses) == ["d"]
    assert_close(losses["d"], -real.log().mean() - (1 - fake).log().mean())
    assert_close(built.generator_losses(given, out), {"g": -fake.log().mean()})


@pytest.mark.parametrize("pair", [p for p in PAIRS if p[0] != "cgan" and p[1] != "int"])
def test_the_matching_aware_discriminators_by_hand(pair):
    built = comparison(*pair)
    given, out = drawn(built)
    losses, s = built.discriminator_losses(given, out), out.text.sentence
    numbers = ("1", "2")[: len(out.images)] if pair[0] == "stackgan" else ("",)
    assert list(losses) == [f"d{i}" for i in numbers]
    for i, judge, x, fake in zip(numbers, judges(built), real_images(built, given), out.images, strict=True):
        right, wrong = probabilities(judge, x, s), probabilities(judge, x, s[[3, 0, 1, 2]])
        expected = -right.log().mean() - 0.5 * (1 - wrong).log().mean()
        assert_close(losses[f"d{i}"], expected - 0.5 * (1 - probabilities(judge, fake, s)).log().mean())


def test_gan_int_is_not_matching_aware():
    built, plain = comparison("gan-cls", "int"), comparison("cgan")
    plain.load_state_dict(built.state_dict())
    given, out = drawn(built)
    assert built.discriminator_losses(given, out) == plain.discriminator_losses(given, out)


def test_gan_cls_and_the_conditional_gan_are_the_same_layers():
    ours, theirs = comparison("gan-cls").state_dict(), comparison("cgan").state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("variant", ["int", "int-cls"])
def test_the_interpolation_by_hand(variant):
    built = comparison("gan-cls", variant, beta=0.25)
    given, out = drawn(built)
    s, losses = out.text.sentence, built.generator_losses(given, out)
    between = 0.25 * s + 0.75 * s[[3, 0, 1, 2]]
    images = [built.generate(out.text._replace(sentence=between), noise(built)).images[-1]]
    assert list(losses) == ["g", "between"]
    assert_close(losses["between"], -probabilities(built.discriminators, images[0], between).log().mean())
    assert_close(losses["g"], -probabilities(built.discriminators, out.images[-1], s).log().mean())
    itself = comparison("gan-cls", variant, beta=1.0)
    losses = itself.generator_losses(*drawn(itself))
    assert_close(losses["between"], losses["g"])


@pytest.mark.parametrize("variant", sorted(VARIANTS["stackgan"]))
def test_stackgans_generator_loss_by_hand(variant):
    built = comparison("stackgan", variant, lambda_kl=3.0)
    given, out = drawn(built)
    expected = {}
    for i, (judge, image) in enumerate(zip(judges(built), out.images, strict=True), 1):
        expected[f"g{i}"] = -probabilities(judge, image, out.text.sentence).log().mean()
        mu, log_variance = out.extras[f"mu{i}"], out.extras[f"log_variance{i}"]
        assert mu.shape == (4, 4)
        expected[f"kl{i}"] = 3.0 * (mu.square() + log_variance.exp() - 1 - log_variance).mean() / 2
    assert_close(built.generator_losses(given, out), expected)
    without = comparison("stackgan", variant, lambda_kl=0.0)
    assert list(without.generator_losses(*drawn(without))) == [name for name in expected if name[0] == "g"]


def test_the_distillation_by_hand():
    built = comparison("sdn", lambda_distill=2.0)
    given, out = drawn(built)
    losses = built.generator_losses(given, out)
    taught = MatcherTeacher(built.matcher)(given.images[-1])[::-1]
    assert [f.shape for f in out.features] == [f.shape for f in taught] and len(taught) == 5
    apart = [
        sum((a - b).square().mean() for a, b in zip(*pair, strict=True)) / 4
        for pair in zip(out.features, taught, strict=True)
    ]
    assert_close(losses["distill"], 2.0 * sum(apart) / 5)
    found = torch.autograd.grad(losses["distill"], out.features[-1], retain_graph=True)[0]
    assert_close(found, 2.0 / 5 * 2 * (out.features[-1] - taught[-1]) / taught[-1].numel())  # of the last layer alone
    plain = comparison("sdn", "no-distillation")
    plain.matcher.image_encoder = None  # it would be asked
    assert_close(plain.generator_losses(given, plain.generate(given.tokens, noise(plain))), {"g": losses["g"]})


# ---------------------------------------------------------------- the stages of StackGAN


def test_stage_two_reads_the_image_and_the_text_and_no_z():
    built = comparison("stackgan")
    text, draws = built.matcher.encode_text(list(CAPTIONS)), noise(built)
    assert built.noise_size == 5 + 2 * 4
    before = built.generate(text, draws).images
    for columns, changes in (((0, 5), (True, True)), ((5, 9), (True, True)), ((9, 13), (False, True))):
        other = draws.clone()
        other[:, slice(*columns)] += 1
        after = built.generate(text, other).images
        assert tuple(bool((a - b).abs().max() > 1e-6) for a, b in zip(before, after, strict=True)) == changes
    first, second = built.generator.stages
    condition, *_ = built.generator.conditions[1](text.sentence, draws[:, 9:])
    assert_close(second(condition, before[0])[0], before[1], **exact)
    condition, *_ = built.generator.conditions[0](text.sentence, draws[:, 5:9])
    assert_close(first(condition, draws[:, :5])[0], before[0], **exact)


@pytest.mark.parametrize("variant", ["default", "end-to-end"])
def test_stage_one_learns_from_its_own_loss_alone_unless_asked(variant):
    built = comparison("stackgan", variant).train()
    given, out = drawn(built)
    losses = built.generator_losses(given, out)
    first, second = built.generator.stages
    assert all(gradients(losses["g1"], first).values()) and not any(gradients(losses["g1"], second).values())
    assert all(gradients(losses["g2"], second).values())
    assert any(gradients(losses["g2"], first).values()) == (variant == "end-to-end")
    conditions = built.generator.conditions
    assert any(gradients(losses["kl2"], conditions[1]).values()) and not any(
        gradients(losses["kl2"], conditions[0]).values()
    )


def test_one_stage_is_stage_one_at_the_size_of_stage_two():
    built, whole = comparison("stackgan", "one-stage"), comparison("stackgan", resolutions=(32, 64))
    assert built.noise_size == 5 + 4 and len(built.generator.stages) == 1
    assert {k: v.shape for k, v in built.generator.stages[0].state_dict().items()} == {
        k: v.shape for k, v in whole.generator.stages[0].state_dict().items()
    }


@pytest.mark.parametrize(
    ("resolutions", "places"), [((8, 16), 8), ((16, 32), 8), ((32, 64), 8), ((16, 64), 8), ((64, 128), 16)]
)
def test_stage_two_brings_the_image_down_and_up(resolutions, places):
    built = comparison("stackgan", resolutions=resolutions)
    image = randn(2, 3, resolutions[0], resolutions[0])
    assert built.generator.stages[1].encode(image).shape[-1] == places
    assert built.generator.stages[1](randn(2, 4), image)[0].shape == (2, 3, resolutions[1], resolutions[1])


# ---------------------------------------------------------------- teacher and student


def test_the_teacher_is_the_frozen_matching_model():
    model, images = matcher(), batch().images[-1]
    found = MatcherTeacher(model)(images)
    assert [f.shape[1:] for f in found] == [(8, 32, 32), (16, 16, 16), (32, 8, 8), (32, 8, 8), (32, 4, 4)]
    assert MatcherTeacher(model).layers() == [Layer(*f.shape[1:3]) for f in found]
    encoder = model.image_encoder
    seen = Regions(encoder.region_head(found[3]), encoder.image_head(found[4].flatten(1)))
    for ours, theirs in zip(seen, model.encode_image(images), strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize(("resolution", "taught"), [(8, 3), (16, 4), (32, 5), (64, 5)])
def test_the_student_is_the_teacher_in_reverse(resolution, taught):
    built = comparison("sdn", resolutions=(resolution,))
    out = built.generate(list(CAPTIONS), noise(built))
    mirrored = MatcherTeacher(built.matcher).layers()[::-1][:taught]
    assert [Layer(*f.shape[1:3]) for f in out.features] == mirrored
    assert out.images[-1].shape[-1] == resolution
    linear = [m for m in built.generator.modules() if isinstance(m, torch.nn.Linear)]
    kernels = {m.kernel_size for m in built.generator.modules() if isinstance(m, torch.nn.Conv2d)}
    assert len(linear) == 3 and kernels == {(3, 3)}
    given = dataclasses.replace(batch(), images=[randn(4, 3, resolution, resolution).tanh()])
    losses = built.generator_losses(given, built.generate(given.tokens, noise(built)))
    found = gradients(losses["distill"], built.generator)
    untaught = {name for name, size in found.items() if not size}
    last = {
        name for name in found if name.startswith("to_rgb.") or resolution == 64 and name.startswith("convolutions.4.")
    }
    assert untaught == last


def test_distillation_draws_the_students_features_towards_the_teachers():
    built = comparison("sdn").train()
    given, _ = drawn(built)
    optimiser = torch.optim.Adam(built.generator.parameters(), 0.1)
    values = []
    for _ in range(8):
        loss = built.generator_losses(given, drawn(built, given)[1])["distill"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.6 * values[0]


@pytest.fixture(scope="module")
def vgg19_file(tmp_path_factory):
    from torchvision.models.vgg import cfgs, make_layers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make_layers(cfgs["E"])
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(
        {f"features.{k}": v for k, v in network.state_dict().items()} | {"classifier.0.bias": torch.ones(1)}, path
    )
    return path


def test_vgg_19_as_a_teacher(vgg19_file, monkeypatch):
    monkeypatch.setenv("T2I_VGG19", str(vgg19_file))
    built = comparison("sdn", teacher="vgg19").float().train()
    given = dataclasses.replace(batch(), images=[x.float() for x in batch().images])
    out = built.generate(given.tokens, noise(built).float())
    taught = built.teach(given.images[-1])
    assert [f.shape for f in taught] == [f.shape for f in out.features] and len(taught) == 16
    assert [Layer(*f.shape[1:3]) for f in taught][::-1] == VGG19Teacher.layers(32)
    layers = torch.load(vgg19_file, weights_only=True)
    x = (given.images[-1] + 1) / 2
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for k in (0, 2):
        x = torch.nn.functional.conv2d(
            x, layers[f"features.{k}.weight"], layers[f"features.{k}.bias"], padding=1
        ).relu()
        x = torch.nn.functional.max_pool2d(x, 2) if k else x
        assert_close(taught[-1 - k // 2], x)
    loss = built.generator_losses(given, out)["distill"]
    assert any(gradients(loss, built.generator).values()) and not any(f.requires_grad for f in taught)
    assert not any("teacher" in name for name in built.state_dict())


def test_a_missing_or_foreign_file_of_vgg_19_is_named_before_any_work(tmp_path, monkeypatch):
    asked = RunConfig("sdn", profile="paper", data=str(tmp_path / "none"))
    monkeypatch.setenv("T2I_VGG19", str(tmp_path / "none.pth"))
    with pytest.raises(UserError, match="none.pth is no file: let T2I_VGG19 name"):
        train(asked, tmp_path / "run", "cpu")
    systems.check_training("sdn", systems.configure("sdn", PROFILES["paper"], "no-distillation"), "no-distillation")
    for content in (b"rubbish", b""):
        (tmp_path / "foreign.pth").write_bytes(content)
        with pytest.raises(UserError, match="foreign.pth is not torchvision's VGG-19"):
            VGG19Teacher(tmp_path / "foreign.pth", torch.device("cpu"))
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "foreign.pth")
    with pytest.raises(UserError, match="foreign.pth is not torchvision's VGG-19"):
        VGG19Teacher(tmp_path / "foreign.pth", torch.device("cpu"))


# ---------------------------------------------------------------- which gradient goes where


@pytest.mark.parametrize("pair", PAIRS)
def test_the_discriminators_losses_stop_at_the_images(pair):
    built = comparison(*pair).train()
    given, out = drawn(built)
    losses = built.discriminator_losses(given, out)
    assert not any(gradients(sum(losses.values()), built.generator).values())
    for loss, judge in zip(losses.values(), judges(built), strict=True):
        assert all(gradients(loss, judge).values())
        others = [other for other in judges(built) if other is not judge]
        assert not any(any(gradients(loss, other).values()) for other in others)


@pytest.mark.parametrize("pair", PAIRS)
def test_all_of_the_generator_learns_and_nothing_of_the_matching_model(pair):
    built = comparison(*pair).train()
    given, out = drawn(built)
    losses = built.generator_losses(given, out)
    found = gradients(sum(losses.values()), built.generator)
    assert all(found.values()), found
    before = {key: value.clone() for key, value in built.matcher.state_dict().items()}
    optimiser = torch.optim.Adam(built.parameters(), 1e-3)
    (sum(built.discriminator_losses(given, out).values()) + sum(losses.values())).backward()
    assert all(p.grad is None and not p.requires_grad for p in built.matcher.parameters())
    optimiser.step()
    assert not built.matcher.training
    assert all(torch.equal(value, before[key]) for key, value in built.matcher.state_dict().items())


# ---------------------------------------------------------------- sizes


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_paper(cls, **switches) -> systems.System:
    """A system of the published sizes, without memory for its weights."""
    with torch.device("meta"):
        return cls(cls.Config.of(PROFILES["paper"], **switches), matcher())


def normed(kernel: int, *channels: int) -> int:
    """Parameters of convolutions without bias, each with its batch norm."""
    return sum(kernel**2 * a * b + 2 * b for a, b in zip(channels, channels[1:], strict=False))


def pair_discriminator(*channels: int) -> int:
    first, last = channels[0], channels[-1]
    joint = normed(1, last + 128, last) + 16 * last + 1
    return 16 * 3 * first + normed(4, *channels) + (256 + 1) * 128 + joint


@pytest.mark.parametrize("cls", [CGAN, GANCLS])
def test_the_dcgan_of_64_px(cls):
    built = on_paper(cls)
    generator = (256 + 1) * 128 + normed(4, 100 + 128, 512, 256, 128, 64) + 16 * 64 * 3 + 3
    assert built.parameter_counts() == {
        "generator": generator,
        "discriminators": pair_discriminator(64, 128, 256, 512),
    }
    assert built.config.resolutions == (64,) and built.noise_size == 100


def test_stackgan_of_64_and_256_px():
    built = on_paper(StackGAN)
    c = built.config
    assert (c.resolutions, c.noise_dim, c.condition_dim, c.text_features) == ((64, 256), 100, 128, 128)
    condition = (256 + 1) * 4 * 128
    head = 9 * 64 * 3 + 3
    start = (100 + 128) * 512 * 16 + 2 * 512 * 16
    first = start + normed(3, 512, 512, 256, 128, 64) + head
    down = (9 * 3 + 1) * 64 + normed(4, 64, 128, 256)
    residual = 4 * normed(3, 256, 256, 256)
    second = down + normed(3, 256 + 128, 256) + residual + normed(3, 256, 128, 64, 64, 64) + head
    assert [count(stage) for stage in built.generator.stages] == [first, second]
    assert built.parameter_counts() == {
        "generator": 2 * condition + first + second,
        "discriminators": pair_discriminator(64, 128, 256, 512) + pair_discriminator(64, 128, 256, 512, 512, 512),
    }
    with torch.device("meta"):
        assert built.generator.stages[1].encode(torch.empty(1, 3, 64, 64)).shape == (1, 256, 16, 16)


def test_sdns_student_is_vgg_19_in_reverse():
    built = on_paper(SDN)
    linear = [m for m in built.generator.modules() if isinstance(m, torch.nn.Linear)]
    convolutions = [m for m in built.generator.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.in_features, m.out_features) for m in linear] == [(356, 4096), (4096, 4096), (4096, 512 * 8 * 8)]
    assert len(convolutions) == 16 and {m.kernel_size for m in convolutions} == {(3, 3)}
    # VGG-19's convolutions have 20,024,384 parameters, of which 5,504 are biases
    assert sum(m.weight.numel() for m in convolutions) == 20_024_384 - 5_504
    channels = [m.in_channels for m in convolutions] + [convolutions[-1].out_channels]
    assert channels == [512] * 8 + [256] * 4 + [128] * 2 + [64] * 2 + [3]
    with torch.device("meta"):
        text = Text(torch.empty(2, 256, 3), torch.empty(2, 256), torch.ones(2, 3, dtype=torch.bool))
        out = built.generator(text, torch.empty(2, built.noise_size))
    assert [Layer(*f.shape[1:3]) for f in out.features] == VGG19Teacher.layers(256)[::-1]
    assert out.images[-1].shape == (2, 3, 256, 256)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_profile_has_its_sizes(name):
    features = {"smoke": 16, "mini": 32, "small": 64, "paper": 128}
    for profile, p in PROFILES.items():
        c = systems.configure(name, p)
        assert c.text_features == features[profile]
        assert (c.condition_dim > 0) == (name == "stackgan")
        assert systems.configure(name, p, switches=c.to_dict()) == c  # as a finished run is opened again


# ---------------------------------------------------------------- variants and mistakes


def test_every_variant_is_known_here():
    assert {name: set(systems.variants(name)) for name in VARIANTS} == VARIANTS
    assert {systems.matcher_kind(*pair) for pair in PAIRS} == {"damsm"}


def test_what_a_claim_compares_is_trained_as_long_as_the_system():
    for name, variant in (("stackgan", "one-stage"), ("sdn", "no-distillation")):
        steps = {RunConfig(name, v, profile="mini").resolve().steps for v in ("default", variant)}
        assert len(steps) == 1


@pytest.mark.parametrize(
    ("name", "switches", "message"),
    [
        ("cgan", {"text_features": 0}, "text_features 0 leaves nothing"),
        ("cgan", {"mismatch": True}, "unknown switch 'mismatch'"),
        ("gan-cls", {"mismach": True}, "did you mean 'mismatch'"),
        ("gan-cls", {"beta": 1.5}, "beta 1.5 lies not between"),
        ("stackgan", {"stages": 3}, "stages 3: choose 2"),
        ("stackgan", {"lambda_kl": -1.0}, "lambda_kl -1.0 is negative"),
        ("stackgan", {"condition_dim": 0}, "condition_dim 0 leaves nothing"),
        ("stackgan", {"resolutions": (32,)}, r"\(32,\) are too few for 2 stages"),
        ("stackgan", {"resolutions": (32, 32)}, "do not grow"),
        ("stackgan", {"resolutions": (16, 48)}, "image size 48 is not a power of two"),
        ("sdn", {"teacher": "vgg"}, "unknown teacher 'vgg'; did you mean 'vgg19'"),
        ("sdn", {"lambda_distill": -1.0}, "lambda_distill -1.0 is negative"),
        ("sdn", {"fc_width": 0}, "fc_width 0 leaves nothing"),
        ("sdn", {"teacher": "vgg19", "resolutions": (16,)}, "16 px vanish in VGG-19"),
        ("sdn", {"resolutions": (24,)}, "image size 24 is not a power of two"),
    ],
)
def test_mistakes_are_named(name, switches, message):
    with pytest.raises(UserError, match=message):
        comparison(name, **switches)


def test_a_matching_model_that_cannot_teach_is_named():
    model = matcher()
    model.kind = "clip"
    with pytest.raises(UserError, match="cgan is built on damsm, not on clip"):
        systems.create("cgan", "smoke", matcher=model)
    model = matcher()
    model.image_encoder = torch.nn.Identity()
    with pytest.raises(UserError, match='other layers.*teacher="vgg19"'):
        systems.create("sdn", "smoke", matcher=model)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_that_went_on_ends_as_one_that_never_stopped_and_opens_again(name, tiny_scenes, tiny_run, tmp_path):
    settings = config(tiny_scenes, tiny_run / "matcher", system=name)
    whole = trained(settings, tmp_path / "whole")
    trained(dataclasses.replace(settings, steps=3), tmp_path / "parts")
    trained(settings, tmp_path / "parts")
    assert_same_run(tmp_path / "parts", whole.folder)
    terms = {"stackgan": {"d1", "d2", "g1", "g2", "kl1", "kl2"}, "sdn": {"d", "g", "distill"}}.get(name, {"d", "g"})
    assert set(whole.log().columns) == {"step", "seconds"} | terms
    built = whole.system()
    assert built.name == name
    alone, beside = (built.generate(c, seed=3).images[-1] for c in (["red house"], ["red house", "dog"]))
    torch.testing.assert_close(alone[0], beside[0], rtol=1e-4, atol=1e-5)
