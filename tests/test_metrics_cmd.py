"""Cross-Model Distance: the paper's equations by hand, what its second branch gets wrong, and what it cannot see."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from t2i_core import evidence
from t2i_core.config import UserError
from t2i_core.metrics import weights
from t2i_core.metrics.accuracy import encode
from t2i_core.metrics.cmd import (
    PUBLISHED_SCALES,
    CrossModelDistance,
    cross_model_distance,
    cross_model_values,
    distance_by_size,
)
from t2i_core.metrics.evaluate import GROUPS, evaluate_images
from t2i_core.metrics.frechet import fid, frechet_distance, mean_covariance
from t2i_core.metrics.moments import Gaussian, Moments

PARTS = ("cmd", "itdis", "image_distance", "signed_bias")


def correlated(n, d, seed, shift=0.0, scale=1.0, rank=None):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(rank or d, d))
    return torch.from_numpy(scale * rng.normal(size=(n, rank or d)) @ mixing + shift)


def triple(n=300, d=6, seed=0):
    """Features of fake, real, text."""
    shifts, scales = ((0.4, 0.0, 1.0), (1.3, 1.0, 0.7))
    return [correlated(n, d, 3 * seed + k, shifts[k], scales[k]) for k in range(3)]


def one_dimension(mean, variance):
    return torch.tensor([mean], dtype=torch.float64), torch.tensor([[variance]], dtype=torch.float64)


def by_sqrtm(first, second):
    """Eq. 11 to the letter."""
    (mu1, cov1), (mu2, cov2) = ([x.numpy() for x in one] for one in (first, second))
    return float(np.square(mu1 - mu2).sum() + np.trace(cov1 + cov2 - 2 * sqrtm(cov1 @ cov2).real))


def parts(found):
    return [getattr(found, name) for name in PARTS]


# ------------------------------------------------------------------------------------------------- Eqs 10, 11, 12


def test_e10_by_hand():
    """f = N(1, 4), r = N(0, 1), l = N(3, 9): Dis(f, r) = 1 + 1, Dis(f, l) = 4 + 1, Dis(r, l) = 9 + 4."""
    found = cross_model_distance(one_dimension(1, 4), one_dimension(0, 1), one_dimension(3, 9), protocol={"k": 1})
    assert (found.image_distance, found.fake_to_text, found.real_to_text) == pytest.approx((2, 5, 13), abs=1e-12)
    assert parts(found) == pytest.approx([2 + 8, 8, 2, -8], abs=1e-12)
    assert all(isinstance(value, float) for value in parts(found))
    assert found.sizes == {"fake": None, "real": None, "text": None} and found.protocol["k"] == 1
    assert found.protocol["bias"] == "absolute, E11" and found.protocol["features"] == 1


def test_g14_the_signed_sum_is_asked_for_and_may_be_negative():
    """f = 1, r = 0, l = 2 with variance 1: 1 + 1 - 4 = -2 as the authors print it, 1 + |1 - 4| = 4 by Eq. 11."""
    sets = [one_dimension(mean, 1) for mean in (1, 0, 2)]
    assert parts(cross_model_distance(*sets)) == pytest.approx([4, 3, 1, -3], abs=1e-12)
    signed = cross_model_distance(*sets, signed=True)
    assert parts(signed) == pytest.approx([-2, 3, 1, -3], abs=1e-12)
    assert "signed" in signed.protocol["bias"]


def test_e11_agrees_with_scipy_sqrtm_at_512_features():
    sets = [mean_covariance(one) for one in triple(n=700, d=512)]
    fake_real, fake_text, real_text = (by_sqrtm(sets[a], sets[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    found = cross_model_distance(*sets)
    assert found.image_distance == pytest.approx(fake_real, rel=1e-6)
    assert found.signed_bias == pytest.approx(fake_text - real_text, rel=1e-6)
    assert found.cmd == pytest.approx(fake_real + abs(fake_text - real_text), rel=1e-6)


def gaussian(d, rng):
    spread = rng.normal(size=(d, d + 2))
    return torch.from_numpy(2 * rng.normal(size=d)), torch.from_numpy(spread @ spread.T / d)


def test_g1_the_second_branch_of_e12_is_off_by_twice_a_trace_and_the_mended_one_agrees():
    rng = np.random.default_rng(0)
    seen = {True: 0, False: 0}
    for _ in range(60):
        f, r, l = (gaussian(4, rng) for _ in range(3))  # noqa: E741 (the paper's letters)
        found = cross_model_distance(f, r, l)
        (mu_f, cov_f), (mu_r, cov_r), (mu_l, _) = f, r, l
        root_fl, root_rl, root_fr = (
            float(np.trace(sqrtm((a[1] @ b[1]).numpy()).real)) for a, b in ((f, l), (r, l), (f, r))
        )
        tr_f, tr_r = float(cov_f.trace()), float(cov_r.trace())
        seen[found.signed_bias > 0] += 1
        if found.signed_bias > 0:
            first = 2 * (float((mu_f - mu_r) @ (mu_f - mu_l)) + tr_f - root_fl + root_rl - root_fr)
            assert found.cmd == pytest.approx(first, rel=1e-9)
        else:
            apart = float((mu_r - mu_f) @ (mu_r - mu_l)) + root_fl - root_rl - root_fr
            printed, mended = 2 * (apart + tr_f), 2 * (apart + tr_r)
            assert found.cmd == pytest.approx(mended, rel=1e-9)
            assert printed - found.cmd == pytest.approx(2 * (tr_f - tr_r), rel=1e-6, abs=1e-9)
    assert min(seen.values()) > 10


def test_g3_no_bias_needs_no_caption_mean_in_the_middle():
    """f = N(1, 4), r = N(0, 1), l = N(1, 1): both are 1 from l, though the middle is 0.5 and
    sqrt(4) - sqrt(1) = 1 is not (4 - 1) / 2."""
    found = cross_model_distance(one_dimension(1, 4), one_dimension(0, 1), one_dimension(1, 1))
    assert found.fake_to_text == pytest.approx(1, abs=1e-12) and found.itdis == pytest.approx(0, abs=1e-12)
    assert found.cmd == pytest.approx(found.image_distance, abs=1e-12) == pytest.approx(2)
    # and the two conditions of the paper together do give it: the mean in the middle, cov_l = (1.5)^2
    middle = cross_model_distance(one_dimension(1, 4), one_dimension(0, 1), one_dimension(0.5, 2.25))
    assert middle.itdis == pytest.approx(0, abs=1e-12)


def test_q8_equal_sets_give_zero_and_without_bias_it_is_the_fid():
    fake, real, text = triple()
    same = cross_model_distance(real, real, text)
    assert same.itdis == 0 and 0 <= same.cmd < 1e-9 * float(mean_covariance(real)[1].trace())
    # captions as far from both: fake mirrored at the captions' symmetric cloud
    text = torch.cat([text, -text])
    fake, real = real[:150] + 0.5, -(real[:150] + 0.5)
    found = cross_model_distance(fake, real, text)
    assert found.itdis == pytest.approx(0, abs=1e-9) and found.image_distance > 1
    assert found.cmd == pytest.approx(fid(real, fake, resamples=2).value, rel=1e-6)


@settings(max_examples=40)
@given(
    n=st.tuples(*[st.integers(2, 14)] * 3), d=st.integers(1, 8), seed=st.integers(0, 999), scale=st.floats(1e-3, 1e3)
)
def test_any_features_give_a_lawful_distance(n, d, seed, scale):
    fake, real, text = (correlated(size, d, seed + k, shift=k) for k, size in enumerate(n))
    found = cross_model_distance(fake, real, text)
    assert 0 <= found.image_distance <= found.cmd and 0 <= found.itdis <= found.cmd
    assert found.cmd == found.image_distance + abs(found.signed_bias)
    rounding = 1e-7 * max(float(one.square().sum(1).mean()) for one in (fake, real, text))
    mirrored = cross_model_distance(real, fake, text)
    assert mirrored.cmd == pytest.approx(found.cmd, abs=rounding)
    assert mirrored.signed_bias == pytest.approx(-found.signed_bias, abs=rounding)
    scaled = cross_model_distance(fake, real, text, scale, scale)
    assert scaled.cmd == pytest.approx(scale**2 * found.cmd, abs=rounding * scale**2)


def test_g11_captions_dealt_out_anew_change_nothing():
    fake, real, text = triple()
    order = torch.randperm(len(text), generator=torch.Generator().manual_seed(0))
    dealt = cross_model_distance(fake, real, text[order])
    assert parts(dealt) == pytest.approx(parts(cross_model_distance(fake, real, text)), rel=1e-10)


# ------------------------------------------------------------------------------------------------------- scales


def test_g13_the_published_scales_count_the_images_a_hundredfold():
    sets = triple(d=12)
    unit = cross_model_distance(*sets, unit=True)
    published = cross_model_distance(*sets, scales="published", unit=True)
    assert PUBLISHED_SCALES == (10.0, 1.0)
    assert parts(published) == parts(cross_model_distance(*sets, 10.0, 1.0, unit=True))
    assert published.image_distance == pytest.approx(100 * unit.image_distance, rel=1e-9)
    assert published.itdis < 99 * unit.itdis  # the captions stay where they were
    both = cross_model_distance(*sets, 10.0, 10.0, unit=True)
    assert parts(both) == pytest.approx([100 * part for part in parts(unit)], rel=1e-7)
    assert (published.protocol["image_scale"], published.protocol["text_scale"]) == (10.0, 1.0)
    assert published.protocol["rows_of_length_1"] and not cross_model_distance(*sets).protocol["rows_of_length_1"]
    rows = [torch.nn.functional.normalize(one, dim=1) for one in sets]
    assert parts(cross_model_distance(*rows)) == pytest.approx(parts(unit), rel=1e-9)


def test_scales_that_are_none_are_refused():
    sets = triple(n=20)
    with pytest.raises(UserError, match="did you mean 'published'"):
        cross_model_distance(*sets, scales="publshed")
    with pytest.raises(ValueError, match="both scales"):
        cross_model_distance(*sets, 10.0, scales="published")
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="text_scale"):
            cross_model_distance(*sets, text_scale=scale)


# ------------------------------------------------------------------------------- features, pairs, files, batches


def test_features_pairs_files_and_batches_agree(tmp_path):
    sets = triple(n=90, d=7)
    pairs = [mean_covariance(one) for one in sets]
    streams = [Moments() for _ in sets]
    for stream, one in zip(streams, sets, strict=True):
        for batch in one.split(13):
            stream.update(batch)
    files = [stream.save(tmp_path / f"{k}.npz") for k, stream in enumerate(streams)]
    published = tmp_path / "published.npz"
    np.savez(published, mu=pairs[1][0], sigma=pairs[1][1])
    expected = cross_model_distance(*sets, 2.0, 3.0)
    for ways in (
        [one.numpy() for one in sets],
        pairs,
        [(mu.numpy(), cov.numpy()) for mu, cov in pairs],
        streams,
        files,
        [sets[0], str(published), streams[2]],
    ):
        assert parts(cross_model_distance(*ways, 2.0, 3.0)) == pytest.approx(parts(expected), rel=1e-9)
    assert expected.sizes == {"fake": 90, "real": 90, "text": 90} == cross_model_distance(*files).sizes
    half_known = cross_model_distance(sets[0], published, sets[2])
    assert half_known.sizes["real"] is None and "warning" not in half_known.protocol
    assert expected.protocol["generated_images"] == expected.protocol["captions"] == 90


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_batches_equal_all_rows_at_once(far):
    """1e6 from 0, where a sum of squares loses twelve digits of sixteen; cut anywhere, merged in any order."""
    rows = correlated(257, 9, 0).numpy() + far
    mu, cov = rows.mean(0), np.cov(rows, rowvar=False)
    whole, halves = Moments(), [Moments(), Moments()]
    for batch in np.split(rows, [1, 2, 30, 200]):
        whole.update(batch)
    halves[0].update(rows[:100])
    halves[1].update(torch.from_numpy(rows[100:]))
    merged = Moments().merge(halves[1]).merge(halves[0]).merge(Moments())
    for found in (whole, merged):
        assert found.n == 257 and found.mu.dtype == found.cov.dtype == torch.float64
        np.testing.assert_allclose(found.mu, mu, rtol=1e-12)
        # an entry near 0 is the difference of large ones: measured by the size of the matrix
        tolerance = 1e-12 * np.abs(cov).max() * max(1.0, far * 1e-3)
        np.testing.assert_allclose(found.cov, cov, rtol=1e-12, atol=tolerance)
    assert halves[1].n == 157  # merging takes nothing away


def test_refused_rows_leave_the_moments_as_they_were():
    found = Moments("real images").update(np.eye(3))
    before = found.mu.clone(), found.cov.clone()
    with pytest.raises(ValueError, match="3 columns so far and now 4"):
        found.update(np.eye(4))
    with pytest.raises(FloatingPointError, match="1 of 2 real images are not finite"):
        found.update(np.array([[1.0, 2.0, np.inf], [0, 0, 0]]))
    assert found.n == 3 and torch.equal(found.mu, before[0]) and torch.equal(found.cov, before[1])
    with pytest.raises(UserError, match="1 captions are too few: at least 2"):
        Moments("captions").update(np.ones((1, 4))).cov  # noqa: B018 (a property that refuses)
    with pytest.raises(UserError, match="0 features are too few"):
        Moments().mu  # noqa: B018


@pytest.mark.parametrize("rank", [3, 11])
def test_rank_deficient_and_fewer_rows_than_features(rank):
    """The rows' own root and the covariance's say the same, are real, and know a distance in closed form."""
    fake, real, text = (correlated(12, 40, k, shift=k, rank=rank) for k in range(3))
    by_rows = cross_model_distance(fake, real, text)
    by_pairs = cross_model_distance(*(mean_covariance(one) for one in (fake, real, text)))
    assert parts(by_rows) == pytest.approx(parts(by_pairs), rel=1e-6)
    assert "no more rows than the 40 features" in by_rows.protocol["warning"]
    assert "warning" not in cross_model_distance(*triple()).protocol
    uneven = cross_model_distance(triple()[0][:200], *triple()[1:])
    assert "not as many" in uneven.protocol["warning"]
    moved = cross_model_distance(real + 0.5, real, text)
    assert moved.image_distance == pytest.approx(40 * 0.25, rel=1e-6)
    constant = torch.ones(5, 40)
    assert parts(cross_model_distance(constant + 1, constant, constant)) == pytest.approx([80, 40, 40, 40])


def test_covariances_in_float32_are_taken_for_what_they_are():
    """Their rounding leaves eigenvalues below 0 and breaks symmetry; the distance moves by as little."""
    sets = [correlated(30, 60, k, shift=k / 3) for k in range(2)]
    (mu1, cov1), (mu2, cov2) = (mean_covariance(one) for one in sets)
    assert float(torch.linalg.eigvalsh(cov1.float())[0]) < 0
    rough = frechet_distance(mu1.float(), cov1.float(), mu2.float(), cov2.float())
    assert rough == pytest.approx(frechet_distance(mu1, cov1, mu2, cov2), rel=1e-2)
    root = Gaussian.of_moments(mu1, cov1.float()).root
    np.testing.assert_allclose(root @ root.T, cov1, atol=1e-5 * float(cov1.abs().max()))


# ------------------------------------------------------------------------------------------------------ mistakes


def test_mistakes_are_named(tmp_path):
    fake, real, text = triple(n=20)
    broken = real.clone()
    broken[3, 2] = torch.nan
    with pytest.raises(FloatingPointError, match="1 of 20 real images are not finite"):
        cross_model_distance(fake, broken, text)
    with pytest.raises(FloatingPointError, match="the covariance of captions is not finite"):
        cross_model_distance(fake, real, (text.mean(0), torch.full((6, 6), torch.nan)))
    with pytest.raises(UserError, match="1 generated images are too few"):
        cross_model_distance(fake[:1], real, text)
    with pytest.raises(ValueError, match="6 and 5 features: both sets must come from one extractor"):
        cross_model_distance(fake, real, text[:, :5])
    with pytest.raises(ValueError, match=r"real images: a mean must be \(d,\)"):
        cross_model_distance(fake, (torch.zeros(6), torch.eye(5)), text)
    with pytest.raises(ValueError, match="is symmetric"):
        cross_model_distance(fake, (torch.zeros(6), torch.eye(6).cumsum(1)), text)
    for matrix in (-torch.eye(6), torch.eye(6).flip(0), torch.diag(torch.tensor([1.0, 1, 1, 1, 1, -0.1]))):
        with pytest.raises(ValueError, match="no negative eigenvalue"):
            cross_model_distance(fake, (torch.zeros(6), matrix), text)
    with pytest.raises(ValueError, match="must be real numbers"):
        cross_model_distance(fake, (torch.zeros(6), torch.eye(6) + 0j), text)
    with pytest.raises(ValueError, match="do not tell the rows' lengths"):
        cross_model_distance(fake, (torch.zeros(6), torch.eye(6)), text, unit=True)


def test_broken_files_are_named(tmp_path):
    fake, _, text = triple(n=20)
    with pytest.raises(UserError, match="there is no file .*gone.npz"):
        cross_model_distance(fake, tmp_path / "gone.npz", text)
    np.savez(tmp_path / "other.npz", mu=np.zeros(6))
    np.savez(tmp_path / "pickled.npz", mu=np.zeros(6), sigma=np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "array.npy", np.eye(6))
    (tmp_path / "text.npz").write_text("mu, sigma")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:100])
    for name in ("other.npz", "pickled.npz", "array.npy", "text.npz", "cut.npz"):
        with pytest.raises(UserError, match=f"real images: .*{name} is no .npz with `mu` and `sigma`"):
            cross_model_distance(fake, tmp_path / name, text)


# ----------------------------------------------------------------------------------------- sizes and intervals


def test_the_distance_falls_with_the_size_and_the_line_finds_its_limit():
    """Two samples of one distribution: the truth is 0, and every N says more."""
    sets = [correlated(1200, 8, 0), correlated(1200, 8, 1), correlated(1200, 8, 2, shift=0.5)]
    curve = distance_by_size(*sets, seed=1, protocol={"split": "test"})
    assert curve.sizes == (1200, 600, 400, 300, 240)
    assert list(curve.image_distance) == sorted(curve.image_distance)
    assert curve.image_distance[-1] > 2.5 * curve.image_distance[0]
    assert curve.at_infinity["image_distance"] < 0.5 * curve.image_distance[0]
    assert curve.at_infinity["cmd"] == curve.at_infinity["image_distance"] + curve.at_infinity["itdis"]
    assert curve.at_infinity["itdis"] == abs(curve.at_infinity["signed_bias"])
    whole = cross_model_distance(*sets)
    assert [getattr(curve, name)[0] for name in PARTS] == pytest.approx(parts(whole), rel=1e-9)
    assert distance_by_size(*sets, seed=1, protocol={"split": "test"}) == curve
    assert distance_by_size(*sets, seed=2).image_distance[1:] != curve.image_distance[1:]
    assert curve.protocol["split"] == "test" and "warning" not in curve.protocol


def test_the_limit_is_that_of_the_true_gaussians():
    """Dis between N(0, M M^T) and N(0.4, 1.3^2 M M^T) is 8 (0.4)^2 + 0.3^2 Tr(M M^T)."""
    mixing = np.random.default_rng(99).normal(size=(8, 8))
    truth = 8 * 0.16 + 0.09 * np.square(mixing).sum()
    sets = [correlated(4000, 8, 0, 0.4, 1.3), correlated(4000, 8, 1), correlated(4000, 8, 2)]
    curve = distance_by_size(*sets, sizes=(50, 100, 200, 400), draws=40)
    assert curve.image_distance[-1] > 1.05 * truth
    assert curve.at_infinity["image_distance"] == pytest.approx(truth, rel=0.05)


def test_a_curve_over_sizes_says_what_it_cannot_do():
    sets = triple(n=30)
    for sizes in ([30], [1, 20], [40, 20]):
        with pytest.raises(UserError, match="the 30 rows of the smallest set"):
            distance_by_size(*sets, sizes=sizes)
    with pytest.raises(UserError, match="two or more"):
        distance_by_size(*(one[:3] for one in sets))
    assert "1/N" in distance_by_size(*sets, sizes=(6, 30)).protocol["warning"]
    uneven = distance_by_size(sets[0], sets[1][:24], sets[2])
    assert uneven.sizes == (24, 12, 8, 6, 4)


def test_intervals_come_from_resampled_pairs():
    fake, real, text = triple(n=200)
    found = cross_model_values(fake, real[:150], text, {"split": "test"}, resamples=60, seed=4)
    assert set(found) == {"cmd", "itdis"}
    whole = cross_model_distance(fake, real[:150], text)
    for name, value in found.items():
        assert value.value == getattr(whole, name) and value.n == 200
        assert value.low < value.value < value.high
        assert value.protocol["resampled"] == "real images alone; generated images and captions together"
        assert "60 resamples, seed 4" in value.protocol["interval"] and value.protocol["split"] == "test"
        assert value.protocol["parts"]["image_distance"] == whole.image_distance
    assert found == cross_model_values(fake, real[:150], text, {"split": "test"}, resamples=60, seed=4)
    assert found["cmd"].value >= found["itdis"].value
    together = cross_model_values(fake, real, text, resamples=3)["cmd"].protocol["resampled"]
    assert together == "generated images and real images and captions together"
    signed = cross_model_values(fake + 1, real, text + 2, resamples=20, signed=True)["cmd"]
    assert signed.high < 0


def test_the_interval_is_as_wide_as_the_spread_of_other_samples():
    value = cross_model_values(*triple(seed=100), resamples=100)["cmd"]
    others = [cross_model_distance(*triple(seed=k)).cmd for k in range(30)]
    spread = np.quantile(others, 0.975) - np.quantile(others, 0.025)
    assert 0.6 < (value.high - value.low) / spread < 1.7


# ---------------------------------------------------------------------------------------------- the evaluation


def test_the_evaluation_has_it_with_its_protocol(asked):
    real, told = asked
    noise = torch.rand(real.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    drawn = evaluate_images(noise, *told, real, "toy-scenes", metrics="cmd", protocol={"split": "test"})
    assert set(drawn) == {"cmd", "itdis"} and "cmd" in GROUPS
    for value in drawn.values():
        assert value.protocol["scorer"].startswith("toy-scenes scorer") and value.protocol["split"] == "test"
        assert "not OpenAI's CLIP" in value.protocol["encoder"] and value.protocol["rows_of_length_1"]
        assert value.protocol["real_images"] == value.protocol["generated_images"] == value.n == 24
    image, text = encode(weights.load_scorer("toy-scenes"), noise, told[0])
    true, _ = encode(weights.load_scorer("toy-scenes"), real, told[0])
    assert drawn["cmd"].value == pytest.approx(cross_model_distance(image, true, text, unit=True).cmd, rel=1e-4)
    same = evaluate_images(real, *told, real, "toy-scenes", metrics="cmd")
    assert same["cmd"].value < 1e-6 * drawn["cmd"].value and same["itdis"].value == 0


def test_a_world_without_scorer_is_told_so(asked):
    real, told = asked
    with pytest.raises(UserError, match="no scorer knows the words"):
        evaluate_images(real, *told, real, "my-photographs", metrics="cmd")


def test_people_read_its_name():
    assert (evidence.label("cmd"), evidence.label("itdis")) == ("CMD", "ITDis")
    assert CrossModelDistance(1.0, 3.0, 5.0).cmd == 3.0
