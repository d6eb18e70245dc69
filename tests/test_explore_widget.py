"""The caption explorer as a user meets it: the traits are set as a browser sets them, and the board is read."""

from __future__ import annotations

import base64
import gc
import io
import re
import shlex
import shutil
import sys
import threading
import types
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from t2i_core import explore, systems
from t2i_core.cli import main
from t2i_core.config import UserError
from t2i_core.explore.latest import Latest
from t2i_core.explore.sources import find
from t2i_core.explore.views import CHANGE, NO_WORD, PICTURES, WALK
from t2i_core.figures import to_pixels
from t2i_core.runs import Run

CAPTION = "a small red house on the left"


@pytest.fixture(autouse=True)
def zoo(monkeypatch):
    """A zoo that holds what a test puts into ``shipped``: {(system, world): folder}."""
    module = types.ModuleType("t2i_core.zoo")
    module.shipped = {}
    module.VARIANTS = {"df-gan": "clip"}
    module.available = lambda: tuple(module.shipped)
    module.run = lambda system, world="toy-scenes": Run(module.shipped[system, world])
    monkeypatch.setitem(sys.modules, "t2i_core.zoo", module)
    monkeypatch.setattr("t2i_core.zoo", module, raising=False)
    import t2i_core.explore.sources as sources

    monkeypatch.setattr(sources, "zoo", module)
    return module


def opened(tiny_run, **options):
    options = {"systems": {"alr-gan": tiny_run}, "caption": CAPTION} | options
    made = explore.caption_explorer(**options)
    assert made.wait()
    return made


class Page(HTMLParser):
    """What a browser would make of the board: its elements, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.text = [], ""
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag):
        self._style = False

    def handle_data(self, data):
        self.text += "" if self._style else data

    def all(self, tag):
        return [attrs for found, attrs in self.elements if found == tag]


def page(explorer) -> Page:
    assert explorer.wait()
    return Page(explorer.board.value)


def pictures(explorer) -> list[np.ndarray]:
    return [decoded(image["src"]) for image in page(explorer).all("img")]


def decoded(uri: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


# ----------------------------------------------------------------------------------------------------------- board


def test_the_board_shows_what_render_draws(tiny_run):
    explorer = opened(tiny_run, seed=3)
    drawn = explore.render(tiny_run, CAPTION, 3)
    for shown, image in zip(pictures(explorer), drawn.images, strict=True):
        assert np.array_equal(shown, to_pixels(image))
    found = page(explorer)
    assert [image["alt"] for image in found.all("img")] == [
        f"alr-gan, {size} px, seed 3: {CAPTION}" for size in (8, 16, 32)
    ]
    assert f"“{CAPTION}”" in found.text and re.search(r"\d of 4 obeyed", found.text)


def test_caption_seed_and_truncation_change_the_pictures(tiny_run):
    explorer = opened(tiny_run)
    seen = [pictures(explorer)[-1]]
    explorer.caption.value = "a blue tree"
    seen.append(pictures(explorer)[-1])
    explorer.next.click()
    assert explorer.seed.value == 1
    seen.append(pictures(explorer)[-1])
    explorer.truncation.value = 0.5
    seen.append(pictures(explorer)[-1])
    assert all(not np.array_equal(a, b) for k, a in enumerate(seen) for b in seen[:k])
    explorer.seed.value, explorer.truncation.value, explorer.caption.value = 0, 1.0, CAPTION
    assert np.array_equal(pictures(explorer)[-1], seen[0])


def test_the_seed_is_kept_or_not(tiny_run):
    explorer = opened(tiny_run)
    explorer.caption.value = "a dog"
    assert explorer.seed.value == 0
    explorer.keep.value = False
    explorer.caption.value = "a cat"
    assert explorer.seed.value == 1 and "seed 1" in page(explorer).all("img")[0]["alt"]


def test_several_systems_stand_below_each_other(tiny_run):
    explorer = opened(tiny_run, systems={"one": tiny_run, "two": Run(tiny_run), "three": Run(tiny_run).system()})
    assert re.findall(r'<th scope="row">(\w+)', explorer.board.value) == ["one", "two", "three"]
    explorer.systems["one"].value = False
    assert page(explorer) and re.findall(r'<th scope="row">(\w+)', explorer.board.value) == ["two", "three"]
    for box in explorer.systems.values():
        box.value = False
    assert "no system is chosen" in page(explorer).text


def test_a_word_that_is_clicked_is_shown_over_each_stage_that_reads_it(tiny_run):
    explorer = opened(tiny_run)
    assert [label for label, _ in explorer.word.options] == ["no word", *CAPTION.split()]
    explorer.word.value = 2
    found = page(explorer)
    assert len(found.all("img")) == 5 and found.text.count("attention to “red”") == 2
    explorer.caption.value = "a red"
    assert explorer.word.value == NO_WORD, "there is no word 2 any more"


def test_where_a_word_acts_without_attention(tiny_run):
    from t2i_core.captions import Vocabulary

    plain = systems.create("df-gan", "smoke", Vocabulary.build([CAPTION])).eval()
    explorer = opened(tiny_run, systems={"df-gan": plain})
    explorer.word.value = 2
    assert "change without “red”" in page(explorer).text and len(pictures(explorer)) == 2


def test_one_word_changed(tiny_run):
    explorer = opened(tiny_run)
    explorer.view.value = CHANGE
    assert explorer.other.value == CAPTION.replace("red", "blue") and explorer.other.layout.display == ""
    assert "red → blue" in page(explorer).text and "where they act most" in page(explorer).text
    before, after, *_ = pictures(explorer)
    change = explore.compare(tiny_run, CAPTION, explorer.other.value)
    assert np.array_equal(before, to_pixels(change.before.images[-1]))
    assert np.array_equal(after, to_pixels(change.after.images[-1]))
    explorer.caption.value = "a white dog"
    assert explorer.other.value == "a blue dog", "the suggestion follows the caption"
    explorer.other.value = "a green dog"
    explorer.caption.value = "a red dog"
    assert explorer.other.value == "a green dog", "what a user wrote stays"


def test_a_walk(tiny_run):
    explorer = opened(tiny_run)
    explorer.view.value = WALK
    explorer.other.value, explorer.other_seed.value = "a dog", 5
    (strip,) = pictures(explorer)
    way = explore.walk(tiny_run, (CAPTION, "a dog"), (0, 5)).images
    assert strip.shape == (32, 7 * 32 + 6, 3)
    assert np.array_equal(strip[:, :32], to_pixels(way[0])) and np.array_equal(strip[:, -32:], to_pixels(way[-1]))
    assert "7 and 2 words meet in 14 places" in page(explorer).text


def test_only_the_controls_of_the_view_are_there(tiny_run):
    explorer = opened(tiny_run)
    there = {}
    for view in (PICTURES, CHANGE, WALK):
        explorer.view.value = view
        row = (explorer.words_row, explorer.other, explorer.other_seed)
        there[view] = [control.layout.display != "none" for control in row]
    assert there == {PICTURES: [True, False, False], CHANGE: [False, True, False], WALK: [False, True, True]}


def test_a_world_brings_its_systems_examples_and_caption(tiny_run, zoo):
    zoo.shipped["alr-gan", "toy-scenes"] = tiny_run
    explorer = explore.caption_explorer()
    assert explorer.wait() and list(explorer.systems) == ["alr-gan"]
    example = explorer.examples.options[2][1]
    explorer.examples.value = example
    assert explorer.caption.value == example and example in page(explorer).text
    explorer.caption.value += "s"
    explorer.examples.value = example
    assert explorer.caption.value == example  # the same one once more
    explorer.world.value = "toy-faces"
    assert not explorer.systems and "person" in explorer.caption.value
    assert "no system is chosen" in page(explorer).text


def test_completion(tiny_run):
    explorer = opened(tiny_run)
    explorer.caption.value = "a red ho"
    assert "a red house" in explorer.caption.options
    explorer.caption.value = explorer.caption.options[0]
    assert explorer.caption.options == ()


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("caption", ["", "   "])
def test_an_empty_caption(tiny_run, caption):
    explorer = opened(tiny_run)
    explorer.caption.value = caption
    found = page(explorer)
    assert "the caption is empty" in found.text and found.all("p")[0]["role"] == "alert" and not found.all("img")
    assert len(explorer.word.options) == 1


def test_two_thousand_letters(tiny_run):
    explorer = opened(tiny_run, caption="house " * 333)
    found = page(explorer)
    assert "only the first 18 words are read" in found.text and len(found.all("img")) == 3
    assert re.search(r"“(.*?)”", found.text)[1] == " ".join(["house"] * 18) + " …"


@pytest.mark.parametrize("caption", ["zebra gnu", "🏠🌳", "漢字 ελληνικά", "a\nb\tc", "'\"\\`$(x)"])
def test_words_that_nobody_knows(tiny_run, caption):
    explorer = opened(tiny_run, caption=caption)
    found = page(explorer)
    assert len(found.all("img")) == 3 and found.all("mark")
    assert "not in the vocabulary" in found.text


def test_html_is_shown_and_never_interpreted(tiny_run):
    attack = "<img src=x onerror=alert(1)> <script>alert(2)</script> \"' onload='x' <b>house</b>"
    explorer = opened(tiny_run, caption=attack)
    for view in (PICTURES, CHANGE, WALK):
        explorer.view.value = view
        explorer.other.value = attack + " dog"
        if view == PICTURES:
            explorer.word.value = 0
        found = page(explorer)
        assert not found.all("script") and not found.all("b")
        assert all(image["src"].startswith("data:image/png") and "onerror" not in image for image in found.all("img"))
        assert all(not name.startswith("on") for _, attrs in found.elements for name in attrs)
        assert attack in found.text
    assert not explorer.word.description_allow_html and not explorer.caption.description_allow_html


def test_a_missing_weight_says_what_to_do(tiny_run, tmp_path, zoo):
    broken = shutil.copytree(tiny_run, tmp_path / "broken")
    (broken / "weights.safetensors").unlink()
    explorer = opened(tiny_run, systems={"whole": tiny_run, "broken": broken})
    found = page(explorer)
    assert len(found.all("img")) == 3 and "holds no finished weights: go on with `t2i train --out" in found.text


def test_what_is_nowhere_is_listed_with_the_command_that_trains_it(tiny_run, zoo, capsys):
    zoo.shipped["alr-gan", "toy-scenes"] = tiny_run
    explorer = explore.caption_explorer()
    commands = re.findall(r"<li>([\w-]+): <code>(.*?)</code>", explorer.missing.value)
    assert {name for name, _ in commands} == set(systems.available()) - {"alr-gan"}
    for name, told in commands:
        prepare, train = told.replace("&amp;", "&").split(" && ")
        assert f"--system {name} " in train and "toy-scenes" in prepare
        for command in (prepare, train):
            with pytest.raises(SystemExit):
                main([*command.partition(" --")[0].split()[1:], "--help"])
            assert set(re.findall(r"--[a-z-]+", command)) <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    with pytest.raises(UserError, match=re.escape("there is no trained cgan for toy-scenes: train it with `t2i prep")):
        explorer.shelf.drawer("cgan")


def test_what_its_command_trains_is_found_by_the_explorer_that_gave_it(tiny_run, zoo, tmp_path, monkeypatch):
    (tmp_path / "t2i_core").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")  # where a notebook works
    told = find("toy-scenes", "runs/notebooks").missing["alr-gan"]
    shutil.copytree(tiny_run, re.search(r"--out (\S+)", told)[1])
    assert "alr-gan" in find("toy-scenes", "runs/notebooks").sources


def test_two_explorers_share_nothing(tiny_run):
    one, two = opened(tiny_run), opened(tiny_run)
    before = two.board.value
    one.caption.value, one.seed.value = "a blue tree", 7
    one.view.value = WALK
    assert page(one) and two.wait() and two.board.value == before
    assert (two.caption.value, two.seed.value, two.view.value) == (CAPTION, 0, PICTURES)
    assert one.shelf.drawer("alr-gan") is not two.shelf.drawer("alr-gan")


# --------------------------------------------------------------------------------------------- saving and repeating


def test_the_saved_png_is_what_the_shown_command_draws(tiny_run, tmp_path, monkeypatch):
    explorer = opened(tiny_run, caption='it\'s a "red" house; $(x)', seed=4)
    found = page(explorer)
    (link,) = found.all("a")
    assert link["download"] == "alr-gan-toy-scenes-seed4.png"
    told = re.search(r"t2i sample .*?picture\.png", found.text, re.S)[0]
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(told)[1:]) == 0
    assert np.array_equal(np.array(Image.open("picture.png")), decoded(link["href"]))


def test_a_truncated_picture_is_drawn_by_a_python_call(tiny_run, zoo):
    explorer = opened(tiny_run)
    explorer.truncation.value = 0.15000000000000002  # as a slider says it
    assert "0.15 × [z (16) + epsilon (16)]" in page(explorer).text
    told = re.search(r"explore\.render\(.*\)", page(explorer).text)[0]
    drawn = eval(told, {"explore": explore})
    assert np.array_equal(to_pixels(drawn.images[-1]), pictures(explorer)[-1])
    zoo.shipped["alr-gan", "toy-scenes"] = tiny_run
    told = explore.caption_explorer().shelf.call("alr-gan", CAPTION, 3, 1.0)
    assert told == f"""explore.render(zoo.run("alr-gan", "toy-scenes"), '{CAPTION}', seed=3)"""
    assert eval(told, {"explore": explore, "zoo": zoo}).seed == 3


def test_finished_runs_stand_in_for_what_is_not_shipped(tiny_run, tmp_path, zoo):
    shutil.copytree(tiny_run, tmp_path / "runs" / "alr-gan-default-toy-scenes-s0")
    shutil.copytree(tiny_run, tmp_path / "runs" / "unfinished")
    (tmp_path / "runs" / "unfinished" / "summary.json").unlink()
    explorer = explore.caption_explorer(run_dir=tmp_path)
    assert explorer.wait() and dict(explorer.shelf.origins) == {"alr-gan": "trained"}
    explorer.world.value = "toy-birds"
    assert not explorer.systems and len(explorer.shelf.missing) == len(systems.available())


# --------------------------------------------------------------------------------------------- the newest job counts


class Slow:
    """Work whose every result waits until the test lets it go."""

    def __init__(self):
        self.begun, self.shown, self.failures = [], [], []
        self.go = threading.Semaphore(0)
        self.started = threading.Semaphore(0)
        self.latest = Latest(self.work, self.shown.append, self.failures.append)

    def work(self, job):
        self.begun.append(job)
        for part in "ab":
            self.started.release()
            assert self.go.acquire(timeout=10)
            if job == "bad":
                raise ValueError("bad job")
            yield f"{job}{part}"


def test_the_last_caption_wins_and_no_older_picture_follows():
    slow = Slow()
    slow.latest.submit("1")
    assert slow.started.acquire(timeout=10)  # 1 is being drawn
    for job in ("2", "3", "4"):
        slow.latest.submit(job)  # returns although 1 is not done
    for _ in range(10):
        slow.go.release()
    assert slow.latest.wait(10)
    assert slow.begun == ["1", "4"], "what waited in between is never begun"
    assert slow.shown == ["4a", "4b"], "1 was finished after 4 was asked for"


def test_a_newer_job_takes_the_place_of_one_that_has_shown_its_first_part():
    slow = Slow()
    slow.latest.submit("1")
    slow.go.release()
    assert slow.started.acquire(timeout=10) and slow.started.acquire(timeout=10)
    assert slow.shown == ["1a"]
    slow.latest.submit("2")
    for _ in range(5):
        slow.go.release()
    assert slow.latest.wait(10) and slow.shown == ["1a", "2a", "2b"]


def test_a_failure_is_told_and_the_next_job_works():
    slow = Slow()
    for _ in range(10):
        slow.go.release()
    slow.latest.submit("bad")
    assert slow.latest.wait(10) and [str(error) for error in slow.failures] == ["bad job"]
    slow.latest.submit("5")
    assert slow.latest.wait(10) and slow.shown == ["5a", "5b"]


def test_a_slow_system_never_blocks_typing(tiny_run):
    """The explorer itself, with a system that draws only when the test says so."""
    system = Run(tiny_run).system()
    started, go, asked = threading.Semaphore(0), threading.Semaphore(0), []
    draw = system.draw

    def slowly(text, noise):
        started.release()
        assert go.acquire(timeout=20)
        return draw(text, noise)

    system.draw = slowly
    explorer = explore.caption_explorer({"slow": system}, caption="a red")
    explorer.board.observe(lambda change: asked.append(Page(change["new"]).text), "value")
    assert started.acquire(timeout=20)
    for caption in ("a red h", "a red ho", "a red house"):
        explorer.caption.value = caption  # each of these returns while the first picture is still being drawn
    assert explorer.asked.caption == "a red house" and not explorer.wait(0.01)
    for _ in range(10):
        go.release()
    assert explorer.wait(20)
    assert [text for text in asked if "“a red h”" in text or "“a red ho”" in text or "“a red”" in text] == []
    assert "“a red house”" in asked[-1]


def test_an_unexpected_error_is_shown_and_goes_away(tiny_run, monkeypatch):
    explorer = opened(tiny_run)
    draw = explorer.shelf.drawer("alr-gan").draw
    monkeypatch.setattr(explorer.shelf.drawer("alr-gan"), "draw", lambda *inputs: 1 / 0)
    explorer.seed.value = 1
    assert "ZeroDivisionError" in page(explorer).text
    monkeypatch.setattr(explorer.shelf.drawer("alr-gan"), "draw", draw)
    explorer.seed.value = 2
    assert len(pictures(explorer)) == 3


def test_a_hundred_changes_keep_no_memory(tiny_run):
    explorer = opened(tiny_run)

    def change(times):
        for k in range(times):
            explorer.caption.value = f"a red house number {k}"
            explorer.view.value = (PICTURES, CHANGE, WALK)[k % 3]
            assert explorer.wait()
        gc.collect()
        return psutil.Process().memory_info().rss

    before = change(20)
    threads = threading.active_count()
    assert change(100) - before < 50e6
    assert threading.active_count() <= threads


# -------------------------------------------------------------------------------------------------- for every reader


def test_every_control_has_a_name_and_can_be_reached_by_the_keyboard(tiny_run):
    explorer = opened(tiny_run)
    named = (explorer.world, explorer.examples, explorer.caption, explorer.seed, explorer.next, explorer.keep,
             explorer.truncation, explorer.other, explorer.other_seed, *explorer.systems.values())  # fmt: skip
    assert all(control.description for control in named)
    assert len(explorer.view.tooltips) == len(explorer.view.options)
    assert len(explorer.word.tooltips) == len(explorer.word.options) == 8
    assert all(control.tabbable is not False for control in (*named, explorer.view, explorer.word))
    found = page(explorer)
    assert all(image["alt"] for image in found.all("img"))
    assert [code["tabindex"] for code in found.all("code")] == ["0"] and found.all("summary")


def test_obeyed_and_not_obeyed_differ_in_more_than_colour(tiny_run):
    found = page(opened(tiny_run))
    marks = [attrs["aria-label"] for attrs in found.all("span")]
    assert set(marks) <= {"obeyed", "not obeyed"} and len(marks) == 4
    assert found.text.count("✓") + found.text.count("✗") == 4


def test_a_run_folder_by_its_path(tiny_run):
    assert opened(tiny_run, systems={"here": str(tiny_run)}).shelf.sources["here"].folder == Path(tiny_run)
