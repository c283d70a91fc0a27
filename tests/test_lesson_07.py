"""The tables of lesson 07, and of means in general: every number under its own head, rounded as the page says."""
import pytest
import torch

from gpt_helpers import plot
from gpt_helpers.evaluate import History
from gpt_helpers.lessons.gpt2_124m import show_memory, show_moments, show_quotations
from gpt_helpers.plot import show_means


@pytest.fixture
def rows(monkeypatch):
    """The rows of the table that is shown, its head first; the line under the head is left out."""
    lines = []

    def display(data, raw):
        head, _, *others = data["text/plain"].splitlines()
        lines.extend([cell.strip() for cell in line.strip("|").split("|")] for line in [head, *others] if line)

    monkeypatch.setattr(plot, "display", display)
    return lines


def test_memory_is_shown_in_gigabytes_and_in_weights_and_added_up(rows):
    memory = {"weights": 2 * 10**9, "activations": 10**9}
    show_memory(memory)
    assert rows == [["in memory", "GB", "times the weights"], ["weights", "2.00", "1.0"], ["activations", "1.00", "0.5"],
                    ["together", "3.00", "1.5"]]
    assert list(memory) == ["weights", "activations"]


def test_a_moment_has_its_own_losses_and_their_gap(rows):
    show_moments(History([3.0, 2.0, 1.0], [3.5, 2.25, 2.5], [1, 2, 3]), {"second": 1, "last": -1})
    assert rows[1:] == [["second", "2.000", "2.250", "0.250"], ["last", "1.000", "2.500", "1.500"]]


def test_quotations_stand_place_by_place_before_their_mean(rows):
    show_quotations({"model": [22, 9, 40], "author": [5, 4, 5]})
    assert rows[1:] == [["model", "22, 9, 40", "23.7"], ["author", "5, 4, 5", "4.7"]]


def test_a_mean_has_the_standard_error_of_a_sample(rows):
    """The deviations of 1, 2, 3, 4 from 2.5 have squares that add up to 5; 5 over 3 over 4, and its root."""
    show_means({"four": torch.tensor([1.0, 2.0, 3.0, 4.0])})
    assert rows[1:] == [["four", "2.50 ± 0.65"]]
