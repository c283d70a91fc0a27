"""The pictures of lesson 01 show what they are given, at its true place."""
import matplotlib.colors
import pytest
import torch

from gpt_helpers.data import TokenWindows, split_tokens
from gpt_helpers.lessons.split import plot_leak, plot_split, plot_winner
from gpt_helpers.plot import PALETTE


def bars(plot):
    """(row, left, right, colour) of each bar."""
    return [(round(bar.get_y() + bar.get_height() / 2), bar.get_x(), bar.get_x() + bar.get_width(),
             matplotlib.colors.to_hex(bar.get_facecolor())) for container in plot.figure.axes[0].containers for bar in container]


def test_the_parts_stand_in_the_order_of_the_text_and_below_them_their_windows():
    plot = plot_split(split_tokens(torch.arange(60)), context_length=5)      # 48, 6, 6
    assert [bar for bar in bars(plot) if bar[0] == 1] == [
        (1, 0, 48, PALETTE["train"]), (1, 48, 54, PALETTE["val"]), (1, 54, 60, PALETTE["test"])]
    windows = [(left, right) for row, left, right, colour in bars(plot) if row == 0 and colour != "#c4c4c4"]
    assert windows == [(left, left + 5) for left in (*range(0, 45, 5), 48, 54)]


def test_what_is_no_windows_input_is_grey_and_told():
    plot = plot_split(split_tokens(torch.arange(60)), context_length=5)
    assert [bar[1:3] for bar in bars(plot) if bar[3] == "#c4c4c4"] == [(45, 48), (53, 54), (59, 60)]
    assert "48 tokens to train, 6 to validate, 6 to test." in repr(plot)
    assert repr(plot).endswith("3, 1 and 1 tokens.")


def test_the_windows_of_a_long_text_are_one_bar():
    plot = plot_split(split_tokens(torch.arange(100_001)), context_length=1000)
    assert (0, 0, 80_000, PALETTE["train"]) in bars(plot) and len(bars(plot)) == 3 + 1 + 9 + 9 + 3


def test_a_part_without_a_window_is_refused():
    with pytest.raises(ValueError, match="5 tokens, too few for one window of 6"):
        plot_split(split_tokens(torch.arange(50)), context_length=5)


def test_the_grey_band_is_where_windows_of_both_kinds_overlap():
    plot = plot_leak(TokenWindows(torch.arange(9), 3, stride=1), cut=2)      # targets 1 to 4, and 3 to 8
    band = plot.figure.axes[0].patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == (2.5, 4.5)
    assert "There are 6 windows of 3 targets" in repr(plot) and "The first 2 are for training" in repr(plot)
    assert repr(plot).endswith("The grey band, positions 3 to 4, lies in windows of both kinds: 2 of the 6 validation targets.")


def test_a_window_of_the_leak_lies_where_its_targets_are():
    plot = plot_leak(TokenWindows(torch.arange(9), 3, stride=1), cut=2)
    assert [bar[:3] for bar in bars(plot)] == [(i, i + 0.5, i + 3.5) for i in range(6)]
    assert [bar[3] for bar in bars(plot)] == [PALETTE["train"]] * 2 + ["#ffffff"] * 4


def test_the_winner_is_drawn_as_it_was_measured_within_the_picture_and_told():
    val, test = {1: 3.0, 10: 2.75, 40: 2.52}, {1: 3.01, 10: 3.0, 40: 2.99}
    plot = plot_winner(val, test)
    axes = plot.figure.axes[0]
    assert [dict(zip(*line.get_data(), strict=True)) for line in axes.lines] == [val, test]
    assert axes.get_ylim() == (2.5, 3.1)
    assert repr(plot).endswith("\nIn validation it goes from 3.00 with 1 tried to 2.52 with 40; in the test it ends at 2.99.")


def test_the_line_that_a_fold_shows_of_the_winner_gives_no_number_away():
    first, _ = repr(plot_winner({1: 3.0, 2: 2.9}, {1: 3.0, 2: 3.0})).splitlines()
    assert not any(character.isdigit() for character in first)
