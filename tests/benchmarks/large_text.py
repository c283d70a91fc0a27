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


def memory(name):
    """What Linux calls VmHWM, the most memory that this process has had, or RssFile, what it has of mapped files now; in MB."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 1024


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
    before, start = memory("VmHWM"), time.perf_counter()
    ids = encode_texts(text, folder, tokenizer)
    return before, time.perf_counter() - start, len(ids), 0


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
    before, start = memory("VmHWM"), time.perf_counter()
    ids = open_tokens(folder)
    split = split_tokens(ids, context_length=256)
    loaders = create_dataloader(split.train, 1, 256, shuffle=True), create_dataloader(split.val, 1, 256)
    mapped = memory("RssFile")
    with contextlib.redirect_stdout(io.StringIO()):
        history = train_model(model, *loaders, optimizer, "cpu", 1, STEPS, 2, "The", get_tokenizer(), max_steps=STEPS)
    assert history.val_losses[-1] < history.val_losses[0] - 1, history
    return before, time.perf_counter() - start, sum(map(len, split)), memory("RssFile") - mapped


def measure(megabytes):
    """Both phases, one after the other: {"phase", "seconds", "tokens", "before", "peak", "mapped"}, memory in MB.

    mapped: how much of the peak are pages of the token file, which the system takes back when it needs them.
    """
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "large.txt")
        write_text(text, megabytes)
        for phase in ("encode", "train"):
            command = [sys.executable, __file__, phase, str(text), folder]
            yield json.loads(subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True).stdout)


def rows(megabytes):
    """The same as rows of (phase, seconds, MB a second, MB before, MB at the peak, MB of the token file) for `run.py`."""
    for row in measure(megabytes):
        speed = f"{megabytes / row['seconds']:.1f}" if row["phase"] == "encode" else ""
        yield row["phase"], f"{row['seconds']:.0f}", speed, *(f"{row[name]:,.0f}" for name in ("before", "peak", "mapped"))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        phase, *paths = sys.argv[1:]
        before, seconds, tokens, mapped = {"encode": encode, "train": train}[phase](*map(Path, paths))
        print(json.dumps({"phase": phase, "seconds": seconds, "tokens": tokens, "before": before, "peak": memory("VmHWM"),
                          "mapped": mapped}))
    else:
        for row in rows(float(sys.argv[1]) if len(sys.argv) > 1 else 30):
            print("{}: {} seconds, {} MB a second, {} MB before, {} MB at the peak, {} MB of it the token file's".format(*row))
