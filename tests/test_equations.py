"""ALR-GAN's layout: SSM and TVM (E1, E8), the residual and its weights (E3 to E6) against values by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import layouts, randn
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from t2i_core.alr import ALRModule, layout_residual, pad_to_features, split_residual
from t2i_core.ssm import similarity_matrix, text_vision_matrix


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


# ---------------------------------------------------------------- E1, E8: SSM and TVM


def test_e1_by_hand():
    # one feature; regions 1 and 2; words 0 and ln 3, so exp(h w) is 1, 3 for region 1 and 1, 9 for region 2
    theta = similarity_matrix(tensor([[[1, 2]]]), tensor([[[0, math.log(3)]]]))
    assert_close(theta, tensor([[[1 / 4, 1 / 10], [3 / 4, 9 / 10]]]))


def test_e1_against_a_loop_over_regions_with_a_mask():
    regions, words = randn(2, 3, 2, 5), randn(2, 3, 4, seed=1)
    lengths = [4, 2]
    mask = torch.arange(4) < tensor(lengths)[:, None]
    theta = similarity_matrix(regions, words, mask)
    for b, length in enumerate(lengths):
        for row in range(2):
            for column in range(5):
                scores = [math.exp(float(regions[b, :, row, column] @ words[b, :, j])) for j in range(length)]
                expected = [score / sum(scores) for score in scores] + [0.0] * (4 - length)
                assert_close(theta[b, :, row * 5 + column], tensor(expected))
    assert (theta.masked_select(~mask[:, :, None]) == 0).all()
    assert_close(theta.sum(1), torch.ones(2, 10, dtype=torch.float64))  # over the words, not over the regions


def test_e1_gradient():
    mask = tensor([[1, 1, 0]]).bool()
    regions, words = randn(1, 2, 4).requires_grad_(), randn(1, 2, 3, seed=1).requires_grad_()
    assert gradcheck(lambda h, w: similarity_matrix(h, w, mask), (regions, words))


def test_e1_names_both_shapes_when_features_disagree():
    with pytest.raises(ValueError, match=r"\(1, 3, 4\).*\(1, 2, 3\)"):
        similarity_matrix(randn(1, 3, 4), randn(1, 2, 3))


def test_e8_by_hand():
    theta = tensor([[[1 / 4, 1], [3 / 4, 0]]])
    words = tensor([[[8, 4], [0, -4]]])  # w_1 = (8, 0), w_2 = (4, -4)
    # q_1 = w_1 / 4 + 3 w_2 / 4, q_2 = w_1
    assert_close(text_vision_matrix(theta, words), tensor([[[5, 8], [-3, 0]]]))


def test_e8_against_a_loop():
    theta, words = layouts(2, 3, 4), randn(2, 5, 3, seed=1)
    q = text_vision_matrix(theta, words)
    for b in range(2):
        for k in range(4):
            assert_close(q[b, :, k], sum(theta[b, j, k] * words[b, :, j] for j in range(3)))


# ---------------------------------------------------------------- E3, E4: the residual and its two halves

THETA = tensor([[[0.5, 0.125], [0.25, 0.375], [0.25, 0.5]]])
THETA_REAL = tensor([[[0.25, 0.25], [0.25, 0.375], [0.5, 0.375]]])
RESIDUAL = tensor([[[0.25, 0.125], [0, 0], [0.25, 0.125]]])


def test_e3_by_hand():
    assert_close(layout_residual(THETA, THETA_REAL), RESIDUAL)
    assert_close(layout_residual(THETA_REAL, THETA), RESIDUAL)


def test_e4_partitions_the_residual_and_gamma_itself_is_hard():
    easy, hard = split_residual(THETA, THETA_REAL, gamma=0.25)
    assert_close(easy, tensor([[[0, 0.125], [0, 0], [0, 0.125]]]))
    assert_close(hard, tensor([[[0.25, 0], [0, 0], [0.25, 0]]]))


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0])
def test_e4_halves_add_up_and_never_overlap(gamma):
    theta, theta_real = layouts(3, 4, 6), layouts(3, 4, 6, seed=1)
    easy, hard = split_residual(theta, theta_real, gamma)
    assert_close(easy + hard, (theta_real - theta).abs(), rtol=0, atol=0)
    assert (easy * hard == 0).all()
    assert (easy < gamma).all() or gamma == 0
    assert (hard[hard > 0] >= gamma).all()
    assert (easy == 0).all() if gamma == 0 else True


def test_e4_gradient_is_that_of_the_absolute_value_in_the_half_it_belongs_to():
    theta = THETA.clone().requires_grad_()
    easy, hard = split_residual(theta, THETA_REAL, gamma=0.2)
    (3 * easy + 5 * hard).sum().backward()
    # theta above theta* pushes up, below pushes down; hard ones (0.25) with 5, easy ones (0.125) with 3
    assert_close(theta.grad[:, [0, 2]], tensor([[[5, -3], [-5, 3]]]))


@pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan])
def test_e4_refuses_a_gamma_outside_of_the_residuals_range(gamma):
    with pytest.raises(ValueError, match="gamma"):
        split_residual(THETA, THETA_REAL, gamma)


# ---------------------------------------------------------------- E5, E6: the padding and the weights


def test_step_3b_pads_the_words_to_the_features_with_zeros():
    residual = randn(2, 3, 4)
    padded = pad_to_features(residual, 7)
    assert padded.shape == (2, 7, 4)
    assert_close(padded[:, :3], residual, rtol=0, atol=0)
    assert (padded[:, 3:] == 0).all()
    with pytest.raises(ValueError, match="3 words.*2 features"):
        pad_to_features(residual, 2)


def identity_phi(module: ALRModule, alpha_bias: float = 0.0, beta_bias: float = 0.0) -> ALRModule:
    """Both convolutions of phi become the identity; the last one adds a bias. So raw = leaky_relu(R . H*) + bias."""
    for network, bias in ((module.phi_alpha, alpha_bias), (module.phi_beta, beta_bias)):
        convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d)]
        assert len(convolutions) == 2
        for convolution in convolutions:
            nn.init.dirac_(convolution.weight)
            nn.init.zeros_(convolution.bias)
        nn.init.constant_(convolutions[-1].bias, bias)
    return module


# Two regions. Residuals 0.125 (easy) and 0.5 (hard) of one word; features H* = (8, 4) in the word's channel and 3 in
# the other, where the padding puts zeros. So R_easy . H* = (1, 0; 0, 0) and R_hard . H* = (0, 2; 0, 0).
ONE_WORD = (tensor([[[0.375, 0.0]]]), tensor([[[0.5, 0.5]]]))
REAL_FEATURES = tensor([[[[8, 4]], [[3, 3]]]])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_e5_e6_by_hand():
    module = identity_phi(ALRModule(2, 2, gamma=0.25, weight_floor=0.1).double(), alpha_bias=0.5, beta_bias=-1)
    terms = module.alignment(*ONE_WORD, REAL_FEATURES)
    weight = lambda raw: 0.1 + 0.9 * sigmoid(raw)  # noqa: E731 - it reads like the equation
    assert_close(terms.alpha, tensor([[[weight(1.5), weight(0.5)], [weight(0.5), weight(0.5)]]]))
    assert_close(terms.beta, tensor([[[weight(-1), weight(1)], [weight(-1), weight(-1)]]]))


def test_e5_e6_as_printed_have_no_floor():
    module = identity_phi(ALRModule(2, 2, gamma=0.25, weights="as_printed").double(), alpha_bias=-30)
    terms = module.alignment(*ONE_WORD, REAL_FEATURES)
    assert_close(terms.alpha[0, 0, 0].item(), softplus(1 - 30))
    assert_close(terms.beta[0, 0, 1].item(), softplus(2))


def test_e5_e6_weights_stay_between_the_floor_and_one():
    module = identity_phi(ALRModule(2, 2, gamma=0.25, weight_floor=0.2).double(), alpha_bias=-1e4, beta_bias=1e4)
    terms = module.alignment(*ONE_WORD, REAL_FEATURES)
    assert_close(terms.alpha, torch.full_like(terms.alpha, 0.2))
    assert_close(terms.beta, torch.ones_like(terms.beta))


def test_e5_e6_shapes_are_those_of_the_real_features():
    module = ALRModule(8, 6).double()
    terms = module.alignment(layouts(3, 5, 12), layouts(3, 5, 12, seed=1), randn(3, 8, 3, 4))
    assert terms.alpha.shape == terms.beta.shape == (3, 8, 12)
    assert terms.easy.shape == terms.hard.shape == (3, 5, 12)
