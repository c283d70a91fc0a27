"""The progress line outside a notebook; inside one, test_store_outputs.py watches it."""
import sys
from types import SimpleNamespace

from gpt_helpers import progress as module
from gpt_helpers.evaluate import History
from gpt_helpers.progress import Progress, this_cell


def test_a_file_gets_no_progress_line(capsys):
    Progress(1).on_step(0, 2.5)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_one_line_that_ends_finished(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress(2)
    progress.on_step(0, 2.5)
    progress.on_step(1, 1.5)
    lines = capsys.readouterr().err.split("\r")
    assert lines[1].startswith("1 of 2 steps, training loss 2.500, 0 min 0") and "left" in lines[1]
    assert lines[2].rstrip(" \n") == "2 of 2 steps, training loss 1.500" and lines[2].endswith("\n")


def test_the_time_left_is_what_the_steps_so_far_took_each_times_the_steps_to_come(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = iter([0.0, 59.9, 60.0, 180.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    progress = Progress(4)
    progress.on_step(0, 1.0)      # 59.9 s for one step, three to come
    progress.on_step(1, 1.0)      # shown 0.1 s ago: too soon to show again
    progress.on_step(2, 1.0)      # 180 s for three steps, one to come
    lines = capsys.readouterr().err.split("\r")[1:]
    assert [line.strip().split(", ")[-1] for line in lines] == ["3 min 00 s left", "1 min 00 s left"]


def test_a_resumed_training_is_as_fast_as_the_steps_since(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = iter([0.0, 60.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    Progress(100).on_step(97, 1.0)      # the first of this process, 60 s; two to come
    assert "98 of 100 steps" in (line := capsys.readouterr().err) and "2 min 00 s left" in line


def test_a_line_that_is_used_for_another_training_starts_anew(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = iter([0.0, 10.0, 100.0, 110.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    progress = Progress(3)
    progress.on_step(1, 1.0)
    progress.on_step(0, 1.0)
    progress.on_step(1, 1.0)      # ten seconds for this step, one to come
    assert [line.strip().split(", ")[-1] for line in capsys.readouterr().err.split("\r")[1:]] == [
        "0 min 10 s left", "0 min 00 s left", "0 min 05 s left"]


def test_the_line_is_there_from_the_first_evaluation_on(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress(2)
    progress.on_eval(History([3.0], [3.0], [0]))
    progress.on_step(0, 2.5)
    progress.on_eval(History([3.0, 2.0], [3.0, 2.0], [0, 32]))
    lines = [line.strip() for line in capsys.readouterr().err.split("\r")[1:]]
    assert lines[0] == "2 steps in all" and lines[1].startswith("1 of 2 steps") and len(lines) == 2


def test_a_terminal_has_no_cells_and_a_kernel_has(monkeypatch):
    for shell, cell in ((None, None), (SimpleNamespace(execution_count=3), None),
                        (SimpleNamespace(execution_count=3, kernel=object()), 3)):
        monkeypatch.setattr(module, "get_ipython", lambda shell=shell: shell)
        assert this_cell() == cell
