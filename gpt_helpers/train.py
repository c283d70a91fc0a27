"""The training loop of the lessons, and what it records."""
import math
from typing import NamedTuple

import torch

from gpt_helpers.data import check_positive
from gpt_helpers.generate import generate_text_simple
from gpt_helpers.loss import calc_loss_batch, calc_loss_loader, check_batches
from gpt_helpers.model import check_ids
from gpt_helpers.text import text_to_token_ids, token_ids_to_text


class History(NamedTuple):
    """One entry per evaluation: losses in nats per token, and the training tokens seen by then."""

    train_losses: list
    val_losses: list
    tokens_seen: list


def train_model_simple(model, train_loader, val_loader, optimizer, device, num_epochs,
                       eval_freq, eval_iter, start_context, tokenizer, *, on_step=None, on_sample=None):
    """Train for num_epochs passes over train_loader; evaluate every eval_freq steps; print a sample after each epoch.

    Steps count from 0, so "step 0" is evaluated after the first update. eval_iter: batches per evaluation.
    on_step(step, loss) is called after each update, for a progress line; on_sample(epoch, text) with each sample.
    Returns a History.
    A loss that is not a number stops the training, says at which step, and returns what was recorded so far.
    """
    check_batches(train_loader)
    check_batches(val_loader, eval_iter)
    check_positive(num_epochs=num_epochs, eval_freq=eval_freq)
    check_start(start_context, tokenizer, model)
    check_optimizer(optimizer, model)
    history = History([], [], [])
    tokens_seen, global_step = 0, -1

    for epoch in range(num_epochs):
        model.train()
        for input_batch, target_batch in train_loader:
            optimizer.zero_grad()
            loss = calc_loss_batch(input_batch, target_batch, model, device)
            if not loss.isfinite():
                return stop(history, global_step + 1, f"training loss is {loss.item()}")
            loss.backward()
            optimizer.step()
            tokens_seen += input_batch.numel()
            global_step += 1
            if on_step:
                on_step(global_step, loss.item())

            if global_step % eval_freq == 0:
                train_loss, val_loss = evaluate_model(model, train_loader, val_loader, device, eval_iter)
                if not math.isfinite(train_loss + val_loss):
                    return stop(history, global_step, f"evaluated losses are {train_loss} and {val_loss}")
                history.train_losses.append(train_loss)
                history.val_losses.append(val_loss)
                history.tokens_seen.append(tokens_seen)
                print(f"Ep {epoch + 1} (Step {global_step:06d}): Train loss {train_loss:.3f}, Val loss {val_loss:.3f}")

        sample = generate_and_print_sample(model, tokenizer, device, start_context)
        if on_sample:
            on_sample(epoch + 1, sample)
    return history


def stop(history, step, reason):
    """Say at which step a training stopped and why; hand back what it had recorded by then."""
    print(f"Stopped at step {step}: the {reason}. No later step can mend that; most often a smaller learning rate prevents it.")
    return history


def evaluate_model(model, train_loader, val_loader, device, eval_iter):
    """(train loss, validation loss) over the first eval_iter batches of each loader, without dropout or gradients."""
    model.eval()
    with torch.no_grad():
        train_loss = calc_loss_loader(train_loader, model, device, num_batches=eval_iter)
        val_loss = calc_loss_loader(val_loader, model, device, num_batches=eval_iter)
    model.train()
    return train_loss, val_loss


def generate_and_print_sample(model, tokenizer, device, start_context):
    """Print start_context and the 50 tokens that the model finds likeliest to follow it, on one line; return the text."""
    model.eval()
    context_size = model.pos_emb.weight.shape[0]
    ids = text_to_token_ids(start_context, tokenizer).to(device)
    ids = generate_text_simple(model, ids, max_new_tokens=50, context_size=context_size)
    sample = token_ids_to_text(ids, tokenizer)
    print(sample.replace("\n", " "))
    model.train()
    return sample


def check_start(start_context, tokenizer, model):
    """ValueError before the training, and not after its first epoch, when no sample can start with start_context."""
    ids = text_to_token_ids(start_context, tokenizer)
    if ids.shape[1] == 0:
        raise ValueError(f"got start_context={start_context!r}, need at least one token to start a sample with")
    check_ids(ids[:, -model.cfg["context_length"]:], model.cfg)


def check_optimizer(optimizer, model):
    """ValueError when the optimizer would train something else: it was made for another model, or before this one."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held.isdisjoint(map(id, model.parameters())):
        raise ValueError("the optimizer holds none of this model's weights: make it from model.parameters(), after the model")
