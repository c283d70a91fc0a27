"""What several tests share: above all a training so small that a test can run it whole, many times."""
import contextlib
import gc
import io
from types import SimpleNamespace

import torch

from gpt_helpers.data import create_dataloader
from gpt_helpers.model import GPT_CONFIG_TINY, GPTModel
from gpt_helpers.progress import Callback

CFG = GPT_CONFIG_TINY | {"vocab_size": 60, "emb_dim": 16, "n_heads": 2, "n_layers": 1, "context_length": 16}
SMALL = {"vocab_size": 97, "context_length": 16, "emb_dim": 24, "n_heads": 3, "n_layers": 2, "drop_rate": 0.1, "qkv_bias": False}
STEPS = 12      # of two epochs
TOKENIZER = SimpleNamespace(encode=lambda text: [len(word) for word in text.split()],
                            decode=lambda ids: " ".join(map(str, ids)), n_vocab=60)
NAMES = ["model", "train_loader", "val_loader", "optimizer", "device", "num_epochs", "eval_freq", "eval_iter", "start_context",
         "tokenizer"]


def training(epochs=2, generator=None, device="cpu", lr=1e-2):
    """The ten arguments of both loops: a tiny model with dropout, and batches in a new order every epoch."""
    torch.set_num_threads(1)      # two threads may add in another order than one
    torch.manual_seed(1)
    ids = torch.randint(60, (190,))
    train_loader, val_loader = create_dataloader(ids, 4, 8, shuffle=True), create_dataloader(ids[:50], 2, 8)
    if generator:
        train_loader = torch.utils.data.DataLoader(train_loader.dataset, batch_size=4, shuffle=True, generator=generator)
    model = GPTModel(CFG)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)
    return [model, train_loader, val_loader, optimizer, device, epochs, 3, 1, "every effort moves", TOKENIZER]


def with_parts(parts, **changed):
    """These ten arguments with some of them, by name, changed."""
    return [changed.get(name, part) for name, part in zip(NAMES, parts, strict=True)]


def weights(parts):
    """All weights of a training's model in one row."""
    return torch.cat([p.detach().flatten() for p in parts[0].parameters()])


def moments(parts):
    """All moment estimates of a training's optimizer in one row."""
    return torch.cat([value.flatten().double() for state in parts[3].state_dict()["state"].values() for value in state.values()])


def quiet(function, *args, **kwargs):
    """Call a function, and drop what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*args, **kwargs)


def live_tensors():
    """How many tensors there are, without those that nothing refers to any more."""
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


class Watch(Callback):
    """A callback made of functions: Watch(on_step=print)."""

    def __init__(self, **methods):
        vars(self).update(methods)
