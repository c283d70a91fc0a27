"""Figures that say in words what they show, on a light card that suits a light page and a dark one.

One palette: safe for colour-blind readers, dark enough for text on the card.
"""
import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, product
from typing import Any

import torch
from IPython.display import display, update_display
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from gpt_helpers.evaluate import History
from gpt_helpers.progress import Callback, this_cell
from gpt_helpers.validate import require_levels

CARD = "#f7f7f4"
PALETTE = {"train": "#0060a0", "val": "#b34000", "test": "#00694d", "baseline": "#595959", "floor": "#222222",
           "accent": "#8a3a78"}


class DescribedFigure:
    """A matplotlib figure with a title, which becomes the picture's alt text, and a description.

    The description appears under the picture for every reader, and is its text/plain, which nbval compares.
    """

    def __init__(self, figure: Figure, title: str, description: str):
        self.figure, self.title, self.description = figure, title, description

    def __repr__(self) -> str:
        return self.description

    def _ipython_display_(self) -> None:
        self.show()

    def show(self, handles: list | None = None) -> list:
        """Show the picture and the description, in place of those of `handles` if given; returns handles for the next time."""
        buffer = io.BytesIO()
        for text in self.figure.findobj(Text):
            text.set_usetex(False)      # our words are no LaTeX
        with style.context("default"):
            self.figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
        png = base64.b64encode(buffer.getvalue()).decode()
        alt = f"{self.title}; described in the text below"
        outputs = [({"image/png": png, "text/plain": self.description}, {"image/png": {"alt": alt}}),
                   ({"text/markdown": f"*{self.description}*"}, {})]
        if handles is None:
            return [display(data, raw=True, metadata=metadata, display_id=True) for data, metadata in outputs]
        for handle, (data, metadata) in zip(handles, outputs, strict=True):
            update_display(data, raw=True, metadata=metadata, display_id=handle.display_id)
        return handles


class LivePlot(Callback):
    """The loss curves as they grow, for `train_model(..., callbacks=[LivePlot()])`.

    In a notebook it is one figure, redrawn in place at every evaluation; its final state is what is stored. In a terminal
    it shows nothing: there the loop's own lines say the same. options: those of `plot_losses`.
    """

    def __init__(self, **options: Any):
        self.options, self.cell, self.handles = options, None, None

    def on_eval(self, history: History) -> None:
        if cell := this_cell():
            handles = self.handles if cell == self.cell else None
            self.cell, self.handles = cell, plot_losses(history, **self.options).show(handles)


@style.context("default")      # whatever style the reader has chosen: a dark one would make words pale on the light card
def new_axes(title: str, xlabel: str, ylabel: str, *, width: float = 7.0, height: float = 4.2) -> tuple[Figure, Axes]:
    """A figure with one plain pair of axes in the style of the series: (figure, axes)."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    figure.add_artist(FancyBboxPatch((0, 0), 1, 1, boxstyle="round,pad=0,rounding_size=0.015", mutation_aspect=width / height,
                                     transform=figure.transFigure, facecolor=CARD, edgecolor="none", zorder=-1))
    axes = figure.add_subplot(title=title, xlabel=xlabel, ylabel=ylabel, facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def label_lines(axes: Axes, gap: float = 0.055) -> None:
    """Write the label of each line beside the right edge, where the line ends, pushed apart where they would touch.

    gap: between two labels, in heights of the axes. Call it once everything is drawn, since it reads the axes' limits.
    """
    low, high = axes.get_ylim()
    gap *= high - low
    labels = sorted((min(line.get_ydata()[-1], high), name, line.get_color())
                    for line, name in zip(*axes.get_legend_handles_labels(), strict=True))
    places = [y for y, _, _ in labels]
    for i in range(1, len(places)):                               # push up from below
        places[i] = max(places[i], places[i - 1] + gap)
    for i in range(len(places)):                                  # and back under the top
        places[i] = min(places[i], high - gap * (len(places) - 1 - i))
    for at, (_, name, colour) in zip(places, labels, strict=True):
        axes.annotate(name, (1, at), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
                      color=colour, va="center", annotation_clip=False)


def show_table(head: Sequence[str], rows: Iterable[Sequence[str]], below: str = "") -> None:
    """Show a table, the first column aligned left, the others, numbers, right; below: a paragraph under it."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    lines.insert(1, "|---" + "|--:" * (len(head) - 1) + "|")
    table = "\n".join([*lines, f"\n{below}"] if below else lines)
    display({"text/markdown": table, "text/plain": table}, raw=True)


def show_means(losses: Mapping[str, torch.Tensor]) -> None:
    """Show means with their standard errors, in nats per token; losses: {name: (N,), a loss or a difference for each token}."""
    show_table(["nats per token", "mean ± standard error"],
               [[name, f"{each.mean():.2f} ± {each.std() / len(each) ** 0.5:.2f}"] for name, each in losses.items()])


@style.context("default")
def plot_losses(history: History, *, tokens_per_epoch: float | None = None, baselines: Mapping[str, float] | None = None,
                floor: Mapping[str, float] | None = None, top: float | None = None,
                title: str = "Loss against training tokens seen") -> DescribedFigure:
    """Training and validation loss against training tokens seen; a DescribedFigure.

    history: a `History`. tokens_per_epoch: adds an axis of epochs on top, at their true positions.
    baselines: {name: loss in nats per token}, drawn as dotted lines. floor: {name: loss}, what no model can be below, drawn
    as a solid line over a hatched ground. top: the highest loss that is shown. Raises ValueError when nothing was recorded.
    """
    if not history.tokens_seen:
        raise ValueError("the history has no evaluation to plot: train for at least one step first")
    require_levels(top, baselines=baselines or {}, floor=floor or {})
    figure, axes = new_axes(title, "training tokens seen", "loss (nats per token)")
    axes.plot(history.tokens_seen, history.train_losses, "o-", color=PALETTE["train"], markersize=3.5, label="train")
    axes.plot(history.tokens_seen, history.val_losses, "s-", color=PALETTE["val"], markersize=3.5, label="validation")
    for name, loss in (baselines or {}).items():
        axes.axhline(loss, color=PALETTE["baseline"], linestyle=":", label=name)
    for name, loss in (floor or {}).items():
        axes.axhline(loss, color=PALETTE["floor"], linewidth=1.2, label=name)
        axes.axhspan(0, loss, facecolor="none", edgecolor=PALETTE["baseline"], alpha=0.35, hatch="///", linewidth=0)
    axes.set(xlim=(0, None), ylim=(0, top))
    if history.tokens_seen[-1] >= 1e6:
        axes.xaxis.get_major_locator().set_params(nbins=5)      # long numbers need room
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if tokens_per_epoch:
        epochs = axes.secondary_xaxis("top", functions=(lambda t: t / tokens_per_epoch, lambda e: e * tokens_per_epoch))
        epochs.xaxis.get_major_locator().set_params(integer=True)
        epochs.set_xlabel("epochs")
    label_lines(axes)
    return DescribedFigure(figure, title, _describe_losses(history, baselines, floor))


def _describe_losses(history: History, baselines: Mapping[str, float] | None, floor: Mapping[str, float] | None) -> str:
    train, val, tokens = history
    best = min(range(len(val)), key=val.__getitem__)
    lowest = f"it was lowest, {val[best]:.3f}, at {tokens[best]:,} tokens"
    if val[best] < val[-1] < val[best] + 0.01:               # where exactly is chance, and differs between machines
        lowest = "it was hardly lower before"
    words = (f"Over {tokens[-1]:,} training tokens the training loss goes from {train[0]:.3f} to {train[-1]:.3f} "
             f"nats per token. The validation loss goes from {val[0]:.3f} to {val[-1]:.3f}; {lowest}.")
    if baselines:
        words += " Dotted lines: " + ", ".join(f"{name} {loss:.3f}" for name, loss in baselines.items()) + "."
    if floor:
        words += " No model can be below " + ", ".join(f"the {name}, {loss:.3f}" for name, loss in floor.items()) + "."
    return words


def smooth(losses: Sequence[float], width: int = 10) -> dict[int, float]:
    """{updates: the mean loss of the last `width` of them}, for `plot_curves`."""
    return {end: sum(losses[end - width:end]) / width for end in range(width, len(losses) + 1, width)}


def plot_curves(curves: Mapping[str, Mapping[int, float]], *, floor: float | None = None, top: float | None = None,
                title: str = "Validation loss against updates") -> DescribedFigure:
    """Losses of several runs, {name: {updates: loss}}; the first is the one that is asked about.

    floor: what no model can be below. top: the highest loss that is shown.
    """
    figure, axes = new_axes(title, "updates", "loss (nats per token)", height=3.6)
    looks = cycle(product(("-", "--", ":"), ("val", "baseline", "train", "accent")))
    for (name, curve), (line, colour) in zip(curves.items(), looks, strict=False):
        axes.plot(curve.keys(), curve.values(), line, color=PALETTE[colour], marker="o", markersize=3.5, label=name)
    if floor is not None:
        axes.axhline(floor, color=PALETTE["floor"], linewidth=1.2, label="floor")
    axes.set_ylim(0, top)
    label_lines(axes)
    ends = {name: [*curve.values()] for name, curve in curves.items()}
    words = "; ".join(f"{name} goes from {losses[0]:.2f} to {losses[-1]:.2f}" for name, losses in ends.items())
    return DescribedFigure(figure, title, words + ("." if floor is None else f"; the floor is {floor:.2f}."))
