"""Human evaluation: the blind study in its folder, the answers in their files, and what simulated raters must give.

No person's rating is in this repository: every rater here is simulated, and called so.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import stats as scipy_stats

from t2i_core.config import UserError
from t2i_core.figures import to_pixels
from t2i_core.human.figures import mean_score_figure, metric_figure
from t2i_core.human.questions import Question, rater_name
from t2i_core.human.scores import (
    agreement,
    alpha,
    attention,
    compare,
    correlate,
    friedman,
    grid,
    mean_scores,
)
from t2i_core.human.study import CEILING, FLOOR, Study, simulate
from t2i_core.metrics.stats import Value

SYSTEMS = ("secret-gan", "hidden-gan", "veiled-gan")
WORTH = {"secret-gan": 1.0, "hidden-gan": 0.0, "veiled-gan": -1.0}
CHECKED = WORTH | {CEILING: 2.0, FLOOR: -2.0}


@pytest.fixture(autouse=True)
def synced(monkeypatch) -> list[int]:
    """Waiting for the disk at each of thousands of answers takes long; what would have waited is counted instead."""
    waited = []
    monkeypatch.setattr(os, "fsync", waited.append)
    return waited


def pictures(captions: int, seed: int, size: int = 8) -> torch.Tensor:
    return 2 * torch.rand(captions, 3, size, size, generator=torch.Generator().manual_seed(seed)) - 1


def make(folder: Path, captions: int = 12, systems=SYSTEMS, **options) -> Study:
    drawn = {name: pictures(captions, 1 + s) for s, name in enumerate(systems)}
    return Study.create(folder, [f"a caption, the {c}th" for c in range(captions)], drawn, **options)


@pytest.fixture
def study(tmp_path) -> Study:
    return make(tmp_path / "study")


def judged(folder: Path, raters: int, noise: float, worth=WORTH, captions: int = 12, **options) -> pd.DataFrame:
    made = make(folder, captions, [name for name in worth if name not in (CEILING, FLOOR)], **options)
    for number in range(1, raters + 1):
        simulate(made, number, worth, noise)
    table, notes = made.judgements()
    assert notes == []
    return table


# ----------------------------------------------------------------------------------------------------- what is asked


def test_a_typed_ranking_becomes_ranks():
    question = Question("rank", 0, ("x.png", "y.png", "z.png"))
    read = {"BAC": (2, 1, 3), " b, a, c ": (2, 1, 3), "c>a>b": (2, 3, 1), "B=AC": (1.5, 1.5, 3), "CA=B": (2.5, 2.5, 1)}
    assert {text: question.read(text) for text in read} == read
    assert question.read("A=B=C") == (2, 2, 2)
    assert question.phrase((1.5, 1.5, 3)) == "A = B, then C" and question.phrase((2, 3, 1)) == "C, then A, then B"
    for wrong in ("AB", "AAB", "ABCD", "=ABC", "ABC=", "A==BC", "123", "-"):
        with pytest.raises(UserError, match="type each of A, B, C once, best first"):
            question.read(wrong)


def test_a_typed_rating_becomes_two_grades():
    question = Question("rate", 0, ("x.png",))
    assert question.read("43") == question.read("4 3") == question.read("4,3") == (4, 3)
    assert question.phrase((4, 3)) == "quality 4 (good), fit 3 (fair)"
    for wrong in ("4", "60", "05", "435", "A", "4.3"):
        with pytest.raises(UserError, match="two digits from 1 to 5, quality first"):
            question.read(wrong)


@pytest.mark.parametrize("values", [(1, 2), (1, 2, 2), (0, 1, 2), (1, 2, float("nan"))])
def test_what_is_no_ranking_is_not_recorded(study, values):
    with pytest.raises(ValueError, match="no answer"):
        study.record("simulated-1", study.plan("simulated-1")[0], values)
    assert study.raters() == []


def test_every_picture_is_asked_about_once_in_each_task(study):
    plan = study.plan("simulated-1")
    rank, rate = plan[:12], plan[12:]
    assert {q.task for q in rank} == {"rank"} and {q.task for q in rate} == {"rate"}
    assert sorted(q.caption for q in rank) == list(range(12))
    assert all(sorted(q.shown) == sorted(study.pictures[q.caption]) for q in rank)
    assert sorted(q.shown for q in rate) == sorted((name,) for row in study.pictures for name in row)


@pytest.mark.parametrize("captions", [12, 13])
def test_each_system_stands_equally_often_at_each_place(tmp_path, captions):
    made = make(tmp_path, captions)
    column = {name: a for row in made.pictures for a, name in enumerate(row)}
    for rater in ("simulated-1", "simulated-2"):
        plan = made.plan(rater)
        places = Counter((column[name], place) for q in plan[:captions] for place, name in enumerate(q.shown))
        assert set(places.values()) <= {captions // 3, -(-captions // 3)} and len(places) == 9
        for turn in range(3):  # the ratings' three rounds: every caption once, every system equally often
            part = plan[captions * (turn + 1) : captions * (turn + 2)]
            assert {q.caption for q in part} == set(range(captions))
            assert set(Counter(column[q.shown[0]] for q in part).values()) <= {captions // 3, -(-captions // 3)}


def test_the_plan_hangs_on_seed_and_rater_only(tmp_path):
    first, other = make(tmp_path / "a"), make(tmp_path / "b", seed=1)
    assert first.plan("simulated-1") == Study.open(tmp_path / "a").plan("Simulated 1")
    orders = [[q.caption for q in made.plan(r)] for made in (first, other) for r in ("simulated-1", "simulated-2")]
    assert all(a != b for a, b in itertools.combinations(orders, 2))


# ----------------------------------------------------------------------------------------------------- the folder


def test_the_files_hold_the_pictures_and_only_the_key_whose_they_are(study):
    columns = study.columns()
    for a, name in enumerate(columns):
        expected = to_pixels(pictures(12, 1 + SYSTEMS.index(name)))
        for c in range(12):
            shown = np.asarray(Image.open(study.folder / "images" / study.pictures[c][a]))
            assert np.array_equal(shown, expected[c])
    simulate(study, 1, WORTH)
    study.folder.joinpath("key.json").unlink()
    for path in study.folder.rglob("*"):
        text = path.name + (path.read_bytes().decode(errors="replace") if path.is_file() else "")
        assert not any(word in text for word in ("gan", "secret", "hidden", "veiled")), path
    assert len(study.plan("simulated-2")) == 48, "raters need no key"
    with pytest.raises(UserError, match="key.json is missing"):
        study.judgements()


def test_numbers_of_files_tell_nothing_of_the_column(study):
    numbers = np.array([[int(name[:4]) for name in row] for row in study.pictures])
    assert sorted(numbers.flat) == list(range(1, 37))
    assert len({tuple(np.argsort(row)) for row in numbers}) > 3


def test_the_same_arguments_open_the_study_and_others_are_refused(study):
    simulate(study, 1, WORTH, at_most=3)
    assert make(study.folder) == study and len(study.answers("simulated-1")[0]) == 3
    for other in ({"seed": 1}, {"tasks": ("rank",)}, {"captions": 11}, {"systems": SYSTEMS[:2]}):
        with pytest.raises(UserError, match="holds another study"):
            make(study.folder, **other)


def test_a_study_is_made_of_files_too(study, tmp_path):
    paths = {}
    for s, name in enumerate(SYSTEMS):
        paths[name] = [tmp_path / f"{name}{c}.png" for c in range(12)]
        for path, pixels in zip(paths[name], to_pixels(pictures(12, 1 + s)), strict=True):
            Image.fromarray(pixels).save(path)
    made = Study.create(tmp_path / "files", study.captions, paths)
    assert made.identity == study.identity


def test_what_does_not_fit_together_is_refused(tmp_path):
    captions, fine = ["a", "b"], pictures(2, 0)
    refused = {
        "3 pictures of y for 2 captions": {"x": fine, "y": pictures(3, 0)},
        "different size are not blind": {"x": fine, "y": pictures(2, 0, size=16)},
        "no system may be called floor": {"x": fine, "floor": fine},
        "from 2 to 8 pictures": {"x": fine},
        "must be .* finite": {"x": fine, "y": fine * float("nan")},
        "cannot be used: no such file": {"x": fine, "y": ["nowhere.png", "nowhere.png"]},
    }
    for message, systems in refused.items():
        with pytest.raises(UserError, match=message):
            Study.create(tmp_path / "study", captions, systems)
    with pytest.raises(UserError, match="unknown task 'rang'; did you mean 'rank'"):
        make(tmp_path / "study", tasks=("rang",))
    assert not (tmp_path / "study").exists()


def test_a_changed_study_is_refused(study):
    simulate(study, 1, WORTH, at_most=3)
    described, path = study.folder / "study.json", study.folder / "images" / "0001.png"
    text, whole = described.read_text(), path.read_bytes()
    Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(UserError, match="0001.png is not the picture"):
        Study.open(study.folder)
    path.unlink()
    with pytest.raises(UserError, match="cannot be shown: no such file"):
        Study.open(study.folder)
    path.write_bytes(whole)
    described.write_text(text.replace("the 3th", "the 4th"))
    with pytest.raises(UserError, match="line 1: this answer was given for other pictures or captions"):
        Study.open(study.folder).answers("simulated-1")
    with pytest.raises(UserError, match="key of another study"):
        Study.open(study.folder).columns()
    described.write_text(text[:-20])
    with pytest.raises(UserError, match="study.json is damaged"):
        Study.open(study.folder)
    with pytest.raises(UserError, match="holds no study.json"):
        Study.open(study.folder / "images")


# ----------------------------------------------------------------------------------------------------- the answers


@pytest.mark.parametrize("name", ["Simulated 1", " simulated-1 ", "simulated/1", "../simulated.1", "SIMULATED__1"])
def test_a_name_stays_inside_the_folder(study, name):
    assert rater_name(name) == "simulated-1"
    assert study.ratings_file(name) == study.folder / "ratings-simulated-1.jsonl"


def test_names_of_any_script_have_a_file_and_empty_ones_none():
    assert rater_name("Мария 李") == "мария-李" and len(rater_name("x" * 300)) == 40
    for nothing in ("", " ", "../..", "__"):
        with pytest.raises(UserError, match="no letter or digit"):
            rater_name(nothing)


def test_a_paused_session_is_an_unbroken_one(tmp_path):
    whole, paused = make(tmp_path / "whole"), make(tmp_path / "paused")
    simulate(whole, 1, WORTH)
    for at_most in (1, 16, 0, None):
        simulate(Study.open(paused.folder), 1, WORTH, at_most=at_most)
    pd.testing.assert_frame_equal(whole.judgements()[0], paused.judgements()[0])
    assert len(paused.answers("simulated-1")[0]) == 48


def test_an_answer_is_on_disk_when_it_is_recorded(study, synced):
    synced.clear()
    study.record("simulated-1", study.plan("simulated-1")[0], (1, 2, 3))
    assert len(synced) == 1 and study.ratings_file("simulated-1").read_bytes().endswith(b"\n")


def test_the_last_answer_to_a_question_counts(study):
    first, second = study.plan("simulated-1")[:2]
    for question, values in ((first, (1, 2, 3)), (second, (3, 1, 2)), (first, (2, 1, 3))):
        study.record("simulated-1", question, values, seconds=1.5)
    answers, notes = study.answers("simulated-1")
    assert [a.values for a in answers.values()] == [(2, 1, 3), (3, 1, 2)] and notes == []
    lines = study.ratings_file("simulated-1").read_text().splitlines()
    assert len(lines) == 3 and json.loads(lines[2])["ranks"] == [2, 1, 3], "nothing is overwritten"


def test_a_damaged_line_is_named_and_the_others_are_kept(study):
    simulate(study, 1, WORTH, at_most=4)
    path = study.ratings_file("simulated-1")
    lines = path.read_bytes().splitlines()
    other = json.loads(lines[0])
    wrong = [
        b"\xff\xfe",
        b"[]",
        json.dumps(other | {"ranks": [1, 1, 1]}).encode(),
        json.dumps(other | {"shown": ["0001.png"] * 3}).encode(),
        json.dumps(other | {"caption": 99}).encode(),
        json.dumps(other | {"rater": "simulated-2"}).encode(),
    ]
    path.write_bytes(b"\n".join([*lines[:2], *wrong, *lines[2:]])[:-9])  # and the last line was cut off by a crash
    answers, notes = study.answers("simulated-1")
    assert len(answers) == 3 and len(notes) == 7
    assert notes[0].startswith("ratings-simulated-1.jsonl, line 3 is damaged and left out")
    simulate(study, 1, WORTH)  # goes on behind the torn line
    answers, notes = study.answers("simulated-1")
    assert len(answers) == 48 and len(notes) == 7 and study.judgements()[1] == notes


def test_answers_of_another_study_are_refused(study, tmp_path):
    other = make(tmp_path / "other", systems=SYSTEMS[::-1])
    simulate(other, 1, WORTH, at_most=1)
    study.ratings_file("simulated-1").write_bytes(other.ratings_file("simulated-1").read_bytes())
    with pytest.raises(UserError, match="given for other pictures or captions; open its own study"):
        study.answers("simulated-1")


def test_a_second_copy_of_a_file_is_named(study):
    simulate(study, 1, WORTH, at_most=1)
    path = study.ratings_file("simulated-1")
    path.with_name("ratings-simulated-1 (1).jsonl").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"ratings-simulated-1 \(1\).jsonl is no rater's file"):
        study.judgements()


def test_raters_at_the_same_time_do_not_clobber_one_another(study):
    """Two raters, and one of them in two windows: every line is whole and in its file."""
    jobs = [(study.folder, number) for number in (1, 2, 1)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(_answer_all, jobs))
    for number, count in ((1, 96), (2, 48)):
        written = study.ratings_file(f"simulated-{number}").read_bytes().splitlines()
        lines = [line for line in written if line]
        assert len(lines) == count and {json.loads(line)["rater"] for line in lines} == {f"simulated-{number}"}
        answers, notes = study.answers(f"simulated-{number}")
        assert len(answers) == 48 and notes == []


def _answer_all(job: tuple[Path, int]) -> None:
    made, number = Study.open(job[0]), job[1]
    for question in made.plan(f"simulated-{number}"):
        values = [1, 2, 3] if question.task == "rank" else [3, 3]
        made.record(f"simulated-{number}", question, values)


def test_an_answer_that_cannot_be_saved_says_so(study):
    study.ratings_file("simulated-1").mkdir()
    with pytest.raises(UserError, match="the answer is not saved: free some space, try again"):
        study.record("simulated-1", study.plan("simulated-1")[0], (1, 2, 3))


def test_a_simulated_rater_is_called_so_and_needs_every_worth(study):
    assert simulate(study, 7, WORTH, at_most=1) == "simulated-7" and study.raters() == ["simulated-7"]
    with pytest.raises(UserError, match="worth must name exactly"):
        simulate(study, 7, {"secret-gan": 1.0})


# ----------------------------------------------------------------------------------------------------- what it says


def test_raters_that_agree_find_the_true_order(tmp_path):
    table = judged(tmp_path, raters=3, noise=0.0)
    scores = mean_scores(table)
    assert {name: (v.value, v.low, v.high) for name, v in scores.items()} == {
        "secret-gan": (1, 1, 1),
        "hidden-gan": (2, 2, 2),
        "veiled-gan": (3, 3, 3),
    }
    assert list(scores) == list(SYSTEMS), "the best first"
    assert list(mean_scores(table, "quality")) == list(SYSTEMS)
    assert [v.value for v in mean_scores(table, "fit").values()] == [4, 3, 2]
    for measure in ("rank", "quality", "fit"):
        found = agreement(table, measure)
        assert (found.value, found.low, found.high, found.n) == (1, 1, 1, 36)
    assert scores["secret-gan"].n == 36 and scores["secret-gan"].protocol["simulated_raters"] == 3
    assert "raters and captions" in scores["secret-gan"].protocol["interval"]
    statistic, p = friedman(table)
    assert statistic == pytest.approx(24.0) and p == pytest.approx(np.exp(-12)), "chi square of 2 degrees: n (k - 1)"
    pairs = compare(table)
    assert len(pairs) == 3 and (pairs.p_holm < 0.01).all()
    best = pairs[(pairs["first"] == "hidden-gan") & (pairs["second"] == "secret-gan")].iloc[0]
    assert best.difference == 1.0, "hidden is ranked lower, by one place"


def test_noisy_raters_agree_less_and_still_find_the_order(tmp_path):
    table = judged(tmp_path, raters=5, noise=1.0, captions=20)
    scores = mean_scores(table)
    assert list(scores) == list(SYSTEMS)
    assert scores["secret-gan"].high < scores["veiled-gan"].low
    found = agreement(table)
    assert 0.1 < found.low < found.value < found.high < 0.9


def test_raters_that_guess_agree_on_nothing_and_their_intervals_hold_the_middle(tmp_path):
    table = judged(tmp_path, raters=4, noise=1.0, worth=dict.fromkeys(SYSTEMS, 0.0), captions=24)
    for measure in ("rank", "quality"):
        found = agreement(table, measure)
        assert abs(found.value) < 0.12 and found.low < 0 < found.high
    assert all(value.low < 2 < value.high for value in mean_scores(table).values())
    assert friedman(table)[1] > 0.05 and (compare(table).p_holm > 0.05).all()


def test_krippendorffs_own_example():
    """Four observers, twelve units, gaps: "Computing Krippendorff's Alpha-Reliability" gives 0.815 for ordinal data."""
    nan = float("nan")
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    assert alpha(observers) == pytest.approx(0.815, abs=5e-4)


def test_alpha_by_hand():
    """Two raters, units (1, 1), (1, 2), (2, 2), (3, 3). Values 1, 2, 3 come 3, 3, 2 times, so the ordinal distance
    (n_c / 2 + between + n_k / 2)^2 is 9 for 1-2, 6.25 for 2-3 and (1.5 + 3 + 1)^2 = 30.25 for 1-3. Observed: one
    pair of 1 and 2, in both directions: 18 / 8. Expected: 2 (9*9 + 6*30.25 + 6*6.25) / (8*7)."""
    expected = 2 * (9 * 9 + 6 * 30.25 + 6 * 6.25) / (8 * 7)
    assert alpha([[1, 1, 2, 3], [1, 2, 2, 3]]) == pytest.approx(1 - (18 / 8) / expected)


def test_systems_that_are_alike_do_not_differ(tmp_path):
    table = judged(tmp_path, raters=2, noise=0.0, worth=dict.fromkeys(SYSTEMS, 0.0))
    assert friedman(table) == (0.0, 1.0)
    pairs = compare(table)
    assert (pairs.difference == 0).all() and (pairs.p == 1).all() and (pairs.p_holm == 1).all()
    metrics = {name: {"m": s} for s, name in enumerate(SYSTEMS)}
    assert "do not differ" in correlate(table, metrics).note[0]


def test_agreement_needs_two_who_differ_in_something(tmp_path):
    with pytest.raises(UserError, match="two raters at least"):
        agreement(judged(tmp_path / "one", raters=1, noise=1.0))
    with pytest.raises(UserError, match="all judgements are alike"):
        agreement(judged(tmp_path / "alike", raters=2, noise=0.0, worth=dict.fromkeys(SYSTEMS, 0.0)))


def test_one_rater_gives_an_interval_over_captions_that_says_so(tmp_path):
    table = judged(tmp_path, raters=1, noise=1.0)
    scores = mean_scores(table)
    assert all("captions only" in value.protocol["interval"] for value in scores.values())
    assert all(value.low < value.value < value.high for value in scores.values())


def test_more_captions_and_raters_narrow_the_interval(tmp_path):
    few = mean_scores(judged(tmp_path / "few", raters=2, noise=1.0, captions=6))
    many = mean_scores(judged(tmp_path / "many", raters=8, noise=1.0, captions=40))
    assert all(2 * (many[s].high - many[s].low) < few[s].high - few[s].low for s in SYSTEMS)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Raters and captions with likings of their own: 150 studies, each of 8 raters and 12 captions."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(150):
        felt = rng.normal(size=(8, 1, 3)) * 0.7 + rng.normal(size=(1, 12, 3)) * 0.7 + rng.normal(size=(8, 12, 3))
        value = mean_scores(_table(scipy_stats.rankdata(felt, axis=-1)))["a"]
        held += value.low <= 2 <= value.high
    assert held / 150 > 0.9


def _table(ranks: np.ndarray) -> pd.DataFrame:
    """Ranks (raters, captions, systems) as judgements of systems a, b, c ..."""
    rows = [
        (f"simulated-{r}", c, c, "abcdefgh"[s], "rank", float(value), np.nan)
        for (r, c, s), value in np.ndenumerate(ranks)
    ]
    return pd.DataFrame(rows, columns=["rater", "question", "caption", "system", "measure", "value", "seconds"])


def test_unfinished_raters_count_with_what_they_gave(tmp_path):
    made = make(tmp_path)
    simulate(made, 1, WORTH)
    simulate(made, 2, WORTH, at_most=5)
    found = grid(made.judgements()[0])
    assert found.values.shape == (2, 12, 3) and np.isfinite(found.values).all(-1).sum(1).tolist() == [12, 5]
    assert mean_scores(made.judgements()[0])["secret-gan"].n == 17
    assert agreement(made.judgements()[0]).n == 15
    with pytest.raises(UserError, match="nobody has judged rank yet"):
        grid(made.judgements()[0].query("rater == 'nobody'"))


def test_too_few_answers_are_told_and_not_reckoned_with(tmp_path):
    made = make(tmp_path, tasks=("rate",))
    simulate(made, 1, WORTH, noise=0.0, at_most=2)
    table, _ = made.judgements()
    with pytest.raises(UserError, match="no rater has judged all of .* for one caption yet"):
        compare(table, "fit")
    with pytest.raises(UserError, match="fit of one caption is too little"):
        mean_scores(table[table.question == 0], "fit")
    with pytest.raises(UserError, match="unknown measure 'fid'; did you mean 'fit'"):
        grid(table, "fid")


def test_compare_flips_signs_over_captions_with_holms_correction(tmp_path):
    table = judged(tmp_path, raters=3, noise=1.5, captions=9)
    found, pairs = grid(table), compare(table)
    means, flips = found.values.mean(0), np.array(list(itertools.product((-1, 1), repeat=9)))
    for row in pairs.itertuples():
        a, b = found.systems.index(row.first), found.systems.index(row.second)
        difference = means[:, a] - means[:, b]
        expected = np.mean(np.abs(flips @ difference) >= abs(difference.sum()) - 1e-9)
        assert row.p == pytest.approx(expected) and row.captions == 9
        assert row.difference == pytest.approx(difference.mean()) and row.low <= row.difference <= row.high
    least, middle, most = sorted(pairs.p)
    expected = np.maximum.accumulate([3 * least, 2 * middle, most]).clip(max=1)
    assert sorted(pairs.p_holm) == pytest.approx(expected)
    with pytest.raises(UserError, match="three systems at least"):
        friedman(table[table.system != "secret-gan"])


def test_checks_are_left_out_of_the_ranks_and_tell_who_reads(tmp_path):
    real = pictures(12, 9)
    made = make(tmp_path, ceiling=real, floor=real.roll(1, 0))
    simulate(made, 1, CHECKED, noise=0.0)
    simulate(made, 2, dict.fromkeys(CHECKED, 0.0), noise=1.0)
    table, _ = made.judgements()
    assert set(table.system) == set(CHECKED) and table[table.measure == "rank"].value.max() == 5
    assert np.array_equal(grid(table).values[0], np.tile([2.0, 1.0, 3.0], (12, 1))), "ranks 1 to 3, names sorted"
    reads, guesses = attention(table).itertuples()
    assert (reads.ceiling_over_floor, reads.fit_ceiling, reads.fit_floor, reads.answers) == (1.0, 5.0, 1.0, 72)
    assert 0 < guesses.ceiling_over_floor < 1 and np.isnan(guesses.median_seconds)
    assert np.isnan(attention(judged(tmp_path / "without", raters=1, noise=0.0)).ceiling_over_floor).all()


# ----------------------------------------------------------------------------------------------------- and the metrics


def five(noise: float = 0.0) -> pd.DataFrame:
    """Five systems, a the best; three raters, ten captions."""
    felt = np.arange(5) + noise * np.random.default_rng(0).normal(size=(3, 10, 5))
    return _table(scipy_stats.rankdata(felt, axis=-1))


def test_a_metric_that_orders_as_people_do_has_rho_one_and_an_exact_p():
    metrics = {name: {"is": 9.0 - s, "fid": Value(10.0 + s, 1, 99, 5), "flat": 1.0} for s, name in enumerate("abcde")}
    found = correlate(five(), metrics).set_index("metric")
    assert found.loc["is", ["rho", "low", "high"]].tolist() == [-1, -1, -1], "a lower rank is better"
    assert found.loc["is", "p"] == found.loc["is", "least_p"] == pytest.approx(2 / 120)
    assert found.higher_is_judged.to_dict() == {"is": "better", "fid": "worse", "flat": ""}
    assert np.isnan(found.loc["flat", "rho"]) and "do not differ" in found.loc["flat", "note"]
    assert found.loc["is", "note"] == ""


def test_the_exact_p_is_the_share_of_permutations():
    """rho of (1, 2, 3, 4, 5) with (2, 1, 3, 5, 4) is 0.8; 8 of 120 orders reach that, and as many -0.8."""
    values = dict(zip("abcde", (2, 1, 3, 5, 4), strict=True))
    found = correlate(five(), {name: {"m": value} for name, value in values.items()}).iloc[0]
    rhos = [scipy_stats.spearmanr(range(5), order).statistic for order in itertools.permutations(range(5))]
    assert found.rho == pytest.approx(0.8)
    assert found.p == pytest.approx(np.mean(np.abs(rhos) >= 0.8 - 1e-9)) == pytest.approx(16 / 120)


def test_the_interval_of_rho_follows_the_raters():
    metrics = {name: {"m": s} for s, name in enumerate("abcde")}
    found = correlate(five(noise=3.0), metrics).iloc[0]
    assert found.low < found.rho <= found.high


@pytest.mark.parametrize("systems, least", [(2, 1.0), (3, 1 / 3), (4, 1 / 12)])
def test_few_systems_show_nothing_and_the_table_says_so(systems, least):
    metrics = {name: {"m": s} for s, name in enumerate("abcde"[:systems])}
    table = five()
    found = correlate(table[table.system.isin(list(metrics))], metrics).iloc[0]
    assert found.rho == 1 and found.p == found.least_p == pytest.approx(least)
    assert found.note.startswith(f"{systems} systems: p cannot fall below") and "shows nothing yet" in found.note


def test_metrics_of_unknown_systems_are_named():
    with pytest.raises(UserError, match="unknown system"):
        correlate(five(), {"z": {"m": 1.0}})
    with pytest.raises(UserError, match="no metric was given"):
        correlate(five(), {})
    only = correlate(five(), {"a": {"m": 1.0}, "b": {"m": float("nan")}}).iloc[0]
    assert only.systems == 1 and only.note == "one system only"


def test_figures_show_every_system_and_say_that_raters_are_simulated():
    metrics = {name: {"is": 9.0 - s, "fid": 10.0 + s} for s, name in enumerate("abcde")}
    scores = mean_scores(five(noise=1.0))
    (ax,) = mean_score_figure(scores).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == list(scores)
    assert "1 is best" in ax.get_xlabel() and "3 of 3 raters are SIMULATED" in ax.get_xlabel()
    guess = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in guess] == [3.0]
    panels = metric_figure(scores, metrics, correlate(five(noise=1.0), metrics)).axes
    assert [panel.get_xlabel() for panel in panels] == ["is", "fid"] and all(panel.yaxis_inverted() for panel in panels)
    assert {text.get_text() for text in panels[0].texts} == set("abcde")
