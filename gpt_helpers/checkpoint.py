"""Checkpoints: everything that a training needs to go on with the same bits, written so that nothing is lost.

A checkpoint is a file of torch.save and is read without executing anything in it. It is written beside its place and
renamed when it is whole, so the one before stays until then.
"""
import hashlib
import zipfile
from pathlib import Path

import torch
from torch.utils.data import RandomSampler

from gpt_helpers.data import check_positive
from gpt_helpers.weights import check_file, check_finite, write_whole

FORMAT, VERSION = "gpt_helpers checkpoint", 1


def save_checkpoint(path, model, optimizer, training, *, data=None):
    """Write model, optimizer and `training`, a dict that says how far it has come, to path: all or nothing.

    data: what `describe_data` says of the training data, to be compared when loading. Raises OSError when the file cannot be
    written, ValueError when a weight is not a finite number; a file that was there before stays as it was.
    """
    check_finite(model)
    content = {"format": FORMAT, "version": VERSION, "config": model.cfg, "model": model.state_dict(), "training": training,
               "optimizer": optimizer.state_dict(), "optimizer_class": type(optimizer).__name__, "data": data}
    write_whole(path, lambda draft: torch.save(content, draft))


def load_checkpoint(path, model, optimizer, *, data=None, keys=None):
    """Put a checkpoint's weights and optimizer state into model and optimizer; returns its `training`.

    keys: what `training` must hold, no more and no less, if it matters.
    The optimizer's settings, the learning rate for one, are the saved ones. Raises FileNotFoundError or ValueError, before
    anything is changed, when the file is missing, damaged, foreign, of a newer version, or made with another model or data.
    """
    saved = read_checkpoint(path)
    check_fits(Path(path).name, saved, model, optimizer, data)
    if keys is not None and set(saved.get("training") or ()) != set(keys):
        raise ValueError(f"{Path(path).name} does not say how far its training had come: "
                         "give a file that train_model has written")
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["training"]


def describe_data(loader):
    """What decides a loader's batches: its settings and, for windows over token ids, the ids themselves, as a digest."""
    windows = getattr(loader, "dataset", None)
    facts = {"batches": len(loader), "batch_size": getattr(loader, "batch_size", None),
             "shuffle": isinstance(getattr(loader, "sampler", None), RandomSampler)}
    if hasattr(windows, "ids"):
        facts |= {"context_length": windows.context_length, "stride": windows.stride, "tokens": len(windows.ids),
                  "sha256": hashlib.sha256(windows.ids.contiguous().numpy()).hexdigest()}
    return facts


def read_checkpoint(path):
    """The dict in a checkpoint, tensors on the CPU, the checksum of every part compared. Raises as `load_checkpoint`."""
    check_file(path)
    name = Path(path).name
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        saved = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:      # what a damaged byte raises depends on where it is
        damaged = type(error).__name__
    if damaged:
        raise ValueError(f"{name} is damaged, cut short or no checkpoint at all ({damaged}): use an older one, or start anew")
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise ValueError(f"{name} is not a checkpoint of gpt_helpers: give a file that train_model has written")
    if saved.get("version") != VERSION:
        raise ValueError(f"{name} has checkpoint version {saved.get('version')!r:.20}, this gpt_helpers reads version {VERSION}: "
                         "use the gpt_helpers that wrote it")
    return saved


# Checks: each raises one line that says what was given, what was needed and what to do.

def check_keeping(checkpoint_path, checkpoint_freq, resume):
    """ValueError when a training is to be kept or resumed without a file for it, FileExistsError when it would overwrite one."""
    if checkpoint_path is None and (checkpoint_freq or resume):
        raise ValueError("got checkpoint_freq or resume without checkpoint_path: say in which file the training is kept")
    if checkpoint_freq is not None:
        check_positive(checkpoint_freq=checkpoint_freq)
    if checkpoint_path and not resume and Path(checkpoint_path).exists():
        raise FileExistsError(f"{Path(checkpoint_path).name} holds a training already: go on from it with resume=True, "
                              "delete it, or use another name")


def check_fits(name, saved, model, optimizer, data):
    """ValueError when a checkpoint was made with another model, optimizer or data."""
    ours = {"config": model.cfg, "data": data, "optimizer_class": type(optimizer).__name__}
    names = {"config": "another model configuration", "data": "other training data", "optimizer_class": "another optimizer"}
    for part, words in names.items():
        if (theirs := saved.get(part)) != ours[part]:
            raise ValueError(f"{name} was made with {words} ({difference(theirs, ours[part])}): "
                             "use the same, or start a new training in another file")
    try:
        groups, state = saved["optimizer"]["param_groups"], saved["optimizer"]["state"]
        params = [p for group in optimizer.param_groups for p in group["params"]]
        fits = ({key: (w.shape, w.dtype) for key, w in saved["model"].items()}
                == {key: (w.shape, w.dtype) for key, w in model.state_dict().items()}
                and [len(group["params"]) for group in groups] == [len(group["params"]) for group in optimizer.param_groups]
                and all(value.ndim == 0 or value.shape == params[i].shape for i, values in state.items()
                        for value in values.values() if isinstance(value, torch.Tensor)))
    except (AttributeError, IndexError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ValueError(f"{name} does not hold the weights and averages of this model and optimizer: make both as then")


def difference(theirs, ours):
    """Where two descriptions differ, in a few words."""
    if not (isinstance(theirs, dict) and isinstance(ours, dict)):
        return f"it was {theirs!r:.60}, and is {ours!r:.60}"
    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    return "; ".join(f"{key} was {theirs.get(key)!r:.20}, and is {ours.get(key)!r:.20}" for key in keys)
