"""Checkpoints: everything needed to resume training bit for bit, written atomically.

A checkpoint is a torch.save file, and is read without executing anything in it.
"""
import copy
import errno
import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, RandomSampler

from gpt_helpers.data import TokenWindows, contents
from gpt_helpers.files import write_atomically
from gpt_helpers.model import plain_state, unwrap
from gpt_helpers.parallel import rank
from gpt_helpers.random_state import set_random_state
from gpt_helpers.sharding import gathered, gathered_state, sharded_like, sharded_state
from gpt_helpers.state import TrainState, deferred_interrupts, require_state
from gpt_helpers.validate import require_file, require_finite_weights

FORMAT, VERSION = "gpt_helpers checkpoint", 2
NUMPY_SCALARS = [np.float64(0).__reduce__()[0], np.dtype, *(type(np.dtype(kind)) for kind in "fdilq?U")]      # for learning rates


def save_checkpoint(path: str | Path, model: nn.Module, optimizer: Optimizer, training: dict, *,
                    data: dict | None = None) -> None:
    """Write model, optimizer and `training`, a dict that says how far training has come, to path, atomically.

    A compiled or wrapped model is saved as the model inside; of several processes all take part, and the first writes.
    data: what `describe_data` says of the training data, to be compared when loading. Raises OSError when the file cannot be
    written, ValueError when a weight is nan or infinite; an existing file then stays as it was.
    """
    model, optimizer_state = gathered(model), gathered_state(optimizer)
    if rank() > 0:
        return
    require_finite_weights(model)
    content = {"format": FORMAT, "version": VERSION, "config": model.cfg, "model": plain_state(model),
               "training": training, "optimizer": optimizer_state,
               "optimizer_class": type(optimizer).__name__, "data": data}
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def load_checkpoint(path: str | Path, model: nn.Module, optimizer: Optimizer, *, data: dict | None = None,
                    accept: Callable[[Any], None] = lambda training: None) -> dict:
    """Load a checkpoint's weights and optimizer state into model and optimizer; returns its `training`.

    The optimizer's settings, such as the learning rate, are then the saved ones. accept: called with `training` before
    anything is changed; it may refuse with a ValueError. Raises FileNotFoundError or ValueError, before anything is changed,
    when the file is missing, damaged, no checkpoint, of another version, or made with another model or data.
    """
    name, saved, model = Path(path).name, read_checkpoint(path), unwrap(model)
    require_fit(name, saved, model, optimizer, data)
    try:
        accept(saved.get("training"))
    except ValueError as error:
        raise ValueError(f"{name} does not fit: {error}") from None
    weights, state = (saved["model"][name] for name in plain_state(model)), sharded_state(saved["optimizer"], optimizer)
    weights = {name: sharded_like(ours, theirs) for (name, ours), theirs in zip(model.state_dict().items(), weights, strict=True)}
    with deferred_interrupts():
        model.load_state_dict(weights)
        optimizer.load_state_dict(state)
    return saved["training"]


def resume_training(path: str | Path, model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None,
                    loader: DataLoader) -> TrainState:
    """Restore everything from a checkpoint of `train_model`, random states included; returns the TrainState.

    Optimizer and schedule settings that are given as at the start of training stay as they had become. A setting that is
    given differently holds from now on, and a line says so. Raises as `load_checkpoint` does.
    """
    given = settings(optimizer, scheduler)
    training = load_checkpoint(path, model, optimizer, data=describe_data(loader), accept=partial(require_state, loader=loader))
    state = TrainState(**training)
    changed = list(take_settings(optimizer, state.given, given))
    if scheduler and not changed and state.given["scheduler"] == given["scheduler"]:
        scheduler.load_state_dict(state.scheduler)
    elif scheduler:
        replay(scheduler, given, state.step)
    kinds = [settings["scheduler"] and settings["scheduler"]["class"] for settings in (state.given, given)]
    if state.given["scheduler"] != given["scheduler"] and (not changed or kinds[0] != kinds[1]):
        changed.append("the learning-rate schedule differs from the one in the file: taking yours from here on")
    for line in changed:
        print(f"{Path(path).name}: {line}")
    state.given, state.scheduler = given, scheduler and scheduler.state_dict()
    set_random_state(state.rng, loader)
    return state


def settings(optimizer: Optimizer, scheduler: LRScheduler | None) -> dict:
    """The settings of optimizer and schedule, such as each group's learning rate, in a form that a checkpoint can hold."""
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return copy.deepcopy({"optimizer": groups,
                          "scheduler": scheduler and {"class": type(scheduler).__name__} | scheduler.state_dict()})


def take_settings(optimizer: Optimizer, then: dict, now: dict) -> Iterator[str]:
    """Give the optimizer every setting that is not what it was at the start of training; yields a line for each difference."""
    for group, old, new in zip(optimizer.param_groups, then["optimizer"], now["optimizer"], strict=True):
        if "initial_lr" in new or "initial_lr" in old:      # under a schedule, lr follows from it
            old, new = ({**settings, "initial_lr": settings.get("initial_lr", settings["lr"])} for settings in (old, new))
            del new["lr"]
        for key in (key for key in new if key in old):
            name = key.removeprefix("initial_")
            if new[key] != old[key]:
                group[key] = new[key]
                yield f"{name} was {old[key]}, and you give {new[key]}: continuing with {new[key]}"
            elif new[key] != group.get(key, new[key]) and now["scheduler"] is None:
                yield f"{name} had become {group[key]}, and you give {new[key]}, as at the start: continuing with {group[key]}"


def replay(scheduler: LRScheduler, given: dict, steps: int) -> None:
    """Advance a newly given schedule to where it is after this many steps."""
    for group, new in zip(scheduler.optimizer.param_groups, given["optimizer"], strict=True):
        group |= {key: new[key] for key in ("lr", "initial_lr") if key in new}
    with warnings.catch_warnings(action="ignore"):      # "step the optimizer first": done, in another process
        for _ in range(steps):
            scheduler.step()


def describe_data(loader: DataLoader) -> dict:
    """What determines a loader's batches: its settings and, where the dataset is of a known kind, a digest of what it holds."""
    windows = getattr(loader, "dataset", None)
    facts = {"batches": len(loader), "batch_size": getattr(loader, "batch_size", None),
             "shuffle": isinstance(getattr(loader, "sampler", None), RandomSampler)}
    if isinstance(windows, TokenWindows):
        facts |= {"context_length": windows.context_length, "stride": windows.stride, "tokens": len(windows.ids)}
    digest, known = hashlib.sha256(), list(contents(windows))
    for piece in (piece for tensor in known for piece in tensor.flatten().split(2**22)):      # on disk may be more than in memory
        digest.update(piece.cpu().contiguous().view(torch.uint8).numpy())
    return facts | ({"sha256": digest.hexdigest()} if known else {})


def read_checkpoint(path: str | Path) -> dict:
    """The dict in a checkpoint, tensors on the CPU, every part's checksum verified. Raises as `load_checkpoint` does."""
    require_file(path)
    name = Path(path).name
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        saved = None if damaged else load_plain(path)
    except Exception as error:      # what a damaged byte raises depends on where it is
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):      # of a place before the file's beginning
            raise type(error)(f"{name} could not be read ({error.strerror}): try again, or see whether its disk is there and "
                              "you may read it") from None
        damaged = type(error).__name__
    if damaged:
        raise ValueError(f"{name} is damaged, cut short or no checkpoint at all ({damaged}): use an older one, or start over")
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise ValueError(f"{name} is not a gpt_helpers checkpoint: give a file that train_model wrote")
    if saved.get("version") != VERSION:
        raise ValueError(f"{name} has checkpoint version {saved.get('version')!r:.20}, this gpt_helpers reads version {VERSION}: "
                         "use the gpt_helpers that wrote it")
    return saved


def load_plain(source: str | Path | io.BytesIO) -> Any:
    """What torch.save wrote, tensors on the CPU; nothing in it is executed: only tensors, numbers and strings are accepted."""
    with torch.serialization.safe_globals(NUMPY_SCALARS):
        return torch.load(source, map_location="cpu", weights_only=True)


def require_fit(name: str, saved: dict, model: nn.Module, optimizer: Optimizer, data: dict | None) -> None:
    """ValueError when a checkpoint was made with another model, optimizer or data."""
    ours = {"config": model.cfg, "data": data, "optimizer_class": type(optimizer).__name__}
    names = {"config": "another model configuration", "data": "other training data", "optimizer_class": "another optimizer"}
    for part, words in names.items():
        if (theirs := saved.get(part)) != ours[part]:
            raise ValueError(f"{name} was made with {words} ({difference(theirs, ours[part])}): "
                             "use the same, or start a new training run in another file")
    try:
        groups, state = saved["optimizer"]["param_groups"], saved["optimizer"]["state"]
        params = [p for group in optimizer.param_groups for p in group["params"]]
        fits = ({key: (w.shape, w.dtype) for key, w in saved["model"].items()}
                == {key: (w.shape, w.dtype) for key, w in plain_state(model).items()}
                and [group.get("amsgrad") for group in groups] == [group.get("amsgrad") for group in optimizer.param_groups]
                and [len(group["params"]) for group in groups] == [len(group["params"]) for group in optimizer.param_groups]
                and all(torch.broadcast_shapes(value.shape, params[i].shape) == params[i].shape      # Adafactor: (out, 1)
                        for i, values in state.items() if isinstance(i, int)
                        for value in values.values() if isinstance(value, torch.Tensor)))
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError):      # RuntimeError: shapes that do not broadcast
        fits = False
    if not fits:
        raise ValueError(f"{name} does not hold the weights and moment estimates of this model and optimizer: use the same")


def require_storable(**parts: Any) -> None:
    """ValueError when a checkpoint with one of these parts could not be read back: it holds more than numbers and strings."""
    for name, part in parts.items():
        buffer = io.BytesIO()
        try:
            torch.save(part, buffer)
            buffer.seek(0)
            load_plain(buffer)
        except Exception as error:      # from torch or from pickle
            raise ValueError(f"the {name} holds something no checkpoint can ({type(error).__name__}): use only plain "
                             "numbers and strings in it, or train without checkpoint_path") from None


def difference(theirs: Any, ours: Any) -> str:
    """Where two descriptions differ, in a few words."""
    if not (isinstance(theirs, dict) and isinstance(ours, dict)):
        return f"it was {theirs!r:.60}, and is now {ours!r:.60}"
    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    return "; ".join(f"{key} was {theirs.get(key)!r:.20}, and is now {ours.get(key)!r:.20}" for key in keys)
