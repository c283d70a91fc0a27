"""The race of lesson 04: one small GPT, several optimisers, and the tokens on which one wins."""
import csv
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.optim import Optimizer

from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.plot import PALETTE, DescribedFigure, label_lines, new_axes, show_table

TUNING, RACE = range(1, 4), range(4, 14)      # the seeds that chose each learning rate, and those of the race itself
LEVELS = (0.585, 0.6, 0.63, 0.7, 0.8, 1, 1.3, 1.7, 2.2)      # losses at which the valley's lines are drawn
COLOURS = {"SGD": "val", "momentum": "baseline", "Adam": "train", "AdamW": "accent"}
BESIDE = {"SGD": (2, -14), "momentum": (2, -30), "Adam": (9, -3), "AdamW": (-22, -24)}      # names beside their paths, in points

FREQUENCIES = {"once or twice": (1, 2), "3 to 9 times": (3, 9), "10 to 99 times": (10, 99), "100 times or more": (100, 10**9)}


def train_steps(model: nn.Module, optimizer: Optimizer, batches: Iterable, epochs: int = 1) -> Iterator[float]:
    """Train, a batch a step, and yield each step's loss, in nats per token; gradients stay until the next step."""
    for _ in range(epochs):
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss = calc_loss_batch(inputs, targets, model, "cpu")
            loss.backward()
            optimizer.step()
            yield loss.item()


def losses_by_frequency(losses: torch.Tensor, ids: torch.Tensor) -> dict[str, float]:
    """Mean loss by how often a token occurs in a text, in nats per token; a kind of token that the text lacks is left out.

    ids: (N,), the text. losses: (n,), one for each of its tokens from the second on, as `calc_token_losses` gives them.
    """
    often = ids.bincount()[ids[1:len(losses) + 1]]      # (n,)
    groups = {name: losses[(low <= often) & (often <= high)] for name, (low, high) in FREQUENCIES.items()}
    return {name: group.mean().item() for name, group in groups.items() if len(group)}


def moves(weights: Iterable[torch.Tensor], steps: Iterable, lr: float) -> Iterator[torch.Tensor]:
    """After each of the steps, how far each weight has moved in it, in units of lr: (N,).

    weights: tensors that the steps change.
    """
    weights = [weight.detach() for weight in weights]
    before = parameters_to_vector(weights)
    for _ in steps:
        after = parameters_to_vector(weights)
        yield (after - before) / lr
        before = after


def distances(rows: Iterable[torch.Tensor], steps: Iterable) -> list[list[float]]:
    """How far each row is from where it was, before the first of the steps and after each; a list for each row.

    rows: (C,) each, parts of tensors that the steps change.
    """
    rows = [row.detach() for row in rows]
    first = [row.clone() for row in rows]
    far = [[(row - start).norm().item() for row, start in zip(rows, first, strict=True)] for _ in steps]
    return [[0.0, *of_row] for of_row in zip(*far, strict=True)]


def lonely_tokens(batches: Iterable) -> list[int]:
    """The tokens that are in the first batch and in none of the others, in order."""
    first, *others = (set(inputs.flatten().tolist()) for inputs, _ in batches)
    return sorted(first.difference(*others))


def contrasting(gradients: torch.Tensor) -> tuple[int, int]:
    """Two weights, by their gradients, (steps, N): the one whose gradients agree most, and the loudest whose gradients don't."""
    loudness = gradients.abs().sum(dim=0)
    agreement = gradients.sum(dim=0).abs() / loudness
    return agreement.argmax().item(), (loudness * (agreement < 0.1)).argmax().item()


class SharedAdam(Optimizer):
    """Adam, except that many weights share one v, the average of their mean squared gradient.

    share: "tensor", the weights of a tensor; or "model", all weights there are. betas 0.9 and 0.999, eps 1e-8, no decay.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, share: str):
        super().__init__(params, {"lr": lr})
        self.share = share

    @torch.no_grad()
    def step(self) -> None:
        """Move every weight."""
        [group] = self.param_groups
        squares = [p.grad.square() for p in group["params"]]
        of_all = parameters_to_vector(squares).mean()
        for p, square in zip(group["params"], squares, strict=True):
            state = self.state[p]
            state["step"] = t = state.get("step", 0) + 1
            state["m"] = 0.9 * state.get("m", 0) + 0.1 * p.grad
            state["v"] = 0.999 * state.get("v", 0) + 0.001 * (square.mean() if self.share == "tensor" else of_all)
            p -= group["lr"] * state["m"] / (1 - 0.9**t) / ((state["v"] / (1 - 0.999**t)).sqrt() + 1e-8)


def read_race(path: str | Path) -> list[dict[str, Any]]:
    """The table that `scripts/optimizer_race.py` writes: a dict for each run."""
    with open(path, newline="", encoding="utf-8") as file:
        return [run | {name: float(value) for name, value in run.items() if name != "rule"} | {"seed": int(run["seed"])}
                for run in csv.DictReader(file)]


def raced(path: str | Path) -> dict[str, list[dict[str, Any]]]:
    """{rule: its runs in the race, seed by seed}, from the table of `read_race`."""
    runs = [run for run in read_race(path) if run["seed"] in RACE]
    return {rule: [run for run in runs if run["rule"] == rule] for rule in dict.fromkeys(run["rule"] for run in runs)}


def show_race(stored: Mapping[str, Sequence[Mapping[str, Any]]], columns: Iterable[str],
              here: Mapping[str, torch.Tensor] | None = None) -> None:
    """A table of the race: each rule's rate and, for each column of the stored runs, mean ± standard deviation over the seeds.

    here: {rule: training losses of the tokens in this notebook's own run, (n,)}; their mean is one more column.
    """
    columns = list(columns)
    head = ["", "learning rate", *columns, *(["train, above"] if here else [])]
    rows = []
    for rule, runs in stored.items():
        numbers = [[run[name] for run in runs] for name in columns]
        cells = [rule, f"{runs[0]['rate']:g}"]
        cells += [f"{statistics.mean(losses):.2f} ± {statistics.stdev(losses):.2f}" for losses in numbers]
        cells += [f"{here[rule].mean():.2f}"] if here else []
        rows.append(cells)
    show_table(head, rows)


def plot_frequencies(here: Mapping[str, Mapping[str, float]],
                     stored: Mapping[str, Sequence[Mapping[str, float]]]) -> DescribedFigure:
    """Training loss by how often a token occurs: {rule: `losses_by_frequency`} as lines, all stored runs as bands behind."""
    title = "Who learns the rare tokens?"
    figure, axes = new_axes(title, "the token occurs in the training part …", "loss (nats per token)")
    labels, words = [], []
    for rule, losses in here.items():
        colour = PALETTE[COLOURS[rule]]
        bands = [[run[name] for run in stored[rule]] for name in losses]
        axes.fill_between(losses.keys(), list(map(min, bands)), list(map(max, bands)), color=colour, alpha=0.15, linewidth=0)
        axes.plot(losses.keys(), losses.values(), color=colour, marker="o", markersize=4)
        labels.append((list(losses.values())[-1], rule, colour))
        words.append(f"{rule} " + ", ".join(f"{loss:.1f}" for loss in losses.values()))
    axes.set_ylim(0)
    label_lines(axes, labels)
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
    axes.annotate("start", next(iter(paths.values()))[0], xytext=(6, -4), textcoords="offset points")
    after = "; ".join(f"{name} at {path[10, 0]:.1f}, then at {path[-1, 0]:.1f}" for name, path in paths.items())
    return DescribedFigure(figure, title, "Grey: lines of equal loss, lowest at the cross. SGD drops to the floor of the valley "
                           "at once, then creeps along it; momentum swings across; Adam and AdamW set out diagonally. The rare "
                           f"weight after ten steps, and in the end: {after}.")


def plot_lines(lines: Mapping[str, Sequence[float]], title: str, ylabel: str, *, log: bool = False) -> DescribedFigure:
    """Up to four lines against steps, {name: a value for each step}, the first in blue.

    log: a logarithmic axis; of a line that has run away up there, the words give no end, which differs between processors.
    """
    figure, axes = new_axes(title, "steps", ylabel)
    styles = zip(lines.items(), ("train", "val", "baseline", "accent"), ("-", "--", ":", "-."), strict=False)
    labels = []
    for (name, values), colour, style in styles:
        axes.plot(values, color=PALETTE[colour], linestyle=style)
        labels.append((values[-1], name, PALETTE[colour]))
    if log:
        axes.set_yscale("log")
        for value, name, colour in labels:
            axes.annotate(name, (1, value), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
                          color=colour, va="center", annotation_clip=False)
    else:
        label_lines(axes, labels)
    ends = {name: f"{values[-1]:.2f}" if not log or values[-1] < 2 * values[0] else "far above" for name, values in lines.items()}
    words = "; ".join(f"{name} from {values[0]:.2f} to {ends[name]}" for name, values in lines.items())
    return DescribedFigure(figure, title, f"A line each, over {len(values) - 1} steps: {words}.")


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
