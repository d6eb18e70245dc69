"""ALR-GAN's layout visual refinement: E10 (PR), E11 (SR), the Gram matrix and the layout mask, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import layouts, randn
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from t2i_core.lvr import LVRLoss, gram_matrix, layout_mask, perception_loss, style_loss


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ---------------------------------------------------------------- E10: perception refinement


def test_e10_by_hand():
    # D = 2 features, N = 3 regions; the differences are 3 and 4, so the norm is 5; the second sample is 13 away
    drawn = tensor([[[4, 1, 1], [1, 1, 1]], [[0, 0, 0], [0, 12, 0]]])
    real = tensor([[[1, 1, 1], [1, 1, 5]], [[0, 0, 5], [0, 0, 0]]])
    assert_close(perception_loss(drawn, real).item(), (5 + 13) / 2 / 6)


def test_e10_is_zero_for_equals_with_a_gradient_that_is_no_nan():
    features = randn(2, 3, 2, 4).requires_grad_()
    loss = perception_loss(features, features.detach().clone())
    loss.backward()
    assert loss == 0 and (features.grad == 0).all()


def test_e10_gradient_is_the_difference_over_its_norm():
    drawn, real = randn(2, 3, 4).requires_grad_(), randn(2, 3, 4, seed=1)
    perception_loss(drawn, real).backward()
    difference = (drawn - real).detach()
    norm = difference.square().sum((1, 2), keepdim=True).sqrt()
    assert_close(drawn.grad, difference / norm / (3 * 4) / 2)  # descent takes the drawn features to the real ones
    assert gradcheck(perception_loss, (drawn, real))


# ---------------------------------------------------------------- E11: style refinement


def test_gram_matrix_by_hand():
    assert_close(gram_matrix(tensor([[[1, 2], [3, 4]]])), tensor([[[5, 11], [11, 25]]]))


def test_gram_matrix_against_a_loop():
    features = randn(2, 3, 2, 4)
    gram = gram_matrix(features)
    for b in range(2):
        for i in range(3):
            for j in range(3):
                products = (features[b, i, r, c] * features[b, j, r, c] for r in range(2) for c in range(4))
                assert_close(gram[b, i, j], sum(products))


def test_e11_by_hand():
    # G of the first is [[5, 11], [11, 25]]; of the second, (1, 0; 0, 1), the identity. N D = 4
    drawn, real = tensor([[[1, 2], [3, 4]]]), tensor([[[1, 0], [0, 1]]])
    assert_close(style_loss(drawn, real).item(), math.sqrt(4**2 + 11**2 + 11**2 + 24**2) / 4)


def test_e11_forgets_where_a_feature_was_and_e10_does_not():
    features = randn(2, 3, 6)
    shuffled = features[:, :, torch.tensor([3, 5, 0, 1, 4, 2])]
    assert_close(style_loss(features, shuffled).item(), 0.0)
    assert perception_loss(features, shuffled) > 0.1


def test_e11_gradient():
    drawn, real = randn(2, 3, 4).requires_grad_(), randn(2, 3, 4, seed=1)
    loss = style_loss(drawn, real)
    loss.backward()
    difference = gram_matrix(drawn.detach()) - gram_matrix(real)
    norm = difference.square().sum((1, 2), keepdim=True).sqrt()
    assert_close(drawn.grad, 2 * (difference / norm) @ drawn.detach() / (3 * 4) / 2)
    assert gradcheck(style_loss, (drawn, real))
    assert style_loss((drawn - drawn.grad).detach(), real) < loss


def test_e11_is_zero_for_equals_with_a_gradient_that_is_no_nan():
    features = randn(2, 3, 4).requires_grad_()
    style_loss(features, features.detach().clone()).backward()
    assert (features.grad == 0).all()


# ---------------------------------------------------------------- L_LVR and its two masks


def test_lvr_has_one_mask_for_each_image():
    drawn, real = randn(2, 3, 2, 4).requires_grad_(), randn(2, 3, 2, 4, seed=1)
    mask, real_mask = torch.zeros(2, 1, 2, 4).double(), torch.zeros(2, 1, 2, 4).double()
    mask[..., :2], real_mask[..., 1:3] = 1.0, 0.5
    terms = LVRLoss().terms(drawn, real, mask, real_mask)
    masked, real_masked = drawn * mask, real * real_mask
    assert_close(terms["pr"], perception_loss(masked, real_masked))
    assert_close(terms["sr"], style_loss(masked, real_masked))
    assert_close(LVRLoss()(drawn, real, mask, real_mask), terms["pr"] + terms["sr"])
    sum(terms.values()).backward()
    assert (drawn.grad[..., 2:] == 0).all()  # outside of its mask nothing is refined
    assert (drawn.grad[..., :2] != 0).all()


def test_lvr_sees_nothing_outside_of_the_masks():
    drawn, real, mask = randn(2, 3, 8), randn(2, 3, 8, seed=1), torch.zeros(2, 1, 8).double()
    mask[..., :4] = 1
    before = LVRLoss()(drawn, real, mask)
    drawn[..., 4:], real[..., 4:] = 100.0, -100.0
    assert_close(LVRLoss()(drawn, real, mask), before)
    assert LVRLoss()(drawn, real, mask, torch.ones_like(mask)) > before + 1


def test_lvr_with_one_mask_uses_it_for_both_images():
    drawn, real, mask = randn(2, 3, 8), randn(2, 3, 8, seed=1), randn(2, 1, 8, seed=2).sigmoid()
    assert_close(LVRLoss()(drawn, real, mask), LVRLoss()(drawn, real, mask, mask))


@pytest.mark.parametrize(
    ("switches", "names"),
    [({}, ["pr", "sr"]), ({"perception": False}, ["sr"]), ({"style": False}, ["pr"])],
)
def test_lvr_switches_drop_their_own_term(switches, names):
    arguments = randn(2, 3, 8), randn(2, 3, 8, seed=1), randn(2, 1, 8, seed=2).sigmoid()
    both = LVRLoss().terms(*arguments)
    terms = LVRLoss(**switches).terms(*arguments)
    assert list(terms) == names
    assert all(terms[name] == both[name] for name in names)
    assert_close(LVRLoss(**switches)(*arguments), sum(terms.values()))


def test_lvr_without_terms_is_zero():
    assert LVRLoss(perception=False, style=False)(randn(1, 2, 3), randn(1, 2, 3), randn(1, 1, 3)) == 0


# ---------------------------------------------------------------- the layout mask


def test_layout_mask_by_hand():
    # three words: undecided, one word alone, and 2/3 to the strongest
    theta = tensor([[[1 / 3, 1, 2 / 3], [1 / 3, 0, 1 / 3], [1 / 3, 0, 0]]])
    assert_close(layout_mask(theta), tensor([[[0, 1, 0.5]]]))


def test_layout_mask_counts_the_real_words_only():
    # two real words of four: 1/2 is undecided, 3/4 halfway
    theta = tensor([[[0.5, 0.75], [0.5, 0.25], [0, 0], [0, 0]]])
    mask = tensor([[1, 1, 0, 0]]).bool()
    assert_close(layout_mask(theta, mask), tensor([[[0, 0.5]]]), atol=1e-7, rtol=0)


def test_layout_mask_of_a_caption_of_one_word_is_one_everywhere():
    mask = tensor([[1, 0]]).bool()
    assert_close(layout_mask(tensor([[[1, 1], [0, 0]]]), mask), tensor([[[1, 1]]]))
    assert_close(layout_mask(tensor([[[1, 1]]])), tensor([[[1, 1]]]))


def test_layout_mask_lies_between_0_and_1_and_forgets_the_order_of_the_words():
    theta = layouts(3, 5, 7)
    mask = layout_mask(theta)
    assert mask.shape == (3, 1, 7) and (mask >= 0).all() and (mask <= 1).all()
    assert_close(layout_mask(theta[:, torch.tensor([4, 2, 0, 1, 3])]), mask)
