"""Runs to compare, for lesson 10 and `scripts/bigger.py`: the loop of lesson 05 on the harbour log, each cure an option."""
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, RandomSampler

from gpt_helpers.files import read_table
from gpt_helpers.lessons.healthy import CONFIG, END_ID, LOG
from gpt_helpers.loss import calc_loss_batch, calc_loss_loader
from gpt_helpers.model import GPTModel
from gpt_helpers.plot import PALETTE, DescribedFigure, label_lines, new_axes
from gpt_helpers.words import entry_windows

STEPS, BATCH_SIZE, WARM_UP = 200, 16, 20
SMALL, WIDE = (CONFIG | {"emb_dim": width, "drop_rate": 0.0} for width in (64, 192))


def constant(step: int) -> float:
    """The fraction of the peak learning rate in an update: always all of it."""
    return 1.0


def warm_up(step: int) -> float:
    """The fraction of the peak learning rate in an update: it rises in a line, then stays."""
    return min(1.0, (step + 1) / WARM_UP)


def warm_up_and_decay(step: int) -> float:
    """The fraction of the peak learning rate in an update: it rises in a line, then falls along half a cosine."""
    return warm_up(step) if step < WARM_UP else (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP))) / 2


def new_model(cfg: dict, seed: int) -> GPTModel:
    """A GPT with the weights of a seed."""
    torch.manual_seed(seed)
    return GPTModel(cfg)


def windows(tokens: int, seed: int) -> Dataset:
    """The windows of `tokens` tokens of harbour log, an entry each."""
    return entry_windows(LOG.write(tokens, seed), END_ID, CONFIG["context_length"])


def batches(seed: int, steps: int = STEPS, batch_size: int = BATCH_SIZE) -> Iterator[list[torch.Tensor]]:
    """`steps` batches (inputs, targets) of windows from the text of a seed, drawn with PyTorch's random numbers."""
    text = windows(100_000, seed)
    return iter(DataLoader(text, batch_size, sampler=RandomSampler(text, replacement=True, num_samples=steps * batch_size)))


def validation_loss(model: nn.Module) -> float:
    """The loss on the 5,000 tokens whose floor lesson 09 draws."""
    with torch.no_grad():
        return calc_loss_loader(DataLoader(windows(5_000, seed=0), 64), model.eval(), "cpu")


def damaged(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch from a damaged file: every answer is the end of the entry."""
    return inputs, torch.full_like(targets, END_ID)


def decay_groups(model: nn.Module) -> list[dict]:
    """The parameters for AdamW: matrices decay, biases and LayerNorm's scales and shifts do not."""
    return [{"params": [p for p in model.parameters() if p.dim() > 1]},
            {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]


def learn(cfg: dict, seed: int, lr: float, schedule: Callable[[int], float] = constant, *, max_grad_norm: float = math.inf,
          spoil: dict[int, Callable] | None = None, groups: Callable = nn.Module.parameters,
          bfloat16: bool = False) -> tuple[nn.Module, list[float]]:
    """Train a new model for STEPS updates; the model, and the training loss before each update.

    schedule: the fraction of the peak rate lr in each update. max_grad_norm: gradients are scaled down to it. spoil: {update: a
    function that changes its batch}. groups: the parameters as AdamW wants them. bfloat16: the forward pass under autocast.
    """
    model = new_model(cfg, seed)
    optimizer = AdamW(groups(model), lr=lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    scheduler, losses = LambdaLR(optimizer, schedule), []
    for step, batch in enumerate(batches(seed)):
        inputs, targets = spoil[step](*batch) if spoil and step in spoil else batch
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = calc_loss_batch(inputs, targets, model, "cpu")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return model, losses


def read_losses(path: str | Path) -> dict[tuple[str, float], list[float]]:
    """{(setting, peak rate): validation losses, seed by seed}, from the table that `scripts/bigger.py` writes."""
    losses = {}
    for run in read_table(path):
        losses.setdefault((run["setting"], float(run["rate"])), []).append(float(run["loss"]))
    return losses


def plot_rates(losses: Mapping[str, Mapping[float, Sequence[float]]], floor: float, title: str) -> DescribedFigure:
    """Validation loss against peak learning rate, {name: {rate: losses of its seeds}}: their mean, in a band from low to high."""
    figure, axes = new_axes(title, "peak learning rate", "validation loss (nats per token)", height=3.8)
    words = []
    for (name, of_rate), colour in zip(losses.items(), ("val", "train", "test"), strict=True):
        means = {rate: sum(runs) / len(runs) for rate, runs in of_rate.items()}
        axes.plot(means.keys(), means.values(), color=PALETTE[colour], marker="o", markersize=3.5, label=name)
        axes.fill_between(means.keys(), list(map(min, of_rate.values())), list(map(max, of_rate.values())), color=PALETTE[colour],
                          alpha=0.15, linewidth=0)
        best, *_, last = min(means, key=means.get), *means
        words.append(f"{name} is lowest, {means[best]:.3f}, at {best:g}, and ends at {means[last]:.2f}")
    axes.axhline(floor, color=PALETTE["floor"], linewidth=1.2, label="floor")
    axes.set_xscale("log")
    axes.set_xticks(list(means), [f"{rate:g}" for rate in means])
    axes.minorticks_off()
    label_lines(axes)
    return DescribedFigure(figure, title, f"From rate {min(means):g} to {last:g}: {'; '.join(words)}; the floor is {floor:.3f}.")
