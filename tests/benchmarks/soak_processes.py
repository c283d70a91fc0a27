"""Kill processes of a training at random moments, and compare with one that nobody stopped: python soak_processes.py [ROUNDS]

Every round starts a training on two processes, under DDP or FSDP2, kills one of them or both (SIGKILL) after a random time,
waits until the other has given up by itself, and lets one or two processes resume it to its end: weights, optimizer and
records must be the same to the last bit. Needs a system that can fork.
"""
import contextlib
import hashlib
import importlib
import os
import random
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import processes as runner

from gpt_helpers.parallel import processes, rank

EPOCHS = 12
MINUTE = 60


def train(engine, path, done):
    """Train or go on training; the first process writes a digest of all that came of it to `done`."""
    with processes(timeout=10):
        came = runner.train(engine, num_epochs=EPOCHS, seed=os.getpid() if path.exists() else 1, checkpoint_path=path,
                            checkpoint_freq=2, resume=True)
        if rank() == 0:
            tensors = [*came.weights.values(), *(value for each in came.moments.values() for value in each.values())]
            digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors) + repr(came.history).encode())
            done.write_text(digest.hexdigest())


def start(count, *args):
    """Run train(*args) on this many processes; their ids."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pids = []
    for number in range(count):
        if not (pid := os.fork()):
            os.environ.update(RANK=str(number), WORLD_SIZE=str(count), MASTER_ADDR="localhost", MASTER_PORT=str(port))
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1), os.dup2(nowhere, 2)      # PyTorch tells of lost connections below Python's sys.stderr
            try:
                train(*args)
            finally:
                os._exit(0)
        pids.append(pid)
    return pids


def end(pids):
    """Wait for the end of processes, killing none; how many seconds it took."""
    begun = time.perf_counter()
    for pid in pids:
        os.waitpid(pid, 0)
    return time.perf_counter() - begun


def main(rounds):
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(None):
        runner.train(num_epochs=1)      # what PyTorch loads at first use, before the processes part
        importlib.import_module("torch.distributed.fsdp")
    chance = random.Random(123)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        seconds = end(start(2, "ddp", folder / "whole.pt", folder / "whole.txt"))
        right = (folder / "whole.txt").read_text()
        same, killed, resumed_from, waited = 0, 0, [], []
        for i in range(rounds):
            path, done = folder / f"{i}.pt", folder / f"{i}.txt"
            pids = start(2, chance.choice(["ddp", "fsdp"]), path, done)
            time.sleep(chance.uniform(0, seconds))
            for pid in chance.choice([pids, pids[:1], pids[1:]]):
                os.kill(pid, signal.SIGKILL)
            waited.append(end(pids))
            killed += not done.exists()
            resumed_from.append(torch.load(path, weights_only=True)["training"]["step"] if path.exists() else 0)
            done.unlink(missing_ok=True)
            end(start(*chance.choice([(1, "ddp"), (2, "ddp"), (2, "fsdp")]), path, done))
            same += done.exists() and done.read_text() == right
    print(f"{same} of {rounds} identical; {killed} were killed before their end; resumed from {len(set(resumed_from))} different "
          f"steps, {min(resumed_from)} to {max(resumed_from)}; the others gave up after {max(waited):.1f} s at most")
    return same == rounds and max(waited) < MINUTE


if __name__ == "__main__":
    sys.exit(not main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
