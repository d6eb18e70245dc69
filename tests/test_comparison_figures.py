"""What the comparison's figures show: which pairs stand, who is better, and the names."""

import numpy as np
import pandas as pd

from t2i_core import comparison_figures
from t2i_core.metrics.paired import Difference
from t2i_core.metrics.stats import Value


def difference(first, second, value, p):
    return Difference(first, second, Value(value, value - 1, value + 1, 9), p, p)


PAIRS = [difference("a", "b", 4.0, 0.001), difference("a", "c", 0.5, 0.6), difference("b", "c", -3.5, 0.01)]


def cells(figure):
    (axis,) = figure.axes
    return {(round(t.get_position()[1] - 0.5), round(t.get_position()[0] - 0.5)): t.get_text() for t in axis.texts}


def names(figure):
    (axis,) = figure.axes
    return [t.get_text() for t in axis.get_yticklabels()]


def test_only_pairs_that_stand_are_shown_and_the_best_row_comes_first():
    figure = comparison_figures.difference_matrix(PAIRS, "FID")
    assert names(figure) == ["b", "c", "a"]
    assert cells(figure) == {(0, 1): "-3.5", (1, 0): "3.5", (0, 2): "-4", (2, 0): "4"}
    higher = comparison_figures.difference_matrix(PAIRS, "score", lower_is_better=False)
    assert names(higher) == ["a", "c", "b"]


def test_blue_is_the_better_row_either_way():
    for lower in (True, False):
        (axis,) = comparison_figures.difference_matrix(PAIRS, "", lower).axes
        mesh = axis.collections[0]
        values, colours = mesh.get_array().filled(0).ravel(), mesh.to_rgba(mesh.get_array()).reshape(-1, 4)
        best = values.argmin() if lower else values.argmax()
        red, _, blue, _ = colours[best]
        assert blue > red


def test_ranks_have_the_best_on_top_and_every_name():
    ranks = pd.DataFrame({"FID": [1, 2], "IS": [2, 1]}, index=["x", "y"])
    (axis,) = comparison_figures.rank_lines(ranks).axes
    assert axis.get_ylim()[0] > axis.get_ylim()[1]
    assert [t.get_text() for t in axis.texts] == ["x", "y"]
    assert np.array_equal(axis.lines[0].get_ydata(), [1, 2])


def test_cost_has_a_dot_and_a_name_a_system_in_each_panel():
    table = pd.DataFrame({"s": [1.0, 10.0], "MB": [5.0, 6.0], "FID": [9.0, 3.0]}, index=["x", "y"])
    figure = comparison_figures.quality_against_cost(table, "FID", ["s", "MB"])
    for axis, cost in zip(figure.axes, ("s", "MB"), strict=True):
        assert np.allclose(axis.collections[0].get_offsets(), table[[cost, "FID"]])
        assert [t.get_text() for t in axis.texts] == ["x", "y"]
