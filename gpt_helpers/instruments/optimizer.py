"""Instruments for an optimizer and its settings: a few updates tell most."""
import contextlib
import copy
import math
import time
import warnings
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from gpt_helpers.instruments.finding import Batch, Finding, mean_loss
from gpt_helpers.model import unwrap

MOST = 100_000                # steps of a schedule that are looked at
TRIAL_STEPS, TRIAL_SECONDS = 12, 4.0      # of a trial on one batch


def holds_the_model(model: nn.Module, optimizer: Optimizer) -> Finding:
    """Does the optimizer hold exactly this model's weights?"""
    own = {id(weight): name for name, weight in model.named_parameters() if weight.requires_grad}
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    if not own:
        return Finding(False, "all weights are frozen: requires_grad is off")
    if not own.keys() & held:
        return Finding(False, "the optimizer holds none of this model's weights: it was made with another model")
    if missing := [name for key, name in own.items() if key not in held]:
        return Finding(False, f"the optimizer holds {len(own) - len(missing)} of {len(own)} weight tensors; {missing[0]} will "
                              "never move")
    return Finding(True, "the optimizer holds every weight")


def settings_fit(model: nn.Module, optimizer: Optimizer, batch: Batch, rates: list[float] | None) -> Finding:
    """Does each group step, downhill, with an eps below the gradients and a decay that leaves something over?"""
    rates = rates or peak_rates(optimizer)
    mean_loss(model, batch).backward()
    sizes = torch.cat([weight.grad.abs().flatten() for weight in model.parameters() if weight.grad is not None])
    sizes = sizes[sizes > 0]
    for number, (group, rate) in enumerate(zip(optimizer.param_groups, rates, strict=True)):
        if group.get("maximize"):
            return Finding(False, "the optimizer has maximize=True: it climbs the loss")
        if rate == 0:
            return Finding(False, f"group {number} of the optimizer, with {len(group['params'])} weight tensors, has the "
                                  "learning rate 0")
        first, second = (*group.get("betas", ()), 0, 1)[:2]
        if first > second and first > 0.98:
            return Finding(False, f"the optimizer has betas=({first:g}, {second:g}): they look swapped")
        eps = group.get("eps") if isinstance(group.get("eps"), float) else 0.0
        if len(sizes) and (small := (sizes < eps).float().mean().item()) > 0.5:
            return Finding(False, f"eps = {eps:g} is larger than {small:.0%} of the gradients: updates shrink with them")
        if 0 < eps < 6e-8 and any(p.dtype == torch.float16 for p in group["params"]):
            return Finding(False, f"eps = {eps:g} is 0 in float16: the first division by it gives nan")
        if (decay := rate * group.get("weight_decay", 0)) > 0.02:
            return Finding(False, f"learning rate times weight decay takes {decay:.0%} of each weight at every step: one of them "
                                  "is too large")
    if min(rates) < 1e-4 * max(rates):
        return Finding(None, f"the groups of the optimizer have learning rates from {min(rates):g} to {max(rates):g}")
    return Finding(True, "eps and weight decay fit the gradients and the learning rate")


def rates_of(scheduler: Any, steps: int) -> list[list[float]]:
    """The learning rates of each group at each of the steps; fewer when the schedule ends before. Copies are stepped."""
    scheduler = copy.deepcopy(scheduler)
    rates = []
    with warnings.catch_warnings(), contextlib.suppress(ValueError):
        warnings.simplefilter("ignore")                            # a copied scheduler does not know its optimizer's steps
        for _ in range(min(steps, MOST)):
            rates.append([float(group["lr"]) for group in scheduler.optimizer.param_groups])
            scheduler.step()
    return rates


def peak_rates(optimizer: Optimizer, scheduler: Any = None, steps: int = 10_000) -> list[float]:
    """Each group's highest learning rate: in that many steps of its schedule, or as far as the group itself knows it."""
    rates = rates_of(scheduler, steps) if scheduler else []
    known = [float(max(group["lr"], group.get("max_lr", 0)) or group.get("initial_lr", 0)) for group in optimizer.param_groups]
    return [max(each) for each in zip(*rates, strict=True)] if rates and len(rates[0]) == len(known) else known


class Trial(NamedTuple):
    """A few updates on one batch. losses: before each, and after the last. moved: {weight: the share of its rows that
    got a gradient}. rows: {embedding: how many did}. ratio: the size of the first update over that of the weights.
    """

    losses: list
    moved: dict
    rows: dict
    ratio: float


def run_trial(model: nn.Module, optimizer: Optimizer, batch: Batch, rates: list[float] | None = None) -> Trial:
    """TRIAL_STEPS updates of the model on one batch, at the highest learning rate that is known; `given.unchanged` puts it back.

    After three of them no new one is begun when TRIAL_SECONDS have passed. rates: one for each group.
    """
    model = unwrap(model)
    model.eval()                                                   # without dropout, so that a falling loss means learning
    for group, rate in zip(optimizer.param_groups, rates or peak_rates(optimizer), strict=True):
        group["lr"] = rate
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    reached = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in before.items()}
    losses, ratio, started = [], 0.0, time.monotonic()
    for step in range(TRIAL_STEPS):
        if step >= 3 and time.monotonic() - started > TRIAL_SECONDS:
            break
        model.zero_grad()
        loss = mean_loss(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                reached[name] |= weight.grad != 0
        if step == 0:
            pairs = [(weight.detach().float(), before[name].float()) for name, weight in model.named_parameters()
                     if weight.ndim > 1]
            change, size = get_total_norm([new - old for new, old in pairs]), get_total_norm([old for _, old in pairs])
            ratio = change.item() / max(1e-12, size.item())
    with torch.no_grad():
        losses.append(mean_loss(model, batch).item())
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    moved = {name: reached[name].any(dim=-1).float().mean().item() if name in linear else float(reached[name].any())
             for name, weight in model.named_parameters() if weight.requires_grad}
    rows = {f"{name}.weight": int(reached[f"{name}.weight"].any(dim=-1).sum()) for name, module in model.named_modules()
            if isinstance(module, nn.Embedding) and f"{name}.weight" in reached}
    return Trial(losses, moved, rows, ratio)


def schedule_fits(scheduler: Any, steps: int) -> Finding:
    """Does the learning rate's schedule, stepped at each update, last as long as the run?"""
    if steps < 1:
        return Finding(None, f"the schedule has made {scheduler.last_epoch:,} steps, as many as the run has, or more")
    rates = [each[0] for each in rates_of(scheduler, steps)]
    if len(rates) < min(steps, MOST):
        return Finding(False, f"the schedule ends after {len(rates) - 1:,} of {steps:,} steps: it was made for a shorter run")
    whole = scheduler.last_epoch + steps
    if isinstance(scheduler, CosineAnnealingLR) and scheduler.T_max < 0.9 * whole:
        return Finding(False, f"after T_max = {scheduler.T_max:,} of {whole:,} steps the cosine rises again: was it made "
                              "for epochs?")
    if steps > MOST:
        return Finding(None, f"the learning rate goes from {rates[0]:.2g} to {rates[-1]:.2g} in the first {MOST:,} of {steps:,} "
                             "steps; the others were not looked at")
    if (idle := sum(rate < 0.01 * max(rates) for rate in rates) / steps) > 0.3:
        return Finding(False, f"for {idle:.0%} of the {steps:,} steps the learning rate is below a hundredth of its highest")
    if len(set(rates)) > 1 and rates == sorted(rates) and rates[-1] > 1.5 * rates[steps // 2]:
        return Finding(None, f"the learning rate rises to the very end, from {rates[0]:.2g} to {rates[-1]:.2g}")
    return Finding(True, f"the learning rate goes from {rates[0]:.2g} over {max(rates):.2g} to {rates[-1]:.2g}")


def learns(trial: Trial, steps: int | None) -> Finding:
    """Does the loss of one batch fall, by updates that are neither too large nor too small? steps: of the whole run."""
    first, last, updates = trial.losses[0], trial.losses[-1], len(trial.losses) - 1
    if not math.isfinite(last):
        return Finding(False, f"within {updates} updates the loss of one batch becomes {last}")
    if trial.ratio == 0:
        return Finding(False, "an update does not change the weights at all")
    if trial.ratio > 1 or last > first + 0.5 or (trial.ratio > 0.5 and last > 0.9 * first):
        return Finding(False, f"one update changes the weights by {trial.ratio:.0%}, and {updates} take the loss of one batch "
                              f"from {first:.2f} to {last:.2f}: the learning rate is too large")
    if steps and trial.ratio * steps < 0.2:
        return Finding(None, f"one update changes the weights by {trial.ratio:.4%}, and {steps:,} by at most "
                             f"{trial.ratio * steps:.0%}: is the learning rate too small for a run this short?")
    if min(trial.losses) > first - 1e-3 * abs(first):
        if trial.ratio < 1e-5:
            return Finding(None, f"one update changes the weights by {trial.ratio:.2g} of their size, too little to see whether "
                                 "it helps: is the learning rate too small?")
        return Finding(False, f"{updates} updates on one batch do not lower its loss ({first:.3f} to {last:.3f})")
    return Finding(True, f"one batch is learned: {first:.2f} to {last:.2f} in {updates} updates, of {trial.ratio:.2%} each")


def gradients_reach(trial: Trial) -> Finding:
    """Does every weight get a gradient, and every row of a Linear? Rows of an embedding are those of tokens."""
    names = list(trial.moved)
    if never := [name for name in names if trial.moved[name] == 0]:
        experts = all("expert" in name for name in never)          # of many, some get no token of a batch
        return Finding(None if experts else False,
                       f"{len(never)} of {len(names)} weight tensors get no gradient at all ({', '.join(never[:2])}"
                       f"{', …' if len(never) > 2 else ''}): they take no part in the loss")
    if fixed := [name for name, rows in trial.rows.items() if rows == 1]:
        return Finding(False, f"only one row of {fixed[0]} ever gets a gradient: are all positions the same?")
    if dead := {name: share for name, share in trial.moved.items() if share < 0.7}:
        name = min(dead, key=dead.get)
        return Finding(False, f"{1 - dead[name]:.0%} of the rows of {name} never get a gradient: dead units")
    return Finding(True, "a gradient reaches every weight")
