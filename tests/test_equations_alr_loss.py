"""ALR-GAN's E7, the layout loss: its value and gradient by hand, its degenerate optimum, and the module of Fig. 2."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import layouts, randn
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from t2i_core.alr import ALRModule, ALRTerms, alr_loss, pad_to_features
from t2i_core.ssm import similarity_matrix, text_vision_matrix


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


# ---------------------------------------------------------------- E7: the loss


def test_e7_by_hand():
    # D = 2, N = 3. ||alpha . easy|| = 0.5 * 5, ||beta . hard|| = 0.75 * 10, max alpha = 0.5, min beta = 0.75
    alpha, beta = torch.full((1, 2, 3), 0.5).double(), torch.full((1, 2, 3), 0.75).double()
    easy, hard = tensor([[[3, 0, 0], [0, 4, 0]]]), tensor([[[0, 6, 0], [8, 0, 0]]])
    assert_close(alr_loss(alpha, beta, easy, hard).item(), (2.5 + 7.5 + softplus(-0.25)) / 6)


def test_e7_takes_the_largest_alpha_and_the_smallest_beta_of_each_sample():
    alpha, beta = tensor([[[0.1, 0.9]], [[0.2, 0.3]]]), tensor([[[0.4, 0.8]], [[0.7, 0.6]]])
    nothing = torch.zeros(2, 1, 2).double()
    first, second = softplus(0.9 - 0.4) / 2, softplus(0.3 - 0.6) / 2
    assert_close(alr_loss(alpha, beta, nothing, nothing).item(), (first + second) / 2)


def test_e7_gradient_against_the_derivative_written_out():
    alpha, beta = (
        (0.2 + 0.6 * layouts(1, 4, 3)).requires_grad_(),
        (0.3 + 0.5 * layouts(1, 4, 3, seed=1)).requires_grad_(),
    )
    easy, hard = randn(1, 4, 3, seed=2).abs().requires_grad_(), randn(1, 4, 3, seed=3).abs().requires_grad_()
    alr_loss(alpha, beta, easy, hard).backward()
    slope = 1 / (1 + (beta.min() - alpha.max()).detach().exp())  # of the softplus
    top = (alpha == alpha.max()).double()
    bottom = (beta == beta.min()).double()
    size = 4 * 3
    weighted_easy, weighted_hard = (alpha * easy).detach(), (beta * hard).detach()
    easy_norm, hard_norm = weighted_easy.square().sum().sqrt(), weighted_hard.square().sum().sqrt()
    assert_close(easy.grad, weighted_easy * alpha / easy_norm / size)
    assert_close(hard.grad, weighted_hard * beta / hard_norm / size)
    assert_close(alpha.grad, (weighted_easy * easy / easy_norm + slope * top) / size)
    assert_close(beta.grad, (weighted_hard * hard / hard_norm - slope * bottom) / size)
    assert gradcheck(alr_loss, tuple(x.detach().requires_grad_() for x in (alpha, beta, easy, hard)))


def test_e7_is_finite_where_nothing_is_hard():
    easy = torch.zeros(1, 2, 2).double().requires_grad_()
    ones = torch.ones(1, 2, 2).double()
    loss = alr_loss(ones, ones, easy, easy)
    loss.backward()
    assert_close(loss.item(), math.log(2) / 4)
    assert (easy.grad == 0).all()


def test_e7_falls_when_the_drawn_layout_moves_towards_the_real_one():
    theta, theta_real = layouts(2, 4, 9).requires_grad_(), layouts(2, 4, 9, seed=1)
    module = ALRModule(8, 6, gamma=0.1, weights="fixed").double()
    terms = module.alignment(theta, theta_real, randn(2, 8, 3, 3))
    easy, hard = (x.flatten(1).norm(dim=1) for x in (terms.easy, terms.hard))
    assert_close(terms.loss, ((easy + hard + math.log(2)) / (8 * 9)).mean())
    terms.loss.backward()
    residual = (theta - theta_real).detach()
    norms = torch.where(residual.abs() < 0.1, easy[:, None, None], hard[:, None, None])
    assert_close(theta.grad, residual / norms / (8 * 9) / 2)  # the sign of theta - theta*: descent goes to theta*


# ---------------------------------------------------------------- the degenerate optimum of E7 as printed


def test_e7_without_weights_is_ln_2_over_nd_whatever_the_layouts():
    nothing = torch.zeros(1, 4, 6).double()
    for seed in range(3):
        easy = (10 * randn(1, 4, 6, seed=seed)).requires_grad_()
        loss = alr_loss(nothing, nothing, easy, easy)
        loss.backward()
        assert_close(loss.item(), math.log(2) / 24)
        assert (easy.grad == 0).all()  # nothing is aligned any more


def walked(weights: str, steps: int = 150) -> tuple[ALRTerms, float, float]:
    """Train phi alone for fixed layouts: the terms then, the loss times N D, and the size of the gradient on Theta
    relative to that of fixed weights."""
    torch.manual_seed(0)
    module = ALRModule(8, 6, weights=weights).double()
    theta, theta_real, features = layouts(2, 4, 16).requires_grad_(), layouts(2, 4, 16, seed=1), randn(2, 8, 4, 4)
    phi = [*module.phi_alpha.parameters(), *module.phi_beta.parameters()]
    optimiser = torch.optim.Adam(phi, 0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        module.alignment(theta, theta_real, features).loss.backward()
        optimiser.step()
    terms = module.alignment(theta, theta_real, features)
    fixed = ALRModule(8, 6, weights="fixed").double().alignment(theta, theta_real, features)
    (pull,), (full,) = torch.autograd.grad(terms.loss, theta), torch.autograd.grad(fixed.loss, theta)
    return terms, terms.loss.item() * 8 * 16, (pull.norm() / full.norm()).item()


def test_weights_as_printed_walk_to_the_degenerate_optimum():
    terms, loss, pull = walked("as_printed")
    assert loss == pytest.approx(math.log(2), rel=0.05)
    assert pull < 0.02  # the layout is hardly aligned any more
    assert terms.alpha.max() < 0.01
    assert terms.beta[:, :4][terms.hard > 0].max() < 0.01  # beta is 0 wherever there is something to weight


def test_adaptive_weights_keep_aligning_and_put_beta_above_alpha():
    terms, loss, pull = walked("adaptive")
    assert loss > 2 * math.log(2)
    assert pull > 0.5
    assert terms.alpha.min() >= 0.1  # the floor
    assert (terms.beta.amin((1, 2)) > terms.alpha.amax((1, 2))).all()


def test_adaptive_weights_give_e7s_value_but_learn_from_the_softplus_term_alone():
    torch.manual_seed(0)
    module = ALRModule(8, 6).double()
    phi = [*module.phi_alpha.parameters(), *module.phi_beta.parameters()]
    theta, theta_real, features = layouts(2, 4, 16).requires_grad_(), layouts(2, 4, 16, seed=1), randn(2, 8, 4, 4)
    terms = module.alignment(theta, theta_real, features)
    easy, hard = (pad_to_features(r, 8) for r in (terms.easy, terms.hard))
    assert_close(terms.loss, alr_loss(terms.alpha, terms.beta, easy, hard))
    gap = terms.alpha.flatten(1).max(1).values - terms.beta.flatten(1).min(1).values
    expected = torch.autograd.grad((1 + gap.exp()).log().mean() / (8 * 16), phi, retain_graph=True)
    for got, wanted in zip(torch.autograd.grad(terms.loss, phi, retain_graph=True), expected, strict=True):
        assert_close(got, wanted)
    (pull,) = torch.autograd.grad(terms.loss, theta, retain_graph=True)
    weighted = alr_loss(terms.alpha.detach(), terms.beta.detach(), easy, hard)
    assert_close(pull, torch.autograd.grad(weighted, theta)[0])


# ---------------------------------------------------------------- F2: the module


def test_f2_module_in_training_and_at_inference():
    module = ALRModule(feature_dim=8, text_dim=6).double()
    text, drawn, real = randn(2, 6, 5), randn(2, 8, 3, 4, seed=1), randn(2, 8, 3, 4, seed=2)
    features, loss = module(text, drawn, real)
    assert features.shape == (2, 16, 3, 4) and loss.shape == ()
    alone = module(text, drawn)
    assert isinstance(alone, Tensor)
    assert_close(alone, features, rtol=0, atol=0)
    words = torch.einsum("dt,btn->bdn", module.project.weight[:, :, 0], text)  # into the regions' space
    theta, theta_real = similarity_matrix(drawn, words), similarity_matrix(real, words)
    assert_close(features[:, :8], drawn, rtol=0, atol=0)
    assert_close(features[:, 8:], text_vision_matrix(theta, words).view(2, 8, 3, 4))
    assert_close(loss, module.alignment(theta, theta_real, real).loss)


def test_f2_the_real_side_is_a_target():
    module = ALRModule(8, 6).double()
    real = randn(2, 8, 3, 4, seed=2).requires_grad_()
    drawn = randn(2, 8, 3, 4, seed=1).requires_grad_()
    _, loss = module(randn(2, 6, 5), drawn, real)
    loss.backward()
    assert real.grad is None and drawn.grad.abs().max() > 0


@pytest.mark.parametrize("wrong", [{"weights": "learned"}, {"weight_floor": 1.0}, {"weight_floor": -0.1}])
def test_f2_refuses_what_it_does_not_know(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ALRModule(8, 6, **wrong)
