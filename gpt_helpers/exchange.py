"""What several processes do together in a training step: numbers, gradients and the stop button. Alone, nothing of it happens."""
import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from gpt_helpers.model import unwrap
from gpt_helpers.parallel import data_parallel, rank, sharded, size, together

PRESSED = threading.Event()      # this process's stop button, until the others hear of it


def exchange(numbers: list) -> list:
    """As many numbers from each process, to all: the first of each in their order, then the second of each, and so on.

    Raises KeyboardInterrupt on all processes when the stop button was pressed on one.
    """
    if not together():
        return numbers
    told = torch.zeros(len(numbers) + 1, size(), dtype=torch.float64)
    told[:, rank()] = torch.tensor([*numbers, PRESSED.is_set()], dtype=torch.float64)
    dist.all_reduce(told)                                       # each place is one process's, so no sum rounds
    if told[-1].any():
        PRESSED.clear()
        raise KeyboardInterrupt
    return told[:-1].flatten().tolist()


def from_first(value: Any) -> Any:
    """The first process's value, on all of them; they wait for each other."""
    if not together():
        return value
    values = [None] * size()
    dist.all_gather_object(values, value)
    return values[0]


@contextlib.contextmanager
def turn(model: nn.Module, number: int, last: bool) -> Iterator[None]:
    """Forward and backward of the run's micro-batch `number`, on whichever process. Alone, nothing is special about it.

    With a process group it draws its own random numbers, from the run's seed and its number, and gradients are exchanged only
    after a process's `last` micro-batch of the update.
    """
    if not together():
        yield
        return
    seed = np.random.SeedSequence((torch.initial_seed(), number)).generate_state(1, np.uint64).item()
    if sharded(model):
        unwrap(model).set_requires_gradient_sync(last)
    ddp = data_parallel(model)
    with (torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_initialized() else []),
          contextlib.nullcontext() if last or ddp is None else ddp.no_sync()):
        torch.manual_seed(seed)
        yield


def no_loss(model: nn.Module, device: torch.device | str) -> torch.Tensor:
    """A loss of 0, for a process that has no micro-batch left while others have: it, too, must exchange gradients."""
    return model(torch.zeros(1, 1, dtype=torch.int64, device=device)).sum() * 0.0


@contextlib.contextmanager
def one_stop_button() -> Iterator[None]:
    """In the body an interrupt of one process waits for the next `exchange`, so that all stop at the same step."""
    if not together() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: PRESSED.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if PRESSED.is_set():                                    # after the last exchange
            PRESSED.clear()
            signal.raise_signal(signal.SIGINT)
