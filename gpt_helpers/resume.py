"""How far a training has come, and the random numbers around it: what `train_model` needs to stop and go on."""
import contextlib
import random
import signal
import sys
import threading
from dataclasses import dataclass, field

import torch


@dataclass
class Place:
    """How far a training has come, always as after its last whole step.

    step: updates made. epoch, batch: the epoch, counted from 0, and how many of its batches are done. tokens_seen: by then.
    samples: the texts, one an epoch. losses: the History's three lists. epoch_start, now: random states, at the epoch's
    beginning and after the last whole step.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    tokens_seen: int = 0
    samples: list = field(default_factory=list)
    losses: list = field(default_factory=lambda: [[], [], []])
    epoch_start: dict = field(default_factory=dict)
    now: dict = field(default_factory=dict)

    def advance(self, input_batch, loader):
        """One more step is done, with this batch."""
        self.step, self.batch, self.tokens_seen = self.step + 1, self.batch + 1, self.tokens_seen + input_batch.numel()
        self.now = random_state(loader)

    def batches(self, loader, num_epochs):
        """The batches of all epochs, from this place on: those of a begun epoch are drawn again, and the done ones skipped."""
        while self.epoch < num_epochs:
            resumed = self.batch > 0
            if resumed:
                set_random_state(self.epoch_start, loader)
            else:
                self.epoch_start = self.now = random_state(loader)
            batches = iter(loader)
            for _ in range(self.batch):
                next(batches)
            if resumed:
                set_random_state(self.now, loader)
            yield from batches
            self.epoch, self.batch = self.epoch + 1, 0


def random_state(loader=None):
    """Every random state that a training can draw from, in a form that a checkpoint can hold."""
    state = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    if numpy := sys.modules.get("numpy"):
        kind, keys, *rest = numpy.random.get_state()
        state["numpy"] = [kind, keys.tolist(), *rest]
    if generator := getattr(loader, "generator", None):
        state["loader"] = generator.get_state()
    return state


def set_random_state(state, loader=None):
    """Put back what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
    if "numpy" in state and (numpy := sys.modules.get("numpy")):
        numpy.random.set_state(state["numpy"])
    if "loader" in state:
        loader.generator.set_state(state["loader"])


@contextlib.contextmanager
def undisturbed(model, *loaders):
    """Whatever the body looks at, training goes on as if it had not: random states and both modes are put back."""
    states = [(random_state(loader), loader) for loader in loaders or (None,)]
    training, gradients = model.training, torch.is_grad_enabled()
    try:
        yield
    finally:
        for state, loader in states:
            set_random_state(state, loader)
        model.train(training)
        torch.set_grad_enabled(gradients)


@contextlib.contextmanager
def uninterrupted():
    """Ctrl-C and JupyterLab's stop button wait until the body is done, so that it happens wholly or not at all."""
    if threading.current_thread() is not threading.main_thread():      # only the main thread is ever interrupted
        yield
        return
    caught = []
    before = signal.signal(signal.SIGINT, lambda *args: caught.append(args))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught and callable(before):
            before(*caught[0])
