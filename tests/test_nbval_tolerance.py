"""The comparator: what may differ between a stored output and a fresh one, and what may not."""
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval_tolerance import STORED_DROPOUT, adopt_close_texts, agree, as_seen_at_the_end, dropped, tolerance

RTOL, ATOL = 1e-3, 1e-6


@pytest.mark.parametrize(("stored", "fresh"), [
    ("loss 9.781", "loss 9.782"),                     # one in the last printed digit
    ("loss 9.781", "loss 9.789"),                     # within rtol
    ("0.0000001", "0.0000004"),                       # within atol
    ("1.234e-05", "1.2341e-05"),
    ("[ 0.500123, -0.25]", "[ 0.500124, -0.25]"),
    ("perplexity 58,385.12", "perplexity 58,385.49"),
    ("a  0.9999 b", "a 1.0001 b"),                    # the padding beside a number moves with its width
    ("10.954", "10.954"),
    ("no numbers at all", "no numbers at all"),
    ("lowest, 4.949, at 5 tokens.", "lowest, 4.950, at 5 tokens."),
])
def test_decimals_may_differ_a_little(stored, fresh):
    assert agree(stored, fresh, RTOL, ATOL) and agree(fresh, stored, RTOL, ATOL)


@pytest.mark.parametrize(("stored", "fresh"), [
    ("loss 9.781", "loss 9.800"),                     # a decimal outside the tolerance
    ("loss 9.781", "loss nan"), ("nan 1.5", "inf 1.5"), ("loss 9.781", "loss -9.781"),
    ("5145 tokens", "5146 tokens"), ("46,080 tokens", "46,081 tokens"), ("1000000 weights", "1000001 weights"),
    ("step 000005", "step 000006"), ("epoch 1024.", "epoch 1025."),
    ("the sea 1.5", "the see 1.5"), ("True", "False"), ("[1.5, 2.5]", "[1.5]"), ("1.5\n2.5", "1.5 2.5"),
    ("0.5", "0.6"), ("0.17", "0.18"),                 # too few digits for one in the last to be little
    ("version 2.13.0", "version 2.13.1"), ("v1.50", "v1.51"), ("x1.50y", "x1.51y"),
    ("1.234e-05", "1.234e-06"), ("12.5", "12"), ("", "1.5"),
])
def test_everything_else_must_be_the_same(stored, fresh):
    assert not agree(stored, fresh, RTOL, ATOL) and not agree(fresh, stored, RTOL, ATOL)


def test_the_tolerance_is_the_callers():
    assert agree("1.00000", "1.00900", 1e-2, 0) and not agree("1.00000", "1.00900", 1e-3, 0)
    assert agree("0.000100", "0.000900", 0, 1e-3) and not agree("0.000100", "0.000900", 0, 1e-4)


class Ini:
    """pytest's configuration, with different settings so that a mix-up shows."""

    def getini(self, name):
        return {"nbval_rtol": "0.25", "nbval_atol": "0.5"}[name]


def test_settings_and_tags_reach_the_right_tolerance():
    assert tolerance([], Ini()) == (0.25, 0.5)
    assert tolerance(["nbval-rtol=0.1"], Ini()) == (0.1, 0.5)
    assert tolerance(["nbval-atol=0.1", "device-dependent"], Ini()) == (0.25, 0.1)


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "text/markdown"])
def test_every_kind_of_text_is_compared_with_the_tolerance(kind):
    stored, fresh = ([new_output("display_data", {kind: text})] for text in ("loss 9.781", "loss 9.782"))
    assert adopt_close_texts(fresh, stored, lambda text: text, RTOL, ATOL)[0].data == {kind: "loss 9.781"}


def test_the_slack_of_the_last_digit_is_one_and_no_more():
    assert agree("9.781", "9.782", 0, 0) and not agree("9.781", "9.783", 0, 0)


def message(kind, content, parent="ours"):
    return {"msg_type": kind, "content": content, "parent_header": {"msg_id": parent},
            "metadata": {}, "header": {"msg_type": kind}}


def test_a_live_output_is_compared_as_it_ends():
    def data(text, kind="display_data"):
        return message(kind, {"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": "bar"}})
    outputs = as_seen_at_the_end([
        message("execute_input", {}), data("0 of 2"), message("stream", {"name": "stdout", "text": "row\n"}),
        data("1 of 2", "update_display_data"), data("2 of 2", "update_display_data"),
        message("stream", {"name": "stdout", "text": "not this cell's\n"}, parent="another")])
    assert [output.get("data", {}).get("text/plain") or output.text for output in outputs] == ["2 of 2", "row\n"]


def test_a_cleared_output_is_gone():
    def text(words):
        return message("stream", {"name": "stdout", "text": words})
    run = [message("execute_input", {}), text("a"), message("clear_output", {"wait": True}), text("b")]
    assert [output.text for output in as_seen_at_the_end(run)] == ["b"]
    assert [output.text for output in as_seen_at_the_end(run[:-1])] == ["a"]      # still there: nothing came after it
    assert as_seen_at_the_end([*run, message("clear_output", {"wait": False})]) == []


# The same through pytest itself, on a notebook whose stored outputs are right or wrong.

LIVE = """
from IPython.display import display, update_display
display({'text/plain': '0 of 2'}, raw=True, display_id='bar')
update_display({'text/plain': '2 of 2'}, raw=True, display_id='bar')
"""
LOSS = "print('loss 9.7814')"


@pytest.fixture
def run(pytester, pytestconfig):
    """Run nbval with the comparator over a notebook of (source, stored output, tags) cells; returns pytest's result."""
    def run(cells, dropout):
        cells = [new_code_cell(source, execution_count=i, metadata={"tags": tags}, outputs=[
            new_output("display_data", {"text/plain": stored}) if source == LIVE else new_output("stream", text=stored)])
            for i, (source, stored, tags) in enumerate(cells, 1)]
        nbformat.write(new_notebook(cells=cells), pytester.path / "stored.ipynb")
        pytester.makeconftest(f"import nbval_tolerance\nnbval_tolerance.STORED_DROPOUT = {dropout}\n"
                              'pytest_plugins = ["nbval_tolerance"]')
        here = [str(pytestconfig.rootpath / "tests"), str(pytestconfig.rootpath)]
        pytester.makepyprojecttoml("[tool.pytest.ini_options]\naddopts = '--nbval --nbval-current-env -p no:cacheprovider'\n"
                                   f"pythonpath = {json.dumps(here)}\nmarkers = ['slow']\n")
        return pytester.runpytest_subprocess("-v", "stored.ipynb")
    return run


@pytest.mark.slow
def test_nbval_passes_what_agrees_and_fails_what_does_not(run):
    cases = [
        ((LOSS, "loss 9.7814\n", []), True), ((LOSS, "loss 9.7820\n", []), True), ((LOSS, "loss 9.9000\n", []), False),
        ((LOSS, "less 9.7814\n", []), False), ((LOSS, "loss nan\n", []), False), ((LOSS, "loss 9.7814\n1\n", []), False),
        ((LOSS, "loss 9.9000\n", ["nbval-rtol=0.02"]), True), ((LOSS, "loss 9.9000\n", ["nbval-rtol=0.01"]), False),
        ((LIVE, "2 of 2", []), True), ((LIVE, "0 of 2", []), False),
        ((LOSS, "loss 5.0000\n", ["device-dependent"]), False),      # the device here draws as the stored run did
    ]
    result = run([cell for cell, _ in cases], dropout=dropped())
    for i, (cell, passes) in enumerate(cases):
        result.stdout.fnmatch_lines_random([f"*Cell {i} {'PASSED' if passes else 'FAILED'}*"]), cell


@pytest.mark.slow
def test_where_the_device_draws_other_numbers_a_dependent_cell_runs_but_is_not_compared(run):
    result = run([(LOSS, "loss 5.0000\n", ["device-dependent"]), ("1 / 0", "", ["device-dependent"]),
                  (LOSS, "loss 5.0000\n", [])], dropout=[])
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["2 cell outputs were not compared*"])


def test_the_stored_dropout_drops_about_a_tenth():
    assert len(STORED_DROPOUT) == len(set(STORED_DROPOUT)) and 2 <= len(STORED_DROPOUT) <= 12
