"""R-precision and recall at k: perfect, random and hand-made features."""

import pytest
import torch

from t2i_core.config import UserError
from t2i_core.metrics import retrieval
from t2i_core.metrics.retrieval import r_precision, recall_at_k


def features(n, d=24, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_perfect_features_score_one():
    text = features(150)
    found = r_precision(3.0 * text, text, distractors=99)
    assert (found.value, found.n) == (1.0, 150) and found.low > 0.97
    for way in recall_at_k(text, text).values():
        assert all(value.value == 1.0 for value in way.values())


def test_random_features_score_one_in_a_hundred():
    found = r_precision(features(1500, seed=1), features(1500, seed=2), distractors=99)
    assert found.low <= 0.01 <= found.high and found.value < 0.02
    assert found.protocol["distractors"] == 99 and found.protocol["chance"] == pytest.approx(0.01)
    recall = recall_at_k(features(1500, seed=1), features(1500, seed=2), k=(15,))
    assert recall["image_to_text"][15].value == pytest.approx(0.01, abs=0.008)


def test_collapsed_features_score_zero_not_one():
    same = torch.ones(120, 4)
    assert r_precision(same, features(120, 4)).value < 0.1
    assert r_precision(features(120, 4), same).value == 0.0
    assert recall_at_k(features(120, 4), same, k=(1,))["image_to_text"][1].value == 0.0


def test_seed_fixes_the_distractors():
    image, text = features(300, seed=3), features(300, seed=3) + 1.2 * features(300, seed=4)
    first = r_precision(image, text, distractors=50, seed=0)
    assert first == r_precision(image, text, distractors=50, seed=0)
    others = {r_precision(image, text, distractors=50, seed=seed).value for seed in range(1, 8)}
    assert others != {first.value}
    assert all(abs(value - first.value) < 0.08 for value in others)


def test_fewer_distractors_are_easier():
    image, text = features(300, seed=3), features(300, seed=3) + 2.0 * features(300, seed=4)
    scores = [r_precision(image, text, distractors=d).value for d in (1, 9, 99)]
    assert scores[0] > scores[1] > scores[2]


def test_ranks_by_hand():
    """Image 0 likes caption 1 best, then its own; image 1 likes its own; image 2 likes its own least."""
    image = torch.eye(3)
    text = torch.tensor([[0.8, 0.0, 0.9], [0.9, 1.0, 0.9], [0.0, 0.0, 0.3]])
    text = torch.cat([text, 3 * torch.eye(3)], 1)  # all columns of captions get the same own length's worth
    image = torch.cat([image, torch.zeros(3, 3)], 1)
    scores = torch.nn.functional.normalize(image) @ torch.nn.functional.normalize(text).T
    rank = [(scores[i] > scores[i, i]).sum().item() for i in range(3)]
    found = recall_at_k(image, text, k=(1, 2, 3))["image_to_text"]
    for k in (1, 2, 3):
        assert found[k].value == pytest.approx(sum(r < k for r in rank) / 3)
    assert rank == [1, 0, 2] or found[1].value < 1


@pytest.mark.parametrize("rows", [1, 7, 40])
def test_recall_is_the_same_in_blocks_of_any_size_and_as_sorted(rows, monkeypatch):
    monkeypatch.setattr(retrieval, "CHUNK", rows)
    image, text = features(40), features(40) + features(40, seed=5)
    cosines = torch.nn.functional.normalize(image) @ torch.nn.functional.normalize(text).T
    found = recall_at_k(image, text, k=(1, 5))
    for way, table in (("image_to_text", cosines), ("text_to_image", cosines.T)):
        place = (table.argsort(1, descending=True) == torch.arange(40)[:, None]).int().argmax(1)
        for k in (1, 5):
            assert found[way][k].value == pytest.approx((place < k).double().mean().item())
    assert 0 < found["image_to_text"][1].value < 1


def test_equal_captions_are_no_distractors_of_each_other():
    text = features(200)
    text[1::2] = text[::2]  # every caption twice
    labels = [i // 2 for i in range(200)]
    image = text + 0.01 * features(200, seed=9)
    assert r_precision(image, text, distractors=150).value < 0.6
    fair = r_precision(image, text, distractors=150, same={"caption": labels})
    assert fair.value == 1.0 and fair.protocol["no_distractors"] == "the same caption"
    assert recall_at_k(image, text, k=(1,))["text_to_image"][1].value < 1.0
    assert recall_at_k(image, text, k=(1,), same={"caption": labels})["text_to_image"][1].value == 1.0


def test_too_few_images_say_how_many():
    with pytest.raises(UserError, match="needs 99 captions of other images.*among 60 images"):
        r_precision(features(60), features(60))
    with pytest.raises(UserError, match="there are only 50"):
        r_precision(features(100), features(100), same={"class": [0] * 50 + list(range(1, 51))}, distractors=60)
    with pytest.raises(UserError, match="at least 10 images"):
        recall_at_k(features(6), features(6))
    with pytest.raises(ValueError, match="pairs of one length"):
        r_precision(features(100), features(101))
    with pytest.raises(ValueError, match="3 labels of kind 'class' for 100"):
        r_precision(features(100), features(100), same={"class": [1, 2, 3]}, distractors=9)
