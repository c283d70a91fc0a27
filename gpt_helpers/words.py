"""Text as whole words: a tokenizer with one token for each word or mark, and windows that each hold one entry of a log."""
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.utils.data import TensorDataset

from gpt_helpers.validate import PADDING, require_entries, require_entry_room, require_row


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


def entry_windows(ids: torch.Tensor, end: int, context_length: int) -> TensorDataset:
    """One window for each entry: (inputs, targets), both (context_length,) int64, for a DataLoader.

    ids: (N,), beginning with the token `end`, which ends each entry. Inputs begin with the end of the entry before, so that
    every word of an entry is a target once. What is left over is padding: `end` in the inputs, -100 in the targets.
    Raises ValueError when an entry is longer than context_length.
    """
    require_row(ids)
    ids = ids.flatten()
    require_entries(ids, end)
    starts = (ids[:-1] == end).nonzero().flatten()                                            # (entries,)
    lengths = torch.cat([starts[1:], torch.tensor([len(ids) - 1])]) - starts                  # (entries,) targets in each
    require_entry_room(lengths, context_length)
    place = torch.arange(context_length)
    window = starts[:, None] + torch.arange(context_length + 1)                               # (entries, T + 1)
    window, inside = ids[window.clamp(max=len(ids) - 1)], place < lengths[:, None]            # (entries, T)
    return TensorDataset(torch.where(inside, window[:, :-1], end), torch.where(inside, window[:, 1:], PADDING))
