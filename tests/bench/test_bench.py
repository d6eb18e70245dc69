"""The bench measures what it says: its two ways agree, and a missed promise is an exit status. No time is asserted."""

from __future__ import annotations

import pytest
import torch

from t2i_core.matching import word_loss
from t2i_core.metrics.frechet import frechet_distance

from .__main__ import verdict
from .comparisons import WORD_LOSSES, matching_batch
from .explorer import LEAST, measured, time_explorer
from .frechet import by_sqrtm, gaussians
from .measure import Row, Stopwatch, interleaved, ratio, table


@pytest.mark.parametrize("batch", [5, 13])  # 13 captions are read in groups of similar length
@pytest.mark.parametrize("by_hand", WORD_LOSSES.values(), ids=WORD_LOSSES)
def test_a_loop_is_the_same_loss_with_the_same_gradient(by_hand, batch):
    regions, words, mask = matching_batch(batch=batch, text_dim=6, side=3, words=9)
    assert len(set(mask.sum(1).tolist())) > 1
    losses = [way(regions, words, mask) for way in (word_loss, by_hand)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, (regions, words)) for loss in losses))


def test_the_root_of_the_product_is_the_same_distance():
    arguments = gaussians(d=20, rows=50)
    assert frechet_distance(*arguments) == pytest.approx(by_sqrtm(*arguments), rel=1e-9)


def test_the_explorer_draws_what_is_timed():
    (row,) = time_explorer(rounds=1, names=("df-gan",), profile="smoke")
    assert row.value > 0 and "median" in row.detail and row.at_most == 1
    assert measured(float, LEAST, warm_up=3) == [float(k) for k in range(3, LEAST + 3)]


def test_the_ways_take_turns():
    calls = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, warm_up=1)
    assert calls == ["a", "b"] * 3 and [len(seconds[name]) for name in "ab"] == [2, 2]
    assert ratio([4.0, 6.0, 100.0], [2.0, 2.0, 2.0]) == 3


def test_a_stopwatch_counts_a_method_inside_of_another_once(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(now))

    class Worker:
        def outer(self):
            return self.inner() + 1

        def inner(self):
            return 1

    worker, watch = Worker(), Stopwatch()
    for name in ("outer", "inner"):
        watch.watch(worker, name)
    assert worker.outer() == 2 and watch.seconds == 2  # from 0 to 2; the inner call began at 1


@pytest.mark.parametrize(
    ("row", "status"),
    [
        (Row("a / b", 5.0, "", at_least=5), 0),
        (Row("a / b", 4.9, "", at_least=5), 1),
        (Row("share", 0.05, "", at_most=0.05, percent=True), 0),
        (Row("share", 0.051, "", at_most=0.05, percent=True), 1),
        (Row("nan", float("nan"), "", at_most=0.05), 1),
        (Row("nothing promised", 1e9, ""), 0),
    ],
)
def test_a_missed_promise_is_named_and_decides_the_exit_status(capsys, row, status):
    assert verdict([Row("fine", 1.0, "", at_most=2), row]) == status
    said = capsys.readouterr().err
    assert (row.what in said) == bool(status) and "fine" not in said
    assert ("MISSED" in table([row])) == bool(status) and row.what in table([row])
