"""The probe of a generator's states: against closed forms and scipy, and on states whose content is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import optimize
from scipy.special import logsumexp
from tiny import randn
from torch.testing import assert_close

from t2i_core.config import UserError
from t2i_core.metrics.state_probe import fit, hits, stated, variance_shares

COLORS = ("blue", "green", "red")


def labelled(count: int, spread: float, seed: int = 0) -> tuple[torch.Tensor, list[str]]:
    """Features of three classes whose middles lie 1 apart, with normal noise of ``spread``."""
    which = torch.arange(count) % 3
    middles = torch.eye(3, 5, dtype=torch.float64)
    return middles[which] + spread * randn(count, 5, seed=seed), [COLORS[k] for k in which]


# ---------------------------------------------------------------- the probe


def test_one_yes_or_no_feature_gives_the_shares_of_the_two_groups():
    features = torch.tensor([[0.0]] * 10 + [[1.0]] * 10)
    values = ["red"] * 8 + ["blue"] * 2 + ["red"] * 3 + ["blue"] * 7
    probe = fit(features, values, penalty=0.0)
    chances = probe.logits(torch.tensor([[0.0], [1.0]])).softmax(1)
    assert probe.values == ("blue", "red")
    assert_close(chances, torch.tensor([[0.2, 0.8], [0.7, 0.3]], dtype=torch.float64), rtol=0, atol=1e-6)


def test_it_is_the_minimum_that_scipy_finds():
    features, values = labelled(60, spread=0.8)
    probe = fit(features, values, penalty=0.05)
    x = ((features - features.mean(0)) / features.std(0, unbiased=False)).numpy()
    target = np.array([COLORS.index(value) for value in values])

    def loss(flat: np.ndarray) -> float:
        weight, bias = flat[:15].reshape(3, 5), flat[15:]
        logits = x @ weight.T + bias
        nats = logsumexp(logits, axis=1) - logits[np.arange(60), target]
        return nats.mean() + 0.025 * (weight**2).sum()

    found = optimize.minimize(loss, np.zeros(18), method="BFGS", options={"gtol": 1e-8})
    assert_close(probe.weight.flatten(), torch.from_numpy(found.x[:15]), rtol=0, atol=1e-5)


def test_another_unit_or_zero_of_a_feature_changes_nothing_that_is_read():
    features, values = labelled(60, spread=0.8)
    fresh, _ = labelled(30, spread=0.8, seed=1)
    scale, shift = (
        torch.tensor([1e-3, 1.0, 5.0, 200.0, 1.0]).double(),
        torch.tensor([7.0, 0.0, -3.0, 0.0, 1.0]).double(),
    )
    plain, moved = fit(features, values), fit(features * scale + shift, values)
    assert_close(moved.logits(fresh * scale + shift), plain.logits(fresh), rtol=0, atol=1e-6)


def test_the_order_of_the_captions_changes_nothing():
    features, values = labelled(60, spread=0.8)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    other = fit(features[order], [values[k] for k in order])
    assert_close(other.weight, fit(features, values).weight, rtol=0, atol=1e-6)


def test_classes_that_can_be_told_apart_are_read_and_stay_finite():
    features, values = labelled(30, spread=0.01)
    probe = fit(features, values)
    assert probe.read(labelled(12, spread=0.01, seed=1)[0]) == labelled(12, 0.0)[1]
    assert torch.isfinite(probe.weight).all()


def test_a_feature_that_never_changes_is_no_obstacle():
    features, values = labelled(30, spread=0.1)
    still = torch.cat([features, torch.full((30, 1), 4.0)], 1)
    probe = fit(still, values)
    assert (probe.weight[:, 5] == 0).all()
    assert_close(probe.logits(still), fit(features, values).logits(features), rtol=0, atol=1e-6)


def test_values_that_the_features_do_not_hold_are_read_no_better_than_by_chance():
    features, _ = labelled(900, spread=1.0)
    values = [COLORS[k] for k in torch.randint(3, (900,), generator=torch.Generator().manual_seed(3))]
    right = hits(features[:600, None], values[:600], features[600:, None], values[600:]).mean()
    assert abs(right - 1 / 3) < 0.08


def test_nothing_to_tell_apart_is_refused():
    with pytest.raises(UserError, match="needs two to tell apart"):
        fit(randn(4, 2), ["red"] * 4)


def test_it_works_where_gradients_are_off():
    features, values = labelled(30, spread=0.1)
    with torch.no_grad():
        assert fit(features, values).read(features) == values


def test_each_step_has_a_probe_of_its_own():
    """Step 0 holds the value, step 1 half of the time, step 2 never."""
    features, values = labelled(120, spread=0.05)
    nothing = randn(120, 5, seed=9)
    half = torch.where(torch.arange(120)[:, None] // 3 % 2 == 0, features, nothing)
    states = torch.stack([features, half, nothing], 1)
    right = hits(states[:60], values[:60], states[60:], values[60:])
    assert right.shape == (60, 3) and set(right.unique().tolist()) <= {0.0, 1.0}
    assert right[:, 0].mean() == 1
    assert 0.5 < right[:, 1].mean() < 0.9
    assert right[:, 2].mean() < 0.6


def test_a_step_with_its_units_in_another_order_is_still_read():
    features, values = labelled(60, spread=0.05)
    states = torch.stack([features, features.flip(1)], 1)
    assert (hits(states[:30], values[:30], states[30:], values[30:]) == 1).all()


# ---------------------------------------------------------------- which captions state it


def dataset(captions: list[list[str]], truth: list[dict]) -> SimpleNamespace:
    return SimpleNamespace(captions=captions, truth=truth, folder="here")


def bird(crown: str, words: list[list[list]]) -> dict:
    parts = [{"name": "bird"}, {"name": "crown", "color": crown}, {"name": "wing", "color": "blue"}]
    return {"parts": parts, "words": words}


CAPTIONS = [["its crown and blue wings", "its cap is red", "a red crown"], ["a bird"], ["a green crown", "a bird"]]
TRUTH = [
    bird("red", [[[4, 9, 1, "name"], [14, 18, 2, "color"]], [[11, 14, 1, "color"]], [[2, 5, 1, "color"]]]),
    bird("blue", [[[2, 6, 0, "name"]]]),
    bird("green", [[[2, 7, 1, "color"]], []]),
]


def test_of_each_image_the_first_caption_that_states_it():
    found = stated(dataset(CAPTIONS, TRUTH), "crown", "color")
    assert found.captions == ["its cap is red", "a green crown"]
    assert found.values == ["red", "green"] and found.images == [0, 2]


def test_another_part_is_not_meant():
    found = stated(dataset(CAPTIONS, TRUTH), "wing", "color")
    assert (found.captions, found.values, found.images) == (["its crown and blue wings"], ["blue"], [0])


def test_no_more_than_asked_for():
    assert len(stated(dataset(CAPTIONS, TRUTH), "crown", "color", at_most=1)) == 1


@pytest.mark.parametrize(("part", "kind"), [("crown", "length"), ("tail", "color")])
def test_what_no_caption_states_is_refused(part, kind):
    with pytest.raises(UserError, match=f"states the {kind} of a {part}"):
        stated(dataset(CAPTIONS, TRUTH), part, kind)


def test_a_dataset_without_truth_is_refused():
    with pytest.raises(UserError, match="states the color"):
        stated(dataset([["a bird"]], [{}]), "crown", "color")


# ---------------------------------------------------------------- whose mark a state bears


def test_shares_of_a_sum_are_those_of_its_parts():
    caption = torch.tensor([-3.0, 3.0])[:, None].expand(2, 4)  # variance 9
    noise = torch.tensor([-1.0, 1.0, -1.0, 1.0])[None].expand(2, 4)  # variance 1
    shares = variance_shares((caption + noise)[..., None, None] + 5.0)
    assert_close([s.item() for s in shares], [0.9, 0.1, 0.0])


def test_a_product_of_both_belongs_to_neither():
    caption, noise = torch.tensor([-1.0, 1.0])[:, None], torch.tensor([-2.0, 2.0])[None]
    assert_close([s.item() for s in variance_shares((caption * noise)[..., None, None])], [0.0, 0.0, 1.0])


def test_shares_add_up_at_every_step():
    shares = variance_shares(randn(5, 6, 3, 4))
    assert all(share.shape == (3,) for share in shares)
    assert_close(sum(shares), torch.ones(3, dtype=torch.float64))


def test_a_state_that_never_varies_is_refused():
    with pytest.raises(ValueError, match="no variance"):
        variance_shares(torch.ones(2, 3, 1, 4))
