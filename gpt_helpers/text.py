"""Text in, token ids out, and back. Nothing here needs a network."""
import base64
import codecs
import functools
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
import torch
from tiktoken_ext.openai_public import r50k_pat_str

from gpt_helpers.validate import require_text

DATA = Path(__file__).parent / "data"
STORY = DATA / "the_tide_house.txt"
RANKS = DATA / "gpt2.tiktoken"
RANKS_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
END_OF_TEXT = "<|endoftext|>"
SUFFIXES = (".txt", ".md")
PIECE = 2**20      # bytes of a text that are read at once

# GPT-2's tokenizer never joins what stands on both sides of such a place: a space or line end after something else, or a
# mark after a letter or digit. So the tokens are those of the whole text.
CUT = re.compile(r".*(?:\S(?=[ \r\n])|[^\W_](?=[.,;:!?，。、；：！？]))", re.DOTALL)


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


def find_texts(path: str | Path) -> list[Path]:
    """A text file itself; of a folder its .txt and .md files and those of its subfolders, sorted, none that is hidden or empty.

    Raises FileNotFoundError or ValueError when there is none, OSError when a subfolder cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no text at {path} (looked from {Path.cwd()}): check the name and the folder")
    found = [path]
    if path.is_dir():
        inside = [Path(folder, name) for folder, _, names in os.walk(path, onerror=_refuse) for name in names]
        found = [file for file in inside if file.suffix.lower() in SUFFIXES and file.is_file()
                 and not any(part.startswith(".") for part in file.relative_to(path).parts)]
    found = [file for file in found if file.stat().st_size]
    if not found:
        raise ValueError(f"there is no text in {path}: need a UTF-8 file that is not empty, or a folder with some "
                         f"({' or '.join(SUFFIXES)})")
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def _refuse(error: OSError) -> None:
    """A subfolder that cannot be read is not left out in silence."""
    raise error


def read_piece(path: Path, start: int) -> tuple[str, int]:
    """The text of a file from byte `start` on, as far as it is read at once and may be cut, and the byte after it.

    Line ends become "\\n", as in `load_text`. A megabyte with no place to cut is cut at its end, which may cost a token.
    """
    with open(path, "rb") as file:
        file.seek(start)
        raw, ended = file.read(PIECE), not file.read(1)
    if not raw:
        raise OSError(f"{path} became shorter while it was read: run this again when nobody writes to it")
    text = codecs.getincrementaldecoder("utf-8")().decode(raw, final=ended)
    if not ended:
        found = CUT.match(text)
        text = found.group() if found else text.removesuffix("\r")
    end = start + len(text.encode())
    text = text if start else text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n"), end


def digest_of_text(path: Path) -> str:
    """The sha256 of a file that is UTF-8 text, whatever its size. Raises ValueError for another, with the place."""
    digest, decoder, at, raw = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 0, b"first"
    with open(path, "rb") as file:
        while raw:
            raw = file.read(PIECE)
            digest.update(raw)
            at -= len(decoder.getstate()[0])      # a character may have begun in the piece before
            try:
                text = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                raise ValueError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {at + error.start:,} "
                                 "fits no character; save the file as UTF-8 and encode it again") from None
            if "\0" in text:
                raise ValueError(f"{path} has NUL characters, as UTF-16 and binary files do: save it as UTF-8 text and encode it "
                                 "again")
            at = file.tell()
    return digest.hexdigest()


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
    pair, which no UTF-8 file can hold, becomes the replacement character.
    """
    require_text(text)
    if isinstance(tokenizer, tiktoken.Encoding):
        encode = functools.partial(tokenizer.encode_to_numpy, allowed_special={END_OF_TEXT})      # 4 bytes a token; in a list 36
    else:
        encode = tokenizer.encode
    try:
        ids = encode(text)
    except UnicodeEncodeError:
        ids = encode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return torch.from_numpy(np.asarray(getattr(ids, "ids", ids), dtype=np.int64)).reshape(1, -1)


def token_ids_to_text(ids: torch.Tensor | Sequence[int], tokenizer: Any) -> str:
    """The text of a (1, N) or (N,) tensor of token ids, or of a list of them.

    tokenizer: anything with `decode(list of ids)`. With GPT-2's, bytes that are not whole characters become "\\ufffd".
    Raises ValueError for any other shape or type, or for an id outside the tokenizer's n_vocab, if it has one.
    """
    ids = torch.as_tensor(ids)
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


class WordTokenizer:
    """One token for each word or mark of a fixed vocabulary, for every function that takes a tokenizer."""

    def __init__(self, vocabulary: Sequence[str]):
        for word, times in Counter(vocabulary).items():
            if times > 1 or split_words(word) != [word]:
                raise ValueError(f"got a vocabulary with {word!r:.60}, need single words or marks, each once")
        self.vocabulary, self.n_vocab = list(vocabulary), len(vocabulary)
        self.ids = {word: i for i, word in enumerate(vocabulary)}

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words. ValueError names a word that is not in the vocabulary."""
        words = split_words(text)
        if unknown := [word for word in words if word not in self.ids]:
            raise ValueError(f"got the word {unknown[0]!r}, which is not among the {self.n_vocab} of this vocabulary: "
                             "use its words only")
        return [self.ids[word] for word in words]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, with spaces between words and none before a mark; each entry is a line."""
        text = " ".join(self.vocabulary[i] for i in ids)
        return re.sub(r" ?\n ?", "\n", re.sub(r" ([.,:])", r"\1", text))


def split_words(text: str) -> list[str]:
    """A text's words, marks and line ends."""
    return re.findall(r"\n|\w+|[^\w\s]", text)


def first_lines(ids: torch.Tensor, tokenizer: Any) -> list[str]:
    """The first line of text in each row of ids, (B, T): with a `WordTokenizer`, the first entry."""
    return [tokenizer.decode(row).removeprefix("\n").partition("\n")[0] for row in ids.tolist()]
