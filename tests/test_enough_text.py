"""Lesson 08's pictures say what the numbers are, and its bookkeeping finds the words that an entry repeats."""
import pytest
import torch

from gpt_helpers.language import END, HarbourLog
from gpt_helpers.lessons.enough_text import (
    AT_NIGHT,
    memory_places,
    plot_attention,
    plot_kinds,
    plot_text_sizes,
    plot_widths,
    show_by_kind,
)
from gpt_helpers.text import text_to_token_ids
from gpt_helpers.words import entry_windows

LOG = HarbourLog()
ENTRIES = """
Jory rowed the white boat to the weir at dusk. There he counted nine shells. \
At night Jory wrote: nine shells at the weir, in the white boat.
Orla sailed the red boat to the quay at dusk. Fog came in from the sea. There she counted five casks. It rained all day. \
At night Orla wrote: five casks at the quay, in the red boat. The bell rang until morning.
"""
INPUTS, TARGETS = entry_windows(text_to_token_ids(ENTRIES, LOG.tokenizer), LOG.tokenizer.ids[END], 64).tensors
KEYS = {"all": 9.0, "choice": 3.0, "memory": 2.0, "grammar": 1.0}


def test_the_words_that_come_back_are_found_and_where_they_were_first_said():
    due, said = memory_places(LOG, INPUTS, TARGETS)
    assert due.shape == said.shape == (2, len(AT_NIGHT))
    for row, words in enumerate((["Jory", "nine", "shells", "weir", "white"], ["Orla", "five", "casks", "quay", "red"])):
        for ids, places in ((TARGETS, due), (INPUTS, said)):
            assert [LOG.tokenizer.vocabulary[i] for i in ids[row, places[row]]] == words
    assert (said < due).all() and said[:, 0].tolist() == [1, 1]


def test_the_picture_of_attention_tells_for_each_word_where_the_largest_share_goes():
    due, said = memory_places(LOG, INPUTS, TARGETS)
    weights = torch.full((5, 64, 64), 0.01)
    weights[torch.arange(5), due[1], said[1]] = 0.4      # the largest share, and less than half
    plot = plot_attention(LOG, INPUTS[1], weights, due[1])
    assert repr(plot) == ("The largest share of the attention goes, for the name, to 'Orla', for the number, to 'five', for the "
                          "goods, to 'casks', for the place, to 'quay', for the colour, to 'red'.")
    [axes] = plot.figure.axes
    words = [label.get_text() for label in axes.get_xticklabels()]
    assert words[:2] == ["⏎", "Orla"] and words[-3:] == [",", "in", "the"]      # up to the place before the last one
    assert [label.get_text() for label in axes.get_yticklabels()] == list(AT_NIGHT)


def test_the_picture_by_kind_tells_when_memory_was_learned():
    losses = [KEYS | {"memory": memory} for memory in (4.0, 1.0, 0.05, 0.01)]
    plot = plot_kinds(losses, [20_000, 130_000, 430_000, 900_000], no_memory=1.43)
    first, second = repr(plot).splitlines()
    assert not any(character.isdigit() for character in first)      # a folded answer shows it
    assert second == ("On words of memory the loss falls below 1.4, the value without memory, after 0.13 million tokens, "
                      "below 0.1 after 0.43 million, and ends at 0.010.")
    dotted, *lines = plot.figure.axes[0].lines
    assert set(dotted.get_ydata()) == {1.43}
    assert [line.get_ydata()[-1] for line in lines] == [3.0, 0.01, 1.0]


def test_a_memory_that_is_never_learned_is_told_in_one_line():
    with pytest.raises(ValueError, match=r"^got values of 2 and more, need one below 1.43$"):
        plot_kinds([KEYS, KEYS], [20_000, 40_000], no_memory=1.43)


def test_the_picture_of_text_sizes_has_a_dot_for_each_run_and_lines_through_the_means():
    runs = {size: [{"tokens": size, "train": 0.1, "last": last, "best": 0.5, "table": table} for last, table in pairs]
            for size, pairs in ((1_000, [(1.5, 1.25), (2.0, 1.25)]), (10_000, [(0.5, 0.7), (0.6, 0.8)]))}
    plot = plot_text_sizes(runs, floor=0.37)
    assert repr(plot) == ("Validation loss at the end, and of the best table: 1.75 and 1.25 with 1,000 tokens, "
                          "0.55 and 0.75 with 10,000 tokens.")
    lines = {line.get_label(): line for line in plot.figure.axes[0].lines}
    assert len(lines) == 4 * 2 + 1
    dots = [line.get_ydata() for line in lines.values() if line.get_marker() == "."]
    assert [1.5, 2.0, 0.5, 0.6] in [list(values) for values in dots]
    assert {text.get_text() for text in plot.figure.axes[0].texts} == {
        "GPT, training", "GPT, validation", "GPT, stopped early", "best table", "floor"}


def test_the_picture_of_widths_names_the_best_run_of_each_and_the_promise_for_the_widest():
    plot = plot_widths({16: 1e10, 128: 1e12}, {16: [0.01, 0.05], 128: [0.002, 0.003]}, {16: 0.009, 128: 0.0007})
    first, second = repr(plot).splitlines()
    assert not any(character.isdigit() for character in first)
    assert second == ("Loss above the floor in the best run, by width: 16: 0.0100, 128: 0.0020. "
                      "The dashed line promises 0.0007 for the widest.")
    narrow, wide, line = plot.figure.axes[0].lines
    assert (list(narrow.get_xdata()), list(wide.get_ydata())) == ([1e10, 1e10], [0.002, 0.003])
    assert list(line.get_ydata()) == [0.009, 0.0007]


def test_the_table_by_kind_has_a_row_for_each_model_under_a_line_of_words(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("gpt_helpers.plot.display", lambda data, raw: shown.append(data["text/markdown"]))
    show_by_kind({"table of 1": KEYS})
    assert capsys.readouterr().out == "Nats per token, for all words and for each kind:\n"
    assert shown == ["|  | all | choice | memory | grammar |\n|---|--:|--:|--:|--:|\n| table of 1 | 9.000 | 3.00 | 2.00 | 1.00 |"]
