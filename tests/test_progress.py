"""The progress line outside a notebook; inside one, test_store_outputs.py watches it."""
import sys

from gpt_helpers.progress import Progress


def test_a_file_gets_no_progress_line(capsys):
    Progress(1)(0, 2.5)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_one_line_that_ends_finished(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress(2)
    progress(0, 2.5)
    progress(1, 1.5)
    lines = capsys.readouterr().err.split("\r")
    assert lines[1].startswith("1 of 2 steps, training loss 2.500, 0 min 0") and "left" in lines[1]
    assert lines[2].rstrip(" \n") == "2 of 2 steps, training loss 1.500" and lines[2].endswith("\n")
