"""Argument checks. Each raises an error in one line: what was given, what was needed and what to do."""
import difflib
import inspect
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpt_helpers.files import temporary_beside

PADDING = -100      # a target that no loss counts. Source: PyTorch's `ignore_index` of cross_entropy


def require_integers(least: int, **numbers: Any) -> None:
    """ValueError when one of the named numbers is not an integer of at least `least`."""
    for name, number in numbers.items():
        if not isinstance(number, Integral) or isinstance(number, bool) or number < least:
            raise ValueError(f"got {name}={number!r:.60}, need an integer of at least {least}")


def require_positive(**numbers: Any) -> None:
    """ValueError when one of the named numbers is not an integer of at least 1."""
    require_integers(1, **numbers)


def require_known(what: str, name: Any, known: Iterable[str]) -> None:
    """ValueError when a name is not one of those that are known."""
    known = list(known)
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4) or sorted(known)
        raise ValueError(f"got {what} {name!r:.60}, need one of: {', '.join(close)}")


# Texts, token ids, splits, windows and batches.

def require_text(text: Any) -> None:
    """ValueError when something other than a text is to be encoded."""
    if not isinstance(text, str):
        raise ValueError(f"got a text of type {type(text).__name__}, need a str: text_to_token_ids(text, tokenizer)")


def require_tokenizer(tokenizer: Any, method: str) -> None:
    """ValueError when a tokenizer lacks this method, or is a class."""
    if isinstance(tokenizer, type) or not callable(getattr(tokenizer, method, None)) or isinstance(tokenizer, str):
        raise ValueError(f"got a tokenizer of type {type(tokenizer).__name__}, need one with {method}: get_tokenizer()")


def require_tensor(ids: Any, device: torch.device | None = None) -> torch.Tensor:
    """Token ids, a tensor or a list, as a tensor on this device; ValueError when they are anything else."""
    try:
        return torch.as_tensor(ids, device=device)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(f"got {ids!r:.60}, need token ids, a tensor or a list: text_to_token_ids(text, tokenizer)") from None


def require_row(ids: torch.Tensor, name: str = "ids", dtypes: Iterable[torch.dtype] = (torch.int64,)) -> None:
    """ValueError when ids are not one row of token ids of one of these types."""
    if not isinstance(ids, torch.Tensor) or ids.dtype not in dtypes:
        given = ids.dtype if isinstance(ids, torch.Tensor) else type(ids).__name__
        raise ValueError(f"got {name} of type {given}, need a tensor of int64: text_to_token_ids makes one")
    if ids.ndim not in (1, 2) or (ids.ndim == 2 and len(ids) != 1):
        raise ValueError(f"got {name} of shape {tuple(ids.shape)}, need one row of token ids, (N,) or (1, N)")


def require_ids(ids: torch.Tensor, cfg: Mapping, past: int = 0) -> None:
    """ValueError when ids are not (B, T) token ids that a model of this configuration can take after `past` others."""
    if ids.ndim != 2 or ids.numel() == 0 or ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"got {ids.dtype} ids of shape {tuple(ids.shape)}, need int64 of shape (batch, tokens) "
                         "with at least one token")
    if past and ids.shape[1] > 1:
        raise ValueError(f"got {ids.shape[1]:,} tokens with a KV cache of {past:,}, need only the new one: ids[:, -1:]")
    if past + ids.shape[1] > cfg["context_length"]:
        raise ValueError(f"got {past + ids.shape[1]:,} tokens, the model takes at most context_length {cfg['context_length']:,}: "
                         "shorten the input or build the model with a longer context_length")
    if not (ids.is_meta or torch.compiler.is_compiling() or 0 <= ids.min() <= ids.max() < cfg["vocab_size"]):
        raise ValueError(f"got token ids from {ids.min()} to {ids.max()}, the vocabulary of this model has 0 to "
                         f"{cfg['vocab_size'] - 1}: use the tokenizer that the model was built for")


def require_generation(idx: torch.Tensor, cfg: Mapping, max_new_tokens: int, context_size: int, stop_token: int | None) -> None:
    """ValueError when a model cannot append this many tokens to idx, (B, T) ids, or would never write the stop token."""
    require_positive(context_size=context_size)
    require_integers(0, max_new_tokens=max_new_tokens, stop_token=0 if stop_token is None else stop_token)
    if stop_token is not None and stop_token >= cfg["vocab_size"]:
        raise ValueError(f"got stop_token={stop_token:,}, which this model never writes: its vocabulary has 0 to "
                         f"{cfg['vocab_size'] - 1}")
    most, longest = min(context_size, idx.shape[-1] + max_new_tokens - 1), cfg["context_length"]
    if most > longest:
        raise ValueError(f"got context_size={context_size:,} for text of {most:,} tokens, the model takes at most {longest:,}: "
                         "give its context_length as context_size")
    require_ids(idx[..., -context_size:], cfg)


def require_sampling(temperature: float, top_k: int | None) -> None:
    """ValueError when no token can be drawn at this temperature, a number or a tensor of one, or among the top_k."""
    number = isinstance(temperature, Real) or (isinstance(temperature, torch.Tensor) and temperature.numel() == 1)
    if not (number and temperature >= 0):
        raise ValueError(f"got temperature={temperature!r:.60}, need a number: 0 (greedy) or more")
    if top_k is not None:
        require_positive(top_k=top_k)


def require_drawable(probs: torch.Tensor) -> None:
    """ValueError when probabilities are nan; multinomial's own error leaves a GPU unusable until the kernel restarts."""
    if probs.isnan().any():
        raise ValueError("the model's logits are nan or infinite, so no token can be drawn: load weights from before they "
                         "became so, and train with a smaller learning rate")


def require_targets(inputs: torch.Tensor, targets: torch.Tensor, cfg: Mapping | None) -> None:
    """ValueError when targets do not fit the inputs, are all padding, or are not tokens that the model knows."""
    if targets.shape != inputs.shape or targets.dtype != torch.int64:
        raise ValueError(f"got {targets.dtype} targets of shape {tuple(targets.shape)} for inputs of shape "
                         f"{tuple(inputs.shape)}, need int64 of the same shape: the inputs one step later")
    if targets.is_meta or targets.numel() == 0:
        return
    counted = targets[targets != PADDING]
    if len(counted) == 0:
        raise ValueError(f"got a batch in which all {targets.numel():,} targets are padding ({PADDING}), so there is no loss to "
                         "average: leave that batch out")
    if cfg and not 0 <= counted.min() <= counted.max() < cfg["vocab_size"]:
        raise ValueError(f"got targets from {counted.min()} to {counted.max()}, the vocabulary of this model has 0 to "
                         f"{cfg['vocab_size'] - 1} (and {PADDING} marks padding): use the tokenizer that the model was built for")


def require_rows(vocab_size: int, **rows: torch.Tensor) -> None:
    """ValueError when one of the named rows is not (N,) known token ids, at least two of them."""
    for name, row in rows.items():
        require_row(row, name)
        if row.ndim != 1 or len(row) < 2:
            raise ValueError(f"got {name} of shape {tuple(row.shape)}, need one row of at least 2 token ids")
        if not 0 <= row.min() <= row.max() < vocab_size:
            raise ValueError(f"got {name} from {row.min()} to {row.max()}, the vocabulary has 0 to {vocab_size - 1}")


def require_ngram(n: int, vocab_size: int, train_ids: torch.Tensor) -> None:
    """ValueError when train_ids are not a row of known ids, have no run of n tokens, or there are too many runs to number."""
    require_positive(n=n, vocab_size=vocab_size)
    require_rows(vocab_size, train_ids=train_ids)
    most = min(len(train_ids), max((k for k in range(1, 64) if int(vocab_size) ** k < 2**63), default=0))
    if n > most:
        raise ValueError(f"got n={n}, need at most {most} for {len(train_ids):,} tokens of {vocab_size:,} kinds")


def require_fractions(train: float, val: float) -> None:
    """ValueError when the fractions of a split are negative, not a number, or more than the whole."""
    if not (train >= 0 and val >= 0 and train + val <= 1 + 1e-9):
        raise ValueError(f"got train={train}, val={val}: fractions must not be negative, and together at most 1")


def require_room(split: Any, fractions: Iterable[float], context_length: int | None) -> None:
    """ValueError when a part with a fraction above 0 is too short for one window; context_length None requires nothing."""
    if context_length is None:
        return
    require_positive(context_length=context_length)
    total = sum(map(len, split))
    for name, part, fraction in zip(split._fields, split, fractions, strict=True):
        if fraction > 1e-9 and len(part) <= context_length:
            raise ValueError(
                f"the text has {total:,} tokens, so its {name} part ({fraction:.0%}) has {len(part):,}, too few for one window "
                f"of {context_length + 1:,} (context_length {context_length:,} and its next token): use a text of about "
                f"{math.ceil((context_length + 1) / fraction):,} tokens or more, or a shorter context_length")


def require_window(ids: torch.Tensor, context_length: int) -> None:
    """ValueError when ids are too few for one window."""
    if ids.numel() <= context_length:
        raise ValueError(f"the text, or this part of it, has {ids.numel():,} tokens, too few for one window of "
                         f"{context_length + 1:,} (context_length {context_length:,} and its next token): "
                         "use more text or a shorter context_length")


def require_index(i: int, length: int) -> None:
    """IndexError when there is no window i."""
    if not 0 <= i < length:
        raise IndexError(f"window {i} of {length}: windows are numbered from 0 to {length - 1}")


def require_full_batch(windows: int, batch_size: int, drop_last: bool) -> None:
    """ValueError when drop_last would drop everything."""
    if drop_last and windows < batch_size:
        raise ValueError(f"{windows} window(s) do not fill one batch of {batch_size} and drop_last=True leaves none: "
                         "use drop_last=False, a smaller batch_size or more text")


def require_batches(data_loader: Any, num_batches: int | None = None) -> None:
    """ValueError when a loss over these batches would be a mean of nothing, their number is unknown, or they are token ids."""
    if isinstance(data_loader, torch.Tensor):
        raise ValueError(f"got a tensor of shape {tuple(data_loader.shape)}, need a loader: create_dataloader makes one of ids")
    try:
        batches = len(data_loader)
    except TypeError:
        raise ValueError(f"got a {type(data_loader).__name__} that does not know how many batches it has: "
                         "give its dataset a __len__") from None
    if batches == 0:
        raise ValueError("the loader has 0 batches, so there is no loss to average: use drop_last=False, "
                         "a smaller batch_size or more text")
    if num_batches is not None:
        require_positive(num_batches=num_batches)


def require_language(groups: Mapping[str, str], women: str, events: Sequence[str], **likely: float) -> None:
    """ValueError when a language's words are missing, repeated or not words, or a probability is not one."""
    for name, text in {**groups, "women": women}.items():
        if not isinstance(text, str):
            raise ValueError(f"got {name}={text!r:.60}, need one text with words between spaces")
    if isinstance(events, str) or not isinstance(events, Sequence) or not all(isinstance(event, str) for event in events):
        raise ValueError(f"got events={events!r:.60}, need a list of sentences without their full stop")
    lists = {name: text.split() for name, text in groups.items()}
    for name, words in (lists | {"events": [" ".join(event.split()[:1]) for event in events]}).items():
        if not words or len(set(words)) < len(words) or "" in words or (name == "events" and {"There", "At"} & {*words}):
            raise ValueError(f"got {name}={words!r:.60}, need at least one, all different (events: in their first words, which "
                             "must not be There or At)")
    if strangers := set(women.split()) - set(lists["names"]):
        raise ValueError(f"got women={women!r:.60}, need some of the names: {min(strangers)!r} is none of them")
    for word in " ".join([*groups.values(), *events]).split():
        if not word.isalnum():
            raise ValueError(f"got the word {word!r:.60}, need letters and digits only")
    for name, p in likely.items():
        if not isinstance(p, Real) or isinstance(p, bool) or not 0 <= p < 1:
            raise ValueError(f"got {name}={p!r:.60}, need a probability from 0 to below 1")


def require_entries(ids: torch.Tensor, end: int) -> None:
    """ValueError when a row of ids does not begin with the token that ends an entry."""
    if ids.is_meta or len(ids) == 0 or ids[0] != end:
        raise ValueError("got ids that begin in the middle of an entry, or none: let them begin with the end of the entry "
                         "before, as HarbourLog.write makes them")


def require_entry_room(lengths: torch.Tensor, context_length: int) -> None:
    """ValueError when there is no entry, or one that does not fit into a window."""
    require_positive(context_length=context_length)
    longest = max(lengths.tolist(), default=0)
    if not 0 < longest <= context_length:
        raise ValueError(f"the longest entry has {longest:,} tokens, and a window has {context_length:,}: use a longer "
                         "context_length" if longest else "got no entry at all: write at least 2 tokens")


# Models and training.

def require_config(cfg: Mapping, keys: Iterable[str]) -> None:
    """ValueError when a model configuration has a missing, unknown, wrong-typed or impossible value."""
    if not isinstance(cfg, Mapping):
        raise ValueError(f"got a model configuration of type {type(cfg).__name__}, need a dict like GPT_CONFIG_124M")
    wrong = [f"missing {key!r}" for key in sorted(set(keys) - set(cfg))]
    wrong += [f"unknown {key!r}" for key in sorted(set(cfg) - set(keys), key=str)]
    if wrong:
        raise ValueError(f"model configuration with {', '.join(wrong)}: need exactly {', '.join(keys)}")
    require_positive(**{key: cfg[key] for key in ("vocab_size", "context_length", "emb_dim", "n_heads", "n_layers")})
    if not isinstance(cfg["drop_rate"], Real) or isinstance(cfg["drop_rate"], bool) or not 0 <= cfg["drop_rate"] < 1:
        raise ValueError(f"model configuration with drop_rate={cfg['drop_rate']!r:.60}: need a number from 0 to below 1")
    if not isinstance(cfg["qkv_bias"], bool):
        raise ValueError(f"model configuration with qkv_bias={cfg['qkv_bias']!r:.60}: need True or False")
    if cfg["emb_dim"] % cfg["n_heads"]:
        raise ValueError(f"model configuration with emb_dim={cfg['emb_dim']} and n_heads={cfg['n_heads']}: "
                         "emb_dim must be a multiple of n_heads, so that every head gets the same width")


def require_model(model: Any) -> None:
    """ValueError when something other than a model is given in its place."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"got a model of type {type(model).__name__}, need a GPTModel: look at the order of the arguments")


def require_gpt(model: nn.Module) -> None:
    """ValueError when a model has no configuration."""
    if not isinstance(getattr(model, "cfg", None), Mapping):
        raise ValueError(f"got a model of type {type(model).__name__} without a configuration, need a GPTModel")


def require_trainable(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """ValueError when no step could change a weight: gradients off, all weights frozen, or another model's optimizer."""
    require_model(model)
    if not torch.is_grad_enabled():
        raise ValueError("gradients are switched off, so no weight would change: train outside of torch.no_grad() and "
                         "torch.inference_mode(), or call torch.set_grad_enabled(True) first")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("got LBFGS, whose step needs a function that computes the loss: use one that needs nothing")
    if isinstance(optimizer, type) or not hasattr(optimizer, "param_groups"):
        raise ValueError(f"got an optimizer of type {type(optimizer).__name__}, need one made for the model: "
                         "torch.optim.AdamW(model.parameters())")
    weights = {id(p): p.requires_grad for p in model.parameters()}
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    others = len(held - weights.keys())      # made for another model, or before a layer of this one was replaced
    if others == len(held) or (others and any(learns and p not in held for p, learns in weights.items())):
        raise ValueError(f"the optimizer holds {len(held) - others or 'none'} of this model's weights, and {others} that it does "
                         "not have: make it from model.parameters(), after the model's last change")
    if not any(learns and p in held for p, learns in weights.items()):
        raise ValueError("all weights that the optimizer holds are frozen (requires_grad is False), so none would change: "
                         "call model.requires_grad_(True), or unfreeze a part")


def require_extras(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int, max_grad_norm: Any, max_steps: Any) -> None:
    """ValueError when a schedule, a norm or a limit does not fit a run of this many steps."""
    if not isinstance(max_steps, Real) or not max_steps >= 0:
        raise ValueError(f"got max_steps={max_steps!r:.60}, need a number of at least 0, or leave it out for no limit")
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ValueError("got ReduceLROnPlateau, which needs a loss at each step: use a scheduler that only counts steps")
    total = getattr(scheduler, "total_steps", None)      # of OneCycleLR
    if total is not None and total - scheduler.last_epoch < min(steps, max_steps):
        raise ValueError(f"got a scheduler with {total - scheduler.last_epoch} of {total} steps left for a training run of "
                         f"{min(steps, max_steps)}: make a new one of as many steps")
    if scheduler is not None and getattr(scheduler, "optimizer", None) is not optimizer:
        raise ValueError("the scheduler belongs to another optimizer, so this one's learning rate would never change: "
                         "make it from the optimizer that you pass")
    if max_grad_norm is not None and not (isinstance(max_grad_norm, Real) and max_grad_norm > 0):
        raise ValueError(f"got max_grad_norm={max_grad_norm!r:.60}, need a number above 0, or None to leave gradients alone")


def require_device(name: str) -> None:
    """ValueError when PyTorch cannot compute on a device of this name here."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, TypeError) as error:
        words = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"got the device {name!r}, which PyTorch does not have here ({words:.80}): "
                         "use 'cpu', or name no device") from None


def require_prompt(text: str, ids: torch.Tensor, tokenizer: Any, model: nn.Module) -> None:
    """ValueError when a text cannot start a sample: no token, or tokens that the model or the tokenizer does not know."""
    require_gpt(model)
    takes = inspect.signature(model.forward).parameters.values()
    lacking = [name for name in ("pos_emb", "new_kv_cache") if not hasattr(model, name)]
    lacking += [f"forward(…, {name})" for name in ("last_only", "kv_cache")
                if not any(taken.name == name or taken.kind == taken.VAR_KEYWORD for taken in takes)]
    if lacking:
        raise ValueError(f"got a model of type {type(model).__name__} without {' and '.join(lacking)}, which writing samples "
                         "needs: take them over from GPTModel")
    if ids.shape[1] == 0:
        raise ValueError(f"got start_context={text!r}, need at least one token to start a sample with")
    require_ids(ids[:, -model.cfg["context_length"]:], model.cfg)
    if not isinstance(getattr(tokenizer, "decode", lambda ids: None)(ids[0].tolist()), str):
        raise ValueError(f"got a tokenizer of type {type(tokenizer).__name__}, need one whose decode turns token ids into text")


def require_callbacks(callbacks: Sequence[Any]) -> None:
    """ValueError when callbacks are not a list of objects with the three methods of `progress.Callback`."""
    if not isinstance(callbacks, Sequence):
        raise ValueError(f"got callbacks of type {type(callbacks).__name__}, need a list: callbacks=[Progress(100)]")
    for callback in callbacks:
        for method in ("on_step", "on_eval", "on_sample"):
            if isinstance(callback, type) or not callable(getattr(callback, method, None)):
                given = callback.__name__ if isinstance(callback, type) else type(callback).__name__
                raise ValueError(f"got the callback {given}, need an object with on_step, on_eval and on_sample: "
                                 "make one from a subclass of gpt_helpers.progress.Callback")


def require_checkpointing(checkpoint_path: Any, checkpoint_freq: Any, resume: bool, best_path: Any) -> None:
    """ValueError or OSError when a run could not be saved or resumed, FileExistsError when it would overwrite another."""
    if checkpoint_path is None and (checkpoint_freq is not None or resume):
        raise ValueError("got checkpoint_freq or resume without checkpoint_path: name the file that training is saved in")
    if checkpoint_freq is not None:
        require_positive(checkpoint_freq=checkpoint_freq)
    paths = [path for path in (checkpoint_path, best_path) if path is not None]
    for path in paths:
        require_writable(path)
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise ValueError(f"got {Path(best_path).name} as checkpoint_path and as best_path: give two names")
    if checkpoint_path is not None and not resume and Path(checkpoint_path).exists():
        raise FileExistsError(f"{Path(checkpoint_path).name} already holds a training run: continue it with resume=True, "
                              "delete it, or use another name")


def require_finite(*numbers: float, what: str) -> None:
    """FloatingPointError when a number is nan or infinite."""
    if not all(map(math.isfinite, numbers)):
        raise FloatingPointError(f"the {what} {'is' if len(numbers) == 1 else 'are'} {' and '.join(map(str, numbers))}")


def require_finite_weights(model: nn.Module) -> None:
    """ValueError when a weight is nan or infinite."""
    for name, weight in model.state_dict().items():
        if not weight.isfinite().all():
            raise ValueError(f"the weights {name} hold nan or infinity, so nothing was written: go back to an older checkpoint, "
                             "with a smaller learning rate")


# Figures.

def require_levels(top: Any, **levels: Any) -> None:
    """ValueError when the named levels of a figure are not {name: loss}, or top is not a loss."""
    for what, named in levels.items():
        numbers = named.values() if isinstance(named, Mapping) else [None]
        if not all(isinstance(number, Real) and 0 <= number < math.inf for number in numbers):
            raise ValueError(f"got {what}={named!r:.60}, need names with a finite loss of at least 0: {{'unigram': 5.7}}")
    if top is not None and not (isinstance(top, Real) and 0 < top < math.inf):
        raise ValueError(f"got top={top!r:.60}, need a loss above 0, or None to show all")


# Files.

def require_file(path: str | Path, otherwise: str = "start a new training run") -> None:
    """FileNotFoundError when there is no such file; `otherwise` is what else to do."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}: check its name and folder, or {otherwise}")


def require_writable(path: str | Path) -> None:
    """OSError when no file can be written at this path, because its folder is missing or not writable."""
    path = Path(os.path.realpath(path) if os.path.islink(path) else path)      # what a link leads to is written
    folder = path.parent
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: name a file in it")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r} for {path.name}: make it first, or choose another")
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(f"{str(path)!r} exists and may not be written to: choose another name, or change its permissions")
    try:
        with temporary_beside(path):
            pass
    except OSError as error:
        raise type(error)(f"{path.name} cannot be written to the folder {str(folder)!r} "
                          f"({error.strerror or type(error).__name__}): choose another") from None
