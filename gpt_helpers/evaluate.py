"""Evaluation during training: its records, the losses, a sample of what the model writes."""
import sys
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from gpt_helpers.generate import generate_text_simple
from gpt_helpers.loss import calc_loss_loader
from gpt_helpers.model import unwrap
from gpt_helpers.text import text_to_token_ids, token_ids_to_text
from gpt_helpers.validate import require_model


class History(NamedTuple):
    """One entry per evaluation: losses in nats per token, and the training tokens seen by then."""

    train_losses: list
    val_losses: list
    tokens_seen: list


def evaluate_model(model: nn.Module, train_loader: DataLoader, val_loader: DataLoader, device: torch.device | str,
                   eval_iter: int) -> tuple[float, float]:
    """(train loss, validation loss) over the first eval_iter batches of each loader, without dropout or gradients."""
    require_model(model)
    model.eval()
    with torch.no_grad():
        train_loss = calc_loss_loader(train_loader, model, device, num_batches=eval_iter)
        val_loss = calc_loss_loader(val_loader, model, device, num_batches=eval_iter)
    model.train()
    return train_loss, val_loss


def generate_and_print_sample(model: nn.Module, tokenizer: Any, device: torch.device | str, start_context: str) -> str:
    """Print start_context and the 50 tokens that the model finds most likely to follow, on one line; return the text."""
    model = unwrap(model)
    model.eval()
    context_size = model.pos_emb.weight.shape[0]
    ids = text_to_token_ids(start_context, tokenizer).to(device)
    ids = generate_text_simple(model, ids, max_new_tokens=50, context_size=context_size)
    sample = token_ids_to_text(ids, tokenizer)
    print(showable(sample.replace("\n", " ")))
    model.train()
    return sample


def showable(text: str) -> str:
    """A text as what is printed can show it: a character that the terminal's or the file's encoding lacks becomes "?"."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
