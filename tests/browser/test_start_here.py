"""`make lab` in a real browser: it opens on 00_start_here, which runs to its end; its widget obeys the keyboard."""

from __future__ import annotations

import pytest
from notebook_page import changed_share

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def test_make_lab_opens_on_00_which_runs_and_whose_slider_draws(lab):
    page = lab.visit()
    assert page.page.url.split("?")[0].endswith("/lab/tree/notebooks/00_start_here.ipynb")
    assert page.notebook.locator("h1", has_text="00 · Start here").is_visible()
    page.run_all()
    assert page.notebook.locator(".jp-RenderedImage img").count() >= 3  # the static figures
    assert "not answered yet" in page.cell('exercises.check("00.1"').locator(".jp-OutputArea").inner_text()
    assert "jupyterlab" in page.cell("doctor.examine()").locator("table").inner_text()
    page.screenshot("run")

    picture, slider = page.picture(), page.slider("picture")
    first = page.wait_for_new_picture(picture, old="")
    before, value = page.pixels(picture), float(slider.get_attribute("aria-valuenow"))
    slider.focus()
    page.page.keyboard.press("ArrowRight")
    second = page.wait_for_new_picture(picture, first)
    assert float(slider.get_attribute("aria-valuenow")) == value + 1
    assert changed_share(before, page.pixels(picture)) > 0.1
    page.screenshot("moved")

    page.page.keyboard.press("ArrowLeft")
    page.wait_for_new_picture(picture, second)
    assert changed_share(before, page.pixels(picture)) == 0.0  # the picture is a function of the controls
