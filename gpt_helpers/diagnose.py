"""`preflight`: what can be known about a training before it starts, in seconds, a line for each test."""
import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from gpt_helpers.data import independent
from gpt_helpers.instruments.data import (
    order_is_mixed,
    same_kind_of_text,
    same_windows,
    targets_follow,
    tokens_fit,
    validation_is_new,
)
from gpt_helpers.instruments.finding import Batch, Finding
from gpt_helpers.instruments.loop import evaluation_is_quiet, step_is_classic
from gpt_helpers.instruments.model import first_loss, parameters_are_sound, past_is_safe, same_twice
from gpt_helpers.instruments.optimizer import gradients_reach, holds_the_model, learns, run_trial, schedule_fits, settings_fit
from gpt_helpers.state import isolated

TOKENS, ROWS = 200_000, 4      # tokens of each loader, and windows of a batch, that are looked at
SECONDS = 4                    # for the trial


class Report(dict):
    """What `preflight` found: {test: Finding}. `faults`: the words of those that are not sound."""

    @property
    def faults(self) -> list[str]:
        return [finding.words for finding in self.values() if finding.sound is False]

    def __repr__(self) -> str:
        marks = {True: "✔", False: "✘", None: "·"}
        return "\n".join(f"{marks[finding.sound]} {test}: {finding.words}" for test, finding in self.items())


def preflight(model: nn.Module, loaders: tuple[DataLoader, DataLoader], optimizer: Optimizer, tokenizer: Any, *,
              step: Callable | None = None, evaluate: Callable | None = None, scheduler: Any = None, steps: int | None = None,
              device: torch.device | str | None = None) -> Report:
    """Test a training before it starts; nothing of it is changed. The Report, printed, has a line for each test.

    loaders: training and validation, of (inputs, targets), each (B, T). With these everything about data, model and optimizer
    is tested; the loop only if it is given, too. step(inputs, targets): one update by your own loop, with its scheduler if
    it has one. evaluate(): your validation loss. steps: how many updates the training has in all.
    """
    device = device or next(model.parameters()).device
    train_loader, val_loader = loaders
    report = Report()
    with unchanged(model, optimizer, scheduler), isolated(model, *loaders):
        torch.manual_seed(0)
        batches, again = (first_batches(train_loader, "training") for _ in range(2))
        val_batches = first_batches(val_loader, "validation")
        train, val = rows(batches), rows(val_batches)
        batch = to(device, batches[0], ROWS)

        report["targets"] = min(targets_follow(batches), targets_follow(val_batches))
        report["order"] = order_is_mixed(batches, again)
        report["windows"] = same_windows(train, val)
        report["validation"] = validation_is_new(train, val)
        report["text"] = same_kind_of_text(train, val)
        model.eval()
        report["tokenizer"] = tokens_fit(train[:ROWS].to(device), model, tokenizer)
        report["first loss"] = first_loss(model, batch)
        report["past"] = past_is_safe(model, batch[0])
        report["eval mode"] = same_twice(model, batch[0])
        report["weights"] = parameters_are_sound(model)
        report["optimizer"] = holds_the_model(model, optimizer)
        report["settings"] = settings_fit(model, optimizer, batch)
        with unchanged(model, optimizer):
            trial = run_trial(model, optimizer, batch, 12, SECONDS)
            past_after = past_is_safe(model, batch[0])                  # what begins at 0 hides a missing mask
        report["past"] = min(report["past"], past_after)
        report["trial"] = learns(trial, steps)
        report["gradients"] = gradients_reach(trial)
        if scheduler and steps and not isinstance(scheduler, ReduceLROnPlateau):
            report["schedule"] = schedule_fits(optimizer, scheduler, steps - scheduler.last_epoch)
        if step:
            with unchanged(model, optimizer, scheduler):
                began = getattr(scheduler, "last_epoch", None)
                report["step"] = step_is_classic(model, optimizer, step, [to(device, each) for each in (batches * 3)[:3]])
                if steps and began is not None and scheduler.last_epoch == began:
                    per_step = getattr(scheduler, "total_steps", None) == steps
                    report["schedule"] = Finding(False if per_step else None, "a step does not step the scheduler: the learning "
                                                 "rate stays where it is, unless an epoch does")
        if evaluate:
            report["evaluation"] = evaluation_is_quiet(model, evaluate, [to(device, each) for each in val_batches])
    return report


def require_sound(*args: Any, **kwargs: Any) -> None:
    """Print what `preflight` finds; ValueError when some of it is a fault."""
    report = preflight(*args, **kwargs)
    print(report)
    if report.faults:
        raise ValueError(f"preflight found {len(report.faults)} fault{'s' * (len(report.faults) > 1)}, so training was not "
                         f"started: {'; '.join(report.faults)}. Mend that, or leave preflight out")


def first_batches(loader: Iterable, name: str) -> list[Batch]:
    """The first batches of a loader, with about TOKENS tokens in all. ValueError when there are none, or they are no windows."""
    batches, tokens = [], 0
    for batch in islice(independent(loader), 1000):
        pair = isinstance(batch, list | tuple)
        if not pair or [getattr(part, "ndim", None) for part in batch] != [2, 2]:
            given = [getattr(part, "shape", type(part).__name__) for part in batch] if pair else type(batch).__name__
            raise ValueError(f"the {name} loader gives {given}, need a pair: (inputs, targets), each (B, T) token ids")
        batches.append(tuple(batch))
        tokens += batch[0].numel()
        if tokens >= TOKENS:
            break
    if not batches:
        raise ValueError(f"the {name} loader gives no batch, need at least one: is it empty, or used up?")
    return batches


def rows(batches: list[Batch]) -> torch.Tensor:
    """The inputs of all batches, (R, T)."""
    width = min(inputs.shape[1] for inputs, _ in batches)
    return torch.cat([inputs[:, :width] for inputs, _ in batches]).cpu()


def to(device: torch.device | str, batch: Batch, rows: int | None = None) -> Batch:
    """The first rows of a batch, on a device."""
    return batch[0][:rows].to(device), batch[1][:rows].to(device)


@contextlib.contextmanager
def unchanged(model: nn.Module, optimizer: Optimizer, scheduler: Any = None) -> Iterator[None]:
    """Whatever the body trains, weights, gradients, optimizer and scheduler are as before when it ends."""
    weights, gradients = copy.deepcopy(model.state_dict()), [weight.grad for weight in model.parameters()]
    parts = [(part, copy.deepcopy(part.state_dict())) for part in (optimizer, scheduler) if part]
    modes = [(module, module.training) for module in model.modules()]
    for weight in model.parameters():
        weight.grad = None
    try:
        yield
    finally:
        for name, value in model.state_dict().items():
            if name in weights:
                value.copy_(weights[name])
        for part, state in parts:
            part.load_state_dict(state)
        for weight, gradient in zip(model.parameters(), gradients, strict=True):
            weight.grad = gradient
        for module, mode in modes:
            module.training = mode
