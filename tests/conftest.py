"""What all tests share: no network, no display, one thread a worker; a tiny dataset and a run of a few steps."""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # the tests run side by side, and torch reads this when it is imported
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ.pop("T2I_DATA", None)

import hypothesis
import pytest

import t2i_core  # noqa: F401  (before anything imports torchvision)

# Examples of one test share the machine with other tests, so how long one takes says nothing.
hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session")
def project() -> Path:
    """The folder with pyproject.toml."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_scenes(tmp_path_factory) -> Path:
    """A prepared dataset: toy-scenes at 32 px, 48 training and 24 test images. Tests read it and never change it."""
    from data_prep import toyworld

    folder = tmp_path_factory.mktemp("data") / "toy-scenes"
    toyworld.prepare("toy-scenes", folder, size=32, train=48, test=24, seed=0)
    return folder


@pytest.fixture(scope="module")
def asked(tiny_scenes):
    """The 24 test pictures with a caption each, as `evaluate_images` takes them."""
    from t2i_core.data import load

    test = load(tiny_scenes, "test", (32,))
    captions = [test.caption(i) for i in range(24)]
    return test.images(range(24)), (captions, test.truth, [0] * 24)


@pytest.fixture(scope="session")
def tiny_run(tiny_scenes, tmp_path_factory) -> Path:
    """The folder of a finished alr-gan run of two steps on `tiny_scenes`. Tests that change it take a copy."""
    from t2i_core.config import RunConfig
    from t2i_core.train import train

    folder = tmp_path_factory.mktemp("runs") / "alr-gan"
    train(RunConfig(profile="smoke", data=str(tiny_scenes), steps=2), folder, device="cpu", show_progress=False)
    return folder
