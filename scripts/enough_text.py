"""The long runs of lesson 08: python scripts/enough_text.py [text] [width]     half an hour on two cores

Trains small GPTs on texts of several sizes, and GPTs of several widths, each with three seeds, and stores a line for each
run in `notebooks/08_text_size.csv` and `notebooks/08_width.csv`. The lesson draws these numbers, and repeats one of the runs.
"""
import argparse
import contextlib
import io
from pathlib import Path

import torch

from gpt_helpers.files import write_table
from gpt_helpers.language import HarbourLog
from gpt_helpers.lessons.scaling import BATCH_SIZE, VALIDATION, learn_from
from gpt_helpers.loss import NGram

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
SEEDS = (1, 2, 3)
TEXTS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000)      # tokens
WIDTHS = (16, 24, 32, 48, 64, 128)
LOG = HarbourLog()


def quietly(*args, **kwargs):
    """`learn_from`, without its lines."""
    with contextlib.redirect_stdout(io.StringIO()):
        return learn_from(LOG, *args, **kwargs)


def text_row(tokens, seed):
    """What the same GPT, and tables of 1 to 5 tokens, learn from a text of so many tokens."""
    _, history = quietly(tokens, seed=seed)
    train_ids, val_ids = LOG.write(tokens, seed), LOG.write(**VALIDATION)
    tables = {f"table_{n}": NGram(train_ids, LOG.tokenizer.n_vocab, n).losses(val_ids).mean().item() for n in range(1, 6)}
    return {"tokens": tokens, "seed": seed, "train": history.train_losses[-1], "best": min(history.val_losses),
            "last": history.val_losses[-1], **tables}


def width_row(width, seed, steps=1000):
    """What a GPT of this width learns from text that it sees about once."""
    model, history = quietly(steps * BATCH_SIZE * 40, emb_dim=width, steps=steps, seed=seed)
    weights = sum(p.numel() for p in model.parameters())
    return {"width": width, "seed": seed, "weights": weights, "tokens": history.tokens_seen[-1], "last": history.val_losses[-1],
            "floor": LOG.true_losses(LOG.write(**VALIDATION)).mean().item()}


def store(name, rows):
    """Write rows of numbers as a table."""
    write_table(NOTEBOOKS / name, [{key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}
                                   for row in rows])


def main(which):
    torch.set_num_threads(1)      # the same numbers however many cores there are, and two of these scripts side by side
    tables = {"text": ("08_text_size.csv", text_row, TEXTS), "width": ("08_width.csv", width_row, WIDTHS)}
    for name, row, values in (tables[table] for table in which):
        rows = []
        for value in values:
            for seed in SEEDS:
                rows.append(row(value, seed))
                print(*rows[-1].values(), flush=True)
        store(name, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="*", default=["text", "width"], choices=["text", "width"], help="left out: both")
    main(parser.parse_args().which)
