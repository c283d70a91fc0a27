"""What each process of a test does: `torchrun --nproc-per-node 2 processes.py FOLDER RUNS` trains, and keeps what came of it.

RUNS: {name: the arguments of `train`}, in JSON.
"""
import json
import os
import signal
import sys
from collections import namedtuple
from pathlib import Path

import torch
from small import CFG, TOKENIZER, Watch

from gpt_helpers.data import create_dataloader
from gpt_helpers.fsdp import gathered, gathered_state_dict
from gpt_helpers.model import GPTModel
from gpt_helpers.parallel import processes, rank, wrap
from gpt_helpers.train import train_model

BATCHES = 7      # an epoch's; two of them make an update, so the last update of an epoch has only one
EPOCHS = 2
STEPS = 8

Outcome = namedtuple("Outcome", "weights moments history losses trained_on seeds loaded")


class Windows(torch.utils.data.Dataset):
    """Windows of 8 tokens, with padding at the end of most if so wished; counts how often one is loaded."""

    def __init__(self, padding=False):
        self.ids = torch.randint(60, (4 * BATCHES, 9), generator=torch.Generator().manual_seed(1))
        self.padding, self.loaded = padding, 0

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        self.loaded += 1
        inputs, targets = self.ids[i, :-1], self.ids[i, 1:].clone()
        if self.padding:
            targets[1 + i % 8:] = -100
        return inputs, targets


def warmup(optimizer):
    return torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5)


def train(engine="ddp", drop_rate=0.1, padding=False, schedule=False, accumulate=2, num_epochs=EPOCHS, seed=1, noisy=False,
          num_workers=0, fault=None, device="cpu", **options):
    """Train the smallest of models, alone or with other processes; the Outcome.

    noisy: a callback, which only the first process calls, draws random numbers. fault: [what, process, number]: what happens
    to this process in the forward of its micro-batch of this number, from 0.
    """
    torch.manual_seed(seed + rank())      # the others shall take over the first one's weights and random numbers
    windows, losses, trained_on, seeds = Windows(padding), [], [], []
    train_loader = torch.utils.data.DataLoader(windows, batch_size=4, shuffle=True, num_workers=num_workers)
    val_loader = create_dataloader(windows.ids.flatten()[:50], 2, 8)
    model = GPTModel(CFG | {"drop_rate": drop_rate}).to(device)

    def watch(module, inputs):
        if module.training and inputs[0].shape[1] == 8:      # not the forward of a process that has no micro-batch
            trained_on.append([(windows.ids[:, :8] == row).all(dim=1).nonzero().item() for row in inputs[0]])
            seeds.append(torch.initial_seed())
            if fault and fault[1:] == [rank(), len(trained_on) - 1]:
                FAULTS[fault[0]](module)

    def on_step(step, loss):
        losses.append(loss)
        torch.rand(3 * noisy)

    model.register_forward_pre_hook(watch)
    model = wrap(model, engine)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    history = train_model(model, train_loader, val_loader, optimizer, device, num_epochs, 3, 1, "every effort moves", TOKENIZER,
                          scheduler=warmup(optimizer) if schedule else None, accumulate=accumulate,
                          callbacks=[Watch(on_step=on_step)], **options)
    return Outcome(gathered(model).state_dict(), gathered_state_dict(optimizer)["state"], tuple(history), losses, trained_on,
                   seeds, windows.loaded)


def lose_the_loss(module):
    handle = module.register_forward_hook(lambda module, inputs, logits: (handle.remove(), logits * float("nan"))[1])


def die(module):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(module):
    raise RuntimeError("something broke")


def press_stop(module):
    signal.raise_signal(signal.SIGINT)


FAULTS = {"nan": lose_the_loss, "stop": press_stop, "death": die, "error": fail}


if __name__ == "__main__":
    folder, runs = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)      # what runs in the background may have it ignored
    with processes(timeout=30) as device:
        for name, arguments in runs.items():
            came = train(device=device, **arguments)
            torch.save(tuple(came), folder / f"{name} {rank()}")
