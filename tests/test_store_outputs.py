"""The script that stores outputs: the same bytes twice, and all or nothing."""
import nbclient
import nbformat
import pytest
import store_outputs
from nbformat.v4 import new_code_cell, new_notebook

SOURCE = """
import random, time
from gpt_helpers.progress import Progress
progress = Progress(30)
for step in range(30):
    time.sleep(0.01)
    progress.on_step(step, 1.5)
print("done", random.Random(1).random())
"""


def store(path):
    store_outputs.store(nbformat.read(path, as_version=4), path)


def write(path, source):
    nbformat.write(new_notebook(cells=[new_code_cell(source, id="only")]), path)


@pytest.mark.slow
def test_two_runs_store_the_same_bytes_and_the_finished_progress_line(tmp_path):
    stored = []
    for _ in range(2):
        write(tmp_path / "one.ipynb", SOURCE)
        store(tmp_path / "one.ipynb")
        stored.append((tmp_path / "one.ipynb").read_bytes())
    assert stored[0] == stored[1]
    assert set(nbformat.reads(stored[0].decode(), 4).metadata) == {"kernelspec", "language_info"}
    assert "version" not in nbformat.reads(stored[0].decode(), 4).metadata.language_info
    line, words = nbformat.reads(stored[0].decode(), 4).cells[0].outputs
    assert line.data == {"text/plain": "30 of 30 steps, training loss 1.500"}
    assert words.text == "done 0.13436424411240122\n"


@pytest.mark.slow
def test_of_a_live_plot_the_last_state_is_stored(tmp_path):
    write(tmp_path / "one.ipynb", "from gpt_helpers.plot import LivePlot\n"
                                  "from gpt_helpers.evaluate import History\n"
                                  "live = LivePlot()\n"
                                  "for n in (1, 2, 3):\n"
                                  "    live.on_eval(History([3.0, 2.0, 1.0][:n], [3.0, 2.5, 2.25][:n], [10, 20, 30][:n]))\n"
                                  "    print(n)")
    store(tmp_path / "one.ipynb")
    picture, words, lines = nbformat.read(tmp_path / "one.ipynb", 4).cells[0].outputs
    assert picture.data["text/plain"].startswith("Over 30 training tokens the training loss goes from 3.000 to 1.000")
    assert words.data["text/markdown"] == f"*{picture.data['text/plain']}*" and lines.text == "1\n2\n3\n"


def test_a_notebook_that_fails_stays_as_it_was(tmp_path):
    write(tmp_path / "one.ipynb", "1 / 0")
    before = (tmp_path / "one.ipynb").read_bytes()
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ZeroDivisionError"):
        store(tmp_path / "one.ipynb")
    assert (tmp_path / "one.ipynb").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["one.ipynb"]


@pytest.mark.parametrize("name", store_outputs.README_CURVES)
def test_the_readmes_curves_are_those_of_the_lessons(name):
    cell_id, copy = store_outputs.README_CURVES[name]
    assert copy.read_bytes() == store_outputs.picture(store_outputs.NOTEBOOKS / name, cell_id)
    assert f"images/{copy.name}" in (store_outputs.ROOT / "README.md").read_text(encoding="utf-8")


def test_a_lesson_that_would_go_on_from_an_earlier_run_is_not_stored(tmp_path):
    """Its outputs would be those of half a training run. Another lesson's checkpoint is nothing to it."""
    write(tmp_path / "one.ipynb", 'path = "run.pt"')
    (tmp_path / "other.pt").touch()
    store(tmp_path / "one.ipynb")
    before = (tmp_path / "one.ipynb").read_bytes()
    (tmp_path / "run.pt").touch()
    with pytest.raises(FileExistsError, match=r"run\.pt is there from an earlier run"):
        store(tmp_path / "one.ipynb")
    assert (tmp_path / "one.ipynb").read_bytes() == before and (tmp_path / "run.pt").exists()
