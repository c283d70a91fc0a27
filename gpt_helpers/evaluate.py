"""Looking at a training: what is recorded, evaluation, samples, and whether all its parts fit each other."""
import math
from typing import NamedTuple

import torch

from gpt_helpers.data import check_positive
from gpt_helpers.generate import generate_text_simple
from gpt_helpers.loss import calc_loss_loader, check_batches
from gpt_helpers.model import check_ids
from gpt_helpers.text import text_to_token_ids, token_ids_to_text


class History(NamedTuple):
    """One entry per evaluation: losses in nats per token, and the training tokens seen by then."""

    train_losses: list
    val_losses: list
    tokens_seen: list


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


# Checks: each raises one line that says what was given, what was needed and what to do.

def check_training(model, train_loader, val_loader, optimizer, num_epochs, eval_freq, eval_iter, start_context, tokenizer):
    """ValueError before a training, and not after its first epoch, when one of its parts does not fit the others."""
    check_batches(train_loader)
    check_batches(val_loader, eval_iter)
    check_positive(num_epochs=num_epochs, eval_freq=eval_freq)
    ids = text_to_token_ids(start_context, tokenizer)
    if ids.shape[1] == 0:
        raise ValueError(f"got start_context={start_context!r}, need at least one token to start a sample with")
    check_ids(ids[:, -model.cfg["context_length"]:], model.cfg)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if held.isdisjoint(map(id, model.parameters())):      # made for another model, or before this one
        raise ValueError("the optimizer holds none of this model's weights: make it from model.parameters(), after the model")


def check_losses(*losses, what):
    """FloatingPointError when a loss is not a finite number."""
    if not all(map(math.isfinite, losses)):
        raise FloatingPointError(f"the {what} {'is' if len(losses) == 1 else 'are'} {' and '.join(map(str, losses))}")
