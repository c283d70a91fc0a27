"""Figures carry their description, label their lines, and put everything at its true place."""
import base64
import io
import itertools
from types import SimpleNamespace

import matplotlib.image
import matplotlib.style
import pytest

from gpt_helpers import plot
from gpt_helpers.evaluate import History
from gpt_helpers.lessons.diagnosis import plot_gallery
from gpt_helpers.lessons.graph import plot_pulls
from gpt_helpers.lessons.surprise import plot_cost, plot_surprise
from gpt_helpers.plot import CARD, PALETTE, LivePlot, label_lines, new_axes, plot_curves, plot_losses, smooth

HISTORY = History([10.9, 5.5, 2.25], [10.8, 5.75, 6.125], [512, 25_600, 38_400])


@pytest.fixture
def figure():
    return plot_losses(HISTORY, tokens_per_epoch=5120, baselines={"unigram": 5.7, "bigram": 4.5}, title="A run")


def test_the_description_says_where_the_curves_begin_turn_and_end(figure):
    assert repr(figure) == figure.description == (
        "Over 38,400 training tokens the training loss goes from 10.900 to 2.250 nats per token. The validation loss goes "
        "from 10.800 to 6.125; it was lowest, 5.750, at 25,600 tokens. Dotted lines: unigram 5.700, bigram 4.500.")


@pytest.fixture
def shown(monkeypatch):
    """What is displayed: (data, metadata) pairs; an update takes the place of what it updates."""
    outputs = []

    def display(data, raw, metadata, display_id):
        if display_id is True:
            outputs.append(None)
            display_id = len(outputs) - 1
        outputs[display_id] = (data, metadata)
        return SimpleNamespace(display_id=display_id)

    monkeypatch.setattr(plot, "display", display)
    monkeypatch.setattr(plot, "update_display", display)
    return outputs


def test_a_figure_is_shown_as_a_picture_with_alt_text_and_its_description_below(figure, shown):
    figure._ipython_display_()
    (picture, metadata), (words, _) = shown
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    assert picture["text/plain"] == figure.description
    assert metadata["image/png"]["alt"] == "A run; described in the text below"
    assert words == {"text/markdown": f"*{figure.description}*"}


def test_two_drawings_are_the_same_bytes(shown):
    for _ in range(2):
        plot_losses(HISTORY)._ipython_display_()
    assert shown[0] == shown[2]


@pytest.mark.parametrize("draw", [lambda: plot_pulls(["a"], {"the table": [0.5]}),
                                  lambda: plot_gallery({"a": {0: 1.0, 1: 0.5}}, {0: 1.0, 1: 0.5}, floor=0.1, top=2.0, title="b"),
                                  lambda: plot_cost({"a coin": 2}), lambda: plot_surprise(["a"], {"the table": [1.5]}),
                                  lambda: plot_losses(HISTORY, floor={"floor": 1.2}, tokens_per_epoch=5120)])
@pytest.mark.parametrize("style", ["dark_background", {"text.usetex": True}, {"savefig.bbox": "tight"},
                                   {"axes.grid": True, "axes.spines.left": False, "xtick.color": "white"}])
def test_a_style_of_the_readers_own_changes_no_picture(style, draw, shown):
    draw()._ipython_display_()
    with matplotlib.style.context(style):
        draw()._ipython_display_()
    assert shown[0] == shown[2]


def test_a_figure_is_a_light_card_with_round_corners_on_whatever_page(figure, shown):
    figure._ipython_display_()
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(shown[0][0]["image/png"])))
    assert pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3].tolist() == [0, 0, 0, 0]
    assert pixels[1, len(pixels[0]) // 10, 3] == 1      # only the corners are round
    for name in ("train", "val"):                       # and the curves lie on the card, not under it
        wanted = matplotlib.colors.to_rgba(PALETTE[name])
        assert (abs(pixels - wanted).max(axis=2) < 0.01).sum() > 50
    for x in (1, -2):
        assert pixels[len(pixels) // 2, x].tolist() == pytest.approx(matplotlib.colors.to_rgba(CARD), abs=1e-2)


def test_a_live_plot_is_one_figure_that_ends_as_the_curves_ended(shown, monkeypatch):
    monkeypatch.setattr(plot, "this_cell", lambda: 7)
    live, told = LivePlot(title="A run"), []
    for rows in (1, 2, 3):
        live.on_eval(History(*(part[:rows] for part in HISTORY)))
        told.append(shown[0][0]["text/plain"])
    assert len(shown) == 2 and len(set(told)) == 3
    assert shown[1] == ({"text/markdown": f"*{plot_losses(HISTORY).description}*"}, {})
    assert shown[0][1]["image/png"]["alt"] == "A run; described in the text below"


def test_in_another_cell_a_live_plot_is_another_figure(shown, monkeypatch):
    live, cells = LivePlot(), iter([7, 7, 8])
    monkeypatch.setattr(plot, "this_cell", lambda: next(cells))
    for losses in (3.0, 2.0, 9.0):
        live.on_eval(History([losses], [losses], [1]))
    told = [data["text/plain"] for data, _ in shown if "text/plain" in data]
    assert len(told) == 2 and "from 2.000 to 2.000" in told[0] and "from 9.000 to 9.000" in told[1]


def test_outside_a_notebook_a_live_plot_is_nothing(shown):
    LivePlot().on_eval(HISTORY)
    assert shown == []


def test_losses_stand_against_tokens_seen(figure):
    axes = figure.figure.axes[0]
    assert axes.get_xlabel() == "training tokens seen" and axes.get_ylabel() == "loss (nats per token)"
    train, val, *_ = axes.lines
    assert train.get_xdata().tolist() == val.get_xdata().tolist() == HISTORY.tokens_seen
    assert train.get_ydata().tolist() == HISTORY.train_losses and val.get_ydata().tolist() == HISTORY.val_losses


def test_epochs_stand_at_their_true_places(figure):
    [epochs] = figure.figure.axes[0].child_axes
    assert epochs.get_xlabel() == "epochs"
    figure.figure.draw_without_rendering()
    low, high = figure.figure.axes[0].get_xlim()
    assert epochs.get_xlim() == pytest.approx((low / 5120, high / 5120))


def test_lines_and_baselines_stand_at_their_values_in_their_colours(figure):
    axes = figure.figure.axes[0]
    train, val, *baselines = axes.lines
    assert (train.get_color(), val.get_color()) == (PALETTE["train"], PALETTE["val"])
    assert [set(line.get_ydata()) for line in baselines] == [{5.7}, {4.5}]
    assert axes.get_xlim()[0] == axes.get_ylim()[0] == 0
    assert {text.get_text(): text.xy[1] for text in axes.texts}["train"] == 2.25      # beside the line's last point


def test_a_floor_is_a_line_of_its_own_kind_with_its_name():
    figure = plot_losses(HISTORY, baselines={"bigram": 4.5}, floor={"entropy of the language": 1.25})
    axes = figure.figure.axes[0]
    *_, bigram, floor = axes.lines
    assert set(floor.get_ydata()) == {1.25} and floor.get_linestyle() != bigram.get_linestyle()
    assert floor.get_color() == PALETTE["floor"] != bigram.get_color()
    [ground] = axes.patches
    assert ground.get_hatch() and ground.get_bbox().y1 == 1.25
    assert {text.get_text(): text.xy[1] for text in axes.texts}.keys() >= {"entropy of the language"}
    assert figure.description.endswith("No model can be below the entropy of the language, 1.250.")


@pytest.mark.parametrize(("options", "words"), [
    ({"floor": {"a": float("nan")}}, "got floor="), ({"floor": 0.3}, "got floor=0.3, need names"),
    ({"baselines": {"a": "1"}}, "baselines"),
    ({"top": 0}, "got top=0, need a loss above 0"), ({"top": -1}, "top=-1"), ({"top": "2"}, "top='2'")])
def test_a_level_that_is_no_loss_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        plot_losses(HISTORY, **options)


@pytest.mark.parametrize(("val", "words"), [
    ([9.0, 1.1, 1.0], "it was lowest, 1.000, at 300 tokens."), ([9.0, 1.0, 1.5], "it was lowest, 1.000, at 200 tokens."),
    ([9.0, 1.0, 1.004], "goes from 9.000 to 1.004; it was hardly lower before.")])
def test_where_a_loss_was_lowest_is_told_where_that_is_no_chance(val, words):
    assert plot_losses(History([9.0, 1.0, 0.5], val, [100, 200, 300])).description.endswith(words)


def test_what_is_above_the_top_is_not_shown_and_long_numbers_do_not_touch():
    history = History([9.0, 1.0, 0.5], [9.0, 1.1, 0.6], [0, 1_000_000, 2_000_000])
    axes = plot_losses(history, top=1.25).figure.axes[0]
    axes.figure.draw_without_rendering()
    assert axes.get_ylim() == (0, 1.25)
    boxes = [label.get_window_extent() for label in axes.get_xticklabels() if 0 <= label.get_position()[0] <= axes.get_xlim()[1]]
    assert len(boxes) >= 3 and all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_names_stand_at_the_ends_where_there_is_room_and_never_above_the_axes():
    def places(*ys):
        _, axes = new_axes("Title", "x", "y")
        axes.set_ylim(0, 10)
        for i, y in enumerate(ys):
            axes.axhline(y, label=str(i))
        label_lines(axes)
        return [text.xy[1] for text in axes.texts]
    assert places(1, 5, 9) == [1, 5, 9]
    assert max(places(9.9, 9.9, 9.9)) <= 10
    assert places(3, 3) == [3, pytest.approx(3.55)]


def test_every_line_is_named_at_its_end_and_no_two_names_touch(figure):
    figure.figure.draw_without_rendering()
    names = {text.get_text(): text.get_window_extent() for text in figure.figure.axes[0].texts}
    assert set(names) == {"train", "validation", "unigram", "bigram"}
    boxes = sorted(names.values(), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in itertools.pairwise(boxes))
    assert figure.figure.axes[0].get_legend() is None


def luminance(colour):
    """Source: Web Content Accessibility Guidelines 2.1, 2018, "relative luminance"."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                        for c in (int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colour", PALETTE.values())
def test_every_colour_is_dark_enough_for_text_on_the_card(colour):
    """Contrast of at least 4.5 to 1. Source: Web Content Accessibility Guidelines 2.1, 2018, 1.4.3."""
    assert (luminance(CARD) + 0.05) / (luminance(colour) + 0.05) >= 4.5


def test_a_run_that_recorded_nothing_cannot_be_plotted():
    with pytest.raises(ValueError, match="no evaluation to plot"):
        plot_losses(History([], [], []))


def test_smooth_takes_the_mean_of_the_last_updates():
    assert smooth([1.0, 3.0, 5.0, 7.0, 100.0], width=2) == {2: 2.0, 4: 6.0}


def test_any_number_of_curves_is_drawn_and_no_two_of_a_dozen_look_alike():
    figure = plot_curves({f"run {i}": {1: 2.0 + i, 2: 1.0 + i} for i in range(12)})
    lines = figure.figure.axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 12
    assert "run 11 goes from 13.00 to 12.00" in str(figure)
