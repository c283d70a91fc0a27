"""Surprise in pictures: what a token costs, and the line of the story whose tokens the lessons colour by their loss."""
import math
from collections.abc import Iterable, Mapping
from statistics import fmean

import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import FancyBboxPatch

from gpt_helpers.plot import CARD, PALETTE, DescribedFigure, new_axes

SURPRISE = LinearSegmentedColormap.from_list("surprise", [CARD, "#f6c79b", "#e8743b"])      # black is readable on all of it
TOP = 12.0      # nats; what costs more is as dark


def the_line(val_ids: torch.Tensor) -> torch.Tensor:
    """The ids of one line of the validation part, and of the token before it: (23,); fewer when the part is shorter.

    In the story: "Tobin's ferry came round the bell buoy with Mr. Marrow in the bow, in three blankets now". In another text,
    the tokens at the same position.
    """
    return val_ids[min(284, max(0, len(val_ids) - 23)):][:23]


def plot_cost(cases: Mapping[str, int]) -> DescribedFigure:
    """What a token costs, −ln p, against its probability p, with some cases marked: {name: among how many equally likely}."""
    figure, axes = new_axes("What one token costs", "probability p of the target", "−ln p (nats)", height=3.6)
    p = torch.linspace(0.00001, 1, 5000)
    axes.plot(p, -p.log(), color=PALETTE["train"])
    for name, n in cases.items():
        axes.plot(1 / n, math.log(n), "o", color=PALETTE["val"], clip_on=False)
        axes.annotate(f"{name}: {math.log(n):.2f}", (1 / n, math.log(n)), xytext=(10, 5), textcoords="offset points",
                      color="black")
    axes.set(xlim=(0, 1), ylim=(0, 12))
    costs = ", ".join(f"{name} {math.log(n):.2f}" for name, n in cases.items())
    return DescribedFigure(figure, "What one token costs", "The curve falls from infinity at p = 0 to nothing at p = 1. In nats: "
                           f"{costs}. A tenth of the probability costs {math.log(10):.2f} more.")


def plot_surprise(tokens: list[str], models: Mapping[str, Iterable[float]], *,
                  title: str = "One line, and how much each token surprises") -> DescribedFigure:
    """A line of text for each model, its tokens coloured by their loss, with the loss in nats below each token.

    tokens: the text of each token. models: {name: loss of each token, in nats}.
    """
    models = {name: [float(loss) for loss in losses] for name, losses in models.items()}
    shown = [token.strip(" ").replace("\n", "⏎") or "␣" for token in tokens]
    widths = [max(len(token), 4) + 0.8 for token in shown]      # in characters; a loss below has up to four
    size = min(11.0, 8.7 * 72 / (0.602 * sum(widths)))          # points; a monospaced character is 0.602 as wide as high
    figure, axes = new_axes(title, "", "", width=9.2, height=0.75 * len(models) + 0.5)
    axes.set(xlim=(0, sum(widths)), ylim=(3 * len(models), 0))
    axes.axis("off")
    for row, (name, losses) in enumerate(models.items()):
        axes.text(0, 3 * row + 0.6, f"{name}: {fmean(losses):.2f} nats a token", va="center", fontsize=9.5, color="black")
        left = 0.0
        for token, width, loss in zip(shown, widths, losses, strict=True):
            axes.add_patch(FancyBboxPatch((left + 0.1, 3 * row + 1.1), width - 0.2, 1.7, boxstyle="square,pad=0",
                                          facecolor=SURPRISE(min(loss / TOP, 1.0)), edgecolor="#cccccc", linewidth=0.5))
            for words, below, points in ((token, 1.65, size), (f"{loss:.1f}", 2.4, 0.75 * size)):
                axes.text(left + width / 2, 3 * row + below, words, ha="center", va="center", fontsize=points, family="monospace",
                          color="black", parse_math=False)
            left += width
    words = "; ".join(f"{name} {_told(shown, losses)}" for name, losses in models.items())
    return DescribedFigure(figure, title, "A row for each model, a box for each token; the darker, the more surprised.\n"
                           f"In nats: {words}.")


def _told(shown: list[str], losses: list[float]) -> str:
    """The losses of one row in words: the mean, and where it is far from it."""
    if max(losses) - min(losses) < 0.01:
        return f"{losses[0]:.2f} at every token"
    order = sorted(range(len(losses)), key=losses.__getitem__)
    low, high = (", ".join(f"“{shown[i]}” {losses[i]:.2f}" for i in some) for some in (order[:2], order[:-3:-1]))
    return f"{fmean(losses):.2f} on average, least at {low}, most at {high}"
