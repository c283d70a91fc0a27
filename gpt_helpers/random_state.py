"""Every random state that training can draw from: read, put back, and kept apart from an evaluation's."""
import contextlib
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from gpt_helpers.exchange import from_first
from gpt_helpers.parallel import together

GENERATORS = {      # of each type, how its state is read, in a form that a checkpoint can hold, and put back
    torch.Generator: (torch.Generator.get_state, torch.Generator.set_state),
    random.Random: (random.Random.getstate, random.Random.setstate),
    np.random.Generator: (lambda own: json.dumps(own.bit_generator.state, default=np.ndarray.tolist),
                          lambda own, state: setattr(own.bit_generator, "state", json.loads(state))),
    np.random.RandomState: (lambda own: json.dumps(own.get_state(legacy=False), default=np.ndarray.tolist),
                            lambda own, state: own.set_state(json.loads(state))),
}


def own_generators(loader: DataLoader | None) -> dict[str, Any]:
    """The generators that a loader, its samplers and its dataset hold, each once, under names for `random_state`."""
    places, own = [loader], {}
    for place in places:
        held = getattr(place, "__dict__", {})
        own |= {id(thing): thing for thing in held.values() if type(thing) in GENERATORS}
        inside = [held[name] for name in ("sampler", "batch_sampler", "dataset") if name in held]
        places += [thing for thing in inside if all(thing is not each for each in places)]
    return {f"loader{i or ''}": generator for i, generator in enumerate(own.values())}


def random_state(loader: DataLoader | None = None) -> dict:
    """Every random state that training can draw from, in a form that a checkpoint can hold.

    GPUs of several processes are left out: what they draw comes from a micro-batch's own seed, see `exchange.turn`.
    """
    state = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_initialized() and not together():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    kind, keys, *rest = np.random.get_state()
    state["numpy"] = [kind, keys.tolist(), *rest]
    return state | {name: GENERATORS[type(own)][0](own) for name, own in own_generators(loader).items()}


def set_random_state(state: dict, loader: DataLoader | None = None) -> None:
    """Put back what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    if "cuda" in state and torch.cuda.is_available() and not together():
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
    np.random.set_state(state["numpy"])
    for name, own in own_generators(loader).items():
        GENERATORS[type(own)][1](own, state[name])


def same_random_state(loader: DataLoader) -> dict:
    """`random_state`, with several processes the first one's, which all of them take over: they draw the same order."""
    state = from_first(random_state(loader))
    if together():
        set_random_state(state, loader)
    return state


@contextlib.contextmanager
def isolated(model: nn.Module, *loaders: DataLoader) -> Iterator[None]:
    """Whatever the body evaluates, training goes on as if it had not: random states, model and gradient mode are restored."""
    states = [(random_state(loader), loader) for loader in loaders or (None,)]
    training, gradients = model.training, torch.is_grad_enabled()
    try:
        yield
    finally:
        for state, loader in states:
            set_random_state(state, loader)
        model.train(training)
        torch.set_grad_enabled(gradients)
