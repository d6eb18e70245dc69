"""What the widgets show, as data and as widgets: deterministic, honest about unknown words, and without leaks."""

from __future__ import annotations

import io

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image

from t2i_core import explore
from t2i_core.alr import split_residual
from t2i_core.config import UserError
from t2i_core.explore import figure_explorer, hard_share, render
from t2i_core.runs import Run


@pytest.fixture(scope="module")
def system(tiny_run):
    return Run(tiny_run).system()


@pytest.fixture(autouse=True)
def no_figure_is_left():
    plt.close("all")
    yield
    assert plt.get_fignums() == []


# ----------------------------------------------------------------------------------------------------------- render


def test_a_rendering_is_a_function_of_caption_and_seed(system, tiny_run):
    first = render(system, "a red house", seed=3)
    torch.manual_seed(9)
    again, from_folder = render(system, "a red house", seed=3), render(str(tiny_run), "a red house", seed=3)
    for other in (again, from_folder, render(Run(tiny_run), "a red house", seed=3)):
        assert (other.caption, other.seed, other.words, other.notes) == ("a red house", 3, first.words, first.notes)
        assert all(
            a.equal(b) for a, b in zip(first.images + first.attention, other.images + other.attention, strict=True)
        )
    assert not render(system, "a red house", seed=4).images[-1].equal(first.images[-1])
    assert not render(system, "a blue tree", seed=3).images[-1].equal(first.images[-1])


def test_a_rendering_holds_every_stage(system):
    drawn = render(system, "a red house on the left")
    assert [image.shape for image in drawn.images] == [(3, 8, 8), (3, 16, 16), (3, 32, 32)]
    assert all(image.abs().max() <= 1 for image in drawn.images)
    assert drawn.words == ("a", "red", "house", "on", "the", "left") and drawn.system == "alr-gan"
    assert [attention.shape for attention in drawn.attention] == [(6, 8, 8), (6, 16, 16)]


def test_the_words_share_every_region(system):
    for caption in ("house", "a red house on the left", "🏠 zebra"):
        for attention in render(system, caption).attention:
            assert (attention >= 0).all()
            torch.testing.assert_close(attention.sum(0), torch.ones(attention.shape[1:]), rtol=0, atol=1e-5)


def test_a_rendering_is_what_generate_draws(system):
    with torch.no_grad():
        out = system.generate(["a red house"], seed=3)
    drawn = render(system, "a red house", seed=3)
    assert all(a.equal(b[0]) for a, b in zip(drawn.images, out.images, strict=True))
    assert all(a.flatten(1).equal(b[0]) for a, b in zip(drawn.attention, out.attention, strict=True))


def test_unknown_and_cut_words_are_named(system):
    assert render(system, "a red house").notes == ()
    unknown, cut = render(system, "a Zebra and a gnu " + "house " * 30).notes
    assert unknown.endswith(": zebra, gnu") and cut == "only the first 18 words are read; 17 more were cut off"
    assert render(system, "a gnu", 0).images[-1].equal(render(system, "a zebra", 0).images[-1]), "both are unknown"


@pytest.mark.parametrize("caption", ["", "  \n"])
def test_an_empty_caption_is_refused(system, caption):
    with pytest.raises(UserError, match="the caption is empty: write at least one word"):
        render(system, caption)


def test_what_is_no_caption_is_refused(system, tmp_path):
    with pytest.raises(UserError, match="must be one string"):
        render(system, ["a", "b"])
    with pytest.raises(UserError, match="seed -3 is negative"):
        render(system, "a house", seed=-3)
    with pytest.raises(UserError, match="no finished weights"):
        render(tmp_path, "a house")
    with pytest.raises(UserError, match="no caption to draw"):
        system.generate([])


@pytest.mark.parametrize("training", [True, False])
def test_looking_at_a_system_leaves_it_as_it_was(system, training):
    before = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    try:
        system.train(training)
        drawn = render(system, "a red house")
        assert system.training is training and system.generator.training is training
        assert drawn.images[-1].equal(render(system.eval(), "a red house").images[-1])
    finally:
        system.eval()
    assert all(tensor.equal(before[name]) for name, tensor in system.state_dict().items())


def test_hard_share_counts_the_real_words_only():
    theta = torch.tensor([[[0.0, 0.5], [1.0, 0.5], [0.0, 0.0]]])
    real = torch.tensor([[[0.25, 0.5], [0.75, 0.5], [0.0, 0.0]]])
    mask = torch.tensor([[True, True, False]])
    assert [hard_share(theta, real, gamma, mask) for gamma in (0.0, 0.25, 0.26)] == [1.0, 0.5, 0.0]
    _, hard = split_residual(theta, real, 0.25)
    assert hard_share(theta, real, 0.25, mask) == (hard > 0).sum() / 4


# ----------------------------------------------------------------------------------------------------------- widget


def draw(height: int, colour: str = "red"):
    if height > 5:
        raise UserError(f"<b>{height}</b> is too high & wide")
    figure, axes = plt.subplots(figsize=(1, 1))
    axes.bar([0], [height], color=colour)
    axes.set_ylim(0, 5)
    return figure


def explorer(function=draw):
    height = widgets.IntSlider(value=1, min=0, max=9)
    colour = widgets.Dropdown(options=["red", "blue"])
    box = figure_explorer(function, height=height, colour=colour)
    (picture,) = [child for child in box.children if isinstance(child, widgets.Image)]
    (message,) = [child for child in box.children if isinstance(child, widgets.HTML)]
    return box, height, colour, picture, message


def test_the_picture_follows_its_controls():
    box, height, colour, picture, message = explorer()
    assert height in box.children and colour in box.children
    seen = [picture.value]
    height.value = 4
    seen.append(picture.value)
    colour.value = "blue"
    seen.append(picture.value)
    assert len(set(seen)) == 3 and message.value == ""
    height.value, colour.value = 1, "red"
    assert picture.value == seen[0] == explore.png(draw(1)), "the picture is that of the function"
    assert Image.open(io.BytesIO(picture.value)).format == "PNG"


def test_a_slider_draws_when_it_is_let_go():
    _, height, *_ = explorer()
    assert height.continuous_update is False


def test_a_mistake_is_shown_as_text_and_goes_away():
    _, height, _, picture, message = explorer()
    before = picture.value
    height.value = 7
    assert message.value == "<p role='alert'>&lt;b&gt;7&lt;/b&gt; is too high &amp; wide</p>"
    assert picture.value == before
    height.value = 2
    assert message.value == "" and picture.value != before


def test_an_explorer_over_render(system):
    def show(caption, seed):
        drawn = render(system, caption, seed)
        figure, axes = plt.subplots(figsize=(1, 1))
        axes.imshow(drawn.images[-1].permute(1, 2, 0).numpy() / 2 + 0.5)
        return figure

    caption, seed = widgets.Text("a red house"), widgets.IntSlider(value=0, max=5)
    box = figure_explorer(show, caption=caption, seed=seed)
    message, picture = box.children[2:]
    first = picture.value
    seed.value = 1
    assert picture.value != first
    caption.value = " "
    assert "the caption is empty" in message.value


def test_many_moves_leave_no_figure():
    _, height, *_ = explorer()
    for step in range(12):
        height.value = step % 5
    assert plt.get_fignums() == []


def test_a_figure_that_cannot_be_drawn_is_closed_too():
    figure, axes = plt.subplots()
    axes.set_title("$\\unknown{$")
    with pytest.raises(ValueError):
        explore.png(figure)
    assert plt.get_fignums() == []
