"""The adversarial losses (ALR-GAN E12, E13), conditioning augmentation, and the stages (E9, IFTM), by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import randn
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from t2i_core.adversarial import bce_discriminator, bce_fake, bce_generator, bce_real
from t2i_core.blocks import ConditioningAugmentation, InitialTransform, StageDiscriminator, conditioning_kl
from t2i_core.config import UserError
from t2i_core.ssm import similarity_matrix, text_vision_matrix
from t2i_core.systems.attngan import RefiningStage, WordAttention, image_head
from t2i_core.text_encoder import Text


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logits(*probabilities: float) -> Tensor:
    """The logits whose sigmoid, the papers' D(x), is as given."""
    return tensor([math.log(p / (1 - p)) for p in probabilities])


# ---------------------------------------------------------------- E12, E13


def test_e12_by_hand():
    # D(I) = 0.8, 0.5 and D(I, s) = 0.25, 0.1
    expected = -0.5 * (math.log(0.8) + math.log(0.5)) / 2 - 0.5 * (math.log(0.25) + math.log(0.1)) / 2
    assert_close(bce_generator(logits(0.8, 0.5), logits(0.25, 0.1)).item(), expected)


def test_e12_gradient_raises_both_verdicts():
    alone, joint = logits(0.8, 0.5).requires_grad_(), logits(0.25, 0.1).requires_grad_()
    bce_generator(alone, joint).backward()
    # d(-1/2 mean log sigmoid(x)) / dx = -(1 - D) / 2B
    assert_close(alone.grad, tensor([-0.2 / 4, -0.5 / 4]))
    assert_close(joint.grad, tensor([-0.75 / 4, -0.9 / 4]))
    assert gradcheck(bce_generator, (alone, joint))


def test_e13_by_hand():
    # one of its two pairs: D(real) = 0.8, 0.5 and D(drawn) = 0.25, 0.9
    expected = -0.5 * (math.log(0.8) + math.log(0.5)) / 2 - 0.5 * (math.log(0.75) + math.log(0.1)) / 2
    assert_close(bce_discriminator(logits(0.8, 0.5), logits(0.25, 0.9)).item(), expected)


def test_e13_gradient_raises_the_real_and_lowers_the_drawn():
    real, drawn = logits(0.8, 0.5).requires_grad_(), logits(0.25, 0.9).requires_grad_()
    bce_discriminator(real, drawn).backward()
    assert_close(real.grad, tensor([-0.2 / 4, -0.5 / 4]))
    assert_close(drawn.grad, tensor([0.25 / 4, 0.9 / 4]))
    assert gradcheck(bce_discriminator, (real, drawn))


def test_e13_is_log_1_minus_d_and_so_has_a_minimum():
    sure = tensor([-1e4])  # D(drawn) = 0: as well as it can be told
    assert bce_fake(sure) == 0  # "1 - log D" would be infinite here
    assert bce_real(-sure) == 0


def test_no_verdict_however_wrong_gives_an_infinite_loss():
    x = tensor([1e4]).requires_grad_()
    (bce_fake(x) + bce_real(-x)).backward()
    assert_close(bce_fake(x).item(), 1e4)
    assert_close(x.grad.item(), 2.0)


# ---------------------------------------------------------------- conditioning augmentation and its KL


def test_conditioning_augmentation_by_hand():
    module = ConditioningAugmentation(text_dim=1, condition_dim=1).double()
    linear = module.net[0]
    # the gated linear unit of (1, 2, ln 3, 0) s: mu = 1 . 3/4, log sigma^2 = 2 . 1/2, for s = 1
    linear.weight.data[:] = tensor([[1], [2], [math.log(3)], [0]])
    linear.bias.data.zero_()
    c, mu, log_variance = module(tensor([[1]]), tensor([[-2]]))
    assert_close(mu, tensor([[0.75]]))
    assert_close(log_variance, tensor([[1]]))
    assert_close(c, tensor([[0.75 - 2 * math.exp(0.5)]]))


def test_conditioning_augmentation_spreads_with_the_sigma_it_says():
    torch.manual_seed(0)
    module = ConditioningAugmentation(6, 3).double()
    sentence = randn(1, 6).expand(20_000, -1)
    c, mu, log_variance = module(sentence, randn(20_000, 3, seed=1))
    assert_close(c.mean(0), mu[0], atol=0.05, rtol=0)
    assert_close(c.var(0), log_variance[0].exp(), atol=0, rtol=0.05)


def test_kl_by_hand():
    assert conditioning_kl(tensor([[0, 0]]), tensor([[0, 0]])) == 0
    assert_close(conditioning_kl(tensor([[2, 0]]), tensor([[0, 0]])).item(), 2 / 2)  # mu^2 / 2, a mean over two
    assert_close(conditioning_kl(tensor([[0]]), tensor([[math.log(4)]])).item(), (4 - 1 - math.log(4)) / 2)


def test_kl_against_torchs_own_and_its_gradient():
    mu, log_variance = randn(3, 4).requires_grad_(), randn(3, 4, seed=1).requires_grad_()
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mu, (log_variance / 2).exp()), normal(tensor(0), tensor(1)))
    loss = conditioning_kl(mu, log_variance)
    assert_close(loss, expected.mean())
    loss.backward()
    assert_close(mu.grad, mu.detach() / 12)
    assert_close(log_variance.grad, (log_variance.detach().exp() - 1) / 24)


# ---------------------------------------------------------------- E9 and the shapes of the stages


def test_e9_joins_image_features_and_word_contexts_before_it_refines_and_doubles():
    torch.manual_seed(0)
    attention = WordAttention(8, 6)
    stage = RefiningStage(attention, ngf=8, residual_blocks=2).double().eval()
    h, words, mask = randn(2, 8, 3, 5), randn(2, 6, 4, seed=1), tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    seen = []
    stage.refine.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    refined, theta = stage(h, Text(words, randn(2, 6), mask))
    projected = torch.einsum("dt,btn->bdn", attention.project.weight[:, :, 0], words)
    expected = similarity_matrix(h, projected, mask)
    assert_close(theta, expected)
    q = text_vision_matrix(expected, projected).view(2, 8, 3, 5)
    assert_close(seen[0], torch.cat([h, q], 1))
    assert refined.shape == (2, 8, 6, 10)
    blocks, upsampling = stage.refine[:2], stage.refine[2]
    x = seen[0]
    for block in blocks:
        x = x + block.body(x)
    big = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    convolution, norm = upsampling[1], upsampling[2]
    assert isinstance(convolution, nn.Conv2d) and convolution.kernel_size == (3, 3) and convolution.bias is None
    value, gate = norm(convolution(big)).chunk(2, 1)
    assert_close(refined, value * gate.sigmoid())


@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
def test_iftm_gives_features_of_the_first_stages_size(resolution):
    with torch.device("meta"):
        assert InitialTransform(9, 32, resolution)(torch.empty(2, 9)).shape == (2, 32, resolution, resolution)


@pytest.mark.parametrize("resolution", [4, 12, 0, 48])
def test_iftm_refuses_a_size_it_cannot_reach(resolution):
    with pytest.raises(UserError, match=str(resolution)):
        InitialTransform(9, 32, resolution)


@pytest.mark.parametrize("resolution", [8, 16, 64, 128, 256])
def test_a_discriminator_gives_two_verdicts_an_image(resolution):
    with torch.device("meta"):
        judge = StageDiscriminator(resolution, 8, 6)
        features = judge.features(torch.empty(2, 3, resolution, resolution))
        assert features.shape[2:] == (4, 4)
        assert judge.judge_alone(features).shape == judge.judge_with(features, torch.empty(2, 6)).shape == (2,)


def test_images_lie_between_minus_1_and_1():
    image = image_head(8).double()(100 * randn(2, 8, 4, 4))
    assert image.shape == (2, 3, 4, 4)
    assert image.abs().max() <= 1 and image.abs().max() > 0.99
