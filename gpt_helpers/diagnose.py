"""`preflight`: what can be known about a training run before it starts, in seconds, a line for each test."""
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader

from gpt_helpers.evaluate import showable
from gpt_helpers.instruments.data import (
    order_is_mixed,
    same_kind_of_text,
    same_windows,
    targets_follow,
    tokens_fit,
    validation_is_new,
)
from gpt_helpers.instruments.finding import Finding, in_a_line, padded
from gpt_helpers.instruments.given import as_one, cut, first_batches, require_run, rows, short_window, unchanged
from gpt_helpers.instruments.loop import evaluation_is_quiet, own_steps_learn, rate_is_kept, sets_train_mode, step_is_classic
from gpt_helpers.instruments.model import first_loss, parameters_are_sound, past_is_safe, positions_are_counted, same_twice, takes
from gpt_helpers.instruments.optimizer import (
    gradients_reach,
    holds_the_model,
    learns,
    peak_rates,
    run_trial,
    schedule_fits,
    settings_fit,
)
from gpt_helpers.random_state import isolated
from gpt_helpers.validate import require_device, require_positive

ROWS, WINDOWS = 256, 1024      # about how many tokens of a batch the model is tested with, and the loop


class Report(dict):
    """What `preflight` found: {test: Finding}. `faults`: the words of those that are not sound."""

    @property
    def faults(self) -> list[str]:
        return [finding.words for finding in self.values() if finding.sound is False]

    def run(self, test: str, instrument: Callable, *args: Any, **kwargs: Any) -> Any:
        """Note what an instrument finds, or that it could not be used, and return it; of two findings the worse is kept."""
        try:
            found = instrument(*args, **kwargs)
        except Exception as error:      # a program of somebody else may raise anything
            yours, what = test in ("step", "evaluation"), f"your {test} fails"
            found = Finding(False if yours else None, f"{what if yours else 'could not be tested'}: {in_a_line(error)}")
        if isinstance(found, Finding):
            self.note(test, found)
        return found

    def note(self, test: str, finding: Finding) -> None:
        """Keep a finding, unless this test already has one as bad."""
        self[test] = min(self.get(test, finding), finding, key=lambda each: [False, None, True].index(each.sound))

    def __repr__(self) -> str:
        marks = "✔✘·" if showable("✔✘·") == "✔✘·" else ("OK", "NO", "--")      # an older Windows terminal lacks the first two
        marks = dict(zip((True, False, None), marks, strict=True))
        return showable("\n".join(f"{marks[finding.sound]} {test}: {finding.words}" for test, finding in self.items()))


def preflight(model: nn.Module, loaders: tuple[DataLoader, DataLoader | None], optimizer: Optimizer | Sequence[Optimizer],
              tokenizer: Any = None, *, step: Callable | None = None, evaluate: Callable | None = None, scheduler: Any = None,
              steps: int | None = None, device: torch.device | str | None = None) -> Report:
    """Test a training run before it starts; nothing of it is changed. Printed, the Report has a line for each test.

    loaders: training and validation (None if there is none), of (inputs, targets), each (B, T). With these everything about
    data, model and optimizer is tested; the loop only if it is given, too. step(inputs, targets): one update by your own
    loop, with its scheduler if it has one; called three or four times. evaluate(): your validation loss, called twice. State
    that the two keep elsewhere, such as averaged weights or a dataset's own random numbers, is not put back. scheduler: one that
    is stepped at each update; leave out one that is stepped once an epoch. steps: how many updates the run has in all. Raises
    ValueError for anything that is not a training run.
    """
    require_run(model, loaders, tokenizer, scheduler)
    if steps is not None:
        require_positive(steps=steps)
    device, optimizer = device or next(model.parameters()).device, as_one(optimizer)
    require_device(device)
    train_loader, val_loader = loaders
    there = [loader for loader in loaders if loader is not None]
    report = Report()
    with unchanged(model, optimizer, scheduler) as restore, isolated(model, *there), torch.enable_grad():
        torch.manual_seed(0)
        given = first_batches(train_loader, "training")
        batches, again = (list(map(padded, each)) for each in (given, first_batches(train_loader, "training")))
        val_batches = list(map(padded, first_batches(val_loader, "validation"))) if val_loader is not None else []
        look_at_data(report, batches, again, val_batches)
        model.eval()
        if not report.run("model", takes, model, *(rows(batches + val_batches, part) for part in (0, 1))).sound:
            return report
        length = short_window(model, batches[0][0])
        batch = cut(batches[0], device, ROWS, length)
        report.run("tokenizer", tokens_fit, batch[0], model, tokenizer)
        report.run("first loss", first_loss, model, batch)
        report.run("eval mode", same_twice, model, batch[0])
        held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        report.run("weights", parameters_are_sound, model, held)
        report.run("optimizer", holds_the_model, model, optimizer)
        counts = scheduler is not None and not isinstance(scheduler, ReduceLROnPlateau)      # it needs no loss
        left = max(0, steps - scheduler.last_epoch) if counts and steps else steps
        rates = report.run("schedule", peak_rates, optimizer, scheduler if counts else None, left or 10_000)
        rates = rates if isinstance(rates, list) else None
        report.run("settings", settings_fit, model, optimizer, batch, rates)
        trial = report.run("trial", run_trial, model, optimizer, batch, rates=rates)
        if report.run("past", past_is_safe, model, batch[0]).sound and report["eval mode"].sound:
            report.run("past", positions_are_counted, model, batch[0])      # after the trial: weights of 0 would hide a fault
        restore()
        if not isinstance(trial, Finding):                         # else it could not be run, and the line is there
            report.run("trial", learns, trial, steps)
            report.run("gradients", gradients_reach, trial)
        moves = sets_mode = None
        if step:
            few = [cut(each, device, WINDOWS, length) for each in (given * 3)[: min(3, left or 3)]]
            began, updates = getattr(scheduler, "last_epoch", 0), []
            with optimizer.register_step_pre_hook(lambda *_: updates.append(1)):
                if report.run("step", step_is_classic, model, optimizer, step, few).words.startswith("your step fails"):
                    restore()                                      # perhaps it was written for whole batches
                    few = [cut(each, device, 2**30) for each in given[: len(few)]]
                    updates.clear()
                    del report["step"]
                    report.run("step", step_is_classic, model, optimizer, step, few)
            report.run("step", rate_is_kept, optimizer, rates)
            if counts and steps and updates:                       # without any, gradients are accumulated
                moves = schedule_moves(scheduler, steps, scheduler.last_epoch - began, len(updates))
            restore()
            if report["trial"].sound is False and not counts and not trial.losses[-1] <= trial.losses[0]:
                own = report.run("trial", own_steps_learn, model, step, few[0])
                report["trial"] = own if own.sound else report["trial"]
                restore()
            sets_mode = partial(sets_train_mode, model, step, few[0])
        if counts and steps:
            if moves and moves.sound is None:                      # stepped once an epoch, perhaps
                report["schedule"] = moves
            else:
                report.run("schedule", schedule_fits, scheduler, left)
                if moves:
                    report.note("schedule", moves)
        if counts and scheduler.optimizer not in getattr(optimizer, "optimizers", [optimizer]):
            report["schedule"] = Finding(False, "the scheduler belongs to another optimizer, so this one's rate never changes")
        if evaluate:
            report.run("evaluation", evaluation_is_quiet, model, evaluate, [cut(each, device, 2**30) for each in val_batches],
                       sets_mode)
    return report


def look_at_data(report: Report, batches: list, again: list, val_batches: list) -> None:
    """The tests that need no model. batches, again: those of two epochs."""
    report.run("targets", targets_follow, batches)
    report.run("order", order_is_mixed, batches, again)
    if val_batches:
        report.run("targets", targets_follow, val_batches)
        report.run("windows", same_windows, batches, val_batches)
        report.run("validation", validation_is_new, batches, val_batches)
        report.run("text", same_kind_of_text, rows(batches), rows(val_batches))


def schedule_moves(scheduler: Any, steps: int, moved: int, updates: int) -> Finding:
    """Is a schedule stepped once at each update? moved: how far `updates` of them have taken it."""
    if moved > updates:
        return Finding(False, f"{updates} updates take the schedule {moved} steps on: is scheduler.step() called twice?")
    if moved == 0:
        per_step = steps in (getattr(scheduler, "total_steps", None), getattr(scheduler, "T_max", None))
        return Finding(False if per_step else None, "a step does not step the scheduler: the learning rate stays where it is, "
                       "unless an epoch does")
    return Finding(True, "each step steps the schedule")


def require_sound(*args: Any, **kwargs: Any) -> None:
    """Print what `preflight` finds; ValueError when some of it is a fault."""
    report = preflight(*args, **kwargs)
    print(report)
    if report.faults:
        raise ValueError(f"preflight found {len(report.faults)} fault{'s' * (len(report.faults) > 1)}, so training was not "
                         f"started: {'; '.join(report.faults)} (mend that, or train without preflight)")
