"""A reader runs cells again, in any order, in one kernel: everything holds, shows the same, and leaves nothing behind."""
from pathlib import Path

import pytest
import torch
from lesson_runner import code_cells, run_cell
from small import live_tensors

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
LESSONS = ["01_split", "02_loss", "03_backprop", "04_adamw", "06_stop_and_resume"]


def run_again(cells):
    """Run cells once each; then each alone after all others; then all again. What each showed, and live tensors."""
    torch.set_num_threads(1)
    namespace, shown, alone, again = {"__name__": "__main__"}, {}, {}, {}
    for cell, source in cells:
        shown[cell] = run_cell(source, namespace)
    alive = live_tensors()
    for cell, source in cells:
        end = dict(namespace)
        alone[cell] = run_cell(source, end)      # draws other random numbers where the cell has no seed of its own
        end.clear()
    for cell, source in cells:
        again[cell] = run_cell(source, namespace)
    return shown, alone, again, alive, live_tensors()


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_cells_run_again_hold_and_show_the_same_and_leave_no_tensor_behind(lesson, monkeypatch):
    monkeypatch.chdir(NOTEBOOKS)      # where its stored tables lie
    shown, alone, again, before, after = run_again(code_cells(NOTEBOOKS / f"{lesson}.ipynb"))
    assert [cell for cell in shown if not shown[cell] == alone[cell] == again[cell]] == []
    assert before == after


# Each mistake on purpose.

HOOK = """
import torch
w = torch.ones(3, requires_grad=True)
with torch.autograd.graph.saved_tensors_hooks(lambda tensor: {}, lambda tensor: tensor):
    loss = w.exp().sum()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("hook", "leaks"), [("tensor", True), ("tensor.detach()", False)])
def test_a_hook_that_keeps_the_graph_alive_is_noticed(hook, leaks):
    *_, before, after = run_again([("hook", HOOK.format(hook))])
    assert (after > before) is leaks


@pytest.mark.slow
def test_a_name_that_a_later_cell_gives_to_something_else_is_noticed():
    with pytest.raises(TypeError):
        run_again([("first", "x = [1]"), ("second", "x + [2]"), ("third", "x = 1")])


@pytest.mark.slow
def test_a_cell_that_shows_something_else_the_second_time_is_noticed():
    shown, _, again, *_ = run_again([("start", "n = globals().get('n', 0) + 1"), ("show", "n")])
    assert shown["start"] == again["start"] and shown["show"] != again["show"]
