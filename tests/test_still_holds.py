"""pytest's last lines say which lessons, numbers and mistakes still hold."""
from pathlib import Path

import nbformat
import pytest
from still_holds import what_holds


def test_notebooks_and_mistakes_are_counted_and_what_does_not_hold_is_named():
    table = "tests/test_checks.py::test_a_mistake_of_a_table_is_told_with_its_own_sentence"
    right = "tests/test_checks.py::test_a_right_answer_gets_a_tick_whatever_is_drawn"
    assert what_holds({
        "notebooks/01_split.ipynb::Cell 0": "passed", "notebooks/01_split.ipynb::Cell 1": "passed",
        "notebooks/solutions/02_loss.ipynb::Cell 0": "failed", "notebooks/solutions/02_loss.ipynb::Cell 1": "error",
        f"{table}[check_a-0]": "passed", f"{table}[check_a-1]": "failed", f"{right}[check_a-few]": "passed",
        "tests/test_text.py::test_more": "failed",
    }) == [
        "01_split: 2 of 2 cells as stored",
        "solutions/02_loss: 0 of 2 cells as stored; not Cell 0, Cell 1",
        "1 of 1 right answers get their tick",
        "1 of 2 sentences of the checks are told, each for its own mistake",
    ]


def test_other_tests_say_nothing():
    assert what_holds({"tests/test_text.py::test_more": "passed"}) == []


@pytest.mark.slow
def test_a_changed_number_is_in_the_last_lines(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    notebooks = pytester.mkdir("notebooks")
    cells = [nbformat.v4.new_code_cell("0.5", execution_count=1, outputs=[
                 nbformat.v4.new_output("execute_result", {"text/plain": "0.5"}, execution_count=1)]),
             nbformat.v4.new_code_cell("0.5", execution_count=2, outputs=[
                 nbformat.v4.new_output("execute_result", {"text/plain": "0.75"}, execution_count=2)])]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), notebooks / "01_split.ipynb")
    result = pytester.runpytest_subprocess("--nbval", "-p", "still_holds", "-p", "nbval_tolerance", notebooks)
    result.stdout.fnmatch_lines(["*what still holds*", "01_split: 1 of 2 cells as stored; not Cell 1"])
