"""A text of any size as token ids on disk: encoded piece by piece, read through a memory map.

`tokens.bin` holds the ids and nothing else, little-endian, 16 bits each where the vocabulary allows it, else 32. `tokens.json`
says which text, tokenizer and shards they are. A shard is a stretch of the file that is there once `tokens.json` names it.

Reading windows from all over it takes no memory of its own, but for a shuffled epoch's order: 48 bytes a window, as a
DataLoader draws it. The pages that were read count as the process's memory until the system wants them back.
"""
import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from gpt_helpers.corpus import digest_of_text, find_texts, read_piece
from gpt_helpers.files import write_text
from gpt_helpers.text import text_to_token_ids

TOKENS, ABOUT = "tokens.bin", "tokens.json"
SHARD = 2**24      # tokens of a shard, at least: what a stop can lose


def encode_texts(path: str | Path, folder: str | Path, tokenizer: Any, *,
                 progress: Callable[[int, int], None] = lambda done, total: None) -> torch.Tensor:
    """The token ids of the texts at `path`, as from `open_tokens`; what the folder does not hold yet is encoded first.

    They are those of `text_to_token_ids(load_text(file), tokenizer)`, file after file, with the tokenizer's `eot_token`, if
    it has one, between two files. Stopped at any moment, it goes on after the last whole shard, and ends with the same bytes.
    tokenizer: has `encode` and `n_vocab`. progress: called with the bytes that are done, and all bytes. Raises OSError, or
    ValueError when a file is not UTF-8 text, or the folder holds tokens of another text or tokenizer.
    """
    path, folder, texts = Path(path), Path(folder), find_texts(path)
    about = {"tokenizer": getattr(tokenizer, "name", type(tokenizer).__name__), "vocab_size": tokenizer.n_vocab,
             "dtype": "uint16" if tokenizer.n_vocab <= 2**16 else "uint32", "end_of_text": getattr(tokenizer, "eot_token", None),
             "sources": [describe_file(file, path) for file in texts], "tokens": 0, "shards": []}
    if (folder / ABOUT).exists():
        stored = read_about(folder)
        for part, keys in {"text": ["sources"], "tokenizer": ["tokenizer", "vocab_size", "dtype", "end_of_text"]}.items():
            if any(stored.get(key) != about[key] for key in keys):
                raise ValueError(f"{folder} holds the tokens of another {part}, or it has changed since: use another folder")
        about["shards"] = whole_shards(folder, stored)
    sizes = [source["bytes"] for source in about["sources"]]
    with open(folder / TOKENS, "ab") as file:
        about["tokens"] = sum(shard["tokens"] for shard in about["shards"])
        if file.tell() > (end := about["tokens"] * np.dtype(about["dtype"]).itemsize):      # the shard that was cut off
            file.truncate(end)
        while (at := next_place(about))[0] < len(texts):
            about["shards"].append(shard := write_shard(file, texts, *at, tokenizer, about))
            about["tokens"] += shard["tokens"]
            write_about(folder, about)
            source, byte = shard["next"]
            progress(sum(sizes[:source]) + byte, sum(sizes))
    if not about["tokens"]:
        for name in (ABOUT, TOKENS):
            (folder / name).unlink()
        raise ValueError(f"there is no text in {path}, only empty files: name another")
    return map_tokens(folder, about)


def open_tokens(folder: str | Path, path: str | Path | None = None) -> torch.Tensor:
    """The ids that `encode_texts` wrote, (N,) uint16 or uint32, mapped into memory: only what is looked at is read.

    `split_tokens` and `TokenWindows` take them as they are; nobody may write to them. path: of the texts that they must be
    from. Raises OSError, or ValueError when they are damaged, not finished, or from other texts.
    """
    about = read_about(Path(folder))
    finished = next_place(about)[0] >= len(about["sources"])      # else it is not worth reading the texts for
    if path and finished and about["sources"] != [describe_file(file, Path(path)) for file in find_texts(path)]:
        raise ValueError(f"{folder} holds the tokens of another text, or it has changed since: encode it first")
    whole = whole_shards(Path(folder), about)
    if len(whole) < len(about["shards"]) or not finished:
        raise ValueError(f"of the tokens in {folder} only the first {len(whole)} shards are there and whole: encode the text "
                         "again, and it goes on from there")
    return map_tokens(Path(folder), about)


def map_tokens(folder: Path, about: dict) -> torch.Tensor:
    """All ids, mapped into memory. `torch.from_file` would reserve memory for them all."""
    kind = np.dtype(about["dtype"]).newbyteorder("<")
    with warnings.catch_warnings(action="ignore"):      # that nobody may write to them
        return torch.from_numpy(np.memmap(folder / TOKENS, kind, mode="r", shape=(about["tokens"],)))


def describe_file(file: Path, path: Path) -> dict:
    """A file's name, below `path` if that is a folder, its size and its sha256. Raises ValueError when it is not UTF-8 text."""
    name = file.relative_to(path).as_posix() if path.is_dir() else file.name
    return {"name": name, "bytes": file.stat().st_size, "sha256": digest_of_text(file)}


def write_about(folder: Path, about: dict) -> None:
    """Write `tokens.json`, with the sha256 of all the rest that it says."""
    write_text(folder / ABOUT, json.dumps(about | {"sha256": digest_of(about)}, indent=1, ensure_ascii=False))


def read_about(folder: Path) -> dict:
    """What `tokens.json` says. Raises FileNotFoundError or ValueError."""
    if not (folder / ABOUT).is_file():
        raise FileNotFoundError(f"there are no tokens in {folder}: encode_texts writes them")
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about.pop("sha256") == digest_of(about):
            return about
    raise ValueError(f"{folder / ABOUT} is damaged: delete it and {TOKENS}, and encode the text again")


def digest_of(about: dict) -> str:
    """The sha256 of what `tokens.json` says, in one form."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def next_place(about: dict) -> list[int]:
    """Source and byte with which the next shard begins; a source more than there are when all are done."""
    return about["shards"][-1]["next"] if about["shards"] else [0, 0]


def whole_shards(folder: Path, about: dict) -> list[dict]:
    """The shards, from the first on, that are as they were written."""
    if not (folder / TOKENS).exists():
        return []
    width = np.dtype(about["dtype"]).itemsize
    with open(folder / TOKENS, "rb") as file:
        return list(takewhile(lambda shard: hashlib.sha256(file.read(shard["tokens"] * width)).hexdigest() == shard["sha256"],
                              about["shards"]))


def write_shard(file: BinaryIO, texts: list[Path], source: int, start: int, tokenizer: Any, about: dict) -> dict:
    """Write the ids from byte `start` of a source on, until the shard is full or nothing is left.

    Returns how many they are, their sha256, and the source and byte with which the next shard begins.
    """
    digest, tokens, kind = hashlib.sha256(), 0, np.dtype(about["dtype"]).newbyteorder("<")
    while source < len(texts) and tokens < SHARD:
        border = [about["end_of_text"]] * (source > 0 and start == 0 and about["end_of_text"] is not None)
        text, start = read_piece(texts[source], start)
        ids = np.concatenate([np.array(border, np.int64), text_to_token_ids(text, tokenizer)[0]])
        if len(ids) and not 0 <= ids.min() <= ids.max() < about["vocab_size"]:
            raise ValueError(f"got token ids from {ids.min()} to {ids.max()} of a tokenizer whose n_vocab is "
                             f"{about['vocab_size']}: give it the number of all its tokens")
        ids = ids.astype(kind)
        file.write(ids.data)
        digest.update(ids.data)
        tokens += len(ids)
        if start >= about["sources"][source]["bytes"]:
            source, start = source + 1, 0
    file.flush()
    os.fsync(file.fileno())
    return {"tokens": tokens, "sha256": digest.hexdigest(), "next": [source, start]}
