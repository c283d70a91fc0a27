"""All faults of lesson 09 at once: their stored runs, and the pictures of them."""
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from statistics import median

from matplotlib import style

from gpt_helpers.files import read_table
from gpt_helpers.plot import PALETTE, DescribedFigure, new_axes
from gpt_helpers.validate import require_known


def worst_if_nan(loss: str) -> float:
    """A stored loss as a number, infinite where it was nan."""
    return math.inf if math.isnan(float(loss)) else float(loss)


class StoredRuns:
    """The table that `scripts/broken_loops.py` writes: several runs of each fault, and of the healthy program.

    Its columns "train", "writing" and "0" to "400", the validation loss after that many updates, are in nats per token.
    """

    def __init__(self, path: str | Path):
        self.runs = read_table(path)
        self.updates = [column for column in self.runs[0] if column.isdigit()]

    def of(self, fault: str) -> list[dict[str, str]]:
        """The runs of a fault, or of "healthy", the lowest validation loss at the end first. ValueError for another name."""
        require_known("fault", fault, dict.fromkeys(run["fault"] for run in self.runs))
        return sorted((run for run in self.runs if run["fault"] == fault), key=lambda run: worst_if_nan(run[self.updates[-1]]))

    def ends(self, fault: str) -> list[float]:
        """The validation loss at the end of each run, the lowest first."""
        return [float(run[self.updates[-1]]) for run in self.of(fault)]

    def typical(self, fault: str, column: str | None = None) -> float:
        """The median of a column over the runs of a fault; when left out, of the validation loss at the end."""
        return median(worst_if_nan(run[column or self.updates[-1]]) for run in self.of(fault))

    def middle(self, fault: str) -> dict[int, float]:
        """{updates: validation loss} of the run that is in the middle at the end."""
        run = self.of(fault)[len(self.of(fault)) // 2]
        return {int(updates): float(run[updates]) for updates in self.updates}

    def found_by(self, fault: str) -> set[str]:
        """The tests of `preflight` that find the fault in most of its runs."""
        runs = self.of(fault)
        told = Counter(test for run in runs for test in run["found_by"].split())
        return {test for test, count in told.items() if count > len(runs) / 2}


@style.context("default")
def plot_gallery(curves: Mapping[str, Mapping[int, float]], behind: Mapping[int, float], *, floor: float, top: float,
                 title: str, columns: int = 7) -> DescribedFigure:
    """Many small pictures, {name: {updates: loss}}, each with the same curve behind it, in grey, and the floor."""
    lines = -(-len(curves) // columns)
    figure, whole = new_axes("", "", "", width=9.5, height=1.15 * lines)
    whole.remove()
    for i, (name, curve) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(lines, columns, i, facecolor="none", ylim=(0, top), xticks=[], yticks=[])
        axes.set_title(name, fontsize=6.5, pad=2)
        axes.axhline(floor, color=PALETTE["floor"], linewidth=0.6)
        axes.plot(behind.keys(), behind.values(), color="#b0b0b0", linewidth=1.6)
        axes.plot(curve.keys(), curve.values(), color=PALETTE["val"], linewidth=1.1)
        axes.spines[["top", "right"]].set_visible(False)
    ends = {name: list(curve.values())[-1] for name, curve in curves.items()}
    ends = ", ".join(f"{name} {end:.2f}" if math.isfinite(end) else f"{name} diverged" for name, end in ends.items())
    return DescribedFigure(figure, title, f"{len(curves)} small pictures of the validation loss, 0 to {top:g} nats, each with "
                           f"the healthy curve in grey behind it, and the floor as a thin line. Losses at the end: {ends}.")


def plot_matrix(found: Mapping[str, Collection[str]], tests: Iterable[str], *, title: str) -> DescribedFigure:
    """Which test finds what, {row: the tests that found it}: a dot for each; a test that found nothing has no column."""
    figure, axes = new_axes(title, "", "", width=7.0, height=0.17 * len(found) + 1.4)
    columns = [test for test in tests if any(test in by for by in found.values())]
    for y, by in enumerate(found.values()):
        axes.plot([columns.index(test) for test in by], [y] * len(by), "o", color=PALETTE["val"], markersize=5)
        if not by:
            axes.axhspan(y - 0.5, y + 0.5, facecolor=PALETTE["baseline"], alpha=0.15, linewidth=0)
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="left", fontsize=8)
    axes.set_yticks(range(len(found)), list(found), fontsize=7)
    axes.xaxis.tick_top()
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(found) - 0.5, -0.5))
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    counts = ", ".join(f"{test} {sum(test in by for by in found.values())}" for test in columns)
    missed = ", ".join(name for name, by in found.items() if not by)
    return DescribedFigure(figure, title, f"{sum(map(bool, found.values()))} of {len(found)} faults are found before training. "
                           f"By test: {counts}. Found by none: {missed}.")
