"""The figures and the report: what they say, and that the page stands alone and trusts no text."""

import base64
import html.parser
import io
import json
import re

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from t2i_core import claims, coverage, deviations, evidence, report, results
from t2i_core.config import UserError, write_json
from t2i_core.figures import PALETTE, sample_steps, spread, to_pixels
from t2i_core.forest import differences, forest

EVIL = "<script>alert('x')</script> & \"red\" {{ 7 * 7 }} $\\frac$"


@pytest.fixture(autouse=True)
def nothing_left_open():
    style = matplotlib.rcParams.copy()
    yield
    matplotlib.rcParams.update(style)
    assert plt.get_fignums() == []  # pyplot would show a figure a second time


# ---------------------------------------------------------------------- figures


def drawn(figure: Figure) -> np.ndarray:
    """The figure as pixels (H, W, 4)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer))


def test_pixels_are_what_the_tensor_says():
    image = torch.tensor([-1.0, 0.0, 1.0])[:, None, None].expand(3, 2, 2)
    assert to_pixels(image)[0, 0].tolist() == [0, 128, 255]
    assert to_pixels(image * 9)[1, 1].tolist() == [0, 128, 255]  # clipped, not wrapped round
    with pytest.raises(ValueError, match=r"\(2, 2, 3\)"):
        to_pixels(torch.zeros(2, 2, 3))


def test_an_image_grid_shows_the_images_with_their_captions_in_order():
    images = torch.stack([torch.full((3, 4, 4), v) for v in (-1.0, 0.0, 1.0)])
    figure = report.image_grid(images, ["one", EVIL, "words " * 500], columns=2, titles=["a", "b", "c"])
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c"]
    shown = [ax.images[0] for ax in figure.axes]
    assert [int(i.get_array()[0, 0, 0]) for i in shown] == [0, 128, 255]
    assert {i.get_interpolation() for i in shown} == {"nearest"}
    captions = [ax.get_xlabel() for ax in figure.axes]
    assert captions[0] == "one" and "".join(captions[1].split()) == "".join(EVIL.split())
    assert captions[2].count("\n") < 6 and captions[2].endswith("…")
    assert drawn(figure).std() > 0  # "$\frac$" is text here, and no broken formula


def test_an_image_grid_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="2 images but 1 captions"):
        report.image_grid(torch.zeros(2, 3, 4, 4), ["one"])
    with pytest.raises(ValueError, match="B >= 1"):
        report.image_grid(torch.zeros(0, 3, 4, 4))


def test_curves_have_a_panel_a_column_and_a_line_a_log():
    steps = np.arange(100)
    first = pd.DataFrame({"step": steps, "loss": np.sin(steps * 2.1) + steps / 10, "own": 1.0})
    second = first[["step", "loss"]] + 3
    figure = report.curves({"a": first, "b": second}, ["loss", "own"])
    assert [ax.get_title() for ax in figure.axes] == ["loss", "own"]
    bold = [line for line in figure.axes[0].lines if line.get_alpha() is None]
    assert [line.get_color() for line in bold] == list(PALETTE[:2])
    smooth = np.asarray(bold[0].get_ydata())
    # on a straight line with ripples the average lies on the line, neither above it nor behind it
    assert np.abs(smooth[10:-10] - steps[10:-10] / 10).max() < 0.3
    assert len(figure.axes[1].lines) == 2  # the log without the column has no line there
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b"]
    plain = report.curves(first, ["loss"], smoothing=0)
    assert np.array_equal(plain.axes[0].lines[0].get_ydata(), first.loss)
    with pytest.raises(ValueError, match="lost.*loss, own, step"):
        report.curves(first, ["lost"])


def test_curves_leave_out_what_was_not_logged():
    log = pd.DataFrame({"step": [1, 2, 3], "fid": [None, 7.0, None]})
    (line,) = report.curves(log, ["fid"]).axes[0].lines
    assert line.get_xydata().tolist() == [[2, 7]]


def test_a_heat_lies_over_its_place_and_a_box_round_it():
    heat = torch.zeros(4, 4)
    heat[0, 3] = 1.0  # the top right
    figure = report.heat_overlay(torch.zeros(3, 32, 32), heat, box=(0.75, 0.0, 1.0, 0.25), title="red")
    panel = figure.axes[0]
    layer = np.asarray(panel.images[1].get_array())
    assert layer.shape == (32, 32) and layer[0, 31] == layer.max() == 1 and layer[:, :16].max() == 0
    box = panel.patches[0]
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((23.5, -0.5), 8, 8)
    assert panel.get_title() == "red"


def test_several_heats_share_one_scale():
    figure = report.heat_overlay(torch.zeros(3, 8, 8), torch.stack([torch.full((2, 2), 0.1), torch.ones(2, 2)]))
    assert {ax.images[1].get_clim() for ax in figure.axes[:2]} == {(0.0, 1.0)}
    with pytest.raises(ValueError, match="2 heat maps but 1 boxes"):
        report.heat_overlay(torch.zeros(3, 8, 8), torch.ones(2, 2, 2), box=[None])
    with pytest.raises(ValueError, match=r"\(4,\)"):
        report.heat_overlay(torch.zeros(3, 8, 8), torch.ones(4))


def test_grids_by_step_come_in_order(tmp_path):
    with pytest.raises(FileNotFoundError, match="no samples"):
        report.grids_by_step(tmp_path)
    (tmp_path / "samples").mkdir()
    for step in (0, 1_000_000, 50, 200):
        Image.new("RGB", (8, 4), (step % 251, 0, 0)).save(tmp_path / "samples" / f"step_{step:06d}.png")
    Image.new("RGB", (8, 4)).save(tmp_path / "samples" / "step_last.png")
    assert list(sample_steps(tmp_path)) == [0, 50, 200, 1_000_000]
    figure = report.grids_by_step(tmp_path, steps=3)
    assert [ax.get_title() for ax in figure.axes] == ["step 0", "step 200", "step 1,000,000"]


def test_a_spread_keeps_both_ends():
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread([1, 2], 4) == [1, 2]
    assert spread(range(5), 1) == [0]


# ---------------------------------------------------------------------- the page


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text a reader sees."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.pieces, self._hidden = [], [], 0
        self.source = text
        self.feed(text)

    @property
    def text(self) -> str:
        return " ".join(self.pieces)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._hidden += tag in ("style", "script")

    def handle_endtag(self, tag):
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data):
        if not self._hidden:
            self.pieces.append(data)

    def all(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]


def leave_run(out, system, variant="default", seed=0, fid=30.0, world="toy-scenes", width=70):
    folder = out / "runs" / f"{system}-{variant}-{world}-s{seed}"
    summary = {
        "system": system, "variant": variant, "world": world, "seed": seed, "steps": 20, "train_seconds": 75.0,
        "parameters": {"generator": 1_500_000, "discriminators": 250_000}, "trained_here": True, "device": "CPU (test)",
    }  # fmt: skip
    write_json(folder / "config.json", {"run": {"system": system}})
    write_json(folder / "summary.json", summary)
    metric = {"low": fid - 1, "high": fid + 1, "n": 64, "protocol": {"split": "test", "note": EVIL}}
    write_json(folder / "metrics.json", {"fid": metric | {"value": fid}, "pointing": metric | {"value": 0.25}})
    log = "".join(json.dumps({"step": k, "seconds": k, "d0": 1 / k, EVIL: 2.0}) + "\n" for k in range(1, 21))
    (folder / "log.jsonl").write_text(log + '{"step": 21, "d0')  # cut short
    write_json(folder / "samples" / "captions.json", ["a dog", EVIL])
    for step in (0, 10, 20):
        Image.new("RGB", (width, 35), (step * 10, 0, 0)).save(folder / "samples" / f"step_{step:06d}.png")
    return folder


def page(out, profile="mini", statuses=("done",), state=None) -> Page:
    names = [f"0{k}_note" for k in range(len(statuses))]
    notebooks = [{"name": n, "seconds": 10.0, "status": s} for n, s in zip(names, statuses, strict=True)]
    content = results.collect(out, profile=profile, seed=0, device="cpu", seconds=3725, notebooks=notebooks)
    write_json(out / "results.json", content | {"peak_memory_bytes": 3 * 2**30})
    write_json(out / "reproduce.json", state or {"notebooks": {}})
    made = report.write_report(out)
    assert made == out / "report.html"
    return Page(made.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Two systems with three seeds each, an ablation and a finding."""
    folder = tmp_path_factory.mktemp("out")
    for system, fid in (("alr-gan", 30.0), ("attngan", 40.0)):
        for seed in range(3):
            leave_run(folder, system, seed=seed, fid=fid + seed + fid * seed / 100)
    leave_run(folder, "alr-gan", "no-alr", fid=35)
    finding = {"id": "alr-beta-minus-alpha", "value": 0.37, "low": 0.1, "high": 0.9, "n": 30, "note": EVIL, "seed": 0}
    write_json(folder / "findings" / "alr-beta-minus-alpha.json", finding)
    return folder


@pytest.fixture(scope="module")
def made(out) -> Page:
    return page(out)


def test_the_page_needs_no_other_file_and_no_network(made):
    for tag, attributes in made.tags:
        for key, value in attributes.items():
            if key in ("src", "href", "xlink:href", "data", "srcset", "action", "poster"):
                assert value.startswith(("data:image/", "#", "notebooks/")), (tag, key, value[:80])
    assert not made.all("script") and not made.all("link") and not made.all("iframe")
    text = made.source
    assert "http" not in text and "@import" not in text
    assert re.search(r"url\((?!#)", text) is None
    targets = {attributes["id"] for _, attributes in made.tags if "id" in attributes}
    assert {a["href"][1:] for a in made.all("a") if a["href"].startswith("#")} <= targets


def test_the_page_trusts_no_text(made):
    text = made.source
    assert "<script" not in text and "49 $" not in text
    assert made.text.count(EVIL) >= 4  # caption, finding, protocol, the title of a curve
    assert all("onerror" not in attributes for _, attributes in made.tags)


def test_the_page_says_what_ran_how_long_and_on_what(made):
    assert made.text.count(claims.RULE) == 1
    for said in ("mini", "0, 1, 2", "CPU (test)", "1 h 2 min", "3.00 GB", "1 min 15 s", "generator 1.5 M"):
        assert said in made.text, said
    assert "All 1 notebooks ran" in made.text
    assert results.versions()["torch"] in made.text
    assert "mean nothing. This is" not in made.text


def test_the_page_shows_every_number_with_interval_and_mark(made):
    squeezed = " ".join(made.text.split())
    assert "30 29 to 31" in squeezed and "n = 64" in squeezed
    assert "ours" in squeezed and "published" in squeezed and "not comparable" in squeezed
    assert "25.89 ± 0.47" in squeezed and "GR-GAN, Table 1" in squeezed
    assert "Pointing" in squeezed  # a metric nobody listed is shown too
    assert "Time of the first seed" in squeezed
    assert "0.37" in squeezed and "reproduced" in squeezed
    for claim in claims.CLAIMS:
        assert claim.id in made.text and claim.statement in made.text


def test_the_page_shows_the_same_steps_of_every_whole_system_side_by_side(made):
    pictures = made.all("img")
    # three steps of two systems (seed 0); the last step of two more seeds each and of the ablation
    assert len(pictures) == 3 * 2 + 2 * 2 + 1
    assert all(picture["alt"] for picture in pictures)
    assert sum("after 10 steps" in picture["alt"] for picture in pictures) == 2
    assert "alr-gan no-alr, seed 0, step 20" in made.text
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in made.all("svg"))
    assert len(made.all("svg")) == 3  # the claims of a paper, curves and metrics
    assert len(made.all("caption")) == len(made.all("table"))


def test_the_page_prints_every_deviation_and_every_row_of_the_coverage(made):
    for row in deviations.rows():
        assert row["where"] in made.text and row["problem"] in made.text, row["id"]
    for row in coverage.rows():
        assert row["says"] in made.text, row["label"]
    proven = sum(row["paper"] == "GR-GAN" and row["status"] == "proven" for row in deviations.rows())
    assert f"GR-GAN: 28, {proven} proven" in made.text
    headers = made.all("th")
    assert all(header.get("scope") in ("col", "row") for header in headers)
    assert not [a for a in made.all("a") if a["href"].startswith("notebooks/")]  # no notebook lies beside this page


def test_a_proof_is_a_link_where_its_notebook_lies_beside_the_page(tmp_path):
    leave_run(tmp_path, "alr-gan")
    row = next(row for row in deviations.rows() if row["id"] == "g2")
    cells = [nbformat.v4.new_markdown_cell("## A place"), nbformat.v4.new_code_cell(row["snippet"])]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / f"{row['notebook']}.ipynb")
    links = [a["href"] for a in page(tmp_path).all("a") if a["href"].startswith("notebooks/")]
    assert links == [f"notebooks/{row['notebook']}.ipynb#A-place"]


def test_a_claims_differences_speak_for_it_on_the_right():
    runs = [
        {"system": name, "variant": "default", "world": "toy-scenes", "seed": seed, "steps": 9,
         "metrics": {"fid": {"value": value + seed * (name == "attngan")}}}
        for name, value in (("alr-gan", 30.0), ("attngan", 40.0)) for seed in range(3)
    ]  # fmt: skip
    judged = {claim["id"]: claim for claim in claims.judge(runs, [], "mini")}
    unit, mean, seeds = differences(judged["ALRGAN-T1-FID"])
    assert (unit, mean["value"], seeds) == ("FID", 11.0, [10.0, 11.0, 12.0])
    assert differences(judged["ALRGAN-T2"]) is None and differences(judged["PROMISE-SETTING"]) is None
    (axes,) = forest([judged["ALRGAN-T1-FID"]]).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["ALRGAN-T1-FID"]
    assert axes.lines[-2].get_xdata()[0] > 0  # the mean, before the line at 0
    with pytest.raises(ValueError, match="none of these claims"):
        forest([judged["ALRGAN-T2"]])


def test_very_wide_grids_are_scaled_down(tmp_path):
    leave_run(tmp_path, "alr-gan", width=4000)
    made = page(tmp_path)
    picture = made.all("img")[0]
    data = base64.b64decode(picture["src"].split(",", 1)[1])
    assert Image.open(io.BytesIO(data)).size == (int(picture["width"]), int(picture["height"])) == (1100, 10)


def test_a_smoke_page_says_that_its_numbers_mean_nothing(out):
    made = page(out, profile="smoke")
    assert "The numbers on this page mean nothing." in made.text
    verdicts = [a["class"].split()[1] for a in made.all("span") if a.get("class", "").startswith("badge")]
    assert "reproduced" not in verdicts and "inconclusive" in verdicts


def test_failures_are_shown_with_their_traceback_and_without_colour_codes(tmp_path):
    (tmp_path / "notebooks").mkdir()
    error = {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mboom\x1b[0m <module>", "E: v"]}
    write_json(tmp_path / "notebooks" / "00_note.failed.ipynb", {"cells": [{"outputs": [error]}, {}]})
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "01_note.log").write_text("killed: out of memory")
    made = page(tmp_path, statuses=("failed", "failed", "skipped"))
    assert "3 of 3 notebooks did not run to the end" in made.text
    assert "boom <module>\nE: v" in made.text and "\x1b" not in made.text
    assert "killed: out of memory" in made.text
    assert "No run has finished" in made.text


def test_the_timeline_puts_bars_where_notebooks_ran(tmp_path):
    entries = {"00_note": {"started": 100.0, "seconds": 10.0}, "01_note": {"started": 105.0, "seconds": 15.0}}
    page(tmp_path, statuses=("done", "done"), state={"notebooks": entries})
    text = (tmp_path / "report.html").read_text()
    assert re.findall(r"left:([\d.]+)%;width:([\d.]+)%", text) == [("0.0", "50.0"), ("25.0", "75.0")]


def test_without_results_the_user_hears_what_to_do(tmp_path):
    with pytest.raises(UserError, match="t2i reproduce"):
        report.write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_numbers_read_well():
    assert [report.number(v) for v in (None, 0.123456, 12345.6, 1234567, 3)] == [
        "–",
        "0.1235",
        "12,346",
        "1,234,567",
        "3",
    ]
    assert [report.duration(v) for v in (None, 7.4, 200, 7500)] == ["–", "7.4 s", "3 min 20 s", "2 h 5 min"]
    assert [report.memory(v) for v in (None, 5 * 2**20, 3 * 2**30)] == ["–", "5 MB", "3.00 GB"]
    assert report.counts(None) == [("", "–")] and report.counts(2_000_000) == [("", "2 M")]
    assert evidence.label("fid") == "FID" and evidence.label("color_accuracy") == "Color accuracy"
