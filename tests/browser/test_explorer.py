"""The caption explorer in a real browser: type, change the seed, click a word, change a word; the picture obeys."""

from __future__ import annotations

import numpy as np
import pytest
from notebook_page import LOADED, changed_share
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
CAPTION, OTHER = "a small red house on the left in the snow", "a blue boat at the beach"


@pytest.fixture
def explorer(lab, tiny_run):
    """A notebook with one explorer over a tiny run, drawn for the first time."""
    return opened(lab, "explorer", f"{{'alr-gan': {str(tiny_run)!r}}}, caption={CAPTION!r}", CAPTION)


def opened(lab, name, arguments, caption):
    code = f"from t2i_core import explore\nexplore.caption_explorer({arguments})"
    page = lab.open(lab.server.write(f"{name}.ipynb", "Explorer", code))
    page.run_all()
    expect(pictures(page).first).to_be_visible(timeout=LOADED)
    expect(said(page)).to_contain_text(caption)
    return page


def pictures(page):
    return page.notebook.locator(".t2i-board img")


def finest(page):
    """The last stage's picture; the map of a word has another description."""
    return page.notebook.locator('.t2i-board img[alt^="alr-gan, 32 px"]')


def said(page):
    return page.notebook.locator("p.t2i-note[role=status]")


def field(page, label):
    return page.notebook.get_by_label(label, exact=True)


def change(page, label, value):
    """Write into a field, and wait until the finest picture is another one; its pixels before and after."""
    old, before = finest(page).get_attribute("src"), page.pixels(finest(page))
    field(page, label).fill(value)
    field(page, label).press("Tab")
    expect(finest(page)).not_to_have_attribute("src", old, timeout=LOADED)
    return before, page.pixels(finest(page))


def test_captions_seeds_and_words_change_the_picture_and_come_back(explorer):
    page = explorer
    page.screenshot("opened")
    start = page.pixels(finest(page))

    before, after = change(page, "Caption", OTHER)
    assert changed_share(before, after, tolerance=0) > 0.2
    expect(said(page)).to_contain_text(OTHER)
    before, after = change(page, "Seed", "5")
    assert changed_share(before, after, tolerance=0) > 0.2

    change(page, "Caption", CAPTION)
    _, after = change(page, "Seed", "0")
    assert changed_share(start, after, tolerance=0) == 0.0  # a picture is a function of the controls

    count = pictures(page).count()
    page.notebook.get_by_role("button", name="red", exact=True).click()
    expect(pictures(page)).not_to_have_count(count, timeout=LOADED)
    assert pictures(page).count() > count  # the stages stay, and maps of the word come
    assert changed_share(start, page.pixels(finest(page)), tolerance=0) == 0.0
    page.screenshot("word")

    page.notebook.get_by_role("button", name="one word changed").click()
    expect(page.notebook.locator(".t2i-board figcaption", has_text="difference").first).to_be_visible(timeout=LOADED)
    page.screenshot("changed")


def test_the_last_caption_wins_and_markup_is_shown_and_not_obeyed(explorer):
    page = explorer
    box = field(page, "Caption")
    for end in range(1, len(OTHER) + 1):  # faster than any picture
        box.fill(OTHER[:end])
    expect(said(page)).to_have_text(f"“{OTHER}”", timeout=LOADED)
    typed = page.pixels(finest(page))
    before, _ = change(page, "Caption", CAPTION)
    assert changed_share(typed, before, tolerance=0) == 0.0  # nothing older came after it

    box.fill("a <b>red</b> house <img src=x onerror='window.obeyed = true'>")
    expect(said(page)).to_contain_text("<b>red</b> house <img src=x", timeout=LOADED)
    assert page.page.evaluate("window.obeyed") is None
    assert said(page).locator("b, img").count() == 0
    box.fill("")
    expect(page.notebook.locator("p[role=alert]").first).to_be_visible(timeout=LOADED)
    page.screenshot("empty")


def test_what_is_shipped_draws_at_once_and_a_word_changes_what_it_names(lab):
    """As a visitor meets it: nothing given, nothing trained. A colour is the house's, a setting everything's."""
    red = "a red house in the meadow"
    page = opened(lab, "shipped", f"caption={red!r}", red)
    page.screenshot("opened")
    before, blue = change(page, "Caption", "a blue house in the meadow")
    turned = np.abs(blue.astype(int) - before).max(2) > 40
    assert 0.005 < turned.mean() < 0.3
    redness = [float((pixels[turned][:, 0].astype(int) - pixels[turned][:, 2]).mean()) for pixels in (before, blue)]
    assert redness[1] < redness[0] - 40
    _, snow = change(page, "Caption", "a blue house in the snow")
    assert changed_share(blue, snow, tolerance=40) > 0.5
    page.screenshot("snow")
