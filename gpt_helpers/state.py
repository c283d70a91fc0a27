"""The training state: how far training has come, and the random states with it."""
import contextlib
import copy
import math
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import torch
from torch.utils.data import DataLoader

from gpt_helpers.data import independent, pairs
from gpt_helpers.parallel import rank, size, together
from gpt_helpers.random_state import own_generators, random_state, same_random_state, set_random_state


@dataclass
class TrainState:
    """The training state as of the last commit, in a form that a checkpoint can hold.

    step: updates made. epoch, batch: epochs done, and batches done in the current one. tokens_seen: so far. losses: the
    History's three lists. samples: one text per epoch. scheduler: its state. given: the settings that training was started
    with. rng_epoch, rng: the random states at the epoch's start and at the last commit.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    tokens_seen: int = 0
    losses: list = field(default_factory=lambda: [[], [], []])
    samples: list = field(default_factory=list)
    scheduler: dict | None = None
    given: dict = field(default_factory=dict)
    rng_epoch: dict = field(default_factory=dict)
    rng: dict = field(default_factory=dict)

    @contextlib.contextmanager
    def commit(self, loader: DataLoader) -> Iterator[None]:
        """Record what the body changes and the random state after it together: an interrupt waits until then.

        An error in the body gets the attribute half_done: the weights may have moved, and the records do not say so.
        """
        with deferred_interrupts():
            try:
                yield
            except Exception as error:
                error.half_done = True
                raise
            self.rng = random_state(loader)

    def tell(self, loader: DataLoader, callbacks: Sequence[Any], method: str, *args: Any) -> None:
        """Call a method of every callback, on the first process only. Random numbers that they draw are not training's."""
        for callback in callbacks if rank() == 0 else ():
            getattr(callback, method)(*args)
        if callbacks:
            set_random_state(self.rng, loader)

    def batches(self, loader: DataLoader, num_epochs: int, accumulate: int) -> Iterator[list]:
        """All remaining batches, in lists of up to `accumulate`; an epoch under way is drawn again in the same order.

        With several processes, each list is this one's share of an update's batches, and has None where one is missing.
        """
        while self.epoch < num_epochs:
            done = self.batch
            if done:
                set_random_state(self.rng_epoch, loader)
            else:
                with self.commit(loader):
                    self.rng_epoch = same_random_state(loader)
            batches = remaining(independent(loader), done)
            if done:
                set_random_state(self.rng, loader)
            while micro_batches := list(islice(batches, accumulate // size())):
                yield micro_batches
            with self.commit(loader):
                self.epoch, self.batch = self.epoch + 1, 0


def remaining(loader: DataLoader, done: int) -> Iterator:
    """The batches that follow the first `done`, whose order is drawn at once; with several processes, this one's share of them.

    A process loads its own batches only. Where it has one less than others, None comes last.
    """
    if not together():
        batches = iter(loader)
        for _ in range(done):
            next(batches)
        return pairs(batches)
    share, own = copy.copy(loader), range(done + rank(), len(loader), size())
    vars(share).update(batch_sampler=islice(loader.batch_sampler, own.start, None, own.step))
    batches, most = pairs(iter(share)), math.ceil((len(loader) - done) / size())
    return chain(list(islice(batches, 1)), batches, [None] * (most - len(own)))      # the first makes the sampler draw


def require_state(training: Any, loader: DataLoader) -> None:
    """ValueError when a checkpoint's `training` is not a TrainState that can continue on this machine with this loader."""
    if not isinstance(training, dict) or set(training) != set(TrainState.__dataclass_fields__):
        raise ValueError("it does not say how far training had come: give a file that train_model wrote")
    there = len(training["rng"].get("cuda", []))
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if 0 < here < there and not together():
        raise ValueError(f"it was written on a machine with {there} GPUs, and this one has {here}: continue where there "
                         "are as many, or on the CPU (CUDA_VISIBLE_DEVICES=-1)")
    if {key for key in training["rng"] if key.startswith("loader")} != own_generators(loader).keys():
        raise ValueError("its loader had a generator of its own and this one has none, or the other way round: make it as before")


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Ctrl-C, JupyterLab's stop button and a loader's worker that died wait until the body is done, so that it runs completely.

    All of them are signals, which Python code answers with an error wherever the program happens to be.
    """
    with deferred(signal.SIGINT), deferred(getattr(signal, "SIGCHLD", signal.SIGINT)):
        yield


@contextlib.contextmanager
def deferred(number: int) -> Iterator[None]:
    """A signal with this number, if Python code answers it, waits until the body is done."""
    before, caught = signal.getsignal(number), []
    if not callable(before) or threading.current_thread() is not threading.main_thread():      # no other is ever interrupted
        yield
        return
    try:
        signal.signal(number, lambda *args: caught.append(args))
        yield
    finally:
        signal.signal(number, before)
        if caught:
            before(*caught[0])
