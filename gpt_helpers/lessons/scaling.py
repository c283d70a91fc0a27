"""Runs to compare, for lesson 08 and `scripts/enough_text.py`: a small GPT of any width, on any amount of harbour log."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.utils.data import DataLoader, RandomSampler

from gpt_helpers.evaluate import History
from gpt_helpers.files import read_table
from gpt_helpers.language import END, KINDS, HarbourLog
from gpt_helpers.model import GPTModel
from gpt_helpers.train import train_model
from gpt_helpers.validate import require_device, require_integers, require_positive
from gpt_helpers.words import entry_windows

CONTEXT_LENGTH, BATCH_SIZE = 64, 32
VALIDATION = {"tokens": 10_000, "seed": 0}      # what all losses are measured on; a training text has another seed


def new_training(vocab_size: int, emb_dim: int, steps: int, seed: int,
                 device: torch.device | str) -> tuple[nn.Module, Optimizer, LRScheduler]:
    """A GPT of two layers with the weights of a seed, its AdamW, and a schedule of `steps` steps: warm-up, then cosine."""
    require_integers(10, steps=steps)      # for a warm-up of at least two
    torch.manual_seed(seed)
    model = GPTModel({"vocab_size": vocab_size, "context_length": CONTEXT_LENGTH, "emb_dim": emb_dim, "n_heads": 4,
                      "n_layers": 2, "drop_rate": 0.0, "qkv_bias": False}).to(device)
    lr = 3e-3 * (64 / emb_dim) ** 0.5      # the wider, the smaller
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    return model, optimizer, OneCycleLR(optimizer, lr, total_steps=steps, pct_start=max(0.05, 2 / steps), cycle_momentum=False)


def loaders(log: HarbourLog, tokens: int, steps: int, seed: int) -> tuple[DataLoader, DataLoader]:
    """For one run of `steps` steps: windows drawn from a text of `tokens` tokens; and the validation text in order."""
    require_positive(tokens=tokens, steps=steps, seed=seed)      # seed 0 is the validation text's
    end = log.tokenizer.ids[END]
    train = entry_windows(log.write(tokens, seed), end, CONTEXT_LENGTH)
    val = entry_windows(log.write(**VALIDATION), end, CONTEXT_LENGTH)
    sampler = RandomSampler(train, replacement=True, num_samples=steps * BATCH_SIZE)
    return DataLoader(train, BATCH_SIZE, sampler=sampler), DataLoader(val, len(val))


def learn_from(log: HarbourLog, tokens: int, *, emb_dim: int = 64, steps: int = 600, seed: int = 1,
               device: torch.device | str = "cpu") -> tuple[nn.Module, History]:
    """Train a new GPT for `steps` steps on a text of `tokens` tokens, however often it sees them; the model and its records."""
    require_device(device)
    model, optimizer, scheduler = new_training(log.tokenizer.n_vocab, emb_dim, steps, seed, device)
    history = train_model(model, *loaders(log, tokens, steps, seed), optimizer, device, num_epochs=1, eval_freq=50, eval_iter=8,
                          start_context=END, tokenizer=log.tokenizer, scheduler=scheduler)
    return model, history


def mean_by_kind(losses: torch.Tensor, kinds: torch.Tensor) -> dict[str, float]:
    """The mean loss, in nats, of all tokens ("all") and of each of KINDS. losses, kinds: (N,), kinds as from `token_kinds`."""
    return {"all": losses.mean().item()} | {kind: losses[kinds == i].mean().item() for i, kind in enumerate(KINDS)}


def first_below(limit: float, values: Sequence[float], places: Sequence[Any]) -> Any:
    """The place of the first value that is below a limit. Raises ValueError when none is."""
    for place, value in zip(places, values, strict=True):
        if value < limit:
            return place
    raise ValueError(f"got values of {min(values):g} and more, need one below {limit:g}")


def read_runs(path: str | Path, by: str) -> dict[int, list[dict[str, float]]]:
    """The runs that `scripts/enough_text.py` has stored, {a value of the column `by`: its runs}, each run a dict of numbers.

    Where tables were counted on the same text, "table" is the loss of the best of them.
    """
    runs = {}
    for line in read_table(path):
        run = {key: float(value) for key, value in line.items()}
        if tables := [loss for key, loss in run.items() if key.startswith("table_")]:
            run["table"] = min(tables)
        runs.setdefault(int(run[by]), []).append(run)
    return runs


def lead_change(runs: Sequence[dict[str, float]]) -> float:
    """How many tokens of text it takes until the GPT's last loss is that of the best table.

    runs: those of one seed, from the shortest text to the longest, as in `read_runs`. Between two runs the gap is taken as a
    straight line over the logarithm of the size. Raises ValueError when the lead does not change.
    """
    gaps = [run["last"] - run["table"] for run in runs]
    if not gaps[0] >= 0 > min(gaps):
        raise ValueError(f"the GPT is between {min(gaps):.3f} and {max(gaps):.3f} above the table, and the lead does not change: "
                         "give runs on shorter and on longer texts")
    i = first_below(0, gaps, range(len(gaps)))
    share = gaps[i - 1] / (gaps[i - 1] - gaps[i])
    return runs[i - 1]["tokens"] ** (1 - share) * runs[i]["tokens"] ** share
