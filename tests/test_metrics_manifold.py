"""Precision, recall, density, coverage: by hand on a line, against loops and a tree, and what fools which of them."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from t2i_core.config import UserError
from t2i_core.metrics import manifold
from t2i_core.metrics.evaluate import GROUPS, evaluate_images
from t2i_core.metrics.manifold import balls, precision_recall, radii

NAMES = {"precision", "recall", "density", "coverage"}


def cloud(n, d=6, seed=0, shift=0.0, scale=1.0):
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def values(real, fake, **options):
    return {name: found.value for name, found in precision_recall(real, fake, **options).items()}


def test_by_hand_on_a_line():
    """Balls to the nearest neighbour: real [-1, 1], [0, 2], [1, 5], [3, 11]; drawn [-4, 5], [0.5, 9.5], [5, 19]."""
    real, drawn = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([[0.5], [5.0], [12.0]])
    reaches = (real.double(), [1, 1, 4, 16]), (drawn.double(), [20.25, 20.25, 49])
    for points, expected in reaches:
        assert radii(points, (1,))[0].tolist() == pytest.approx(expected)
    found = balls(real.double(), drawn.double(), 1, 1)
    assert found.precise.tolist() == [True, True, False]
    assert found.recalled.tolist() == [True, True, True, True]
    assert found.crowd.tolist() == [2, 1, 0], "5 lies on the edge of the ball round 3, and open balls have none"
    assert found.covered.tolist() == [True, True, False, True]
    expected = {"precision": 2 / 3, "recall": 1.0, "density": 1.0, "coverage": 3 / 4}
    assert values(real, drawn, k=1, dense_k=1) == pytest.approx(expected)


def by_loop(real, fake, k, dense_k):
    def reach(points, k):
        return [sorted(float(np.linalg.norm(p - q)) for q in points)[k] for p in points]

    apart = [[float(np.linalg.norm(y - x)) for x in real] for y in fake]
    near, dense, fakes = reach(real, k), reach(real, dense_k), reach(fake, k)
    rows, columns = range(len(fake)), range(len(real))
    inside = [[apart[j][i] < dense[i] for i in columns] for j in rows]
    return {
        "precision": np.mean([any(apart[j][i] <= near[i] for i in columns) for j in rows]),
        "recall": np.mean([any(apart[j][i] <= fakes[j] for j in rows) for i in columns]),
        "density": np.sum(inside) / dense_k / len(fake),
        "coverage": np.mean([any(inside[j][i] for j in rows) for i in columns]),
    }


def by_tree(real, fake, k, dense_k):
    """The same from scipy's tree, which knows no blocks and no products of matrices."""
    trees = [cKDTree(points) for points in (real, fake)]
    near, dense, fakes = (
        tree.query(points, [one + 1])[0][:, 0]
        for tree, points, one in ((trees[0], real, k), (trees[0], real, dense_k), (trees[1], fake, k))
    )
    holds = trees[1].query_ball_point(real, dense)
    return {
        "precision": np.isin(np.arange(len(fake)), np.concatenate(trees[1].query_ball_point(real, near))).mean(),
        "recall": np.isin(np.arange(len(real)), np.concatenate(trees[0].query_ball_point(fake, fakes))).mean(),
        "density": sum(map(len, holds)) / dense_k / len(fake),
        "coverage": np.mean([len(one) > 0 for one in holds]),
    }


@pytest.mark.parametrize("independent", [by_loop, by_tree])
@pytest.mark.parametrize(("n", "m", "shift", "scale"), [(40, 40, 0.0, 1.0), (60, 33, 0.8, 0.7), (25, 70, 1000.0, 1.3)])
def test_agrees_with_independent_forms(independent, n, m, shift, scale):
    """Wherever the features lie: 1000 stands for features far from 0, of which squares lose digits."""
    real, fake = cloud(n, 3, shift=shift), cloud(m, 3, seed=1, shift=shift + 1.2, scale=scale)
    expected = independent(real.numpy(), fake.numpy(), 3, 5)
    assert values(real, fake) == pytest.approx(expected, abs=1e-12)
    assert 0 < expected["coverage"] < 1, "an easy case shows nothing"


def test_a_set_within_itself_is_complete_and_as_dense_as_itself():
    real = cloud(80)
    assert values(real, real) == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}
    assert values(real, real[torch.randperm(80)] + 0.0) == values(real, real)


def test_sets_of_one_distribution_have_density_about_one():
    found = precision_recall(cloud(1500, 2), cloud(1500, 2, seed=1))
    assert found["density"].value == pytest.approx(1.0, abs=0.1)
    # Naeem et al.: coverage of alike sets is 1 - (N-1)...(N-k) / ((2N-1)...(2N-k)), whatever the distribution
    n = np.arange(1, 6)
    assert found["coverage"].value == pytest.approx(1 - np.prod((1500 - n) / (3000 - n)), abs=0.03)
    assert found["density"].low < found["density"].value < found["density"].high


def test_a_collapsed_system_is_precise_and_covers_one_mode_of_four():
    corners = 20 * torch.eye(4, dtype=torch.float64)
    real = torch.cat([cloud(50, 4, k, shift=corner) for k, corner in enumerate(corners)])
    found = values(real, cloud(200, 4, 9, shift=corners[2]))
    assert found["precision"] > 0.85 and found["density"] > 0.7
    assert found["recall"] <= 0.25 and 0.2 < found["coverage"] <= 0.25
    everywhere = torch.cat([cloud(50, 4, 10 + k, shift=corner) for k, corner in enumerate(corners)])
    found = values(real, everywhere)
    assert min(found["precision"], found["recall"], found["coverage"]) > 0.85


def test_strays_fool_precision_and_recall_but_not_density_and_coverage():
    """The argument for density and coverage: the ball of a stray point takes in everything."""
    real, other = cloud(200, 4), cloud(200, 4, seed=1, shift=6.0)
    apart = values(real, other)
    assert max(apart.values()) < 0.03
    # two, so that the third neighbour of each lies behind the other set
    drawn_strays = values(real, torch.cat([other, cloud(2, 4, seed=2, shift=-60.0)]))
    assert drawn_strays["recall"] == 1.0 and drawn_strays["coverage"] == apart["coverage"]
    real_strays = values(torch.cat([real, cloud(2, 4, seed=2, shift=60.0)]), other)
    assert real_strays["precision"] == 1.0 and real_strays["density"] < 0.5


def test_copies_are_neighbours_and_lie_on_the_edge():
    """Four copies of a real image have balls of radius 0: closed ones hold a copy, open ones nothing."""
    real = torch.cat([cloud(1, 4).repeat(6, 1), cloud(20, 4, seed=1, shift=50.0)])
    found = balls(real, real[:1].repeat(8, 1), 3, 5)
    assert found.precise.all() and found.recalled[:6].all() and not found.crowd.any() and not found.covered.any()


def test_the_size_of_a_block_changes_nothing(monkeypatch):
    real, fake = cloud(90), torch.cat([cloud(40, seed=1, scale=0.8), cloud(90)[:30]])
    whole = balls(real, fake, 3, 5)
    for rows in (1, 7, 64):
        monkeypatch.setattr(manifold, "CHUNK", rows)
        for name, part in vars(balls(real, fake, 3, 5)).items():
            assert torch.equal(part, getattr(whole, name)), name


def test_values_say_how_they_were_made():
    found = precision_recall(cloud(50).float(), cloud(40, seed=1).numpy(), {"split": "test"}, seed=3)
    assert set(found) == NAMES
    assert [found[name].n for name in ("precision", "density", "recall", "coverage")] == [40, 40, 50, 50]
    assert {name: one.protocol["k"] for name, one in found.items()} == {
        "precision": 3, "recall": 3, "density": 5, "coverage": 5,
    }  # fmt: skip
    for value in found.values():
        assert value.low <= value.value <= value.high and value.low < value.high
        assert value.protocol["split"] == "test" and value.protocol["real_images"] == 50
        assert "balls" in value.protocol["interval_given"] and value.protocol["interval"]
    assert precision_recall(cloud(50), cloud(40, seed=1), seed=3) == precision_recall(
        cloud(50), cloud(40, seed=1), seed=3
    )


def test_the_interval_of_precision_holds_what_other_drawn_images_give():
    real = cloud(300, 4)
    found = precision_recall(real, cloud(300, 4, seed=1, shift=1.0))["precision"]
    others = [values(real, cloud(300, 4, seed=k, shift=1.0))["precision"] for k in range(2, 32)]
    assert sum(found.low <= one <= found.high for one in others) >= 22
    said, seen = (found.high - found.low) / (2 * 1.96), np.std(others)
    assert 0.6 < said / seen < 1.7


def test_what_cannot_be_measured_is_refused():
    for real, fake, name in ((5, 9, "5 real"), (9, 5, "5 generated")):
        with pytest.raises(UserError, match=f"{name} images are too few .* neighbor no. 5: at least 6 are needed"):
            precision_recall(cloud(real), cloud(fake))
    assert precision_recall(cloud(6), cloud(6, seed=1)).keys() == NAMES
    with pytest.raises(ValueError, match="use one extractor"):
        precision_recall(cloud(9, 4), cloud(9, 5))
    broken = cloud(9)
    broken[3, 1] = np.nan
    with pytest.raises(FloatingPointError, match="1 of 9 generated images"):
        precision_recall(cloud(9), broken)


def test_it_is_a_group_of_every_evaluation(asked):
    images, (captions, truths, which) = asked
    found = evaluate_images(images, captions, truths, which, images, "toy-scenes", metrics="precision_recall")
    assert "precision_recall" in GROUPS and set(found) == NAMES
    assert {name: one.value for name, one in found.items()} == dict.fromkeys(NAMES, 1.0)
    assert found["density"].protocol["extractor"].startswith("toy-scenes inspector")
    alike = images[:1].expand_as(images)
    found = evaluate_images(alike, captions, truths, which, images, "toy-scenes", metrics="precision_recall")
    assert found["precision"].value == 1.0 and found["recall"].value == 1 / 24 and found["coverage"].value < 0.6
