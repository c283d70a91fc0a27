"""Pictures and tables of lesson 04: the race, the valley, and how far weights have moved."""
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import torch

from gpt_helpers.plot import PALETTE, DescribedFigure, label_lines, new_axes, plot_curves, show_table, smooth

LEVELS = (0.585, 0.6, 0.63, 0.7, 0.8, 1, 1.3, 1.7, 2.2)      # losses at which the valley's lines are drawn
COLOURS = {"SGD": "val", "momentum": "baseline", "Adam": "train", "AdamW": "accent"}
BESIDE = {"SGD": (2, -14), "momentum": (2, -30), "Adam": (9, -3), "AdamW": (-22, -24)}      # names beside their paths, in points


def plot_race(losses: Mapping[str, Sequence[float]], epoch: int) -> DescribedFigure:
    """The mean loss of each epoch, in nats per token: {rule: losses of its steps}; epoch: its number of steps."""
    return plot_curves({name: smooth(steps, epoch) for name, steps in losses.items()}, title="Four rules, one GPT")


def show_race(stored: Mapping[str, Sequence[Mapping[str, Any]]], columns: Iterable[str],
              here: Mapping[str, torch.Tensor] | None = None) -> None:
    """A table of the race: each rule's rate and, for each column of the stored runs, mean ± standard deviation over the seeds.

    here: {rule: training losses of the tokens in this notebook's own run, (n,)}; their mean is one more column.
    """
    columns, rows = list(columns), []
    for rule, runs in stored.items():
        numbers = [[run[name] for run in runs] for name in columns]
        rows.append([rule, f"{runs[0]['rate']:g}", *(f"{mean(losses):.2f} ± {stdev(losses):.2f}" for losses in numbers),
                     *([f"{here[rule].mean():.2f}"] if here else [])])
    show_table(["", "learning rate", *columns, *(["train, above"] if here else [])], rows)


def plot_frequencies(here: Mapping[str, Mapping[str, float]],
                     stored: Mapping[str, Sequence[Mapping[str, float]]]) -> DescribedFigure:
    """Training loss by how often a token occurs: {rule: `losses_by_frequency`} as lines, all stored runs as bands behind."""
    title = "Who learns the rare tokens?"
    figure, axes = new_axes(title, "the token occurs in the training part …", "loss (nats per token)")
    words = []
    for rule, losses in here.items():
        colour = PALETTE[COLOURS[rule]]
        bands = [[run[name] for run in stored[rule]] for name in losses]
        axes.fill_between(losses.keys(), list(map(min, bands)), list(map(max, bands)), color=colour, alpha=0.15, linewidth=0)
        axes.plot(losses.keys(), losses.values(), color=colour, marker="o", markersize=4, label=rule)
        words.append(f"{rule} " + ", ".join(f"{loss:.1f}" for loss in losses.values()))
    axes.set_ylim(0)
    label_lines(axes)
    return DescribedFigure(figure, title, f"Lines: the race above. Bands: from the lowest to the highest of {len(bands[0])} "
                           f"stored runs. Loss of tokens that occur {', '.join(losses)}: {'; '.join(words)}.")


def plot_valley(loss: Callable[[torch.Tensor], torch.Tensor], paths: Mapping[str, torch.Tensor],
                minimum: torch.Tensor) -> DescribedFigure:
    """Paths of update rules, {name: (steps + 1, 2)}, over the lines of equal loss; loss: (2,) to ().  minimum: (2,)."""
    title = "Four rules, one valley"
    figure, axes = new_axes(title, "the rare weight", "the common weight", height=4.6)
    across, along = torch.linspace(-2.3, 1.3, 73, dtype=torch.float64), torch.linspace(-0.8, 1.5, 73, dtype=torch.float64)
    height = [[loss(torch.stack([x, y])) for x in across] for y in along]
    axes.contour(across, along, height, levels=LEVELS, colors="#c4c4c4", linewidths=0.8)
    for name, path in paths.items():
        axes.plot(*path.T, color=PALETTE[COLOURS[name]], marker="o", markersize=2.5, linewidth=1)
        axes.annotate(name, path[-1], xytext=BESIDE[name], textcoords="offset points", color=PALETTE[COLOURS[name]])
    axes.plot(*minimum, "k+", markersize=11)
    axes.annotate("start", next(iter(paths.values()))[0], xytext=(6, -4), textcoords="offset points", color="black")
    after = "; ".join(f"{name} at {path[10, 0]:.1f}, then at {path[-1, 0]:.1f}" for name, path in paths.items())
    return DescribedFigure(figure, title, "Grey: lines of equal loss, lowest at the cross. SGD drops to the floor of the valley "
                           "at once, then creeps along it; momentum swings across; Adam and AdamW set out diagonally. The rare "
                           f"weight after ten steps, and in the end: {after}.")


def plot_lines(lines: Mapping[str, Sequence[float]], title: str, ylabel: str, *, log: bool = False) -> DescribedFigure:
    """Up to four lines against steps, {name: a value for each step}, the first in blue.

    log: a logarithmic axis; for a line that has run away, the description gives no end, since that differs between processors.
    """
    figure, axes = new_axes(title, "steps", ylabel)
    styles = zip(lines.items(), ("train", "val", "baseline", "accent"), ("-", "--", ":", "-."), strict=False)
    for (name, values), colour, style in styles:
        axes.plot(values, color=PALETTE[colour], linestyle=style, label=name)
    axes.set_yscale("log" if log else "linear")
    label_lines(axes, gap=0 if log else 0.055)      # a gap would not be the same all the way up
    ends = {name: f"{values[-1]:.2f}" if not log or values[-1] < 2 * values[0] else "far above" for name, values in lines.items()}
    words = "; ".join(f"{name} from {values[0]:.2f} to {ends[name]}" for name, values in lines.items())
    return DescribedFigure(figure, title, f"A line each, over {len(values) - 1} steps: {words}.")


def plot_decay(weights: Mapping[str, Sequence[float]]) -> DescribedFigure:
    """Weights that decay, step by step: {name: where `weight_path` leads}."""
    return plot_lines(weights, "Weight decay 0.1, lr 0.01", "the weight")


def plot_learning_rates(losses: Mapping[str, Sequence[float]]) -> DescribedFigure:
    """The losses of the steps of some runs, in nats per token, on a logarithmic axis: {name with the rate: losses}."""
    return plot_lines(losses, "One model, three learning rates", "loss (nats per token)", log=True)


def show_steps(ours: Sequence[Mapping[str, float]], torch_has: Mapping[str, Sequence[float]]) -> None:
    """A table of one weight, a column for each step: what we computed, and under m, v and w what PyTorch holds.

    ours: for each step {name: number}. torch_has: {name: a number for each step}. Raises ValueError where they disagree.
    """
    rows = {}
    for name in ours[0]:
        rows[name] = [step[name] for step in ours]
        if name in torch_has:
            rows[f"torch {name}"] = torch_has[name]
            if not all(math.isclose(*pair, rel_tol=1e-4, abs_tol=1e-8) for pair in zip(rows[name], torch_has[name], strict=True)):
                raise ValueError(f"our {name} and PyTorch's disagree: {rows[name]} and {torch_has[name]}")
    show_table(["step", *map(str, range(1, len(ours) + 1))],
               [[name, *(f"{number:.2e}" for number in numbers)] for name, numbers in rows.items()])


def show_sizes(low: torch.Tensor, half: torch.Tensor, high: torch.Tensor, steps: Iterable[int]) -> None:
    """A table of how far weights move in some steps, counted from 1; low, half, high: (steps,) each, in lr, from `move_sizes`."""
    show_table(["step", "half are below", "nine in ten are between"],
               [[str(t), f"{half[t - 1]:.2f}", f"{low[t - 1]:.2f} and {high[t - 1]:.2f}"] for t in steps if t <= len(half)])
