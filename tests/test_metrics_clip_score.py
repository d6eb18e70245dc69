"""CLIP score: the mean cosine of pairs, by hand, under permutation, and as a group of the evaluation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from t2i_core import evidence
from t2i_core.config import UserError
from t2i_core.metrics import weights
from t2i_core.metrics.accuracy import encode
from t2i_core.metrics.clip_score import clip_score
from t2i_core.metrics.evaluate import GROUPS, evaluate_images

NAMES = {"clip_score", "clip_score_x100"}


def features(n, d=24, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    """Cosines 1 (lengths do not matter), 0, -1 and 3/5: their mean is 0.15, and nothing is clipped."""
    image = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    text = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, -0.1], [3.0, 4.0]])
    found = clip_score(image, text, {"split": "test"})
    assert set(found) == NAMES
    assert found["clip_score"].value == pytest.approx((1 + 0 - 1 + 0.6) / 4, abs=1e-7)
    assert found["clip_score_x100"].value == pytest.approx(15.0, abs=1e-5)
    for value in found.values():
        assert value.low < value.value < value.high and value.n == 4
        assert value.protocol["negative_cosines"] == "kept" and value.protocol["split"] == "test"
        assert value.protocol["interval"].startswith("bootstrap 95 %")
    assert (found["clip_score"].protocol["score"], found["clip_score_x100"].protocol["score"]) == (
        "cosine",
        "100 x cosine",
    )


def test_identical_features_give_one_and_opposite_ones_minus_one():
    text = features(50)
    for sign in (1, -1):
        found = clip_score(sign * 7 * text, text)
        assert found["clip_score"].value == found["clip_score"].low == found["clip_score"].high == sign
        assert found["clip_score_x100"].value == 100 * sign
    assert clip_score(torch.zeros(5, 24), features(5))["clip_score"].value == 0.0


def test_it_belongs_to_the_pairs():
    """Other partners change it; the same pairs in another order do not."""
    text = features(200)
    image = text + features(200, seed=1)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(2))
    value = clip_score(image, text)["clip_score"].value
    assert value == pytest.approx(1 / math.sqrt(2), abs=0.05)
    assert clip_score(image[order], text[order])["clip_score"].value == pytest.approx(value, abs=1e-12)
    assert abs(clip_score(image[order], text)["clip_score"].value) < 0.1


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 12), d=st.integers(1, 8), seed=st.integers(0, 999), scale=st.floats(1e-3, 1e3))
def test_any_features_give_a_lawful_score(n, d, seed, scale):
    image, text = features(n, d, seed), features(n, d, seed + 1)
    found = clip_score(image, text)
    assert -1 <= found["clip_score"].low <= found["clip_score"].value <= found["clip_score"].high <= 1
    scaled = clip_score(scale * image.double(), text)["clip_score"].value
    assert scaled == pytest.approx(found["clip_score"].value, abs=1e-9)
    assert clip_score(text, image)["clip_score"].value == pytest.approx(found["clip_score"].value, abs=1e-12)


def test_the_interval_covers_what_it_should():
    """The mean cosine of many pairs lies in most intervals of 100 of them; the seed fixes each."""
    text = features(6000, seed=3)
    image = text + features(6000, seed=4)
    truth = clip_score(image, text)["clip_score"].value
    parts = [clip_score(i, t)["clip_score"] for i, t in zip(image.split(100), text.split(100), strict=True)]
    assert 0.85 < sum(part.low <= truth <= part.high for part in parts) / len(parts)
    assert clip_score(image[:100], text[:100])["clip_score"] == parts[0]
    other = clip_score(image[:100], text[:100], seed=1)["clip_score"]
    assert other.value == parts[0].value and other.low != parts[0].low


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="pairs of one length"):
        clip_score(features(5), features(6))
    with pytest.raises(ValueError, match="pairs of one length"):
        clip_score(features(5, 8), features(5, 9))
    with pytest.raises(ValueError, match=r"must be \(n, d\)"):
        clip_score(features(5)[0], features(5)[0])
    with pytest.raises(UserError, match="1 image features are too few"):
        clip_score(features(1), features(1))
    broken = features(5)
    broken[3, 2] = math.nan
    with pytest.raises(FloatingPointError, match="1 of 5 text features are not finite"):
        clip_score(features(5), broken)


def test_the_evaluation_has_it_with_its_ceiling(asked):
    real, told = asked
    drawn = evaluate_images(
        real.roll(1, 0), *told, real, "toy-scenes", metrics="clip_score", paired_real=real, protocol={"split": "test"}
    )
    assert set(drawn) == NAMES and "clip_score" in GROUPS
    for name, value in drawn.items():
        protocol = value.protocol
        assert value.low < value.value < value.high < protocol["on_real_images"], name
        assert protocol["scorer"].startswith("toy-scenes scorer") and "not OpenAI's CLIP" in protocol["encoder"]
        assert protocol["split"] == "test" and protocol["images"] == value.n == 24
    real_score = evaluate_images(real, *told, real, "toy-scenes", metrics="clip_score")["clip_score"]
    assert drawn["clip_score"].protocol["on_real_images"] == pytest.approx(real_score.value, abs=1e-4)
    assert real_score.value > 0.5


def test_it_does_not_depend_on_the_batch(asked):
    real, (captions, *_) = asked
    scorer = weights.load_scorer("toy-scenes")
    scores = [clip_score(*encode(scorer, real, captions, batch_size=size))["clip_score"].value for size in (24, 7, 1)]
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-5)


def test_a_world_without_scorer_is_told_so(asked):
    real, told = asked
    with pytest.raises(UserError, match="no scorer knows the words"):
        evaluate_images(real, *told, real, "my-photographs", metrics="clip_score")


def test_people_read_its_name():
    assert evidence.label("clip_score") == "CLIP score (cosine)"
    assert evidence.label("clip_score_x100") == "CLIP score x 100"
