"""Pictures and captions spoilt on purpose: by how much, where, and nothing else."""

from __future__ import annotations

import pytest
import torch

from t2i_core.config import UserError
from t2i_core.data import load
from t2i_core.metrics import corruptions, weights


@pytest.fixture(scope="module")
def scenes(tiny_scenes):
    """Pictures, masks, truths, captions and which caption of 24 test scenes, and the colours of their world."""
    test = load(tiny_scenes, "test", (32,))
    which = [i % 5 for i in range(24)]
    captions = [test.caption(i, k) for i, k in enumerate(which)]
    colors = test.manifest["parts"]["colors"]
    return test.images(range(24)), test.masks(range(24), 32), test.truth, captions, which, colors


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan")])
def test_a_strength_outside_of_0_and_1_is_refused(scenes, wrong):
    images, masks, truths, captions, which, colors = scenes
    for spoil in (
        lambda: corruptions.blur(images, wrong),
        lambda: corruptions.noise(images, wrong),
        lambda: corruptions.dealt_out(24, wrong),
        lambda: corruptions.swap_objects(images, masks, truths, wrong),
        lambda: corruptions.change_colors(captions, truths, which, wrong, colors),
    ):
        with pytest.raises(UserError, match="a strength of"):
            spoil()


def test_strength_0_changes_nothing_and_nothing_changes_what_it_is_given(scenes):
    images, masks, truths, captions, which, colors = scenes
    kept, captions_kept = images.clone(), list(captions)
    assert torch.equal(corruptions.blur(images, 0), images)
    assert torch.equal(corruptions.noise(images, 0), images)
    assert torch.equal(corruptions.swap_objects(images, masks, truths, 0), images)
    assert torch.equal(corruptions.dealt_out(24, 0), torch.arange(24))
    assert corruptions.change_colors(captions, truths, which, 0, colors) == captions
    corruptions.blur(images, 1), corruptions.noise(images, 1), corruptions.swap_objects(images, masks, truths, 1)
    corruptions.change_colors(captions, truths, which, 1, colors)
    assert torch.equal(images, kept) and captions == captions_kept


# ---------------------------------------------------------------- pictures


def test_blur_is_a_gaussian_as_wide_as_it_says():
    """Of a single bright pixel: the sum stays, and its spread is a tenth of the width times the strength."""
    images = torch.zeros(1, 3, 65, 65)
    images[:, :, 32, 32] = 1.0
    blurred = corruptions.blur(images, 0.5)[0, 0].double()
    assert blurred.sum() == pytest.approx(1.0, rel=1e-5)
    place = torch.arange(65, dtype=torch.float64) - 32
    for axis in (0, 1):
        assert (blurred.sum(axis) * place**2).sum().sqrt() == pytest.approx(0.5 * 6.5, rel=0.02)
    assert torch.allclose(blurred, blurred.T, atol=1e-9)


def test_blur_takes_more_detail_the_stronger_it_is_and_works_on_small_pictures(scenes):
    images = scenes[0]
    detail = [float(corruptions.blur(images, s).diff(dim=-1).abs().mean()) for s in (0, 0.25, 0.5, 1)]
    assert detail == sorted(detail, reverse=True) and detail[-1] < 0.5 * detail[0]
    assert corruptions.blur(images[:, :, :4, :4], 1).shape == (24, 3, 4, 4)


def test_noise_has_the_standard_deviation_it_says_and_stays_in_range():
    added = corruptions.noise(torch.zeros(8, 3, 32, 32), 0.2, seed=3)
    assert float(added.std()) == pytest.approx(0.2, rel=0.02) and abs(float(added.mean())) < 0.01
    assert torch.equal(added, corruptions.noise(torch.zeros(8, 3, 32, 32), 0.2, seed=3))
    assert not torch.equal(added, corruptions.noise(torch.zeros(8, 3, 32, 32), 0.2, seed=4))
    assert corruptions.noise(torch.ones(2, 3, 8, 8), 1).abs().max() == 1


def test_a_swap_takes_the_named_object_away_and_leaves_the_rest(scenes):
    images, masks, truths, *_ = scenes
    spoilt = corruptions.swap_objects(images, masks, truths, 1.0)
    moved = (spoilt != images).any(1)
    assert (moved.flatten(1).any(1)).all()
    for changed, mask, truth in zip(moved, masks, truths, strict=True):
        hits = {part["mask"]: (changed & (mask == part["mask"])).sum() for part in truth["parts"]}
        whole = [k for k, n in hits.items() if n > 0.5 * (mask == k).sum()]
        assert len(whole) == 1  # one object only
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        there = (mask == whole[0]).nonzero()
        (top, left), (bottom, right) = there.amin(0), there.amax(0)
        assert top - 1 <= rows[0] and rows[-1] <= bottom + 1  # its extent, and one pixel that it shines into
        assert left - 1 <= columns[0] and columns[-1] <= right + 1


def test_an_independent_eye_misses_what_was_swapped_and_finds_the_pictures_good(scenes):
    images, masks, truths, *_ = scenes
    inspector = weights.load_inspector("toy-scenes")
    before, after = (inspector.read(one) for one in (images, corruptions.swap_objects(images, masks, truths, 1.0)))
    named = torch.tensor([[p in {part["name"] for part in t["parts"]} for p in before.config.parts] for t in truths])
    assert before.found[named].float().mean() > 0.95
    lost = int(before.found[named].sum() - after.found[named].sum())
    assert lost >= 0.7 * len(images)  # most pictures have lost one of their objects
    assert after.found[~named].sum() > before.found[~named].sum() + 0.5 * len(images)  # and hold another


def test_a_swapped_in_object_is_of_another_class_and_in_its_colours():
    """Two flat pictures, a red square on grey and a green bar on blue, exchange them: everything by hand."""
    grey, red, green, blue = (
        torch.tensor(c)[:, None] for c in ([0.0] * 3, [1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])
    )
    masks = torch.zeros(2, 12, 12, dtype=torch.long)
    masks[0, 4:8, 4:8], masks[1, 2:4, 1:11] = 1, 2
    images = torch.stack([grey.expand(3, 144), blue.expand(3, 144)]).view(2, 3, 12, 12).clone()
    images[0, :, masks[0] == 1], images[1, :, masks[1] == 2] = red, green
    truths = [{"parts": [{"name": "square", "mask": 1}]}, {"parts": [{"name": "bar", "mask": 2}]}]
    spoilt = corruptions.swap_objects(images, masks, truths, 1.0)
    wanted = torch.stack([grey.expand(3, 144), blue.expand(3, 144)]).view(2, 3, 12, 12).clone()
    wanted[0, :, masks[0] == 1], wanted[1, :, masks[1] == 2] = green, red  # stretched to the other's extent
    torch.testing.assert_close(spoilt, wanted)
    alike = [{"parts": [part | {"name": "thing"} for part in truth["parts"]]} for truth in truths]
    assert torch.equal(corruptions.swap_objects(images, masks, alike, 1.0), images)  # no other class, no swap
    assert torch.equal(corruptions.swap_objects(images, torch.zeros_like(masks), truths, 1.0), images)  # none is seen


def test_the_background_goes_on_where_an_object_was():
    """A horizon: each row continues in its own colour, and a row without background takes the mean of all."""
    image = torch.tensor([0.8] * 4 + [-0.4] * 4)[None, :, None].expand(3, 8, 8).clone()
    mask = torch.zeros(8, 8, dtype=torch.long)
    mask[2:6, 3:5] = 1
    clean = image.clone()
    image[:, mask == 1] = 1.0
    torch.testing.assert_close(corruptions._without(image, mask, 1), clean)
    mask[7] = image[:, 7] = 1
    mean = (0.8 * 20 - 0.4 * 8) / 28  # what is neither object nor beside it
    torch.testing.assert_close(corruptions._without(image, mask, 1)[:, 7, 0], torch.full((3,), mean))


def test_swaps_need_as_many_masks_and_truths_as_images(scenes):
    images, masks, truths, *_ = scenes
    with pytest.raises(ValueError, match="24 images, 23 masks and 24 truths"):
        corruptions.swap_objects(images, masks[1:], truths, 0.5)


# ---------------------------------------------------------------- pairs


def test_a_share_is_dealt_out_and_nobody_of_it_keeps_his_own():
    for share, moved in ((0.25, 5), (0.5, 10), (1.0, 20)):
        dealt = corruptions.dealt_out(20, share, seed=1)
        assert sorted(dealt.tolist()) == list(range(20))
        assert int((dealt != torch.arange(20)).sum()) == moved
    assert torch.equal(corruptions.dealt_out(20, 0.05), torch.arange(20))  # one row has nobody to change with
    assert not torch.equal(corruptions.dealt_out(20, 1.0, seed=1), corruptions.dealt_out(20, 1.0, seed=2))


def test_a_larger_share_spoils_the_rows_of_a_smaller_one_in_the_same_way(scenes):
    images, masks, truths, captions, which, colors = scenes
    small, large = (corruptions.swap_objects(images, masks, truths, s, seed=2) for s in (0.25, 0.75))
    touched = (small != images).flatten(1).any(1)
    assert int(touched.sum()) == 6 and torch.equal(small[touched], large[touched])
    assert int((large != images).flatten(1).any(1).sum()) == 18
    few, more = (corruptions.change_colors(captions, truths, which, s, colors, seed=2) for s in (0.25, 0.75))
    touched = [k for k in range(24) if few[k] != captions[k]]
    assert 0 < len(touched) <= 6 and all(few[k] == more[k] for k in touched)
    rows = [set((corruptions.dealt_out(24, s) != torch.arange(24)).nonzero().flatten().tolist()) for s in (0.25, 0.75)]
    assert rows[0] < rows[1]


# ---------------------------------------------------------------- captions


def test_every_colour_word_changes_and_no_other_word(scenes):
    _, _, truths, captions, which, colors = scenes
    changed = corruptions.change_colors(captions, truths, which, 1.0, colors, seed=5)
    assert changed == corruptions.change_colors(captions, truths, which, 1.0, colors, seed=5)
    counted = 0
    for before, after in zip(captions, changed, strict=True):
        for old, new in zip(before.split(), after.split(), strict=True):
            assert (old in colors) == (new in colors) == (old != new)
            counted += old in colors
    assert counted > 24


def test_one_colour_for_all_leaves_what_has_it_already(scenes):
    _, _, truths, captions, which, _ = scenes
    changed = corruptions.change_colors(captions, truths, which, 1.0, ["red"])
    assert {word for c in changed for word in c.split()} & {"blue", "green", "pink", "white"} == set()
    assert corruptions.change_colors(changed, truths_of_red(truths, captions, changed), which, 1.0, ["red"]) == changed


def truths_of_red(truths, captions, changed):
    """Truths whose words say where the colours stand in the changed captions."""
    moved = []
    for truth, caption in zip(truths, changed, strict=True):
        at, words = 0, []
        for word in caption.split():
            start = caption.index(word, at)
            at = start + len(word)
            if word == "red":
                words.append([start, at, 0, "color"])
        moved.append(truth | {"words": [words] * 5})
    return moved


def test_a_caption_without_a_colour_stays():
    truths = [{"words": [[[2, 7, 0, "name"]]]}]
    assert corruptions.change_colors(["a house"], truths, [0], 1.0, ["red"]) == ["a house"]
