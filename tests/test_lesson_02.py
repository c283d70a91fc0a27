"""The table of lesson 02: what a model read, what came, and what it would have liked."""
import pytest
import torch

from gpt_helpers.lessons.loss import show_targets


class Pieces:
    """A tokenizer of three tokens."""

    def __init__(self, *pieces):
        self.pieces = pieces

    def decode(self, ids):
        return "".join(self.pieces[i] for i in ids)


@pytest.fixture
def shown(monkeypatch):
    """The tables that are shown, as text."""
    tables = []
    monkeypatch.setattr("gpt_helpers.plot.display", lambda data, raw: tables.append(data["text/markdown"]))
    return tables


def test_each_line_tells_the_token_what_came_and_the_favourite_with_their_p(shown):
    inputs, targets, favourites = torch.tensor([[0, 1], [1, 2], [2, 2]])
    p, highest = torch.tensor([[0.25, 0.00001], [0.5, 1.0]])
    show_targets(Pieces("The", " sea", "\n"), inputs, targets, p, favourites, highest)
    assert shown[0].splitlines()[2:] == ["| `'The'` | `' sea'` | 0.25000 | `'\\n'` | 0.50000 |",
                                         "| `' sea'` | `'\\n'` | 0.00001 | `'\\n'` | 1.00000 |"]


def test_a_token_that_is_markdown_breaks_no_table(shown):
    ids, p = torch.tensor([0, 1, 2]), torch.tensor([0.5, 0.5, 0.5])
    show_targets(Pieces("|", "`", "$_*<b>"), ids, ids, p, ids, p)
    assert [line.split(" | ")[1] for line in shown[0].splitlines()[2:]] == [r"`'\|'`", "``'`'``", "`'$_*<b>'`"]
