"""The line of the story that goes through the lessons, coloured by surprise."""
import pytest
import torch

from gpt_helpers.data import split_tokens
from gpt_helpers.lessons.surprise import SURPRISE, plot_cost, plot_surprise, the_line
from gpt_helpers.text import get_tokenizer, load_text, text_to_token_ids, token_ids_to_text


def test_the_line_is_where_the_lessons_quote_it():
    val = split_tokens(text_to_token_ids(load_text(), get_tokenizer())).val
    line = token_ids_to_text(the_line(val)[1:], get_tokenizer())
    assert line == " Tobin's ferry came round the bell buoy with Mr. Marrow in the bow, in three blankets now"


@pytest.mark.parametrize("length", [300, 23, 5])
def test_a_shorter_text_has_its_line_too(length):
    assert the_line(torch.arange(length)).tolist() == list(range(length))[-23:]


def test_the_cases_lie_on_the_curve_of_costs_and_in_its_words():
    plot = plot_cost({"a coin": 2, "a die": 6})
    assert "a coin 0.69, a die 1.79." in repr(plot)
    curve, *points = plot.figure.axes[0].lines
    at = {round(float(p), 2): float(cost) for p, cost in zip(*curve.get_data(), strict=True)}
    for point in points:
        [p], [cost] = point.get_data()
        assert at[round(p, 2)] == pytest.approx(cost, abs=0.05)


def test_the_words_say_what_the_colours_show():
    plot = plot_surprise([" the", " buoy", "\n", " in"], {"uniform": [10.0] * 4, "table": torch.tensor([0.5, 9.25, 2.0, 0.25])})
    assert repr(plot).splitlines() == [
        "A row for each model, a box for each token; the darker, the more surprised.",
        "In nats: uniform 10.00 at every token; "
        "table 3.00 on average, least at “in” 0.25, “the” 0.50, most at “buoy” 9.25, “⏎” 2.00."]


def test_the_more_surprised_the_darker_and_black_is_always_readable():
    light = [sum(SURPRISE(share)[:3]) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert light == sorted(light, reverse=True)
    red, green, blue = ((c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in SURPRISE(1.0)[:3])
    assert (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) / 0.05 > 4.5      # WCAG's contrast, with black
