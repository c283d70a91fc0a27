"""Text in, token ids out, and back. Nothing here needs a network."""
import base64
import contextlib
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
import torch
from tiktoken_ext.openai_public import r50k_pat_str

from gpt_helpers.validate import require_tensor, require_text, require_tokenizer

DATA = Path(__file__).parent / "data"
STORY = DATA / "the_tide_house.txt"
RANKS = DATA / "gpt2.tiktoken"
RANKS_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
END_OF_TEXT = "<|endoftext|>"


def load_text(path: str | Path | None = None) -> str:
    """The text of a UTF-8 file as one string; without a path, the story that comes with the series.

    Line ends become "\\n" and a byte order mark at the start is dropped, so the same words give
    the same tokens wherever the file was saved.
    Raises FileNotFoundError, IsADirectoryError, or ValueError (empty, or not UTF-8: the byte is named).
    """
    path = STORY if path is None else Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name one text file in it")
    if not path.is_file():
        raise FileNotFoundError(f"no text file at {path} (looked from {Path.cwd()}): check the name and the folder")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = len((raw[:error.start] + b".").splitlines())
        raise ValueError(f"{path} is not UTF-8: byte 0x{raw[error.start]:02x} in line {line} (offset {error.start:,}) "
                         "fits no character; save the file as UTF-8 and load it again") from None
    if "\0" in text:
        raise ValueError(f"{path} has NUL characters, as UTF-16 and binary files do: save it as UTF-8 text and load it again")
    if not text.strip():
        raise ValueError(f"{path} has no text in it ({len(raw)} bytes): choose a file with at least a few thousand words")
    return text


@functools.cache
def get_tokenizer() -> tiktoken.Encoding:
    """GPT-2's byte-pair tokenizer, a `tiktoken.Encoding` with 50,257 tokens, built from the file in this package.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (the vocabulary).
    """
    return tiktoken.Encoding("gpt2", explicit_n_vocab=50257, pat_str=r50k_pat_str,
                             mergeable_ranks=_load_ranks(RANKS), special_tokens={END_OF_TEXT: 50256})


def _load_ranks(path: Path) -> dict[bytes, int]:
    """The file's lines, each a token in base64 and its rank, as {bytes: int}; raises OSError or ValueError if damaged."""
    if not path.is_file():
        raise FileNotFoundError(f"the vocabulary {path} is missing: reinstall the series")
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != RANKS_SHA256:
        raise ValueError(f"the vocabulary {path} is damaged: its sha256 is {found[:12]}…, not {RANKS_SHA256[:12]}…; "
                         "restore the file, or reinstall the series")
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, raw.splitlines())}


def text_to_token_ids(text: str, tokenizer: Any) -> torch.Tensor:
    """Token ids of a text as a (1, N) int64 tensor: a batch of one.

    tokenizer: anything with `encode(text)`. With GPT-2's, `<|endoftext|>` becomes its one token, and half a surrogate
    pair, which no UTF-8 file can hold, becomes the replacement character. Raises ValueError.
    """
    require_text(text)
    require_tokenizer(tokenizer, "encode")
    if isinstance(tokenizer, tiktoken.Encoding):
        encode = functools.partial(tokenizer.encode_to_numpy, allowed_special={END_OF_TEXT})      # 4 bytes a token; in a list 36
    else:
        encode = tokenizer.encode
    try:
        ids = encode(text)
    except UnicodeEncodeError:
        ids = encode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except LookupError as error:      # of a tokenizer of one's own
        raise ValueError(f"the tokenizer cannot encode {text!r:.40} ({type(error).__name__}: {error}): write only what it "
                         "knows") from None
    return torch.from_numpy(require_encoded(getattr(ids, "ids", ids)).astype(np.int64, copy=False)).reshape(1, -1)


def require_encoded(ids: Any) -> np.ndarray:
    """What a tokenizer's encode returned, as an array; ValueError when it is not integers."""
    with contextlib.suppress(ValueError):      # of lists that differ in length
        array = np.asarray(ids)
        if array.dtype.kind in "iu" or (array.size == 0 and array.ndim == 1):
            return array
    raise ValueError(f"the tokenizer's encode gave {ids!r:.60}, need token ids: a list of integers")


def token_ids_to_text(ids: torch.Tensor | Sequence[int], tokenizer: Any) -> str:
    """The text of a (1, N) or (N,) tensor of token ids, or of a list of them.

    tokenizer: anything with `decode(list of ids)`. With GPT-2's, bytes that are not whole characters become "\\ufffd".
    Raises ValueError for any other shape or type, or for an id outside the tokenizer's n_vocab, if it has one.
    """
    require_tokenizer(tokenizer, "decode")
    ids = require_tensor(ids)
    if (ids.is_floating_point() and ids.numel()) or ids.ndim > 2 or (ids.ndim == 2 and len(ids) != 1):
        raise ValueError(f"got {ids.dtype} ids of shape {tuple(ids.shape)}, need integers, (N,) or (1, N): take one row, ids[0], "
                         "and of logits the argmax")
    ids = ids.flatten().tolist()
    vocab_size = getattr(tokenizer, "n_vocab", None)
    unknown = [i for i in ids if vocab_size is not None and not 0 <= i < vocab_size]
    if unknown:
        raise ValueError(f"token id {unknown[0]} is not in the vocabulary: ids go from 0 to {vocab_size - 1}")
    return tokenizer.decode(ids)


def token_texts(text: str, tokenizer: Any) -> list[str]:
    """The text of each token of a text, in order; bytes that are not whole characters become "\\ufffd".

    tokenizer: anything with `encode(text)` and `decode(list of ids)`.
    """
    return [tokenizer.decode([i]) for i in text_to_token_ids(text, tokenizer)[0].tolist()]
