"""Who is measured, and at what. As a program, one contestant at one task in a process of its own, a turn at a time.

Every contestant trains and samples in the way its authors show: the chapter's package with AdamW's default loop,
transformers with the fused one that its Trainer takes. "fused" lends the chapter's models the fused one too.
"""
import contextlib
import io
import json
import os
import sys
import time
from typing import NamedTuple

import torch

MEMORY = 2**20


class Contestant(NamedTuple):
    """How to build a model from a configuration, its loss of a batch, its optimizer, and how it samples greedily."""

    build: callable
    loss: callable
    optimizer: callable
    sample: callable


def ours():
    """This project."""
    from gpt_helpers.generate import generate_text_simple
    from gpt_helpers.loss import calc_loss_batch
    from gpt_helpers.model import GPTModel
    return Contestant(GPTModel, calc_loss_batch, fused, generate_text_simple)


def in_bfloat16():
    """This project, with the matrix products of the forward pass in bfloat16."""
    def loss(inputs, targets, model, device):
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            return plain.loss(inputs, targets, model, device)

    plain = ours()
    return plain._replace(loss=loss)


def compiled():
    """This project, with `torch.compile`."""
    plain = ours()
    return plain._replace(build=lambda cfg: torch.compile(plain.build(cfg)))


def chapter(name, optimizer):
    """PyPI's llms-from-scratch, the package of the book's chapters 4 and 5; name: which of its two models."""
    from llms_from_scratch import ch04, ch05
    return Contestant(getattr(ch04, name), ch05.calc_loss_batch, optimizer, ch04.generate_text_simple)


def transformers():
    """Hugging Face's GPT-2 at the same size: untied head, the same dropout, its best attention."""
    import torch.nn.functional as F
    from transformers import GPT2Config, GPT2LMHeadModel

    def build(cfg):
        rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), cfg["drop_rate"])
        return GPT2LMHeadModel(GPT2Config(
            n_positions=cfg["context_length"], n_embd=cfg["emb_dim"], n_layer=cfg["n_layers"], n_head=cfg["n_heads"],
            tie_word_embeddings=False, attn_implementation="sdpa", bos_token_id=None, eos_token_id=None, **rates))

    def loss(inputs, targets, model, device):
        logits = model(inputs.to(device), use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1), targets.to(device).flatten())

    def sample(model, idx, max_new_tokens, context_size):
        return model.generate(idx, attention_mask=torch.ones_like(idx), max_new_tokens=max_new_tokens, do_sample=False)

    return Contestant(build, loss, fused, sample)


def fused(parameters, **options):
    """AdamW, all weights in one pass."""
    return torch.optim.AdamW(parameters, fused=True, **options)


CONTESTANTS = {
    "ours": ours,
    "ours, bfloat16": in_bfloat16,
    "ours, compiled": compiled,
    "GPTModel": lambda: chapter("GPTModel", torch.optim.AdamW),
    "GPTModelFast": lambda: chapter("GPTModelFast", torch.optim.AdamW),
    "GPTModel, fused": lambda: chapter("GPTModel", fused),
    "GPTModelFast, fused": lambda: chapter("GPTModelFast", fused),
    "transformers": transformers,
}


class Turns:
    """This end of `measure.Worker`: say what the last turn took and gave, and wait until the next may start."""

    def __init__(self, device, out):
        self.device, self.out, self.start = device, out, time.perf_counter()

    def next(self, result=None):
        """Report; returns when it is this process's turn again, and ends the process when there is none."""
        report = {"seconds": time.perf_counter() - self.start, "peak": self.peak(), "result": result}
        print(json.dumps(report), file=self.out, flush=True)
        if not sys.stdin.readline():
            self.out.flush()
            os._exit(0)      # at once: freeing gigabytes politely takes seconds
        self.start = time.perf_counter()

    def peak(self):
        """The most memory so far, in MB: the GPU's, or this process's."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / MEMORY
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MEMORY if sys.platform == "darwin" else 1024)


def step(turns, contestant, cfg, batch_size, accumulate=1):
    """One training step a turn, from so many micro-batches of so many windows; gives its loss."""
    torch.manual_seed(123)
    model = contestant.build(cfg).to(turns.device).train()
    optimizer = contestant.optimizer(model.parameters(), lr=4e-4, weight_decay=0.1)
    inputs, targets = torch.randint(cfg["vocab_size"], (2, accumulate * batch_size, cfg["context_length"]))
    total = None
    while True:
        turns.next(total)
        optimizer.zero_grad()
        total = 0.0
        for x, y in zip(inputs.chunk(accumulate), targets.chunk(accumulate), strict=True):
            loss = contestant.loss(x, y, model, turns.device) / accumulate
            loss.backward()
            total += loss.item()
        optimizer.step()
        if turns.device.type == "cuda":
            torch.cuda.synchronize()


def sample(turns, contestant, cfg, tokens):
    """Greedy sampling of so many tokens a turn; gives their ids."""
    torch.manual_seed(123)
    model = contestant.build(cfg).to(turns.device).eval()
    start = torch.tensor([[6109, 3626, 6100, 345]], device=turns.device)      # Every effort moves you
    ids = None
    while True:
        turns.next(ids)
        ids = contestant.sample(model, start, tokens, cfg["context_length"])[0].tolist()


def lesson_07():
    """The loaders, the configuration and the tokenizer of lesson 07."""
    from gpt_helpers.data import create_dataloader, split_tokens
    from gpt_helpers.model import GPT_CONFIG_124M
    from gpt_helpers.text import get_tokenizer, load_text, text_to_token_ids
    cfg, tokenizer = GPT_CONFIG_124M | {"context_length": 256}, get_tokenizer()
    split = split_tokens(text_to_token_ids(load_text(), tokenizer), context_length=256)
    torch.manual_seed(123)
    return (create_dataloader(split.train, 2, 256, shuffle=True, drop_last=True),
            create_dataloader(split.val, 2, 256), cfg, tokenizer)


def loop(name):
    """(evaluate_model, train_model_simple) of ours or of the chapter's package."""
    if name == "ours":
        from gpt_helpers.evaluate import evaluate_model
        from gpt_helpers.train import train_model_simple
    else:
        from llms_from_scratch.ch05 import evaluate_model, train_model_simple
    return evaluate_model, train_model_simple


def evaluate(turns, contestant, name):
    """One evaluation a turn, five batches of each loader as in lesson 07; gives both losses."""
    train_loader, val_loader, cfg, _ = lesson_07()
    torch.manual_seed(123)
    model, losses = contestant.build(cfg).to(turns.device), None
    while True:
        turns.next(losses)
        losses = loop(name)[0](model, train_loader, val_loader, turns.device, 5)


def whole(turns, contestant, name, epochs):
    """The training of lesson 07, an epoch a turn (training, evaluating, a sample); gives the rows it has printed."""
    class InTurn:
        """A loader that waits for its process's turn before each epoch, and not before an evaluation."""

        def __iter__(self):
            if model.training:
                turns.next([line for line in printed.getvalue().splitlines() if line.startswith("Ep ")])
            return iter(train_loader)

        def __len__(self):
            return len(train_loader)

    train_loader, val_loader, cfg, tokenizer = lesson_07()
    torch.manual_seed(123)
    model, printed = contestant.build(cfg).to(turns.device), io.StringIO()
    optimizer = contestant.optimizer(model.parameters(), lr=4e-4, weight_decay=0.1)
    with contextlib.redirect_stdout(printed):
        loop(name)[1](model, InTurn(), val_loader, optimizer, turns.device, num_epochs=epochs, eval_freq=5, eval_iter=5,
                      start_context="Every effort moves you", tokenizer=tokenizer)
    turns.next([line for line in printed.getvalue().splitlines() if line.startswith("Ep ")])


def main(name, task, options):
    """Play one contestant."""
    from gpt_helpers.device import pick_device, prepare_device
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)      # what a contestant prints must not look like a report
    plain = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    turns = Turns(prepare_device(pick_device()) if name.startswith("ours") else plain, reports)
    if name == "the limit":
        from limit import products_of_sample, products_of_step
        {"step": products_of_step, "sample": products_of_sample}[task](turns, **options)
    elif task in ("evaluate", "whole"):
        globals()[task](turns, CONTESTANTS[name](), name, **options)
    else:
        globals()[task](turns, CONTESTANTS[name](), **options)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
