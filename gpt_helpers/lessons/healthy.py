"""A small training that is sound, whole: a GPT learns the harbour log. Lesson 09 breaks it, a line or two at a time."""
from collections.abc import Iterator
from itertools import chain, islice, repeat

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from gpt_helpers.language import END, HarbourLog
from gpt_helpers.loss import calc_loss_batch, calc_loss_loader
from gpt_helpers.model import GPTModel
from gpt_helpers.words import entry_windows

LOG = HarbourLog(before=0)
VOCABULARY, END_ID = LOG.tokenizer.vocabulary, LOG.tokenizer.ids[END]
CONFIG = {"vocab_size": LOG.tokenizer.n_vocab, "context_length": 48, "emb_dim": 48, "n_heads": 4, "n_layers": 2,
          "drop_rate": 0.05, "qkv_bias": False}
STEPS, BATCH_SIZE, EVAL_FREQ, LEARNING_RATE = 400, 16, 25, 1e-2


class Training:
    """Data, model, optimizer and schedule of one seed; `step` is one update, `evaluate` one evaluation, `run` all of it."""

    def __init__(self, seed: int = 1):
        torch.manual_seed(seed)
        train_ids, val_ids = LOG.write(60_000, seed=seed), LOG.write(5_000, seed=0)
        train, val = (entry_windows(ids, END_ID, CONFIG["context_length"]) for ids in (train_ids, val_ids))
        self.train_loader = DataLoader(train, BATCH_SIZE, shuffle=True, drop_last=True)
        self.val_loader = DataLoader(val, 64)
        self.model = GPTModel(CONFIG)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.1)
        self.scheduler = OneCycleLR(self.optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1, cycle_momentum=False)

    def batches(self, steps: int) -> Iterator[list]:
        """`steps` batches, epoch after epoch."""
        return islice(chain.from_iterable(repeat(self.train_loader)), steps)

    def step(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        """One update; returns the training loss before it."""
        self.optimizer.zero_grad()
        loss = calc_loss_batch(inputs, targets, self.model, "cpu")
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=1.0)
        self.optimizer.step()
        self.scheduler.step()
        return loss.item()

    def evaluate(self) -> float:
        """The loss on the validation text."""
        self.model.eval()
        with torch.no_grad():
            loss = calc_loss_loader(self.val_loader, self.model, "cpu")
        self.model.train()
        return loss

    def run(self, steps: int = STEPS) -> list[tuple[int, float, float]]:
        """Train; returns the curve: (updates made, training loss, validation loss), the first before any update."""
        curve = []
        for number, (inputs, targets) in enumerate(self.batches(steps)):
            val_loss = self.evaluate() if number % EVAL_FREQ == 0 else None
            loss = self.step(inputs, targets)
            if val_loss is not None:
                curve.append((number, loss, val_loss))
        return [*curve, (steps, loss, self.evaluate())]
