"""Lesson 08: losses by kind of word, attention in one entry, longer and longer texts, wider and wider models."""
from collections.abc import Mapping, Sequence
from statistics import fmean

import torch

from gpt_helpers.language import END, KINDS, HarbourLog
from gpt_helpers.lessons.scaling import first_below
from gpt_helpers.plot import PALETTE, DescribedFigure, label_lines, new_axes, show_table
from gpt_helpers.validate import PADDING

AT_NIGHT = ("name", "number", "goods", "place", "colour")      # what an entry says once more, in this order


def show_by_kind(losses: Mapping[str, Mapping[str, float]]) -> None:
    """A table of losses in nats per token, {name: `mean_by_kind`}: a row for each name."""
    print("Nats per token, for all words and for each kind:")
    show_table(["", "all", *KINDS], [[name, f"{means['all']:.3f}", *(f"{means[kind]:.2f}" for kind in KINDS)]
                                     for name, means in losses.items()])


def plot_kinds(losses: Sequence[Mapping[str, float]], tokens_seen: Sequence[float], no_memory: float) -> DescribedFigure:
    """The loss on each kind of word, in nats per token, over the first million training tokens.

    losses: `mean_by_kind` at each of tokens_seen. no_memory: the loss on memory of a table of five tokens, a dotted line.
    """
    figure, axes = new_axes("Loss by kind of word", "training tokens seen", "loss (nats per token)")
    axes.axhline(no_memory, color=PALETTE["baseline"], linestyle=":", label="no memory")
    for kind, colour in zip(KINDS, ("accent", "test", "baseline"), strict=True):
        axes.plot(tokens_seen, [means[kind] for means in losses], color=PALETTE[colour], label=kind)
    axes.set(xlim=(0, 1_000_000), ylim=(0, 4.5))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    label_lines(axes)
    memory = [means["memory"] for means in losses]
    start, end = (first_below(limit, memory, tokens_seen) / 1e6 for limit in (no_memory, 0.1))
    return DescribedFigure(
        figure, "Loss on choices, memory and grammar",
        "A line for each kind of word; dotted, the table of five on words of memory.\n"
        f"On words of memory the loss falls below {no_memory:.1f}, the value without memory, after {start:.2f} million tokens, "
        f"below 0.1 after {end:.2f} million, and ends at {memory[-1]:.3f}.")


def memory_places(log: HarbourLog, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each entry, where the words AT_NIGHT are due, as targets, and where they were first said: two (B, 5) int64.

    inputs, targets: (B, T) int64, windows of `entry_windows`, in the order of the text, from its beginning.
    """
    real = targets != PADDING
    memory = torch.zeros_like(real)                                                           # (B, T)
    memory[real] = log.token_kinds(torch.cat([inputs[0, :1], targets[real]])) == KINDS.index("memory")
    due = torch.stack([row.nonzero().flatten()[1:6] for row in memory])                       # between the pronoun and the end
    said = inputs[:, None] == targets.gather(1, due)[:, :, None]                              # (B, 5, T)
    return due, said.int().argmax(dim=2)                                                      # the first of equals


def plot_attention(log: HarbourLog, ids: torch.Tensor, weights: torch.Tensor, due: torch.Tensor) -> DescribedFigure:
    """Where a head looks before each word AT_NIGHT, a row for each word; the darker, the more attention.

    ids: (T,) inputs of one entry. weights: (5, T, T), for each word its head's attention. due: (5,), see `memory_places`.
    """
    length = due[-1] + 1
    words = [log.tokenizer.vocabulary[i].replace(END, "⏎") for i in ids[:length].tolist()]
    pattern = weights[torch.arange(5), due, :length]                                          # (5, length)
    figure, axes = new_axes("Where the best head looks when a word comes back", "", "")
    axes.imshow(pattern.numpy(), cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(length), words, rotation=90, fontsize=7)
    axes.set_yticks(range(5), AT_NIGHT)
    return DescribedFigure(figure, "Attention in one entry", "The largest share of the attention goes, " + ", ".join(
        f"for the {name}, to {words[at]!r}" for name, at in zip(AT_NIGHT, pattern.argmax(dim=1).tolist(), strict=True)) + ".")


def plot_text_sizes(runs: Mapping[int, Sequence[Mapping[str, float]]], floor: float) -> DescribedFigure:
    """Losses against the size of the training text: a dot for each run, lines through the means, and the floor.

    runs: {tokens: its runs}, as from `read_runs`. floor: in nats per token.
    """
    figure, axes = new_axes("The same model on more and more text", "tokens in the training text", "loss (nats per token)")
    lines = {"train": ("GPT, training", "train", "-"), "last": ("GPT, validation", "val", "-"),
             "best": ("GPT, stopped early", "val", "--"), "table": ("best table", "baseline", ":")}
    mean = {key: {size: fmean(run[key] for run in same) for size, same in runs.items()} for key in lines}
    every = [run for same in runs.values() for run in same]
    for key, (name, colour, style) in lines.items():
        axes.plot(mean[key].keys(), mean[key].values(), style, color=PALETTE[colour], label=name)
        axes.plot([run["tokens"] for run in every], [run[key] for run in every], ".", color=PALETTE[colour], markersize=4)
    axes.axhline(floor, color=PALETTE["floor"], label="floor")
    axes.set(xscale="log", ylim=(0, None))
    label_lines(axes)
    words = ", ".join(f"{mean['last'][size]:.2f} and {mean['table'][size]:.2f} with {size:,} tokens" for size in runs)
    return DescribedFigure(figure, "Loss against the size of the text",
                           f"Validation loss at the end, and of the best table: {words}.")


def plot_widths(compute: Mapping[int, float], above: Mapping[int, Sequence[float]],
                promise: Mapping[int, float]) -> DescribedFigure:
    """Losses above the floor against compute, both axes logarithmic: a dot for each run, and the line that was fitted.

    All by width. compute: FLOPs. above: nats per token above the floor, the best run first. promise: the same, on the line.
    """
    figure, axes = new_axes("Loss above the floor against compute", "compute (FLOPs)", "nats per token above the floor")
    for width, losses in above.items():
        axes.plot([compute[width]] * len(losses), losses, "o", color=PALETTE["val"], markersize=4)
        axes.annotate(f"{width}", (compute[width], losses[-1]), xytext=(0, 6), textcoords="offset points", ha="center",
                      color="black")
    axes.plot(compute.values(), promise.values(), color=PALETTE["baseline"], linestyle="--")
    axes.set(xscale="log", yscale="log")
    words = ", ".join(f"{width}: {losses[0]:.4f}" for width, losses in above.items())
    return DescribedFigure(
        figure, "Six widths, three runs each, and a line through the best of the four narrowest",
        "A dot for each run, its width above; dashed, the line through the best of the four narrowest.\n"
        f"Loss above the floor in the best run, by width: {words}. "
        f"The dashed line promises {list(promise.values())[-1]:.4f} for the widest.")
