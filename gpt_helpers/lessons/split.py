"""The pictures of lesson 01: the split, how it leaks, and the best of many."""
import math
from collections.abc import Mapping
from statistics import fmean

import torch
from torch.utils.data import Subset

from gpt_helpers.data import Split, TokenWindows, all_targets
from gpt_helpers.plot import PALETTE, DescribedFigure, label_lines, new_axes

MANY = 50_000      # inputs; more windows than fit into them could not be told apart


def plot_split(split: Split, context_length: int) -> DescribedFigure:
    """The three parts of a text, to scale in tokens, and below them the windows that fit into each, side by side.

    context_length: inputs of a window. Raises ValueError when a part is too short for one.
    """
    figure, axes = new_axes("The split, to scale", "position in the text (tokens)", "", height=2.7)
    start, left_out = 0, []
    for (name, part), label, side, place in zip(split._asdict().items(), ("training", "validation", "test"),
                                                ("center", "right", "left"), (0.5, 0.95, 0.05), strict=True):
        covered = len(TokenWindows(part, context_length)) * context_length
        left_out.append(len(part) - covered)
        style = {"height": 0.5, "color": PALETTE[name], "edgecolor": "white"}
        axes.barh(1, len(part), left=start, **style)
        width = context_length if covered < MANY else covered
        axes.barh(0, width, left=range(start, start + covered, width), **style)
        axes.barh(0, left_out[-1], left=start + covered, height=0.5, color="#c4c4c4")
        axes.text(start + len(part) * place, 1.32, f"{label}\n{len(part):,}", ha=side, color=PALETTE[name])
        start += len(part)
    axes.set_yticks([0, 1], [f"windows of {context_length}\n(grey: no input)", "three parts"])
    axes.set_ylim(-0.5, 2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return DescribedFigure(
        figure, "The three parts of the text and their windows",
        f"Upper bar, to scale, in the order of the text: {len(split.train):,} tokens to train, {len(split.val):,} to validate, "
        f"{len(split.test):,} to test. Lower bar: the windows of {context_length} inputs that fit into each. Grey, at the end of "
        f"each part, what is no window's input: {left_out[0]}, {left_out[1]} and {left_out[2]} tokens.")


def plot_leak(windows: TokenWindows, cut: int) -> DescribedFigure:
    """Which targets the windows before `cut`, for training, share with the others, for validation.

    windows: over positions in a text, 0, 1, 2 and so on, each starting one further right than the last, stride 1.
    cut: the number of training windows.
    """
    train, val = (all_targets(Subset(windows, part)).unique() for part in (range(cut), range(cut, len(windows))))
    shared = val[torch.isin(val, train)].tolist()
    figure, axes = new_axes("Windows first, cut after", "position of the target", "window", height=3.6)
    axes.axvspan(shared[0] - 0.5, shared[-1] + 0.5, color="#e4e4e4")
    for i in range(len(windows)):
        name, hatch = ("train", "") if i < cut else ("val", "////")
        axes.barh(i, windows.context_length, left=windows[i][1][0].item() - 0.5, height=0.6, hatch=hatch,
                  edgecolor=PALETTE[name], color="white" if hatch else PALETTE[name])
    axes.text(train[-1].item() + 1, (cut - 1) / 2, "training windows", color=PALETTE["train"], va="center")
    axes.text(val[0].item() - 0.7, (cut + len(windows) - 1) / 2, "validation windows", color=PALETTE["val"], va="center",
              ha="right")
    axes.text(fmean(shared), len(windows) + 0.1, "in both", color="#1a1a1a", ha="center", va="center")
    axes.set(yticks=range(len(windows)), ylim=(len(windows) + 0.6, -0.6))
    return DescribedFigure(
        figure, "Training and validation windows that overlap across the cut",
        f"There are {len(windows)} windows of {windows.context_length} targets, each one position further right than the last. "
        f"The first {cut} are for training, the others, hatched, for validation. The grey band, positions {shared[0]} to "
        f"{shared[-1]}, lies in windows of both kinds: {len(shared)} of the {len(val)} validation targets.")


def plot_winner(val_losses: Mapping[int, float], test_losses: Mapping[int, float]) -> DescribedFigure:
    """The loss of the best of many recipes that are equally good: {recipes tried: its loss in nats}, in validation and test."""
    figure, axes = new_axes("The best of many", "recipes tried", "loss of the winner", height=3.4)
    axes.plot(val_losses.keys(), val_losses.values(), color=PALETTE["val"], marker="s", label="validation")
    axes.plot(test_losses.keys(), test_losses.values(), color=PALETTE["test"], marker="o", label="test")
    losses = [*val_losses.values(), *test_losses.values()]
    axes.set_ylim(math.floor(10 * min(losses)) / 10, math.ceil(10 * max(losses)) / 10)
    first, last = min(val_losses), max(val_losses)
    label_lines(axes)
    return DescribedFigure(
        figure, "Loss of the winner against the number of recipes tried",
        "All recipes have the same true loss. The winner's validation loss falls, the more recipes are tried; its test loss does "
        f"not.\nIn validation it goes from {val_losses[first]:.2f} with {first} tried to {val_losses[last]:.2f} with {last}; in "
        f"the test it ends at {test_losses[last]:.2f}.")
