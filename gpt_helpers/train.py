"""Two training loops: the one from the lessons, in the classic order, and one for real work, which can be stopped and resumed."""
import contextlib
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from gpt_helpers.checkpoint import describe_data, require_storable, resume_training, save_checkpoint, settings
from gpt_helpers.device import fresh_casts, require_same_device
from gpt_helpers.evaluate import History, evaluate_model, generate_and_print_sample
from gpt_helpers.exchange import exchange, from_first, no_loss, one_stop_button, turn
from gpt_helpers.files import save_or_say
from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.model import unwrap
from gpt_helpers.parallel import rank, require_processes, size
from gpt_helpers.random_state import isolated, same_random_state, set_random_state
from gpt_helpers.sharding import whole
from gpt_helpers.state import TrainState, deferred_interrupts
from gpt_helpers.text import text_to_token_ids
from gpt_helpers.validate import (
    PADDING,
    require_batches,
    require_callbacks,
    require_checkpointing,
    require_extras,
    require_finite,
    require_positive,
    require_prompt,
    require_trainable,
)
from gpt_helpers.weights import save_weights, stored_loss


def train_model_simple(model: nn.Module, train_loader: DataLoader, val_loader: DataLoader, optimizer: Optimizer,
                       device: torch.device | str, num_epochs: int, eval_freq: int, eval_iter: int, start_context: str,
                       tokenizer: Any) -> History:
    """Train for num_epochs passes over train_loader; evaluate every eval_freq steps; print a sample after each epoch.

    Steps count from 0, so "step 0" is evaluated after the first update. eval_iter: batches per evaluation.
    """
    history = History([], [], [])
    tokens_seen, global_step = 0, -1

    for epoch in range(num_epochs):
        model.train()
        for input_batch, target_batch in train_loader:
            optimizer.zero_grad()
            loss = calc_loss_batch(input_batch, target_batch, model, device)
            loss.backward()
            optimizer.step()
            tokens_seen += input_batch.numel()
            global_step += 1

            if global_step % eval_freq == 0:
                train_loss, val_loss = evaluate_model(model, train_loader, val_loader, device, eval_iter)
                history.train_losses.append(train_loss)
                history.val_losses.append(val_loss)
                history.tokens_seen.append(tokens_seen)
                print(f"Ep {epoch + 1} (Step {global_step:06d}): Train loss {train_loss:.3f}, Val loss {val_loss:.3f}")

        generate_and_print_sample(model, tokenizer, device, start_context)
    return history


def accumulate_gradients(micro_batches: list, model: nn.Module, device: torch.device | str, first: int = 0) -> tuple[float, int]:
    """Backward through every micro-batch: gradients of the mean over all their tokens, not of the mean of their means.

    Returns that mean loss, and how many tokens it counts, over all processes. first: how many micro-batches came before.
    Raises FloatingPointError when the loss is nan or infinite: its gradients must not reach the weights.
    """
    counts = [(batch[1] != PADDING).sum().item() if batch is not None else 0 for batch in micro_batches]
    tokens, losses = int(sum(exchange(counts))), []
    for i, (batch, count) in enumerate(zip(micro_batches, counts, strict=True)):
        with turn(model, first + i * size() + rank(), last=i == len(counts) - 1):
            loss = calc_loss_batch(*batch, model, device) * (count / tokens) if batch is not None else no_loss(model, device)
            (loss * size()).backward()                       # DDP and FSDP2 take the mean over processes
        losses.append(loss.detach())
    mean = sum(exchange([loss.item() for loss in losses]))
    require_finite(mean, what="training loss")
    return mean, tokens


def updates(model: nn.Module, loader: DataLoader, optimizer: Optimizer, device: torch.device | str, state: TrainState, *,
            num_epochs: int, accumulate: int, max_grad_norm: float | None, scheduler: LRScheduler | None,
            max_steps: float) -> Iterator[float]:
    """One update after another, from `state` on; yields each loss. Wherever it is interrupted, `state` is the last update's."""
    for micro_batches in state.batches(loader, num_epochs, accumulate):
        if state.step >= max_steps:
            return
        model.train()
        optimizer.zero_grad()
        loss, tokens = accumulate_gradients(micro_batches, model, device, first=state.step * accumulate)
        if max_grad_norm is not None:
            updated = [p for group in optimizer.param_groups for p in group["params"]]
            require_finite(whole(nn.utils.clip_grad_norm_(updated, max_grad_norm)).item(), what="gradient norm")
        with state.commit(loader):
            optimizer.step()
            state.step += 1
            state.batch = min(state.batch + accumulate, len(loader))
            state.tokens_seen += tokens
            if scheduler:
                scheduler.step()
                state.scheduler = scheduler.state_dict()
        yield loss


def train_model(model: nn.Module, train_loader: DataLoader, val_loader: DataLoader, optimizer: Optimizer,
                device: torch.device | str, num_epochs: int, eval_freq: int, eval_iter: int, start_context: str,
                tokenizer: Any, *, scheduler: LRScheduler | None = None, max_grad_norm: float | None = None, accumulate: int = 1,
                max_steps: float = math.inf, checkpoint_path: str | Path | None = None, checkpoint_freq: int | None = None,
                resume: bool = False, best_path: str | Path | None = None, eval_ends: bool = True, share_rng: bool = False,
                preflight: bool = False, callbacks: Sequence[Any] = ()) -> History:
    """`train_model_simple` for real work, on one process or several: evaluation leaves no trace, a stopped run resumes exactly.

    scheduler: stepped after each update. max_grad_norm: gradients are scaled down to this norm. accumulate: micro-batches per
    update, over all processes. max_steps: stop after this many updates in all. checkpoint_path: where training is saved, every
    checkpoint_freq steps, at the end, and when it is stopped. resume: continue from that file, or start if there is none yet.
    best_path: where the weights with the lowest validation loss are saved, as safetensors. eval_ends: also evaluate before the
    first update and after the last. share_rng: let evaluation draw from training's stream of random numbers; with this and
    eval_ends=False the weights are those of `train_model_simple`, bit for bit. preflight: first print what `diagnose.preflight`
    finds, and stop if it is a fault. callbacks: objects like `progress.Callback`. Returns the History, also when the stop button,
    or a nan or infinite loss, ends training. Raises ValueError or OSError before the first update, as `load_checkpoint` does.
    """
    require_trainable(model, optimizer)
    require_batches(train_loader)
    require_batches(val_loader, eval_iter)
    require_positive(num_epochs=num_epochs, eval_freq=eval_freq, accumulate=accumulate)
    require_processes(model, train_loader, accumulate, preflight)
    require_same_device(device, model)
    steps = math.ceil(len(train_loader) / accumulate) * num_epochs
    require_extras(optimizer, scheduler, steps, max_grad_norm, max_steps)
    require_prompt(start_context, text_to_token_ids(start_context, tokenizer), tokenizer, unwrap(model))
    require_callbacks(callbacks)
    require_checkpointing(checkpoint_path, checkpoint_freq, resume, best_path)

    if from_first(resume and Path(checkpoint_path).exists()):
        state = resume_training(checkpoint_path, model, optimizer, scheduler, train_loader)
        for epoch, text in enumerate(state.samples, start=1):
            state.tell(train_loader, callbacks, "on_sample", epoch, text)
    else:
        state = TrainState(rng=same_random_state(train_loader), given=settings(optimizer, scheduler),
                           scheduler=scheduler and scheduler.state_dict())
        if preflight:
            from gpt_helpers.diagnose import require_sound
            require_sound(model, (train_loader, val_loader), optimizer, tokenizer, scheduler=scheduler, steps=steps)
    if checkpoint_path:
        require_storable(configuration=unwrap(model).cfg, optimizer=state.given["optimizer"], scheduler=state.given["scheduler"])
    history, data = History(*state.losses), describe_data(train_loader)
    isolate = contextlib.nullcontext if share_rng else partial(isolated, model, train_loader, val_loader)

    def evaluate(history: History) -> None:
        with isolate():
            losses = evaluate_model(model, train_loader, val_loader, device, eval_iter)
        require_finite(*losses, what="evaluated losses")
        if best_path and from_first(not history.val_losses or losses[1] < stored_loss(best_path)):
            save_or_say(save_weights, best_path, model, val_loss=losses[1])
        with state.commit(train_loader):
            for row, value in zip(history, (*losses, state.tokens_seen), strict=True):
                row.append(value)
        state.tell(train_loader, callbacks, "on_eval", history)
        where = f"Ep {state.epoch + (state.batch > 0)} (Step {state.step - 1:06d})" if state.step else "Before step 000000"
        print(f"{where}: Train loss {losses[0]:.3f}, Val loss {losses[1]:.3f}")

    def sample() -> None:
        try:
            with isolate():
                text = generate_and_print_sample(model, tokenizer, device, start_context)
        except (LookupError, ValueError) as error:           # a model with more tokens than its tokenizer has words for
            print(text := f"No sample: the tokenizer cannot decode it ({type(error).__name__}: {error})")
        with state.commit(train_loader):
            state.samples.append(text)
        state.tell(train_loader, callbacks, "on_sample", len(state.samples), text)

    def save() -> None:
        if checkpoint_path:
            save_or_say(save_checkpoint, checkpoint_path, model, optimizer, vars(state), data=data)

    def do_what_is_due() -> None:
        """Do whatever belongs to this step and is not in the records yet, so that nothing is left out, and nothing done twice."""
        eval_due = (state.step - 1) % eval_freq == 0 if state.step else eval_ends
        if eval_due and state.tokens_seen not in history.tokens_seen[-1:]:
            evaluate(history)
        if state.batch == len(train_loader) and len(state.samples) == state.epoch:
            sample()
        if state.step and checkpoint_freq and state.step % checkpoint_freq == 0:
            save()

    with one_stop_button(), fresh_casts():
        try:
            do_what_is_due()                                     # before the first update, or what an interrupt left undone
            for loss in updates(model, train_loader, optimizer, device, state, num_epochs=num_epochs, accumulate=accumulate,
                                max_grad_norm=max_grad_norm, scheduler=scheduler, max_steps=max_steps):
                state.tell(train_loader, callbacks, "on_step", state.step - 1, loss)
                do_what_is_due()
            save()
            if eval_ends and state.tokens_seen not in history.tokens_seen[-1:]:
                history = History(*map(list, history))           # not in the checkpoint: a resumed run would have one too many
                evaluate(history)
        except KeyboardInterrupt:
            with contextlib.suppress(KeyboardInterrupt), deferred_interrupts():      # pressed twice, it is one stop
                set_random_state(state.rng, train_loader)
                save()
            print(f"Stopped at step {state.step}: by hand.")
        except FloatingPointError as error:
            print(f"Stopped at step {state.step}: {error}. No later step can mend that; "
                  "most often a smaller learning rate prevents it.")
        except Exception as error:                               # a batch that cannot be scored, no memory: nothing is lost
            if size() == 1 and state.step and not hasattr(error, "half_done"):      # other processes know nothing of it
                with deferred_interrupts():                      # more of it, such as a worker's death, waits
                    save()
            raise
    model.train()
    return history
