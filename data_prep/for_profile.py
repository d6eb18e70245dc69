"""The dataset that a profile trains on, prepared if it is not there yet."""

from __future__ import annotations

from pathlib import Path

from data_prep import toyworld
from t2i_core.config import data_root, default_folder, profile


def dataset_for(world: str, profile_name: str, seed: int = 0) -> Path:
    """The prepared folder of a toy world at a profile's size and counts; drawn now where it is missing."""
    p = profile(profile_name)
    folder = data_root() / default_folder(world, p)
    toyworld.prepare(world, folder, size=p.resolutions[-1], train=p.train_images, test=p.test_images, seed=seed)
    return folder
