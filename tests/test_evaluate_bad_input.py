"""What cannot be measured is refused with words that say what to do: runs without weights, images that are none."""

import shutil
from pathlib import Path

import pytest
import torch

from t2i_core.cli import main
from t2i_core.config import UserError
from t2i_core.metrics.evaluate import evaluate_images, evaluate_run, evaluate_stages
from t2i_core.runs import Run


@pytest.fixture
def run(tiny_run, tmp_path) -> Run:
    return Run(shutil.copytree(tiny_run, tmp_path / "run"))


def refused(capsys, folder: Path) -> str:
    assert main(["evaluate", "--run", str(folder), "--images", "24", "--device", "cpu", "--metrics", "fid"]) == 2
    out, error = capsys.readouterr()
    assert not out and not (folder / "metrics.json").exists()
    return error


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (("weights.safetensors",), "holds no finished weights: go on with `t2i train --out"),
        (("weights.safetensors", "checkpoint.pt"), "holds no finished weights: train it first"),
        (("config.json",), "has no config.json: it is no run folder"),
    ],
)
def test_a_run_without_weights_is_told_how_to_get_them(capsys, run, gone, said):
    for name in gone:
        (run.folder / name).unlink()
    assert said in refused(capsys, run.folder)
    for measure in (evaluate_run, evaluate_stages):
        with pytest.raises(UserError, match=said.split(":")[0]):
            measure(Run(run.folder), "fid", n=24, device="cpu")


def test_damaged_weights_are_named(capsys, run):
    weights = run.folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "weights.safetensors" in refused(capsys, run.folder)


def test_a_run_whose_dataset_is_gone_names_it(capsys, run):
    config = (run.folder / "config.json").read_text()
    (run.folder / "config.json").write_text(config.replace(str(run.config.data), "/nowhere/at/all"))
    assert "/nowhere/at/all" in refused(capsys, run.folder)


def test_a_folder_that_is_not_there_is_named(capsys, tmp_path):
    assert str(tmp_path / "none") in refused(capsys, tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images: images[:, :1], r"images must be \(n, 3, R, R\) .* not \(24, 1, 32, 32\) .* repeat a grey"),
        (lambda images: torch.cat([images, images[:, :1]], 1), r"not \(24, 4, 32, 32\)"),
        (lambda images: images[:, 0], r"not \(24, 32, 32\)"),
        (lambda images: images.add(1).mul(127.5).round().byte(), r"of torch\.uint8"),
        (lambda images: images.add(1).mul(127.5), r"images reach from .* to 255, and they must lie in \[-1, 1\]"),
        (lambda images: images[:23], "must be as many, not 23, 24, 24 and 24"),
    ],
)
def test_images_of_another_form_are_refused(asked, change, said):
    images, told = asked
    with pytest.raises(ValueError, match=said):
        evaluate_images(change(images), *told, images, "toy-scenes", metrics="fid")


def test_captions_that_are_not_as_many_are_refused(asked):
    images, (captions, truths, which) = asked
    with pytest.raises(ValueError, match="must be as many, not 24, 25, 24 and 24"):
        evaluate_images(images, [*captions, "a dog"], truths, which, images, "toy-scenes")


@pytest.mark.parametrize("metrics", ["fid", "precision_recall", "clip_score"])
def test_an_image_that_is_not_finite_is_counted(asked, metrics):
    images, told = asked
    broken = images.clone()
    broken[5, 0, 3, 3] = float("nan")
    with pytest.raises(FloatingPointError, match="1 of 24 .* not finite"):
        evaluate_images(broken, *told, images, "toy-scenes", metrics=metrics)
