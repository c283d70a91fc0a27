"""The tables of lesson 07, GPT-2 at its real size."""
from collections.abc import Mapping, Sequence
from statistics import fmean

from gpt_helpers.evaluate import History
from gpt_helpers.plot import show_table


def show_memory(memory: Mapping[str, int]) -> None:
    """The parts of the memory and their sum, in GB and in multiples of the weights; memory: {part: bytes}, `training_memory`."""
    parts = dict(memory) | {"together": sum(memory.values())}
    rows = [[part, f"{size / 1e9:.2f}", f"{size / memory['weights']:.1f}"] for part, size in parts.items()]
    show_table(["in memory", "GB", "times the weights"], rows)


def show_moments(history: History, moments: Mapping[str, int]) -> None:
    """Both losses and the gap between them, in nats per token; moments: {name: which evaluation, -1 for the last}."""
    losses = {name: (history.train_losses[i], history.val_losses[i]) for name, i in moments.items()}
    show_table(["nats per token", "training loss", "validation loss", "gap"],
               [[name, f"{train:.3f}", f"{val:.3f}", f"{val - train:.3f}"] for name, (train, val) in losses.items()])


def show_quotations(lengths: Mapping[str, Sequence[int]]) -> None:
    """The longest quotation at each place, in tokens, and the mean over the places; lengths: {who writes: one for each place}."""
    show_table(["longest quotation (tokens)", "place by place", "on average"],
               [[who, ", ".join(map(str, some)), f"{fmean(some):.1f}"] for who, some in lengths.items()])
