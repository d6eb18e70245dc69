"""The rating page: typed answers, back and on, pause and resume, blindness, mistakes as text. Raters are simulated."""

from __future__ import annotations

import base64
import io
import json
import re

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from PIL import Image

from t2i_core.config import UserError
from t2i_core.figures import to_pixels
from t2i_core.human.page import rating_page
from t2i_core.human.study import Study

CAPTIONS = ("a red house", "a <b>bold</b> & blue 'dog'")
RATER = "simulated-1"


def pictures(seed: int, size: int = 8) -> torch.Tensor:
    return 2 * torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.fixture
def study(tmp_path) -> Study:
    systems = {name: pictures(seed) for seed, name in enumerate(("secret-gan", "hidden-gan", "veiled-gan"))}
    return Study.create(tmp_path / "study", CAPTIONS, systems)


def answer(page, *texts: str) -> None:
    for text in texts:
        page.box.value = text


def shown(page) -> list[np.ndarray]:
    """The pictures on the page, left to right."""
    sources = re.findall("src='data:image/png;base64,([^']*)'", page.scene.value)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in sources]


def saved(study: Study) -> list[dict]:
    return [json.loads(line) for line in study.ratings_file(RATER).read_text().splitlines()]


def test_the_page_asks_every_question_and_thanks(study):
    page = rating_page(study.folder, RATER)
    answer(page, "BAC", "c=ab")
    assert page.question.task == "rate" and "Question 3 of 8" in page.progress.value
    answer(page, "43", "5 1", "11", "22", "33")
    assert "Question 8 of 8" in page.progress.value
    answer(page, "44")
    assert "All 8 questions are answered. Thank you!" in page.progress.value and page.question is None
    assert "Saved: quality 4 (good), fit 4 (good)." in page.message.value and shown(page) == []
    lines = saved(study)
    assert [line["ranks"] for line in lines[:2]] == [[2, 1, 3], [1.5, 3, 1.5]]
    assert [(line["quality"], line["fit"]) for line in lines[2:4]] == [(4, 3), (5, 1)]
    assert all(line["seconds"] >= 0 for line in lines) and page.box.value == ""


def test_the_pictures_are_those_of_the_plan_and_letters_count_from_the_left(study):
    page, columns = rating_page(study.folder, RATER), study.columns()
    order = [columns[study.pictures[page.question.caption].index(name)] for name in page.question.shown]
    drawn = {name: to_pixels(pictures(seed)) for seed, name in enumerate(("secret-gan", "hidden-gan", "veiled-gan"))}
    for pixels, name in zip(shown(page), order, strict=True):
        assert np.array_equal(pixels, drawn[name][page.question.caption])
    answer(page, "CAB")  # the third from the left is best
    table, _ = study.judgements()
    assert table.set_index("system").value.to_dict() == {order[2]: 1, order[0]: 2, order[1]: 3}


def test_the_page_is_blind(study):
    study.folder.joinpath("key.json").unlink()
    page = rating_page(study.folder, RATER)
    for text in ("BAC", "ABC", *["33"] * 6):
        state = " ".join(str(widget.get_state()) for widget in all_widgets(page))
        assert not re.search(r"secret|hidden|veiled|gan\b|\.png", re.sub("base64,[^']*", "", state))
        answer(page, text)
    assert page.question is None


def all_widgets(box) -> list[widgets.Widget]:
    return [box, *(w for child in getattr(box, "children", ()) for w in all_widgets(child))]


def test_pictures_are_enlarged_by_whole_pixels_and_named_for_screen_readers(study, tmp_path):
    page = rating_page(study.folder, RATER)
    assert page.scene.value.count("width='224'") == page.scene.value.count("image-rendering: pixelated") == 3
    assert re.findall("alt='([^']*)'", page.scene.value) == [f"Picture {letter} of 3" for letter in "ABC"]
    assert re.findall("<figcaption[^>]*>(.)<", page.scene.value) == list("ABC")
    answer(page, "ABC", "ABC")
    assert re.findall("alt='([^']*)'", page.scene.value) == ["The picture"] and "<figcaption" not in page.scene.value
    for size, width in ((100, 200), (256, 256)):
        made = Study.create(tmp_path / str(size), CAPTIONS, {"x": pictures(0, size), "y": pictures(1, size)})
        assert rating_page(made.folder, RATER).scene.value.count(f"width='{width}'") == 2


def test_closing_the_page_is_a_pause(study):
    answer(rating_page(study.folder, RATER), "BAC", "ABC", "43")
    page = rating_page(study.folder, RATER)
    assert "Question 4 of 8" in page.progress.value and page.question == study.plan(RATER)[3]
    assert "Question 1 of 8" in rating_page(study.folder, "simulated-2").progress.value
    answer(page, *["22"] * 5)
    assert rating_page(study.folder, "Simulated 1").question is None, "the same name, written otherwise"


def test_two_windows_of_one_rater_ask_no_question_twice(study):
    one, other = rating_page(study.folder, RATER), rating_page(study.folder, RATER)
    answer(one, "BAC", "ABC")
    answer(other, "CAB")  # the first question once more: it was still on the page, and the last answer counts
    assert "Question 3 of 8" in other.progress.value
    assert len(saved(study)) == 3


def test_back_changes_an_answer_and_on_goes_where_one_was(study):
    page = rating_page(study.folder, RATER)
    assert page.back.disabled and page.onward.disabled
    answer(page, "BAC", "ABC", "43")
    page.back.click()
    page.back.click()
    assert "Question 2 of 8" in page.progress.value and "Your answer: A, then B, then C." in page.message.value
    answer(page, "CBA")
    assert "Question 4 of 8" in page.progress.value, "on with the first that is open"
    answer(page, "-", "-", "-", "-", "-")
    assert "Question 1 of 8" in page.progress.value and page.back.disabled and not page.onward.disabled
    answer(page, "+")
    assert "Question 4 of 8" in page.progress.value and page.onward.disabled
    found, _ = study.answers(RATER)
    assert [found[question.key].values for question in study.plan(RATER)[:3]] == [(2, 1, 3), (3, 2, 1), (4, 3)]
    answer(page, *["22"] * 5)
    page.back.click()
    assert "Question 8 of 8" in page.progress.value
    page.onward.click()
    assert page.question is None


def test_a_click_hands_the_keyboard_back_to_the_box(study, monkeypatch):
    page = rating_page(study.folder, RATER)
    answer(page, "ABC")
    sent = []
    monkeypatch.setattr(page.box, "send", sent.append)
    page.back.click()
    assert sent == [{"do": "focus"}]


@pytest.mark.parametrize("typed", ["AB", "ABD", "<script>", "12", "A=", "ABCABC", "-+"])
def test_a_mistake_is_shown_as_text_and_saves_nothing(study, typed):
    page = rating_page(study.folder, RATER)
    scene = page.scene.value
    answer(page, typed)
    assert page.message.value.startswith("<p role='alert'>") and "type each of A, B, C once" in page.message.value
    assert "<script" not in page.message.value and page.box.value == "" and page.scene.value == scene
    assert study.raters() == []
    answer(page, typed)
    assert "role='alert'" in page.message.value, "the same mistake again is a mistake again"
    answer(page, "  ", "ABC")
    assert page.message.value == "<p role='status'>Saved: A, then B, then C.</p>"


def test_captions_are_text_and_no_markup(study):
    page = rating_page(study.folder, RATER)
    scenes = [page.scene.value]
    answer(page, "ABC")
    scenes.append(page.scene.value)
    (bold,) = [scene for scene in scenes if "bold" in scene]
    assert "a &lt;b&gt;bold&lt;/b&gt; &amp; blue &#x27;dog&#x27;" in bold


def test_an_answer_that_cannot_be_saved_is_asked_again(study, monkeypatch):
    page = rating_page(study.folder, RATER)

    def full(*arguments):
        raise UserError("the answer is not saved: free some space, try again")

    with monkeypatch.context() as patch:
        patch.setattr(Study, "record", full)
        answer(page, "ABC")
    assert "the answer is not saved" in page.message.value and "Question 1 of 8" in page.progress.value
    answer(page, "ABC")
    assert "Question 2 of 8" in page.progress.value and len(saved(study)) == 1


def test_what_is_wrong_with_the_folder_is_told(study, tmp_path):
    with pytest.raises(UserError, match="holds no study.json"):
        rating_page(tmp_path, RATER)
    with pytest.raises(UserError, match="no letter or digit"):
        rating_page(study.folder, "...")
    page = rating_page(study.folder, RATER)
    answer(page, "ABC")
    study.ratings_file(RATER).open("ab").write(b'{"study": <torn')
    assert (
        "line 2 is damaged and left out: {&quot;study&quot;: &lt;torn" in rating_page(study.folder, RATER).message.value
    )
    for name in study.plan(RATER)[2].shown:
        study.folder.joinpath("images", name).unlink()
    answer(page, "ABC")
    assert "a picture cannot be shown (no such file)" in page.scene.value and shown(page) == []
