"""Prepared datasets as batches: what a step sees is a function of (seed, step) alone, and damaged files are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep import prepared
from t2i_core import data
from t2i_core.config import UserError
from t2i_core.data import BatchStream, load, random_generator
from t2i_core.manifest import read_manifest, verify


@pytest.fixture(scope="module")
def train_set(tiny_scenes):
    return load(tiny_scenes)


@pytest.fixture
def copy(tiny_scenes, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_scenes, tmp_path / "toy-scenes"))


def stream(dataset, batch_size=5, seed=0, rank=0, world=1) -> BatchStream:
    return BatchStream(dataset, dataset.vocabulary(), batch_size, seed, rank, world)


def arrow(folder: Path, split: str = "train") -> Path:
    (path,) = (folder / split).glob("*.arrow")
    return path


# -------------------------------------------------------------------------------------------------- what is inside


def test_a_split_holds_what_was_drawn(train_set):
    from data_prep.toyworld import draw

    assert len(train_set) == 48 and [len(captions) for captions in train_set.captions] == [5] * 48
    scene = draw("toy-scenes", 0, 7, 32)
    assert train_set.captions[7] == list(scene.captions) and train_set.caption(7, 2) == scene.captions[2]
    assert train_set.names[7] == "toy-scenes/train/000007"
    assert train_set.truth[7] == json.loads(json.dumps(scene.truth))
    drawn = torch.tensor(list(scene.image.tobytes()), dtype=torch.float32).view(32, 32, 3).permute(2, 0, 1)
    assert train_set.images([7])[0].equal(drawn / 127.5 - 1)
    mask = torch.tensor(list(scene.mask.tobytes())).view(32, 32)
    assert train_set.masks([7])[0].equal(mask.long())


def test_pictures_are_decoded_once_for_all_resolutions(tiny_scenes, monkeypatch):
    fresh, decoded = load(tiny_scenes), []
    decode = fresh._decode
    monkeypatch.setattr(fresh, "_decode", lambda indices, *rest: decoded.extend(indices) or decode(indices, *rest))
    fresh.to("cpu").stages([1, 2])
    assert sorted(decoded) == list(range(48))


@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_images_of_every_resolution_are_means_of_the_finest(train_set, resolution):
    images = train_set.images([3, 0], resolution)
    assert images.shape == (2, 3, resolution, resolution) and images.dtype == torch.float32
    assert images.min() >= -1 and images.max() <= 1
    fine = train_set.images([3, 0])
    assert (images.mean((2, 3)) - fine.mean((2, 3))).abs().max() < 0.02
    # a pixel lies within what the finest image has around it, one pixel of its own further on every side
    step = 32 // resolution
    highest = torch.nn.functional.max_pool2d(fine, 3 * step, step, step)
    lowest = -torch.nn.functional.max_pool2d(-fine, 3 * step, step, step)
    rounding = 1 / 127.5
    assert (images <= highest + rounding).all() and (images >= lowest - rounding).all()


@pytest.mark.parametrize("resolution", [8, 16, 24, 32, 64])
def test_masks_of_every_resolution_are_the_finest_at_the_pixels_middles(train_set, resolution):
    fine, masks = train_set.masks(range(48)), train_set.masks(range(48), resolution)
    assert masks.shape == (48, resolution, resolution) and masks.dtype == torch.int64
    for row, column in ((0, 0), (resolution // 2, 1), (resolution - 1, resolution - 1)):
        middle = [int((place + 0.5) * 32 / resolution) for place in (row, column)]
        assert masks[:, row, column].equal(fine[:, middle[0], middle[1]])
    assert all(
        set(mask.unique().tolist()) <= set(whole.unique().tolist()) for mask, whole in zip(masks, fine, strict=True)
    )
    named = [{part["mask"] for part in truth["parts"]} for truth in train_set.truth]
    assert all(set(whole.unique().tolist()) - {0} <= parts for whole, parts in zip(fine, named, strict=True))


def test_too_large_for_memory_gives_the_same_batches(tiny_scenes, train_set, monkeypatch):
    inside = stream(train_set).at(3)
    assert train_set.fits_in_memory
    monkeypatch.setattr(data, "IN_MEMORY_BYTES", 1000)
    large = load(tiny_scenes).to("cpu")
    outside = stream(large).at(3)
    assert not large.fits_in_memory and not large._pixels
    assert all(a.equal(b) for a, b in zip(inside.images, outside.images, strict=True))
    assert inside.tokens.ids.equal(outside.tokens.ids)
    assert large.images([4, 2], 16).equal(train_set.images(torch.tensor([4, 2]), 16))


def test_images_without_a_class_are_classes_of_their_own(tmp_path):
    picture = prepared.encode_png(Image.new("RGB", (8, 8)))
    rows = [
        {"image": picture, "captions": ["one"], "class_id": class_id, "name": str(place)}
        for place, class_id in enumerate([-1, 5, 5, -1, 6, 7])
    ]
    common = dict(name="x", kind="folder", size=8, seed=0, split_rule="", class_disjoint=False, licence="", source="")
    prepared.write(tmp_path / "x", {"train": rows, "test": rows[:1]}, arguments={}, **common)
    classes = load(tmp_path / "x", resolutions=(8,)).class_ids
    assert (classes[:, None] == classes).sum() == 6 + 2 and classes[1] == classes[2]  # only the two fives meet


# --------------------------------------------------------------------------------------------------------- batches


@settings(max_examples=20)
@given(seed=st.integers(0, 2**40), step=st.integers(0, 10**7))
def test_a_batch_is_a_function_of_seed_and_step(train_set, seed, step):
    first = stream(train_set, seed=seed)
    first.at(step // 2)  # what was asked before is no matter
    batch, again = first.at(step), stream(train_set, seed=seed).at(step)
    assert batch.indices.equal(again.indices) and batch.caption_indices.equal(again.caption_indices)
    assert batch.tokens.ids.equal(again.tokens.ids) and batch.images[0].equal(again.images[0])


def test_another_seed_or_step_is_another_batch(train_set):
    seen = [stream(train_set, 8, seed).at(step).indices.tolist() for seed in (0, 1) for step in (0, 1, 6)]
    assert len({tuple(indices) for indices in seen}) == len(seen)


def test_a_batch_holds_what_its_indices_say(train_set):
    batch = stream(train_set).at(11)
    captions = [train_set.caption(int(i), int(k)) for i, k in zip(batch.indices, batch.caption_indices, strict=True)]
    tokens = train_set.vocabulary().tokenize(captions)
    assert batch.tokens.ids.equal(tokens.ids) and batch.tokens.lengths.equal(tokens.lengths) and len(batch) == 5
    assert [image.shape[-1] for image in batch.images] == [8, 16, 32]
    assert all(image.equal(train_set.images(batch.indices, image.shape[-1])) for image in batch.images)
    assert batch.class_ids.equal(train_set.class_ids[batch.indices])


@settings(max_examples=20)
@given(batch_size=st.integers(2, 70), seed=st.integers(0, 99), epoch=st.integers(0, 3))
def test_every_image_comes_once_an_epoch(train_set, batch_size, seed, epoch):
    source = stream(train_set, batch_size, seed)
    steps = -(-(epoch + 1) * 48 // batch_size)
    seen = torch.cat([source.indices(step) for step in range(steps)])
    assert sorted(seen[48 * epoch : 48 * (epoch + 1)].tolist()) == list(range(48))


def test_epochs_differ_in_order_and_captions(train_set):
    source = stream(train_set, 48)
    first, second = source.at(0), source.at(1)
    orders = [source.indices(step).tolist() for step in range(4)] + [list(range(48))]
    assert len({tuple(order) for order in orders}) == 5
    assert not first.caption_indices[first.indices.argsort()].equal(second.caption_indices[second.indices.argsort()])
    chosen = torch.cat([source.at(step).caption_indices for step in range(20)])
    assert chosen.unique().tolist() == [0, 1, 2, 3, 4] and chosen.bincount().min() > 130  # of 192 expected


@settings(max_examples=20)
@given(batch_size=st.integers(2, 30), step=st.integers(0, 50), world=st.integers(2, 4))
def test_ranks_share_a_batch_without_overlap(train_set, batch_size, step, world):
    whole = stream(train_set, batch_size * world).indices(step)
    shares = [stream(train_set, batch_size, rank=rank, world=world).indices(step) for rank in range(world)]
    assert [len(share) for share in shares] == [batch_size] * world
    assert torch.stack(shares, 1).flatten().equal(whole)
    if batch_size * world <= 48 and (step * batch_size * world) % 48 + batch_size * world <= 48:  # within an epoch
        assert len(torch.cat(shares).unique()) == batch_size * world


def test_ranks_draw_captions_of_their_own(train_set):
    choices = [stream(train_set, 24, rank=rank, world=2).at(0).caption_indices for rank in (0, 1)]
    assert not choices[0].equal(choices[1])


def test_a_dataset_smaller_than_the_batch_is_gone_through_again(tmp_path):
    from data_prep import toyworld

    toyworld.prepare("toy-birds", tmp_path / "birds", size=8, train=3, test=1, seed=1)
    few = load(tmp_path / "birds", resolutions=(8,))
    batch = stream(few, batch_size=8).at(1)  # the places 8 to 15 of 0 1 2 | 0 1 2 | 0 1 (2 | 0 1 2 | 0 1 2 | 0)
    assert len(batch) == 8 and batch.indices.bincount(minlength=3).min() >= 2
    assert batch.images[0].shape == (8, 3, 8, 8)


def test_one_image_is_too_few(tmp_path):
    from data_prep import toyworld

    toyworld.prepare("toy-birds", tmp_path / "birds", size=8, train=1, test=1)
    with pytest.raises(UserError, match="has 1 image.* at least 2"):
        stream(load(tmp_path / "birds", resolutions=(8,)))


def test_generators_of_different_steps_and_purposes_differ():
    keys = [(seed, step, purpose) for seed in (0, 1, 2**31) for step in (0, 1) for purpose in (0, 1)]
    first = [tuple(torch.rand(4, generator=random_generator(*key)).tolist()) for key in keys]
    assert len(set(first)) == len(keys)
    with pytest.raises(UserError, match="seed -1 is negative"):
        random_generator(-1)


# ---------------------------------------------------------------------------------------------------- damaged files


def test_a_whole_dataset_is_verified(tiny_scenes):
    assert verify(tiny_scenes) == read_manifest(tiny_scenes) == load(tiny_scenes).manifest


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_truncated_file_is_named(copy, split):
    path = arrow(copy, split)
    path.write_bytes(path.read_bytes()[:-100])
    for use in (load, verify):
        with pytest.raises(UserError, match=rf"{split}/data-00000-of-00001\.arrow has .* bytes and its manifest says"):
            use(copy)


def test_a_missing_file_is_named(copy):
    arrow(copy, "test").unlink()
    for use in (load, verify):
        with pytest.raises(UserError, match=r"test/data-00000-of-00001\.arrow is missing"):
            use(copy)


def test_a_swapped_file_is_named(copy):
    """Of the right length, so that only its content tells."""
    path = arrow(copy)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train/data-00000-of-00001\.arrow does not match the sha256"):
        verify(copy)


def test_files_that_changed_places_are_named(copy):
    train, test = arrow(copy), arrow(copy, "test")
    content = train.read_bytes(), test.read_bytes()
    train.write_bytes(content[1])
    test.write_bytes(content[0])
    with pytest.raises(UserError, match=r"data-00000-of-00001\.arrow"):
        load(copy)


def test_a_manifest_that_does_not_match_its_files(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["train/state.json"]["sha256"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"train/state\.json does not match the sha256"):
        verify(copy)


def test_a_split_that_is_no_arrow_file_is_named(copy):
    arrow(copy).write_bytes(bytes(arrow(copy).stat().st_size))
    with pytest.raises(UserError, match=r"toy-scenes/train cannot be read .* prepare it again"):
        load(copy)


def test_a_damaged_image_is_named_and_others_are_not_blamed(copy):
    content = bytearray(arrow(copy).read_bytes())
    start = content.index(b"IDAT", content.index(b"IDAT") + 4)  # images and masks have columns of their own
    content[start + 4 : start + 100] = bytes(96)
    arrow(copy).write_bytes(content)
    damaged = load(copy)
    with pytest.raises(UserError, match=r"the image of 'toy-scenes/train/000001' in .*/train is damaged") as caught:
        damaged.images(range(48))
    assert "prepare it again" in str(caught.value)
    assert damaged._decode([0, 2]).shape == (2, 3, 32, 32)


def test_a_missing_or_foreign_folder_says_how_to_prepare(tmp_path):
    with pytest.raises(UserError, match="no prepared dataset at .*t2i prepare toy-scenes"):
        load(tmp_path / "toy-scenes")
    (tmp_path / "toy-scenes").mkdir()
    with pytest.raises(UserError, match="not a prepared dataset .*t2i prepare"):
        load(tmp_path / "toy-scenes")


def test_what_cannot_be_asked_is_said(tiny_scenes, train_set):
    with pytest.raises(UserError, match="unknown split 'tests'; did you mean 'test'"):
        load(tiny_scenes, "tests")
    with pytest.raises(UserError, match="images of 32 px, but 64 px are asked for.*--size 64"):
        load(tiny_scenes, resolutions=(16, 32, 64))
    without = load(tiny_scenes)
    without._table = without._table.remove_columns("mask")
    with pytest.raises(UserError, match="holds no masks"):
        without.masks([0])
