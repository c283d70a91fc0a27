"""Seconds an update of four micro-batches on one process or several: torchrun --nproc-per-node N together.py [ddp|fsdp]

Prints the median over the updates after the first five. `run.py` runs it with one process and with two, in turn.
"""
import statistics
import sys
import time

import torch

from gpt_helpers.data import create_dataloader
from gpt_helpers.model import GPT_CONFIG_TINY, GPTModel
from gpt_helpers.parallel import processes, rank, wrap
from gpt_helpers.progress import Callback
from gpt_helpers.text import get_tokenizer
from gpt_helpers.train import train_model

CFG = GPT_CONFIG_TINY | {"context_length": 128, "emb_dim": 256}
UPDATES = 15


class Clock(Callback):
    """Notes when each update is done."""

    def __init__(self):
        self.times = []

    def on_step(self, step: int, loss: float) -> None:
        self.times.append(time.perf_counter())


def main(engine: str = "ddp") -> None:
    """Train for a few updates; the first process prints what one takes."""
    clock = Clock()
    with processes("cpu") as device:
        torch.manual_seed(123)
        loader = create_dataloader(torch.randint(50257, (UPDATES * 4 * 4 * 128 + 1,)), 4, 128)
        model = wrap(GPTModel(CFG), engine)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        train_model(model, loader, loader, optimizer, device, 1, 10**6, 1, "The", get_tokenizer(), accumulate=4,
                    max_steps=UPDATES, eval_ends=False, callbacks=[clock])
        if rank() == 0:
            taken = [after - before for before, after in zip(clock.times[4:], clock.times[5:], strict=False)]
            print(f"seconds {statistics.median(taken)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
