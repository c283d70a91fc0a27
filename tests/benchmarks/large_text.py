"""A large text to token shards, and a training on them, in flat memory: python large_text.py [MEGABYTES]

Each phase runs in a process of its own, so that the peak of one is not seen by the other. Needs Linux, which tells the peak.
"""
import contextlib
import io
import json
import random
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = 100


def memory():
    """The most memory that this process has had, and what it has now of mapped files, which the system can take back; in MB."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmHWM", "RssFile"))


def write_text(path, megabytes):
    """So much harbour log; a part of it again and again, each time with two letters exchanged, so that the spelling differs."""
    from gpt_helpers.language import HarbourLog
    log, chance = HarbourLog(), random.Random(1)
    part = log.tokenizer.decode(log.write(100_000, seed=1).tolist())
    with open(path, "w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1e6:
            a, b = chance.sample(string.ascii_lowercase, 2)
            file.write(part.translate({ord(a): b, ord(b): a}))


def encode(text, folder):
    """Text to shards: what it took."""
    from gpt_helpers.shards import encode_texts
    from gpt_helpers.text import get_tokenizer
    tokenizer = get_tokenizer()
    (before, _), start = memory(), time.perf_counter()
    ids = encode_texts(text, folder, tokenizer)
    return before, time.perf_counter() - start, len(ids)


def train(text, folder):
    """A hundred updates of a tiny model on windows from all over the text: what it took."""
    import torch

    from gpt_helpers.data import create_dataloader, split_tokens
    from gpt_helpers.model import GPT_CONFIG_TINY, GPTModel
    from gpt_helpers.shards import open_tokens
    from gpt_helpers.text import get_tokenizer
    from gpt_helpers.train import train_model
    torch.manual_seed(1)
    model = GPTModel(GPT_CONFIG_TINY | {"emb_dim": 16, "n_heads": 2, "context_length": 256})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    (before, _), start = memory(), time.perf_counter()
    split = split_tokens(open_tokens(folder), context_length=256)
    loaders = create_dataloader(split.train, 1, 256, shuffle=True), create_dataloader(split.val, 1, 256)
    with contextlib.redirect_stdout(io.StringIO()):
        history = train_model(model, *loaders, optimizer, "cpu", 1, STEPS, 2, "The", get_tokenizer(), max_steps=STEPS)
    assert history.val_losses[-1] < history.val_losses[0] - 1, history
    return before, time.perf_counter() - start, sum(map(len, split))


def measure(megabytes):
    """Both phases, one after the other: {"phase", "seconds", "tokens", "before", "peak", "mapped"}, memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "large.txt")
        write_text(text, megabytes)
        for phase in ("encode", "train"):
            command = [sys.executable, __file__, phase, str(text), folder]
            yield json.loads(subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout)


def rows(megabytes):
    """The same as rows of (phase, seconds, MB a second, MB before, MB at the peak, MB of mapped files) for `run.py`."""
    for row in measure(megabytes):
        speed = f"{megabytes / row['seconds']:.1f}" if row["phase"] == "encode" else ""
        yield row["phase"], f"{row['seconds']:.0f}", speed, *(f"{row[name]:,.0f}" for name in ("before", "peak", "mapped"))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        phase, *paths = sys.argv[1:]
        before, seconds, tokens = {"encode": encode, "train": train}[phase](*map(Path, paths))
        row = dict(zip(("phase", "seconds", "tokens", "before", "peak", "mapped"), (phase, seconds, tokens, before, *memory()),
                       strict=True))
        print(json.dumps(row))
    else:
        for row in rows(float(sys.argv[1]) if len(sys.argv) > 1 else 30):
            print("{}: {} seconds, {} MB a second, {} MB before, {} MB at the peak, {} MB of mapped files".format(*row))
