"""What lesson 04 measures: a race of optimizers on one small GPT, the tokens that decide it, and single weights in AdamW."""
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.optim import Optimizer

from gpt_helpers.files import read_table
from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.model import GPT_CONFIG_TINY, GPTModel

RACE = range(4, 14)      # the seeds of the race itself; three others chose each learning rate
FREQUENCIES = {"once or twice": (1, 2), "3 to 9 times": (3, 9), "10 to 99 times": (10, 99), "100 times or more": (100, 10**9)}


def small_gpt(vocab_size: int, seed: int) -> GPTModel:
    """The GPT that races. The seed sets its weights and all that PyTorch draws next, so the next shuffle is the same, too."""
    torch.manual_seed(seed)
    return GPTModel(GPT_CONFIG_TINY | {"vocab_size": vocab_size, "context_length": 32, "emb_dim": 32, "n_heads": 2,
                                       "drop_rate": 0.0})


def train_steps(model: nn.Module, optimizer: Optimizer, batches: Iterable, epochs: int = 1) -> Iterator[float]:
    """Train, a batch a step, and yield each step's loss, in nats per token; gradients stay until the next step."""
    for _ in range(epochs):
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss = calc_loss_batch(inputs, targets, model, "cpu")
            loss.backward()
            optimizer.step()
            yield loss.item()


def forty_steps(model: nn.Module, optimizer: Optimizer, batch: tuple[torch.Tensor, torch.Tensor]) -> list[float]:
    """The loss before each of forty steps with the same batch, and after the last, in nats per token: 41 numbers."""
    return list(train_steps(model, optimizer, [batch] * 41))


def losses_by_frequency(losses: torch.Tensor, ids: torch.Tensor) -> dict[str, float]:
    """Mean loss by how often a token occurs in a text, in nats per token; a kind of token that the text lacks is left out.

    ids: (N,), the text. losses: (n,), one for each of its tokens from the second on, as `calc_token_losses` gives them.
    """
    often = ids.bincount()[ids[1:len(losses) + 1]]      # (n,)
    groups = {name: losses[(low <= often) & (often <= high)] for name, (low, high) in FREQUENCIES.items()}
    return {name: group.mean().item() for name, group in groups.items() if len(group)}


def moves(weights: Iterable[torch.Tensor], steps: Iterable, lr: float) -> Iterator[torch.Tensor]:
    """How far each weight moves in each step, in units of lr: one (N,) a step.

    weights: tensors that the steps change.
    """
    weights = [weight.detach() for weight in weights]
    before = parameters_to_vector(weights)
    for _ in steps:
        after = parameters_to_vector(weights)
        yield (after - before) / lr
        before = after


def move_sizes(weights: Iterable[torch.Tensor], steps: Iterable, lr: float) -> tuple[torch.Tensor, ...]:
    """How far weights move in each of the steps, in units of lr: 5 %, half and 95 % of them less than that, (steps,) each.

    Weights that do not move in a step are left out of it; where none moves, all three are 0.
    """
    shares = torch.tensor([0.05, 0.5, 0.95])
    moved = (move[move != 0].abs() for move in moves(weights, steps, lr))
    return torch.stack([sizes.quantile(shares) if len(sizes) else torch.zeros(3) for sizes in moved], dim=1).unbind()


def first_step(model: nn.Module, optimizer: Optimizer, lr: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a step: the gradient of each weight, and how far the step moves it, in units of lr; (N,) each."""
    gradients = parameters_to_vector(weight.grad for weight in model.parameters())
    [step] = moves(model.parameters(), (optimizer.step() for _ in range(1)), lr)
    return gradients, step


def token_rows(model: GPTModel, tokens: Iterable[int]) -> list[torch.Tensor]:
    """The rows of some tokens in the token embedding, then their rows in the output layer; (C,) each."""
    return [layer.weight[token] for layer in (model.tok_emb, model.out_head) for token in tokens]


def distances(rows: Iterable[torch.Tensor], steps: Iterable) -> list[list[float]]:
    """The distance of each row from where it started, before the first step and after each; a list for each row.

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


def record_steps(p: nn.Parameter, optimizer: Optimizer,
                 steps: Iterable) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """What happens to each of N weights, and what PyTorch's AdamW keeps of it.

    p: the weights, of any shape. Returns them as they are before the first step, (N,), their gradients in each step,
    (steps, N), and, after each step, {"m": (steps, N), "v": (steps, N), "w": (steps, N)}.
    """
    start, record = p.detach().flatten().clone(), []
    for _ in steps:
        state = optimizer.state[p]
        record.append(torch.stack([p.grad, state["exp_avg"], state["exp_avg_sq"], p.detach()]).flatten(1))
    gradients, m, v, w = torch.stack(record, dim=1)
    return start, gradients, {"m": m, "v": v, "w": w}


def contrasting(gradients: torch.Tensor) -> tuple[int, int]:
    """Two weights, by their gradients, (steps, N): the one whose gradients agree most, and the loudest whose gradients don't."""
    loudness = gradients.abs().sum(dim=0)
    agreement = gradients.sum(dim=0).abs() / loudness
    return agreement.argmax().item(), (loudness * (agreement < 0.1)).argmax().item()


def same_bits(by_hand: Any, reference: Optimizer) -> bool:
    """Whether an AdamW by hand, with its lists `params`, `m` and `v`, and PyTorch's hold the same numbers, bit for bit."""
    [group] = reference.param_groups
    states = [reference.state[p] for p in group["params"]]
    pairs = [(by_hand.params, group["params"]), (by_hand.m, [state["exp_avg"] for state in states]),
             (by_hand.v, [state["exp_avg_sq"] for state in states])]
    return all(torch.equal(a, b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True))


def weight_path(rule: Callable[..., Optimizer], g: float) -> list[float]:
    """Where a weight of 1 goes in a hundred steps with decay while its gradients cancel: g, -g, -g, g, and again.

    rule: the optimizer's class; lr 0.01, weight_decay 0.1. Returns 101 weights.
    """
    w = torch.ones(1, requires_grad=True)
    optimizer, path = rule([w], lr=0.01, weight_decay=0.1), [1.0]
    for sign in (1, -1, -1, 1) * 25:
        w.grad = torch.tensor([sign * g])
        optimizer.step()
        path.append(w.item())
    return path


def toy_examples() -> torch.Tensor:
    """Forty examples x of two classes, y = ±1, as z = y x, (40, 2): five have the first feature, all the second, a large one."""
    y = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat_interleave(20)[:, None]      # (40, 1)
    noise = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(123))
    x = torch.tensor([1.0, 5.0]) * (noise + y * torch.tensor([1.0, 0.2]))                  # (40, 2)
    x[:, 0] *= torch.arange(40) % 8 == 0
    return y * x


def read_race(path: str | Path) -> list[dict[str, Any]]:
    """The table that `scripts/optimizer_race.py` writes: a dict for each run."""
    return [run | {name: float(value) for name, value in run.items() if name != "rule"} | {"seed": int(run["seed"])}
            for run in read_table(path)]


def raced(path: str | Path) -> dict[str, list[dict[str, Any]]]:
    """{rule: its runs in the race, seed by seed}, from the table of `read_race`."""
    runs = [run for run in read_race(path) if run["seed"] in RACE]
    return {rule: [run for run in runs if run["rule"] == rule] for rule in dict.fromkeys(run["rule"] for run in runs)}
