"""Failure signatures: every failure made on purpose is seen, an honest set shows none, and what is told is true."""

from __future__ import annotations

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
import torch.nn.functional as F
from scipy import optimize

from t2i_core import adversarial, systems
from t2i_core.config import UserError, profile
from t2i_core.data import load
from t2i_core.failures import sample as failure_sample
from t2i_core.failures import signatures as failures
from t2i_core.failures.cases import KINDS, REFERENCE, failure_table, measures, misread, worst
from t2i_core.failures.figures import failure_gallery, signature_figure
from t2i_core.failures.log import LOST, NEAR, SUSTAINED, Game, game, games, stretches
from t2i_core.failures.sample import Sample, draw_sample
from t2i_core.failures.signatures import contrast, grid_frequencies, image_signatures, power, signatures
from t2i_core.figures import to_pixels
from t2i_core.metrics.drawing import caption_plan, draw
from t2i_core.runs import Run

N, SIDE = 120, 32


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """(images, captions, truths, which caption) of test scenes, and as many other real images."""
    from data_prep import toyworld

    folder = tmp_path_factory.mktemp("data") / "toy-scenes"
    toyworld.prepare("toy-scenes", folder, size=SIDE, train=2, test=2 * N, seed=3)
    test = load(folder, "test", (SIDE,))
    rows, which = caption_plan(test, N)
    captions = [test.caption(i, k) for i, k in zip(rows, which, strict=True)]
    return test.images(rows), (captions, test.truth[:N], which), test.images(range(N, 2 * N))


def sample_of(scenes, images, again=None) -> Sample:
    real, asked, _ = scenes
    return Sample.of("toy-scenes", images, *asked, real, again, step=400)


@pytest.fixture(scope="module")
def honest(scenes) -> Sample:
    """The real images as if drawn; drawn again for the same captions, other real ones."""
    return sample_of(scenes, scenes[0], again=scenes[2][:40])


def shown(sample: Sample) -> set[str]:
    return {one.kind for one in image_signatures(sample) if one.shows}


# ---------------------------------------------------------------------- sets of images


def test_real_images_with_their_captions_show_no_failure(honest):
    assert shown(honest) == set()
    for found in image_signatures(honest):
        assert found.measured.low <= found.measured.value <= found.measured.high
        assert found.measured.value == pytest.approx(0.0 if found.kind == "grid artefacts" else 1.0, abs=0.1)
        assert found.steps == ((400, 400),)


def test_other_real_images_lack_nothing_but_the_match(scenes):
    """Half of the test set against the other half: sampling alone is no failure of variety or of the spectrum."""
    assert shown(sample_of(scenes, scenes[2], again=scenes[0][:40])) == {"misalignment"}


class Deaf:
    """A generator that ignores caption and noise, but for a trace of the latter."""

    def __init__(self, image: torch.Tensor, trace: float = 0.01):
        self.image, self.trace = image, trace

    def noise(self, count: int, seed: int) -> torch.Tensor:
        return torch.randn(count, *self.image.shape, generator=torch.Generator().manual_seed(seed))

    def generate(self, captions, noise):
        return SimpleNamespace(images=[(self.image + self.trace * noise).clamp(-1, 1)])


def test_a_generator_that_ignores_noise_and_caption_has_collapsed(scenes):
    real, (captions, *_), _ = scenes
    system = Deaf(real[0])
    deaf = sample_of(scenes, draw(system, captions, 0), draw(system, captions[:40], 1))
    assert shown(deaf) >= {"mode collapse", "noise ignored", "misalignment"}
    match = failures.misalignment(deaf)
    assert match.measured.value == pytest.approx(0, abs=0.1)
    assert failures.chance_of_captions(deaf.cosines[0]) > 0.01


def test_a_few_pictures_over_and_over_are_a_collapse_though_far_apart_on_average(scenes):
    few = scenes[0][torch.arange(N) % 10]
    noisy = few + 0.01 * torch.randn(few.shape, generator=torch.Generator().manual_seed(0))
    sample = sample_of(scenes, noisy)
    assert failures.mode_collapse(sample).shows
    far = [torch.pdist(subject.reading.features).mean() for subject in (sample.drawn, sample.real)]
    assert far[0] > 0.8 * far[1]


def test_captions_dealt_out_anew_are_a_misalignment_and_no_other_failure(scenes):
    assert shown(sample_of(scenes, scenes[0].roll(1, 0), scenes[2][:40])) == {"misalignment"}


def test_half_of_the_images_on_their_captions_match_by_half(scenes):
    half = torch.where((torch.arange(N) % 2 == 0)[:, None, None, None], scenes[0], scenes[0].roll(7, 0))
    found = failures.misalignment(sample_of(scenes, half))
    assert found.measured.value == pytest.approx(0.5, abs=0.1) and not found.shows
    assert "p = 0.001" in found.evidence


def test_the_permutation_test_is_exact_for_few_captions():
    """Three images that fit their own caption only: of the 6 ways to deal out captions, one fits as well."""
    assert failures.chance_of_captions(np.eye(3)) == pytest.approx(1 / 6)
    assert failures.chance_of_captions(np.ones((3, 3))) == 1


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_enlarged_pixels_are_a_notch_at_the_multiples_of_their_grid(scenes, factor):
    blocky = F.interpolate(F.avg_pool2d(scenes[0], factor), scale_factor=factor)
    found = failures.grid_artefacts(sample_of(scenes, blocky))
    assert found.shows and "below" in found.evidence and "blocks" in found.evidence
    spectrum = power(blocky).mean(0)
    at_grid = {f for f in grid_frequencies(SIDE) if contrast(spectrum, f) < -3}
    assert at_grid == {k * SIDE // factor for k in range(1, factor // 2 + 1)}


@pytest.mark.parametrize("period", [2, 4])
def test_a_faint_checkerboard_is_a_peak_at_its_frequency(scenes, period):
    place = torch.arange(SIDE) * 2 // period
    board = ((place[:, None] + place[None]) % 2 * 2 - 1).float()
    found = failures.grid_artefacts(sample_of(scenes, (scenes[0] + 0.08 * board).clamp(-1, 1)))
    assert found.shows and "above" in found.evidence and f"every {period} px" in found.evidence


def test_blur_lacks_detail_and_noise_has_a_false_one(scenes):
    blurred = F.interpolate(F.avg_pool2d(scenes[0], 4), scale_factor=4, mode="bilinear")
    assert failures.lack_of_detail(sample_of(scenes, blurred)).shows
    noisy = scenes[0] + 0.3 * torch.randn(scenes[0].shape, generator=torch.Generator().manual_seed(1))
    assert failures.false_detail(sample_of(scenes, noisy.clamp(-1, 1))).shows


def test_the_power_of_a_wave_stands_at_its_frequency_and_is_that_of_parseval():
    wave = torch.cos(2 * math.pi * 5 * torch.arange(SIDE, dtype=torch.float64) / SIDE)
    images = wave.expand(1, 3, SIDE, SIDE)
    found = power(images)[0]
    rounding = SIDE * (2 / 255) ** 2 / 12
    # along rows the wave has its amplitude of R/2; along columns it is no wave but a constant (half of the mean)
    assert found[5] == pytest.approx(0.5 * (SIDE / 2) ** 2 + rounding)
    assert np.delete(found, 5)[1:] == pytest.approx(rounding)


def test_contrast_is_the_log_of_a_frequency_over_its_neighbours():
    spectrum = np.array([1.0, 2.0, 32.0, 8.0, 1.0])
    assert contrast(spectrum, 2) == pytest.approx(3.0)  # 32 over sqrt(2 * 8)
    assert contrast(spectrum, 4) == pytest.approx(-3.0)  # the last one's neighbours mirror
    assert grid_frequencies(32) == (4, 8, 12, 16) and grid_frequencies(12) == (3, 6) and grid_frequencies(7) == ()


def test_a_sample_that_is_no_sample_is_refused(scenes):
    real, (captions, truths, which), _ = scenes
    with pytest.raises(UserError, match="too few"):
        Sample.of("toy-scenes", real[:5], captions[:5], truths[:5], which[:5], real[:5])
    with pytest.raises(ValueError, match="as many"):
        Sample.of("toy-scenes", real, captions[:-1], truths, which, real)
    with pytest.raises(ValueError, match="one size"):
        Sample.of("toy-scenes", real, captions, truths, which, real[:, :, :16, :16])


def test_what_nothing_can_tell_is_neither_shown_nor_denied(scenes):
    real, asked, _ = scenes
    foreign = Sample.of("photos", real, *asked, real)  # no scorer, no inspector of its own
    found = {s.kind: s.shows for s in image_signatures(foreign)}
    assert found["misalignment"] is None and found["noise ignored"] is None and found["mode collapse"] is False
    assert not {"misread", "off its caption"} & set(worst(foreign))
    wrong = sample_of(scenes, real)
    wrong.__dict__["cosines"] = np.eye(N), 1 - np.eye(N)  # a scorer to which real images fit every caption but theirs
    assert failures.misalignment(wrong).shows is None
    with pytest.raises(UserError, match="nobody can tell"):
        worst(foreign, kinds=["misread"])


# ---------------------------------------------------------------------- logs


def simulated(d, g, every: int = 10, noise: float = 0.05, lines: int = 40) -> pd.DataFrame:
    draw, x = np.random.default_rng(0), np.linspace(0, 1, lines)
    columns = {name: f(x) * (1 + noise * draw.standard_normal(lines)) for name, f in (("d0", d), ("g0", g))}
    return pd.DataFrame({"step": every * (1 + np.arange(lines)), **columns})


BCE = Game(2 * math.log(2), 0.0, -math.log(LOST))
HINGE = Game(2.0, 1.0, 1.0)


def longest(log: pd.DataFrame, meaning: Game) -> float:
    found = stretches(log, {("d0", "g0"): meaning})
    return found[0].share if found else 0.0


@pytest.mark.parametrize("meaning", [BCE, HINGE])
def test_a_game_that_neither_wins_is_healthy(meaning):
    balanced = simulated(lambda x: 0.8 * meaning.blind + 0 * x, lambda x: 0.6 * meaning.lost + 0 * x)
    strong = simulated(lambda x: meaning.won + 0.4 * (meaning.blind - meaning.won) + 0 * x, lambda x: 2 * meaning.lost)
    drawn_in = simulated(lambda x: meaning.won + 0 * x, lambda x: 0.3 * meaning.lost + 0 * x)  # reads, does not know
    assert [longest(log, meaning) for log in (balanced, strong, drawn_in)] == [0, 0, 0]


@pytest.mark.parametrize("meaning", [BCE, HINGE])
def test_a_discriminator_that_wins_for_good_is_seen_from_there_on(meaning):
    def loss(x):
        return np.where(x < 0.5, meaning.blind, meaning.won + 0.02)

    log = simulated(loss, lambda x: np.where(x < 0.5, 0.5, 2 + x) * meaning.lost, noise=0.02)
    (found,) = stretches(log, {("d0", "g0"): meaning})
    assert found.share == pytest.approx(0.5, abs=0.05) and found.last == 400
    assert found.first == pytest.approx(201, abs=20)
    assert found.d_loss < meaning.near < meaning.blind and found.g_loss > meaning.lost


def test_a_short_win_or_one_the_generator_gets_out_of_is_none():
    spike = simulated(lambda x: 1.2 + 0 * x, lambda x: 3 + 0 * x, noise=0)
    spike.loc[20, "d0"] = 0.01
    assert longest(spike, BCE) == 0
    spike.loc[20:22, "d0"] = 0.01
    assert 0 < longest(spike, BCE) < SUSTAINED
    caught_up = simulated(lambda x: 0.05 + 0 * x, lambda x: 9 - 6 * x)
    assert longest(caught_up, BCE) == 0
    stuck = simulated(lambda x: 0.05 + 0 * x, lambda x: 9 + 0 * x)
    assert longest(stuck, BCE) == 1


def test_one_bad_batch_does_not_cut_a_stretch_in_two():
    log = simulated(lambda x: 0.03 + 0 * x, lambda x: 6 + 0 * x, noise=0)
    log.loc[20, "d0"] = 1.0
    assert longest(log, BCE) == 1


def test_the_least_loss_of_a_discriminator_that_reads_no_caption():
    """Real images get the logit r with right and wrong captions alike; drawn ones are all known and cost nothing."""

    def least(real, fake) -> float:
        def loss(r: float) -> float:
            r = torch.tensor([r], dtype=torch.float64)
            return float(real(r) + 0.5 * fake(r))

        return optimize.minimize_scalar(loss, bounds=(-5, 5), method="bounded").fun

    bce = least(adversarial.bce_real, adversarial.bce_fake)
    assert game("gan-cls", {"mismatch": True}).won == pytest.approx(bce)
    assert game("attngan", {"mismatch": True}).won == pytest.approx(bce / 2)
    half = least(lambda r: adversarial.bce_real(r) / 2, adversarial.bce_fake)  # as many wrong captions as right ones
    assert game("attngan", {"mismatch": True, "falsified": True}).won == pytest.approx(half)
    assert game("ratlip", {}).won == pytest.approx(least(adversarial.hinge_real, adversarial.hinge_fake), abs=1e-4)
    assert BCE.near == pytest.approx(NEAR * BCE.blind) and HINGE.near == pytest.approx(1.1)


VARIANTS = [(name, "default") for name in systems.available()]
VARIANTS += [
    ("attngan", "mismatch"),
    ("attngan", "falsified"),
    ("gr-gan", "swi"),
    ("gr-gan", "mismatch"),
    ("gan-cls", "int"),
]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_a_blind_discriminator_of_every_system_has_the_loss_that_is_written_down(name, variant):
    """With every logit at 0, of the system's own losses; and of its generator's, which there costs log 2 for log 10."""
    if name in ("cgan", "gan-cls", "stackgan", "sdn"):
        system = tiny.comparison(name, variant)
    else:
        system = (tiny.one_stage if name in ("df-gan", "galip", "ratlip") else tiny.system)(name, variant)
    for module in system.discriminators.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, inputs, output: 0 * output)
    batch = dataclasses.replace(tiny.batch(), falsified=tiny.false_captions() if system.falsifies else None)
    out = system.generate(batch.tokens, system.noise(len(batch), 0).double())
    judged, drawn = system.discriminator_losses(batch, out), system.generator_losses(batch, out)
    judges = [key for key in judged if key[0] == "d" and key[1:].isdigit() or key == "d"]
    assert judges
    for key in judges:
        meaning = game(name, system.config.to_dict(), int(key[1:] or 0))
        assert judged[key].item() == pytest.approx(meaning.blind)
        wanted = 0.0 if meaning.blind == 2.0 else meaning.lost * math.log(2) / -math.log(LOST)
        assert drawn[f"g{key[1:]}"].item() == pytest.approx(wanted, abs=1e-9)


def test_an_unknown_system_is_refused():
    with pytest.raises(UserError, match="'biggan'"):
        game("biggan", {})


def recorded(folder, log: pd.DataFrame, system: str = "attngan") -> Run:
    """A run folder that holds a configuration and a log."""
    switches = systems.configure(system, profile("smoke")).to_dict()
    saved = {"run": {"system": system, "profile": "smoke", "data": "nowhere"}, "system": switches}
    (folder / "config.json").write_text(json.dumps(saved))
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log.to_dict("records")))
    return Run(folder)


def test_a_runs_log_is_read_and_its_steps_are_named(tmp_path):
    log = simulated(lambda x: np.where(x < 0.5, 1.0, 0.02), lambda x: np.where(x < 0.5, 1.0, 6.0), noise=0)
    run = recorded(tmp_path, log.assign(damsm_words=1.0, d9=1.0))
    assert set(games(run)) == {("d0", "g0")}
    found = failures.vanishing_gradients(run)
    assert found.shows and found.measured.value == pytest.approx(0.5, abs=0.05) and found.steps[0][1] == 400
    assert "d0 was 0.02" in found.evidence and "g0 stayed at 6.00" in found.evidence
    short = failures.vanishing_gradients(recorded(tmp_path, log[:6]))
    assert short.shows is None and "6 lines" in short.evidence


# ---------------------------------------------------------------------- image by image


def test_of_real_images_a_twentieth_fails_by_definition_and_hardly_any_is_misread(honest):
    known = measures(honest)
    assert set(known) == set(KINDS)
    for kind, measure in known.items():
        if kind == "unlike real":
            assert not measure.fails.any()  # each finds itself
        else:
            assert measure.fails.mean() <= (0.05 if kind != "misread" else 0.03) + 1 / N


def test_each_kind_finds_the_image_that_was_spoilt_and_says_what_is_wrong(scenes):
    images = scenes[0].clone()
    truths = scenes[1][1]
    other = next(i for i in range(1, N) if truths[i]["attributes"] != truths[0]["attributes"])
    images[0] = images[other] + 0.001  # another's picture
    images[20] = F.avg_pool2d(images[20:21], 4).repeat_interleave(4, 2).repeat_interleave(4, 3)[0]
    images[30] = torch.rand(images[30].shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images[40] = images[40].mean((1, 2), keepdim=True)
    sample = sample_of(scenes, images)
    found = worst(sample, 3)
    rows = {kind: [case.row for case in cases] for kind, cases in found.items()}
    assert rows["unlike real"][0] in (30, 40) and rows["blurred"][0] == 40 and 20 in rows["gridded"]
    assert set(rows["near duplicate"][:2]) == {0, other}
    wrong, asked = misread(sample, sample.drawn)[0]
    assert wrong and len(wrong) <= asked
    for kind, cases in found.items():
        assert [c.value for c in cases] == sorted((c.value for c in cases), reverse=True)
        assert all(c.caption == sample.captions[c.row] and c.fails == (c.value > c.limit) for c in cases), kind
    assert f'"{sample.captions[other]}"' in next(c.wrong for c in found["near duplicate"] if c.row == 0)


def test_a_wrong_setting_is_told_as_named_and_read(scenes):
    truths, which = scenes[1][1:]
    says = [any(kind == "setting" for *_, kind in t["words"][k]) for t, k in zip(truths, which, strict=True)]
    i = says.index(True)
    want = truths[i]["attributes"]["setting"]
    j = next(j for j, t in enumerate(truths) if t["attributes"]["setting"] != want)
    images = scenes[0].clone()
    images[i] = images[j]
    sample = sample_of(scenes, images)
    wrong, _ = misread(sample, sample.drawn)[i]
    assert f"setting: named {want}, reads {truths[j]['attributes']['setting']}" in wrong
    assert misread(sample, sample.real)[i][0] == []


def test_an_unknown_kind_names_the_nearest(honest):
    with pytest.raises(UserError, match="did you mean 'blurred'"):
        worst(honest, kinds=["blured"])


# ---------------------------------------------------------------------- runs, tables, figures


@pytest.fixture(scope="module")
def drawn(tiny_run) -> tuple[Run, Sample]:
    return Run(tiny_run), draw_sample(Run(tiny_run), device="cpu")


def test_a_run_is_drawn_once_and_as_evaluation_draws_it(drawn, tiny_run, monkeypatch):
    run, sample = drawn
    assert len(sample) == 24 and sample.step == 2
    captions = sample.captions
    assert torch.equal(sample.drawn.images, draw(run.system(), captions, 0))
    calls = []
    monkeypatch.setattr(failure_sample, "draw", lambda *given: calls.append(given) or draw(*given))
    again = draw_sample(run, again=0, images=sample.drawn.images, device="cpu")
    assert not calls and again.again is None
    found = signatures(run, sample)
    assert not calls and len({s.kind for s in found}) == len(found) == 7
    assert [s.shows for s in found if s.kind == "vanishing gradients"] == [None]
    assert all(str(s).startswith(s.kind) for s in found)


def test_the_table_has_a_row_a_run_after_the_real_images(drawn):
    run, sample = drawn
    table = failure_table([run, run], [sample, sample])
    assert table.system.tolist() == [REFERENCE, "alr-gan", "alr-gan"]
    assert table.loc[1].drop("seed").equals(table.loc[2].drop("seed"))
    for kind, measure in measures(sample).items():
        share = table.loc[1, kind]
        assert share == pytest.approx(measure.fails.mean())
        assert 0 <= table.loc[1, f"{kind} low"] <= share <= table.loc[1, f"{kind} high"] <= 1
        assert table.loc[0, kind] <= 0.1
    assert table.loc[1, "misread"] > 0.5 and 0 < table.loc[1, "misread severity"] <= 1
    shows = {s.kind: s.shows for s in signatures(run, sample)}
    assert {c.removeprefix("shows ") for c in table if c.startswith("shows ")} == set(shows)
    for kind, value in shows.items():
        assert table[f"shows {kind}"].tolist() == [pd.NA, *[pd.NA if value is None else value] * 2]


def test_the_gallery_shows_each_worst_image_beside_the_real_one(drawn):
    _, sample = drawn
    cases = worst(sample, 2, ["misread", "blurred"])
    figure = failure_gallery(sample, cases=cases)
    assert len(figure.axes) == 4
    for ax, case in zip(figure.axes, [*cases["misread"], *cases["blurred"]], strict=True):
        shown = np.asarray(ax.images[0].get_array())
        pixels = [to_pixels(subject.images[case.row]) for subject in (sample.drawn, sample.real)]
        side = pixels[0].shape[1]
        assert (shown[:, :side] == pixels[0]).all() and (shown[:, -side:] == pixels[1]).all()
        assert case.caption[:10] in ax.get_xlabel()
        assert ("(no failure)" in ax.get_title(loc="left")) is (not case.fails)
    assert len(failure_gallery(sample, 1).axes) == len(KINDS)


def test_the_evidence_is_drawn_with_the_stretch_shaded(drawn, tmp_path):
    _, sample = drawn
    log = simulated(lambda x: np.where(x < 0.5, 1.0, 0.02), lambda x: np.where(x < 0.5, 1.0, 6.0), noise=0)
    figure = signature_figure(recorded(tmp_path, log), sample)
    training, spectra, *_ = figure.axes
    (shade,) = training.patches
    assert shade.get_x() == pytest.approx(205, abs=25) and shade.get_x() + shade.get_width() == 400
    lines = {line.get_label(): line for line in spectra.lines}
    assert np.allclose(lines["drawn"].get_ydata(), power(sample.drawn.images).mean(0)[1:])
    assert len(figure.axes) == 4
