"""Instruments for a loop of one's own: its step, and its evaluation."""
import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer

from gpt_helpers.instruments.finding import Batch, Finding, gradient_of, mean_loss, weights_of
from gpt_helpers.instruments.optimizer import TRIAL_SECONDS, TRIAL_STEPS, peak_rates
from gpt_helpers.validate import PADDING


def step_is_classic(model: nn.Module, optimizer: Optimizer, step: Callable, batches: list[Batch]) -> Finding:
    """Does each step follow the gradient of its own batch? What the optimizer gets is compared with what it should get.

    After two steps no other is begun when TRIAL_SECONDS have passed.
    """
    seed, before = torch.randint(2**31, ()).item(), weights_of(model)
    right, other = (gradient_with(model, batches[0], draw) for draw in (seed, seed + 1))
    if right.norm() == 0:
        return Finding(False, "the gradient of the loss is 0 everywhere: no step can change that")
    usual = F.cosine_similarity(other, right, dim=0).item()      # 1 without dropout
    got, closures, modes, states, kept, calls, began = [], [], [], [], False, 0, time.monotonic()
    with (optimizer.register_step_pre_hook(lambda _, args, kwargs: got.append(gradient_of(model)) or closures.extend(
              [*args[1:], *kwargs.values()])),
          model.register_forward_pre_hook(lambda *_: modes.append(model.training))):
        model.zero_grad()
        torch.manual_seed(seed)                                  # the same dropout as in `right`
        states.append(torch.get_rng_state())
        for batch in batches:
            noise = noise_for(model, optimizer) if len(got) == calls > 0 else None      # else they may be accumulated
            step(*batch)
            calls += 1
            states.append(torch.get_rng_state())
            kept |= noise is not None and F.cosine_similarity(got[-1], noise, dim=0).item() > 0.5
            if not weights_of(model).isfinite().all():
                return Finding(False, f"after {calls} steps a weight is nan or infinite")
            if calls >= 2 and time.monotonic() - began > TRIAL_SECONDS:
                break
    if any(map(callable, closures)):
        return Finding(None, "the optimizer calls a closure for its gradients, which this test does not look into")
    if got and not got[0].any():
        return Finding(False, "the optimizer steps without the gradient of the batch: zero_grad, loss, backward, step; is the "
                              "loss still attached to its graph?")
    if not got and not torch.equal(before, weights_of(model)):
        return Finding(False, "the weights move, and not by this optimizer: is a new one made in each step?")
    if not got:
        return Finding(None, f"{calls} calls of step never stepped this optimizer: it is another one, or gradients are "
                             "accumulated")
    if torch.equal(before, weights_of(model)):
        return Finding(False, "a step does not change the weights")
    if modes and not any(modes) and usual < 0.9999:
        return Finding(False, "a step computes its loss in eval mode, without dropout: model.train() is missing")
    if calls > 1 and torch.equal(states[1], states[2]) and not torch.equal(states[0], states[1]):
        return Finding(False, "a step sets the random seed: dropout repeats itself")
    if kept:
        return Finding(False, "what an earlier step left in the gradients is still there: zero_grad is missing")
    if len(got) > calls:
        return Finding(False, f"{calls} calls of step make {len(got)} updates: does the optimizer step twice?")
    if len(got) != calls:
        return Finding(None, f"{calls} calls of step make {len(got)} updates: are gradients accumulated?")
    return compare_gradients(got[0], right, usual)


def gradient_with(model: nn.Module, batch: Batch, seed: int) -> torch.Tensor:
    """The gradient of the mean loss in train mode, with the dropout of this seed, as one long row."""
    model.zero_grad()
    torch.manual_seed(seed)
    mean_loss(model.train(), batch).backward()
    return gradient_of(model)


def noise_for(model: nn.Module, optimizer: Optimizer) -> torch.Tensor | None:
    """Put noise in place of the gradients that a step has left, and return it as one row: a sound step forgets it."""
    held = [weight for group in optimizer.param_groups for weight in group["params"]]
    left = [weight for weight in held if weight.grad is not None and weight.grad.any()]
    for weight in left:
        weight.grad = 1000 * torch.randn_like(weight)
    return gradient_of(model) if left else None


def compare_gradients(got: torch.Tensor, right: torch.Tensor, usual: float) -> Finding:
    """What the optimizer was given at its first step, and the gradient of that batch, each as one long row.

    usual: the cosine of two gradients of that batch whose dropout differs; 1 without dropout.
    """
    alike, scale = F.cosine_similarity(got, right, dim=0).item(), (got.norm() / right.norm()).item()
    if alike < -0.5:
        return Finding(False, "the optimizer gets the gradient with its sign flipped: it climbs the loss")
    limit = got.abs().max().item()
    if alike < 0.95 and F.cosine_similarity(got, right.clamp(-limit, limit), dim=0) > 0.99:
        return Finding(None, f"each value of the gradient is clipped at {limit:.2g}, which changes its direction")
    if alike < 0.97 * usual - 0.02:
        return Finding(False, f"the optimizer gets another gradient than that of the mean cross-entropy (cosine {alike:.2f}): "
                              "another loss, or parts of the model left out")
    if scale > 1.5:
        return Finding(False, f"the gradient is {scale:.4g} times that of the mean over tokens: a sum for a mean?")
    if scale < 0.02:
        return Finding(False, f"the gradient is only {scale:.2%} of what it should be: clipped too hard, or divided twice?")
    return Finding(True, "each step follows the gradient of its own batch" + (f", scaled to {scale:.0%}" if scale < 0.98 else ""))


def rate_is_kept(optimizer: Optimizer, rates: list[float] | None) -> Finding:
    """After a few steps, is the learning rate as it was meant? rates: the highest of each group."""
    for group, rate in zip(optimizer.param_groups, rates or peak_rates(optimizer), strict=True):
        if group["lr"] > 3 * max(rate, group.get("initial_lr", 0)):
            return Finding(False, f"a step sets the learning rate to {float(group['lr']):.2g}, and the optimizer was made with "
                                  f"{rate:.2g}")
    return Finding(True, "each step keeps the learning rate")


def own_steps_learn(model: nn.Module, step: Callable, batch: Batch) -> Finding:
    """Does the loss of one batch fall by one's own steps? They may clip gradients, which `run_trial` does not."""
    losses, began = [], time.monotonic()
    for _ in range(TRIAL_STEPS):
        with torch.no_grad():
            losses.append(mean_loss(model.eval(), batch).item())
        if len(losses) > 3 and time.monotonic() - began > TRIAL_SECONDS:
            break
        step(*batch)
    words = f"{len(losses) - 1} of your own steps on one batch take its loss from {losses[0]:.2f} to {losses[-1]:.2f}"
    return Finding(losses[-1] < 0.99 * losses[0], words)


def sets_train_mode(model: nn.Module, step: Callable, batch: Batch) -> bool:
    """Does a step put the model in train mode itself?"""
    model.eval()
    step(*batch)
    return model.training


def evaluation_is_quiet(model: nn.Module, evaluate: Callable, batches: list[Batch], sets_mode: Callable | None) -> Finding:
    """Does evaluating give the same answer twice, and leave weights, mode and random numbers as they were?

    batches: those that the loss is compared on, if that takes no longer than two seconds. sets_mode: tells, by a step,
    whether each step sets the mode itself.
    """
    graphs, trains, states, losses, before = [], [], [], [], weights_of(model)
    with model.register_forward_hook(lambda *_: graphs.append(torch.is_grad_enabled()) or trains.append(model.training)):
        for seed in (1, 2):
            model.train()
            torch.manual_seed(seed)
            state = torch.get_rng_state()
            loss = evaluate()
            try:
                losses.append(float(loss))
            except (TypeError, ValueError):
                return Finding(False, f"evaluate gives {loss!r:.60}, need the validation loss as a number")
            states.append((torch.equal(state, torch.get_rng_state()), torch.get_rng_state()))
    if not torch.allclose(weights_of(model), before, rtol=0, atol=0, equal_nan=True):
        return Finding(False, "evaluating changes the weights")
    if any(trains) and abs(losses[0] - losses[1]) > 1e-5 * abs(losses[0]):
        return Finding(False, f"two evaluations of the same model give {losses[0]:.4f} and {losses[1]:.4f}: is eval() missing?")
    if not torch.is_grad_enabled() or not any(weight.requires_grad for weight in model.parameters()):
        return Finding(False, "evaluating leaves gradients switched off: training would change nothing")
    if not math.isfinite(losses[0]):
        return Finding(False, f"evaluating gives {losses[0]}")
    if not states[0][0] and torch.equal(states[0][1], states[1][1]):
        return Finding(False, "evaluating sets the random seed: dropout and shuffling repeat themselves")
    if any(graphs):
        return Finding(False, "evaluating builds a graph that nobody needs: torch.no_grad() is missing")
    left_in_eval = not model.training
    if not trains:
        return Finding(None, "evaluating never calls this model: is it another one, or an average of its weights?")
    right = validation_loss(model.eval(), batches)
    if right is not None and not math.isclose(losses[0], right, rel_tol=0.05):
        units = {"in bits, not in nats": right / math.log(2), "the perplexity, not the loss": math.exp(min(right, 700))}
        if unit := next((unit for unit, value in units.items() if math.isclose(losses[0], value, rel_tol=0.05)), None):
            return Finding(None, f"the evaluation gives {losses[0]:.3f}, which is {unit} ({right:.3f})")
        return Finding(False, f"the evaluation gives {losses[0]:.3f}, and the mean over the tokens of the validation loader is "
                              f"{right:.3f}")
    if left_in_eval and not (sets_mode and sets_mode()):
        return Finding(False, "after evaluating the model is still in eval mode: training goes on without dropout")
    drawn = "" if states[0][0] else ", but for the random numbers that it draws"
    return Finding(True, f"evaluating gives {losses[0]:.3f} both times, and leaves no trace{drawn}")


@torch.no_grad()
def validation_loss(model: nn.Module, batches: list[Batch]) -> float | None:
    """The mean loss over the tokens of all batches, or None if that takes longer than two seconds."""
    began, total, tokens = time.monotonic(), 0.0, 0
    for inputs, targets in batches:
        if time.monotonic() - began > 2:
            return None
        if counted := (targets != PADDING).sum().item():
            total += mean_loss(model, (inputs, targets)).item() * counted
            tokens += counted
    return total / tokens if tokens else None
