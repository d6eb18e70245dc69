"""What drawing costs: medians by hand and by theory, memory to the byte, and that neither is asked of images alone."""

import shutil
import sys

import numpy as np
import pytest
import torch
from torch import nn

from t2i_core.cli import main
from t2i_core.config import UserError
from t2i_core.metrics import cost
from t2i_core.metrics.cost import drawing_cost, median, peak_bytes
from t2i_core.metrics.evaluate import GROUPS, OF_IMAGES, evaluate_folder, evaluate_images, evaluate_run, evaluate_stages
from t2i_core.runs import Run
from tests import tiny

NAMES = {"seconds_per_image", "seconds_per_image_batch", "peak_memory_mb"}


@pytest.mark.parametrize(
    ("n", "low", "value", "high"), [(6, 1, 3.5, 6), (9, 2, 5, 8), (10, 2, 5.5, 9), (100, 40, 50.5, 61)]
)
def test_the_median_lies_between_two_of_the_times(n, low, value, high):
    """Of 9 times the 2nd and the 8th, with 1 - 2 (1 + 9) / 2^9 = 96.1 %; of 100 the 40th and the 61st, as in tables."""
    times = 4.0 * np.random.default_rng(0).permutation(np.arange(1, n + 1))
    found = median(times, images=4, protocol={"batch_size": 4})
    assert (found.low, found.value, found.high, found.n) == (low, value, high, 4 * n)
    assert found.protocol["batch_size"] == 4 and f"of {n} times" in found.protocol["interval"]


def test_the_median_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    found = [median(rng.exponential(size=9), 1) for _ in range(400)]
    assert 0.93 < np.mean([one.low <= np.log(2) <= one.high for one in found]) < 0.99


class Layers(nn.Module):
    """Weights of 4 kB, and a drawing that holds 8 kB at most: two tensors of 4 kB while the second is made."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1000))

    @torch.no_grad()
    def draw(self, times: int = 3) -> None:
        x = self.weight
        for _ in range(times):
            x = x.sigmoid()


def test_peak_memory_is_known_to_the_byte():
    layers = Layers()
    assert peak_bytes(layers, lambda: layers.draw(1)) == 4000 + 4000
    assert [peak_bytes(layers, layers.draw) for _ in range(3)] == [4000 + 8000] * 3
    assert peak_bytes(layers, lambda: layers.draw(50)) == 4000 + 8000, "what is freed does not count"


def test_measuring_memory_says_nothing(capfd):
    layers = Layers()
    peak_bytes(layers, layers.draw)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ZeroDivisionError):
        peak_bytes(layers, lambda: 1 / 0)
    print("still here", file=sys.stderr)
    assert "still here" in capfd.readouterr().err


def test_each_time_is_of_the_drawing_it_names(monkeypatch):
    """By a clock that ticks once a caption an image takes 1, alone and in a batch; the first of each does not count."""
    system, clock, drawn = tiny.system("attngan"), [0.0], []
    generate = type(system).generate

    def counted(self, captions, noise):
        drawn.append(list(captions))
        clock[0] += len(captions) * (100.0 if len(drawn) <= 2 else 1.0)
        return generate(self, captions, noise)

    monkeypatch.setattr(type(system), "generate", counted)
    monkeypatch.setattr(cost, "_now", lambda device: clock[0])
    found = drawing_cost(system, tiny.CAPTIONS, {"run": "a"}, batch_size=6, repeats=7)
    assert set(found) == NAMES
    for name, size in (("seconds_per_image", 1), ("seconds_per_image_batch", 6)):
        assert (found[name].low, found[name].value, found[name].high) == (1.0, 1.0, 1.0)
        assert found[name].n == 7 * size and found[name].protocol["batch_size"] == size
        told = found[name].protocol
        assert (told["repeats"], told["warm_up"], told["threads"], told["run"]) == (7, 1, torch.get_num_threads(), "a")
        assert told["device"].startswith("CPU") and told["resolution"] == 32 and told["machine"]["cores"] >= 1
    assert [len(one) for one in drawn] == [1, 6] * 8 + [6, 6]
    assert drawn[1] == [*tiny.CAPTIONS, *tiny.CAPTIONS[:2]] and [one[0] for one in drawn[:14:2]] == drawn[1] + drawn[0]


def test_memory_grows_with_the_batch_and_not_from_call_to_call():
    system = tiny.system("attngan")
    peaks = [drawing_cost(system, tiny.CAPTIONS, batch_size=size)["peak_memory_mb"] for size in (4, 8, 8)]
    weights = sum(p.numel() * p.element_size() for p in [*system.parameters(), *system.buffers()]) / 1e6
    assert weights < peaks[0].value < peaks[1].value == peaks[2].value
    assert peaks[1].value - weights == pytest.approx(2 * (peaks[0].value - weights), rel=0.05)
    assert peaks[1].low == peaks[1].high == peaks[1].value and peaks[1].protocol["batch_size"] == 8


def test_it_is_a_group_of_runs_and_of_nothing_else(tiny_run, tiny_scenes, asked, tmp_path):
    assert "cost" in GROUPS and "cost" not in OF_IMAGES
    run = Run(shutil.copytree(tiny_run, tmp_path / "run"))
    found = evaluate_run(run, "cost", n=24, device="cpu")
    assert set(found) == NAMES == set(run.metrics)
    assert 0 < found["seconds_per_image_batch"]["value"] < found["seconds_per_image"]["high"]
    images, told = asked
    with pytest.raises(UserError, match="cost asks a whole run .* choose from fid, .* soa"):
        evaluate_images(images, *told, images, "toy-scenes", metrics="cost")
    with pytest.raises(UserError, match="cost asks a whole run"):
        evaluate_stages(run, ("fid", "cost"), n=24, device="cpu")
    with pytest.raises(UserError, match="cost asks a whole run .* choose from .*, precision_recall$"):
        evaluate_folder(tmp_path, tiny_scenes, ("fid", "cost"), device="cpu")


def test_the_command_prints_what_drawing_and_training_cost(tiny_run, tmp_path, capsys):
    run = Run(shutil.copytree(tiny_run, tmp_path / "run"))
    words = ["evaluate", "--run", str(run.folder), "--images", "24", "--device", "cpu", "--metrics"]
    assert main([*words, "cost"]) == 0
    *table, training, _ = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["seconds_per_image", "seconds_per_image_batch", "peak_memory_mb"]
    assert f"generator {run.summary['parameters']['generator']:,}" in training
    assert f"trained for {run.summary['train_seconds']:.1f} s" in training
    milliseconds = float(table[0].split()[1])
    assert milliseconds == pytest.approx(run.metrics["seconds_per_image"]["value"], rel=0.02)


def test_what_cannot_be_timed_is_refused():
    system = tiny.system("attngan")
    with pytest.raises(UserError, match="no caption to draw"):
        drawing_cost(system, [])
    with pytest.raises(UserError, match="5 repeats .* take 6 at least"):
        drawing_cost(system, tiny.CAPTIONS, repeats=5)
