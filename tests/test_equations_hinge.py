"""RATLIP E8: the hinge losses by hand, and the matching-aware gradient penalty against finite differences."""

from __future__ import annotations

import pytest
import torch
from tiny import randn
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from t2i_core.adversarial import (
    hinge_discriminator,
    hinge_fake,
    hinge_generator,
    hinge_real,
    ma_gradient_penalty,
)


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ---------------------------------------------------------------- the hinges


def test_hinge_real_by_hand():
    # -min(0, -1 + D): 0 beyond the margin, 0 at it, 1 at 0, 3 at -2
    assert_close(hinge_real(tensor([2.0, 1.0, 0.0, -2.0])).item(), (0 + 0 + 1 + 3) / 4)


def test_hinge_fake_by_hand():
    assert_close(hinge_fake(tensor([-2.0, -1.0, 0.0, 2.0])).item(), (0 + 0 + 1 + 3) / 4)


def test_the_hinges_as_the_paper_prints_them():
    logits = randn(50)
    zero = torch.zeros(())
    assert_close(hinge_real(logits), -torch.minimum(zero, -1 + logits).mean())
    assert_close(hinge_fake(logits), -torch.minimum(zero, -1 - logits).mean())


def test_e8_by_hand():
    real, fake, mismatched = tensor([0.5, 3.0]), tensor([0.0, -2.0]), tensor([1.0, 1.0])
    # real (0.5 + 0) / 2, fake (1 + 0) / 2, mismatched 2; the last two at a half each
    assert_close(hinge_discriminator(real, fake, mismatched).item(), 0.25 + 0.5 * 0.5 + 0.5 * 2.0)


def test_e8_gradient_raises_the_real_lowers_the_others_and_is_0_beyond_the_margin():
    real, fake, mismatched = (t.requires_grad_() for t in (tensor([0.5, 3.0]), tensor([0.0, -2.0]), tensor([1.0, 0.0])))
    hinge_discriminator(real, fake, mismatched).backward()
    assert_close(real.grad, tensor([-0.5, 0.0]))
    assert_close(fake.grad, tensor([0.25, 0.0]))
    assert_close(mismatched.grad, tensor([0.25, 0.25]))


def test_e8_the_generator_raises_the_verdict_however_high_it_is():
    fake = tensor([-3.0, 5.0]).requires_grad_()
    assert_close(hinge_generator(fake).item(), -1.0)
    hinge_generator(fake).backward()
    assert_close(fake.grad, tensor([-0.5, -0.5]))


# ---------------------------------------------------------------- the penalty


WEIGHTS = {"image": randn(7, 6, seed=1), "sentence": randn(4, 6, seed=2), "out": randn(6, seed=3)}


def judge(image: Tensor, sentence: Tensor, weights: dict[str, Tensor] = WEIGHTS) -> Tensor:
    """A small smooth discriminator: features (B, ...) with 7 numbers and a sentence (B, 4) to a logit (B, 1)."""
    inner = image.flatten(1) @ weights["image"] + sentence @ weights["sentence"]
    return (torch.tanh(inner) @ weights["out"])[:, None]


def pair(batch: int = 3) -> tuple[Tensor, Tensor]:
    return 0.3 * randn(batch, 7), 0.3 * randn(batch, 4, seed=5)


def penalty(image: Tensor, sentence: Tensor, weights: dict[str, Tensor] = WEIGHTS, **settings) -> Tensor:
    image, sentence = image.requires_grad_(), sentence.requires_grad_()
    return ma_gradient_penalty(judge(image, sentence, weights), image, sentence, **settings)


def slopes(image: Tensor, sentence: Tensor, by: float = 1e-6) -> tuple[Tensor, Tensor]:
    """The norms (B,) of the discriminator's gradients in both inputs, by central differences."""
    norms = []
    for which, given in enumerate((image, sentence)):
        columns = []
        for j in range(given.shape[1]):
            both = []
            for sign in (1, -1):
                moved = [image.clone(), sentence.clone()]
                moved[which][:, j] += sign * by
                both.append(judge(*moved)[:, 0])
            columns.append((both[0] - both[1]) / (2 * by))
        norms.append(torch.stack(columns, 1).norm(dim=1))
    return norms[0], norms[1]


@pytest.mark.parametrize(("k", "p"), [(2.0, 6.0), (0.5, 2.0), (3.0, 1.0)])
def test_the_penalty_against_finite_differences(k, p):
    image, sentence = pair()
    of_image, of_sentence = slopes(image, sentence)
    assert_close(penalty(image, sentence, k=k, p=p), k * (of_image + of_sentence).pow(p).mean(), rtol=1e-6, atol=0)
    joint = (of_image.square() + of_sentence.square()).sqrt()
    found = penalty(image, sentence, k=k, p=p, norm="joint")
    assert_close(found, k * joint.pow(p).mean(), rtol=1e-6, atol=0)


def test_the_penalty_by_hand():
    # D = 3 x_1 + 4 x_2 + 2 s for one pair, 0 for the other: norms 5 and 2, so 2 (5 + 2)^6 / 2
    image, sentence = randn(2, 2).requires_grad_(), randn(2, 1, seed=1).requires_grad_()
    on = tensor([1.0, 0.0])
    logits = on * (image @ tensor([3.0, 4.0]) + 2 * sentence[:, 0])
    assert_close(ma_gradient_penalty(logits, image, sentence).item(), 2 * 7.0**6 / 2)
    logits = on * (image @ tensor([3.0, 4.0]) + 2 * sentence[:, 0])
    assert_close(ma_gradient_penalty(logits, image, sentence, norm="joint").item(), 2 * (25 + 4) ** 3 / 2)


def test_its_defaults_are_k_2_and_p_6():
    image, sentence = pair()
    assert_close(penalty(image, sentence), penalty(image, sentence, k=2.0, p=6.0, norm="sum"), rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["sum", "joint"])
def test_its_own_gradient(norm):
    """The penalty trains the discriminator's weights; gradcheck sets finite differences beside the double backward."""
    image, sentence = pair()
    weights = tuple(w.clone().requires_grad_() for w in WEIGHTS.values())

    def of_weights(*given: Tensor) -> Tensor:
        return penalty(image, sentence, dict(zip(WEIGHTS, given, strict=True)), p=3.0, norm=norm)

    assert gradcheck(of_weights, weights)
    assert gradgradcheck(of_weights, weights)


def test_the_sum_is_8_times_the_joint_norm_where_both_gradients_are_equal():
    image, sentence = randn(3, 4).requires_grad_(), randn(3, 4, seed=1).requires_grad_()
    direction = randn(4, seed=2)
    values = {}
    for norm in ("sum", "joint"):
        logits = (image + sentence) @ direction
        values[norm] = ma_gradient_penalty(logits, image, sentence, p=6.0, norm=norm).item()
    assert_close(values["sum"], 8 * values["joint"])


@pytest.mark.parametrize("norm", ["sum", "joint"])
def test_it_lies_between_the_joint_norm_and_2_to_the_p_over_2_times_it(norm):
    image, sentence = pair(8)
    joint = penalty(image, sentence, p=6.0, norm="joint")
    assert joint <= penalty(image, sentence, p=6.0, norm=norm) <= 8 * joint * (1 + 1e-12)


@pytest.mark.parametrize("norm", ["sum", "joint"])
def test_a_discriminator_that_ignores_its_inputs_costs_nothing_and_spoils_nothing(norm):
    image, sentence = pair()
    dead = {name: torch.zeros_like(w).requires_grad_() for name, w in WEIGHTS.items()}
    value = penalty(image, sentence, dead, norm=norm)
    assert value == 0
    value.backward()
    for weight in dead.values():
        assert weight.grad is None or torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("ignored", ["image", "sentence"])
def test_a_discriminator_that_ignores_one_input_is_held_by_the_other(ignored):
    image, sentence = pair()
    weights = {name: w.clone().requires_grad_() for name, w in WEIGHTS.items()}
    weights[ignored] = torch.zeros_like(weights[ignored]).requires_grad_()
    value = penalty(image, sentence, weights)
    assert value > 0
    value.backward()
    assert all(torch.isfinite(w.grad).all() for w in weights.values() if w.grad is not None)


def test_each_pair_counts_by_itself():
    image, sentence = pair(4)
    alone = torch.stack([penalty(image[i : i + 1].detach(), sentence[i : i + 1].detach()) for i in range(4)])
    assert_close(penalty(image, sentence), alone.mean())
    assert alone.std() > 0


def test_maps_of_any_shape_are_one_vector_a_pair():
    image, sentence = pair(2)
    flat = penalty(image, sentence)
    wide = image.detach().reshape(2, 7, 1, 1).requires_grad_()
    assert_close(ma_gradient_penalty(judge(wide, sentence), wide, sentence), flat)


def test_logits_of_any_shape_are_summed_a_pair():
    image, sentence = pair(2)
    logits = judge(image.requires_grad_(), sentence.requires_grad_())
    quarters = (logits / 4).expand(-1, 4)[:, :, None, None]
    assert_close(ma_gradient_penalty(quarters, image, sentence), penalty(image, sentence))


def test_half_precision_inputs_are_squared_in_float32():
    """Under autocast the gradients of half-precision features arrive in half precision, where 300^2 is infinite."""
    image = torch.randn(2, 3).to(torch.float16).requires_grad_()
    sentence = torch.randn(2, 3).requires_grad_()
    logits = 300 * image.sum(1) + sentence.sum(1)
    value = ma_gradient_penalty(logits, image, sentence, p=1.0)
    assert value.dtype == torch.float32
    assert_close(value.item(), 2 * (300 * 3**0.5 + 3**0.5), rtol=1e-3, atol=0)


def test_another_norm_is_refused():
    image, sentence = pair()
    with pytest.raises(ValueError, match='"sum" or "joint"'):
        penalty(image, sentence, norm="both")
