"""What an evaluation asks of the networks: no more than its measures need, and nothing twice."""

import shutil

import pytest
import torch

from t2i_core.metrics import accuracy, evaluate, instruments, weights
from t2i_core.metrics.evaluate import evaluate_images, evaluate_run
from t2i_core.metrics.inspector import Inspector
from t2i_core.metrics.retrieval import recall_at_k
from t2i_core.runs import Run


@pytest.fixture
def looked(monkeypatch):
    """How many images each network was shown, call by call."""
    seen: dict[str, list[int]] = {"read": [], "features": [], "images": [], "captions": []}

    def watch(owner, name, kept, rows):
        original = getattr(owner, name)

        def counted(*arguments, **options):
            seen[kept].append(len(arguments[rows]))
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    watch(Inspector, "read", "read", 1)
    watch(Inspector, "features", "features", 1)
    watch(instruments, "encode_images", "images", 1)
    watch(instruments, "encode_captions", "captions", 1)
    return seen


def test_features_alone_are_those_of_a_reading(asked):
    inspector, images = weights.load_inspector("toy-scenes"), asked[0]
    whole = inspector.read(images).features
    assert torch.equal(inspector.features(images), whole)
    for size in (1, 7):
        torch.testing.assert_close(inspector.features(images, size), whole, atol=1e-4, rtol=1e-4)


def test_distances_need_features_and_no_reading(asked, looked):
    images, told = asked
    evaluate_images(images[:20], *(one[:20] for one in told), images, "toy-scenes", metrics=("fid", "precision_recall"))
    assert looked == {"read": [], "features": [20, 24], "images": [], "captions": []} or looked["features"] == [24, 20]


def test_what_is_read_in_any_case_is_not_looked_at_before(asked, looked):
    images, told = asked
    evaluate_images(images[:20], *(one[:20] for one in told), images, "toy-scenes", metrics=("fid", "soa", "cmd"))
    assert looked == {"read": [20], "features": [24], "images": [20, 24], "captions": [20]}


def test_runs_measured_in_one_process_share_what_is_real(tiny_run, tmp_path, looked):
    """Two runs: the real images and the captions are shown once, what each drew once, and the untrained one's."""
    evaluate._real.cache_clear()
    found = []
    for name in ("a", "b"):
        run = Run(shutil.copytree(tiny_run, tmp_path / name))
        found.append(evaluate_run(run, ("fid", "cmd", "inception_score", "fid_untrained"), n=24, device="cpu"))
    assert looked["images"] == [24, 24, 24] and looked["captions"] == [24]
    assert len(looked["read"]) == 3 and len(looked["features"]) == 2
    assert {k: v["value"] for k, v in found[0].items()} == {k: v["value"] for k, v in found[1].items()}


def test_retrieval_is_recall_both_ways_by_the_scorer(asked):
    images, told = asked
    found = evaluate_images(images, *told, images, "toy-scenes", metrics="retrieval", same={"caption": told[0]})
    pairs = accuracy.encode(weights.load_scorer("toy-scenes"), images, told[0])
    by_hand = recall_at_k(*pairs, same={"caption": told[0]})
    assert {name: value.value for name, value in found.items()} == {
        f"{way}_r{k}": value.value for way, of in by_hand.items() for k, value in of.items()
    }
    assert found["image_to_text_r10"].value > 0.8 and "scorer" in found["image_to_text_r10"].protocol
