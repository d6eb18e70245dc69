"""What the explorer shows, as data: truncation, one changed word, where a word acts, and walks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from t2i_core import explore
from t2i_core.config import UserError
from t2i_core.explore.drawing import Drawer, noise_between, text_between
from t2i_core.explore.pictures import coloured, overlay, png, side_by_side
from t2i_core.figures import to_pixels
from t2i_core.pictures import data_uri
from t2i_core.text_encoder import Text

SHORT, LONG = "dog", "a small red house stands on the left"
THREE_STAGES = ("attngan", "alr-gan", "dm-gan", "gr-gan")
EVERY = (*THREE_STAGES, "cgan", "gan-cls", "stackgan", "sdn", "df-gan", "galip", "ratlip")


def built(name: str, variant: str = "default"):
    if name in THREE_STAGES:
        return tiny.system(name, variant)
    return tiny.comparison(name) if name in ("cgan", "gan-cls", "stackgan", "sdn") else tiny.one_stage(name)


@pytest.fixture(scope="module", params=EVERY)
def system(request):
    return built(request.param)


class InDouble(Drawer):
    """Noise in the precision of the tiny systems."""

    def noise(self, seed, truncation):
        return super().noise(seed, truncation).double()


@pytest.fixture(scope="module")
def drawer(system):
    return InDouble(system)


# ------------------------------------------------------------------------------------------------------ truncation


def test_without_noise_every_seed_draws_the_same(drawer):
    still = [explore.render(drawer, LONG, seed, truncation=0.0).images[-1] for seed in (0, 1)]
    moved = [explore.render(drawer, LONG, seed).images[-1] for seed in (0, 1)]
    assert still[0].equal(still[1]) and not moved[0].equal(moved[1])
    assert not still[0].equal(explore.render(drawer, SHORT, truncation=0.0).images[-1])


def test_truncation_scales_the_whole_row(drawer):
    system, noise = drawer.system, drawer.system.noise(1, 4).double()
    with torch.no_grad():
        expected = system.generate([LONG], 0.3 * noise).images[-1][0].float()
    drawn = explore.render(drawer, LONG, 4, truncation=0.3)
    torch.testing.assert_close(drawn.images[-1], expected, rtol=0, atol=1e-4)
    assert drawn.truncation == 0.3


def test_the_layout_of_the_noise_is_all_of_it(system):
    parts = dict(explore.noise_layout(system))
    assert sum(parts.values()) == system.noise_size and parts["z"] == system.config.noise_dim
    epsilons = {"stackgan": ["epsilon 1", "epsilon 2"]} | {name: ["epsilon"] for name in THREE_STAGES}
    assert list(parts)[1:] == epsilons.get(system.name, [])


@pytest.mark.parametrize("truncation", [-0.1, math.nan, math.inf])
def test_a_scale_that_is_none_is_refused(truncation):
    with pytest.raises(UserError, match="truncation .* must be 0"):
        explore.render(tiny.system("attngan"), SHORT, truncation=truncation)


def test_captions_are_read_once(monkeypatch):
    drawer = InDouble(tiny.system("attngan"))
    read = []
    encode = type(drawer.system.matcher).encode_text
    monkeypatch.setattr(
        type(drawer.system.matcher), "encode_text", lambda self, tokens: read.append(1) or encode(self, tokens)
    )
    for seed in range(3):
        explore.render(drawer, LONG, seed)
    assert len(read) == 1
    for k in range(40):
        explore.render(drawer, f"dog {k}")
    assert len(drawer._read) == 16


# ------------------------------------------------------------------------------------------------- where words act


@pytest.mark.parametrize(
    ("name", "variant", "stages"),
    [("attngan", "default", (1, 2)), ("dm-gan", "default", (1, 2)), ("alr-gan", "default", (1, 2)),
     ("gr-gan", "default", (2,)), ("gr-gan", "swi", (1,)), ("gr-gan", "iws", (1,))],
)  # fmt: skip
def test_words_act_where_a_stage_reads_them(name, variant, stages):
    drawn = explore.render(InDouble(tiny.system(name, variant)), LONG)
    assert tuple(k for k, theta in enumerate(drawn.acts) if theta is not None) == stages
    for k in stages:  # the map of image k lies on the features of the image before
        assert drawn.acts[k].shape == (8, *drawn.images[k - 1].shape[1:])
        torch.testing.assert_close(drawn.acts[k].sum(0), torch.ones(drawn.acts[k].shape[1:]))


def test_a_caption_as_long_as_the_copies_of_the_sentence_is_not_mistaken_for_them():
    drawn = explore.render(InDouble(tiny.system("gr-gan")), LONG)  # 8 words, and stage S reads 8 copies
    assert drawn.acts[1] is None and drawn.attention[0].shape[0] == len(drawn.words) == 8


def test_without_a_word(drawer):
    drawn = explore.render(drawer, "the blue house", 3)
    maps = explore.without_word(drawer, drawn, 1)
    assert [m.shape for m in maps] == [image.shape[1:] for image in drawn.images]
    rest = explore.render(drawer, "the house", 3)
    torch.testing.assert_close(maps[-1], (drawn.images[-1] - rest.images[-1]).abs().mean(0) / 2)
    assert explore.without_word(drawer, explore.render(drawer, SHORT), 0) is None


# ------------------------------------------------------------------------------------------------ one word changed


def test_one_word_changed():
    drawer = InDouble(tiny.system("attngan"))
    change = explore.compare(drawer, "the red house", "the blue house on the left", seed=2)
    assert change.words == (("red", "blue"), ("", "on the left"))
    before, after = (explore.render(drawer, caption, 2) for caption in (change.before.caption, change.after.caption))
    for difference, a, b in zip(change.differences, before.images, after.images, strict=True):
        torch.testing.assert_close(difference, (a - b).abs().mean(0) / 2)
        assert 0 <= difference.min() and difference.max() <= 1
    assert change.regions[0] is None
    expected = torch.stack([before.acts[2][1], *after.acts[2][[1, 3, 4, 5]]]).amax(0)
    torch.testing.assert_close(change.regions[2], expected)


def test_the_same_caption_changes_nothing():
    change = explore.compare(InDouble(tiny.system("alr-gan")), LONG, LONG)
    assert change.words == () and all(d.max() == 0 for d in change.differences)
    assert change.regions == (None, None, None) and explore.inside_and_outside(change) is None


def test_inside_and_outside_by_hand():
    region = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    difference = torch.tensor([[0.8, 0.1], [0.2, 0.3]])
    change = explore.Change(None, None, (), (difference,), (region,))
    inside, outside = explore.inside_and_outside(change)
    assert inside == pytest.approx(0.8) and outside == pytest.approx(0.2)


# ----------------------------------------------------------------------------------------------------------- walks


def test_a_walk_ends_in_the_pictures_of_its_ends(drawer):
    captions, seeds = (SHORT, LONG), (1, 2)
    way = explore.walk(drawer, captions, seeds, steps=5)
    assert way.at == (0.0, 0.25, 0.5, 0.75, 1.0)
    for k in (0, -1):
        end = explore.render(drawer, captions[k], seeds[k]).images[-1]
        torch.testing.assert_close(way.images[k], end, rtol=0, atol=1e-5)


def test_a_walk_is_continuous(drawer):
    """Half the step, about half the largest change from one picture to the next (never more than 0.9 of it)."""

    def largest(steps):
        images = explore.walk(drawer, ("a red dog", "the blue house on the left"), (1, 2), steps).images
        return float((images[1:] - images[:-1]).abs().mean((1, 2, 3)).max())

    assert largest(65) < 0.9 * largest(33) < 0.81 * largest(17)


def test_a_walk_between_seeds_keeps_the_caption():
    drawer = InDouble(tiny.system("attngan"))
    way = explore.walk(drawer, (SHORT, SHORT), (3, 3), steps=3)
    assert way.images[0].equal(way.images[1]) and way.images[1].equal(way.images[2])
    with pytest.raises(UserError, match="choose 2 or more"):
        explore.walk(drawer, (SHORT, SHORT), steps=1)


def test_words_meet_in_the_least_common_multiple_of_places():
    a = Text(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[0.0]]), torch.ones(1, 2, dtype=torch.bool))
    b = Text(torch.tensor([[[10.0, 20.0, 30.0]]]), torch.tensor([[4.0]]), torch.ones(1, 3, dtype=torch.bool))
    text = text_between(a, b, torch.tensor([0.0, 0.5, 1.0]))
    assert text.words[:, 0].tolist() == [
        [1, 1, 1, 2, 2, 2],
        [5.5, 5.5, 10.5, 11, 16, 16],
        [10, 10, 20, 20, 30, 30],
    ]
    assert text.sentence.tolist() == [[0], [2], [4]] and text.mask.shape == (3, 6) and text.mask.all()


@given(st.integers(0, 99), st.integers(0, 99), st.floats(0, 1))
def test_noise_walks_on_the_sphere(one, two, t):
    a, b = (x / x.norm() * 3 for x in (tiny.randn(1, 12, seed=one), tiny.randn(1, 12, seed=two)))
    way = noise_between(a, b, torch.tensor([0.0, t, 1.0], dtype=torch.float64))
    torch.testing.assert_close(way.norm(dim=1), torch.full((3,), 3.0, dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(way[[0, 2]], torch.cat([a, b]), rtol=1e-6, atol=1e-9)


def test_no_noise_stays_no_noise():
    zero = torch.zeros(1, 4)
    assert noise_between(zero, zero, torch.linspace(0, 1, 3)).abs().max() == 0


# -------------------------------------------------------------------------------------------------------- pictures


def test_a_picture_is_saved_pixel_by_pixel():
    import io

    from PIL import Image

    image = torch.rand(3, 5, 5) * 2 - 1
    pixels = to_pixels(image)
    saved = np.array(Image.open(io.BytesIO(png(pixels, enlarge=3))))
    assert saved.shape == (15, 15, 3) and np.array_equal(saved[1::3, 1::3], pixels)
    assert data_uri(png(pixels)).startswith("data:image/png;base64,iVBOR")


def test_maps_are_dark_at_zero_and_bright_at_their_highest():
    pixels = coloured(torch.tensor([[0.0, 0.25, 0.5, 9.0]]), high=0.5).sum(2)[0].tolist()
    assert pixels == sorted(pixels) and pixels[0] < 30 and pixels[2] == pixels[3] > 600
    assert coloured(torch.zeros(2, 2), high=0.0).sum() < 4 * 30


def test_an_overlay_is_the_picture_in_grey_under_the_map():
    white, black = torch.ones(3, 8, 8), -torch.ones(3, 8, 8)
    half = torch.zeros(2, 2)
    half[:, 1] = 1
    on_white, on_black = overlay(white, half).astype(int), overlay(black, half).astype(int)
    assert on_white.shape == (64, 64, 3)
    assert ((on_white - on_black) >= 88).all() and ((on_white - on_black) <= 90).all()  # 0.35 of 255
    assert on_black[:, -8:].mean() > 100 + on_black[:, :8].mean()


def test_pictures_stand_side_by_side():
    row = side_by_side(torch.stack([-torch.ones(3, 4, 4), torch.zeros(3, 4, 4)]), gap=2)
    assert row.shape == (4, 10, 3) and row[0, :, 0].tolist() == [0] * 4 + [255] * 2 + [128] * 4
