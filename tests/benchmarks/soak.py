"""Kill a running training at random moments, resume it, and compare with one that nobody stopped: python soak.py [ROUNDS]

Every round starts a training in a process of its own, kills it (SIGKILL) after a random time, and lets another process
resume it to its end: weights, optimizer and records must be the same to the last bit. Needs a system that can fork.
"""
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from small import moments, training, weights

from gpt_helpers.files import write_atomically
from gpt_helpers.train import train_model

EPOCHS = 6


def train(path, done):
    """Train or go on training, and write a digest of all that came of it to `done`."""
    parts = training(epochs=EPOCHS)
    if path.exists():
        torch.manual_seed(os.getpid())      # what was drawn since must not matter
    history = train_model(*parts, checkpoint_path=path, checkpoint_freq=2, resume=True)
    digest = hashlib.sha256(weights(parts).numpy().tobytes() + moments(parts).numpy().tobytes() + repr(history).encode())
    done.write_text(digest.hexdigest())


def fork(*args):
    """Run train(*args) in another process; its process id."""
    if pid := os.fork():
        return pid
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        train(*args)
    os._exit(0)


def main(rounds):
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(None):
        train_model(*training(epochs=1))      # what PyTorch loads at first use, before the processes part
    chance = random.Random(123)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        start = time.perf_counter()
        os.waitpid(fork(folder / "whole.pt", folder / "whole.txt"), 0)
        seconds, right = time.perf_counter() - start, (folder / "whole.txt").read_text()
        same, killed_while_running, resumed_from = 0, 0, []
        for i in range(rounds):
            path, done = folder / f"{i}.pt", folder / f"{i}.txt"
            pid = fork(path, done)
            time.sleep(chance.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            killed_while_running += not done.exists()
            resumed_from.append(torch.load(path, weights_only=True)["training"]["step"] if path.exists() else 0)
            done.unlink(missing_ok=True)
            os.waitpid(fork(path, done), 0)
            same += done.read_text() == right
            for file in folder.glob("*.tmp"):      # of the process that was killed: ten minutes later the next write removes it
                os.utime(file, (0, 0))
            write_atomically(path, partial(shutil.copy, path))
            left = {file.name for file in folder.iterdir()} - {"whole.pt", "whole.txt", path.name, done.name}
            assert not left, f"left behind: {left}"
            path.unlink(), done.unlink()
    print(f"{same} of {rounds} identical; {killed_while_running} were killed before their end; "
          f"resumed from {len(set(resumed_from))} different steps, {min(resumed_from)} to {max(resumed_from)}")
    return same == rounds


if __name__ == "__main__":
    sys.exit(not main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
