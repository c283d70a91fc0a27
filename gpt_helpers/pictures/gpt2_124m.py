"""The tables of lesson 07, GPT-2 at its real size."""
from collections.abc import Mapping, Sequence
from statistics import fmean

from gpt_helpers.evaluate import History
from gpt_helpers.plot import show_table


def show_memory(memory: Mapping[str, int], guess: float | None = None) -> None:
    """The parts of the memory and their sum, in GB and in multiples of the weights; and the reader's guess, if there is one.

    memory: {part: bytes}, from `training_memory`. guess: how many times the weights.
    """
    parts = dict(memory) | {"together": sum(memory.values())}
    rows = [[part, f"{size / 1e9:.2f}", f"{size / memory['weights']:.1f}"] for part, size in parts.items()]
    show_table(["in memory", "GB", "times the weights"], rows, "" if guess is None else f"You guessed {guess}.")


def show_flops(flops: Mapping[str, int]) -> None:
    """FLOPs of one step, in billions; flops: {how they were found: FLOPs}."""
    show_table(["FLOPs of one step", "billions"], [[how, f"{number / 1e9:.0f}"] for how, number in flops.items()])


def show_moments(history: History, moments: Mapping[str, int]) -> None:
    """Both losses and the gap between them, in nats per token; moments: {name: which evaluation, -1 for the last}."""
    losses = {name: (history.train_losses[i], history.val_losses[i]) for name, i in moments.items()}
    show_table(["nats per token", "training loss", "validation loss", "gap"],
               [[name, f"{train:.3f}", f"{val:.3f}", f"{val - train:.3f}"] for name, (train, val) in losses.items()])


def show_runs(quoted: Mapping[str, Sequence[int]]) -> None:
    """The longest quoted run at each place, in tokens, and the mean over the places; quoted: {who writes: runs}."""
    show_table(["longest run", "place by place", "on average"],
               [[who, ", ".join(map(str, runs)), f"{fmean(runs):.1f}"] for who, runs in quoted.items()])
