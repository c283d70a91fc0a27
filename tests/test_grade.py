"""Grading without nbgrader: every exercise once, whatever an editor made of the notebook and however files were collected."""
import copy
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import grade
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parent.parent
SOLVED, HANDED_OUT = (ROOT / "notebooks" / folder / "02_loss.ipynb" for folder in ("solutions", "exercises"))
LESSON = grade.Lesson(grade.read(SOLVED))


@pytest.fixture
def solved():
    return grade.read(SOLVED)


def without_notes(notebook, ids=True):
    """As an editor saves it that keeps no metadata, and perhaps no ids of cells."""
    for i, cell in enumerate(notebook.cells):
        cell.metadata = {}
        cell.id = cell.id if ids else f"new-{i}"
    return notebook


def without_checks(notebook):
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("check_")]
    return notebook


def twice(notebook):
    """With each exercise copied, answer and check, as one does to try something else."""
    copies = [copy.deepcopy(cell) for cell in notebook.cells for _ in range(2)]
    for i, cell in enumerate(copies):
        cell.id = f"copy-{i}"
    notebook.cells = copies
    return notebook


def merged(notebook):
    """With each answer and its check in one cell, which has the metadata of the check."""
    for answer, check in zip(notebook.cells, notebook.cells[1:], strict=False):
        if check.source.startswith("check_"):
            check.source, answer.source = f"{answer.source}\n{check.source}", ""
    return notebook


def with_another_kernel(notebook):
    notebook.metadata = {"kernelspec": {"name": "of-my-own", "display_name": "Of my own", "language": "R"}}
    return notebook


def functions_only(notebook):
    """What one gets who copies the answers into a new notebook."""
    return new_notebook(cells=[new_code_cell(cell.source) for cell in notebook.cells if cell.source.startswith("def ")])


VARIANTS = {
    "as it was": lambda notebook: notebook,
    "every cell twice": twice,
    "checks deleted": without_checks,
    "no metadata": without_notes,
    "no metadata and no ids": lambda notebook: without_notes(notebook, ids=False),
    "no metadata and no checks": lambda notebook: without_checks(without_notes(notebook, ids=False)),
    "answers merged with checks": merged,
    "another kernel": with_another_kernel,
    "functions only": functions_only,
    "Prüfung, Zoë Łoś 山": lambda notebook: notebook,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_exercise_is_checked_once_and_after_its_answer(variant, solved):
    cells = grade.with_checks(VARIANTS[variant](solved), LESSON).cells
    names = [grade.marks(cell).get("grade_id") for cell in cells if grade.marks(cell)]
    assert sorted(names) == sorted(LESSON.checks)
    for function, check in zip(LESSON.functions, LESSON.checks, strict=True):
        last = max(i for i, cell in enumerate(cells) if cell.source.startswith(f"def {function}("))
        place = next(i for i, cell in enumerate(cells) if grade.marks(cell).get("grade_id") == check)
        assert place > last and cells[place].source == LESSON.checks[check].source
    assert len({cell.id for cell in cells}) == len(cells)


def test_a_check_of_the_students_own_is_replaced_and_nothing_else_is_lost(solved):
    for cell in solved.cells:
        if cell.id == "check-perplexity":
            cell.source = "print('✔ Exercise 2.1, perplexity: right')"
            cell.outputs = [nbformat.v4.new_output("stream", text="✔ Exercise 2.1, perplexity: right\n")]
    cells = grade.with_checks(solved, LESSON).cells
    [check] = [cell for cell in cells if grade.marks(cell).get("grade_id") == "check-perplexity"]
    assert check.source == "check_perplexity(perplexity)" and check.outputs == []
    assert [cell.source for cell in solved.cells if cell.source not in [cell.source for cell in cells]] == []


def test_the_id_of_a_cell_alone_shows_where_its_check_belongs(solved):
    solved = without_notes(merged(solved))
    solved.cells.append(new_code_cell("perplexity = 7"))
    cells = grade.with_checks(solved, LESSON).cells
    assert cells[-1].source == "perplexity = 7" and sum(bool(grade.marks(cell)) for cell in cells) == len(LESSON.checks)


@pytest.mark.filterwarnings("error")      # nbformat mends them, too, but promises not to for ever
def test_cells_with_one_id_get_two_and_the_language_is_python(solved):
    solved.cells *= 2
    notebook = grade.with_checks(with_another_kernel(solved), LESSON)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells) and notebook.metadata == {}
    nbformat.validate(notebook)


@pytest.mark.parametrize(("cells", "words"), [
    ([], "there is no code in it"),
    ([new_markdown_cell("def perplexity(loss):")], "there is no code in it"),
    ([new_code_cell("x = 1")], "neither a check nor one of the functions perplexity, cross_entropy"),
    ([new_code_cell("check_cut_points(cut_points)\ncheck_windows(windows)")],
     "but check_cut_points, check_windows: another lesson"),
])
def test_what_cannot_be_recognised_is_said_truthfully(cells, words):
    with pytest.raises(ValueError, match=r"(?s)^(?!.*\n)") as caught:
        grade.with_checks(new_notebook(cells=cells), LESSON)
    assert words in str(caught.value)


@pytest.mark.parametrize("source", [
    "def perplexity(loss):\n    return math.exp(loss)", "class perplexity:\n    pass", "import math\nperplexity = math.exp",
    "check_perplexity(perplexity)", "\ncheck_perplexity( perplexity )\n"])
def test_one_function_or_check_is_enough_to_recognise_a_lesson(source):
    assert len(grade.with_checks(new_notebook(cells=[new_code_cell(source)]), LESSON).cells) > len(LESSON.checks)


# Which files are graded.

@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A function that makes files of these names in the current folder, which is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grade, "use_a_writable_home", lambda: None)

    def make(*names):
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
    return make


def found(*names):
    return {path.as_posix(): fault for path, fault in grade.submissions(names)}


def test_folders_as_nbgrader_and_moodle_make_them_are_searched(folder):
    folder("in/ada/02_loss/02_loss.ipynb", "in/ada/02_loss/.ipynb_checkpoints/02_loss-checkpoint.ipynb",
           "in/ada/02_loss/timestamp.txt", "in/Zoë Łoś_123_assignsubmission_file_/a.IPYNB", "in/__MACOSX/a.ipynb",
           "in/._b.ipynb", "in/grades.csv")
    assert found("in") == {"in/Zoë Łoś_123_assignsubmission_file_/a.IPYNB": None, "in/ada/02_loss/02_loss.ipynb": None}


def test_zip_files_are_to_be_unpacked_first(folder):
    folder("in/ada/a.ZIP", "in/bob/a.zip")
    assert run(SOLVED, "in") == (1, [], "no notebook to grade in in: unpack the .zip files first")


def test_a_students_folder_without_a_notebook_is_named(folder):
    folder("in/ada/a.ipynb", "in/bob/a.zip")
    assert found("in") == {"in/ada/a.ipynb": None, "in/bob": "there is no notebook in this folder"}
    folder("in/b.ipynb")
    assert found("in") == {"in/ada/a.ipynb": None, "in/b.ipynb": None}      # files of a notebook, not of a student


def test_whoever_handed_in_something_else_is_named_and_not_who_has_a_notebook_too(folder):
    folder("in/02_loss_ada.ipynb", "in/02_loss_bob.ipynb.txt", "in/groß_12_34_essay.docx", "in/groß_late_12_35_02_loss.ipynb",
           "in/zoe_13_36_Untitled.docx", "in/Max.pdf", "in/Eve", "in/curve.png", "in/data.csv", "in/.hidden", "in/ada.json")
    assert {path: fault for path, fault in found("in").items() if fault} == {
        "in/02_loss_bob.ipynb.txt": "a .txt file is no notebook", "in/zoe_13_36_Untitled.docx": "a .docx file is no notebook",
        "in/Max.pdf": "a .pdf file is no notebook", "in/Eve": "a file without an ending is no notebook"}
    folder("own/ada/02_loss.ipynb", "own/ada/notes.txt", "own/bob/02_loss.ipynb", "own/Zoe.zip")
    assert {path: fault for path, fault in found("own").items() if fault} == {"own/Zoe.zip": "a .zip file is no notebook"}


def test_empty_folders_of_students_are_named_in_whatever_folder_a_download_was_put(folder):
    folder("in/moodle/Ada_1_assignsubmission_file_/a.ipynb", "in/moodle/Bob_2_assignsubmission_file_/a.zip",
           "in/submitted/eve/02_loss/a.ipynb", "in/submitted/eve/images/a.svg", "in/submitted/zoe/02_loss/a.zip")
    assert {row["student"] for row in run(SOLVED, "in")[1]} == {"Ada", "Bob", "eve", "zoe"}
    assert sorted(path for path, fault in found("in").items() if fault) == [
        "in/moodle/Bob_2_assignsubmission_file_", "in/submitted/zoe"]
    folder("in/moodle/may_12_34_a.ipynb")      # beside notebooks, too
    assert "in/moodle/Bob_2_assignsubmission_file_" in found("in")


def test_a_named_folder_without_a_notebook_has_a_row_of_its_students(folder):
    folder("submitted/ada/02_loss/a.ipynb", "submitted/bob/02_loss/a.zip", "submitted/zoe/01_split/a.ipynb")
    Path("submitted/eve/02_loss").mkdir(parents=True)
    status, rows, _ = run(SOLVED, "submitted/*/02_loss")
    assert status == 0
    assert {row["student"]: row["message"].removeprefix("could not be run: ") for row in rows} == {
        "ada": "the file is empty", **dict.fromkeys(("bob", "eve"), "there is no notebook in this folder")}


def test_a_file_that_is_named_twice_is_graded_once(folder):
    folder("in/a.ipynb")
    assert found("in/a.ipynb", "in", "in/../in/a.ipynb", str(Path("in/a.ipynb").absolute())) == {"in/a.ipynb": None}


def test_a_file_that_is_not_there_is_named(folder):
    folder("a.ipynb")
    assert found("b.ipynb", "a.ipynb") == {"b.ipynb": "there is no such file", "a.ipynb": None}


def test_a_pattern_that_the_shell_has_left_is_replaced(folder):
    """As on Windows."""
    folder("in/ada/02_loss/a.ipynb", "in/bob/02_loss/a.ipynb", "in/bob/01_split/a.ipynb", "in/x.ipynb", "in/[x].ipynb")
    assert found(str(Path("in/*/02_loss"))) == {"in/ada/02_loss/a.ipynb": None, "in/bob/02_loss/a.ipynb": None}
    assert found("in/[x].ipynb") == {"in/[x].ipynb": None}


def run(*names):
    """grade.py's answer, called here: exit status, rows, and what it says to the teacher."""
    out, said = io.TextIOWrapper(io.BytesIO()), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        try:
            grade.main([str(name) for name in names])
        except SystemExit as stopped:
            said = stopped.code
    out.flush()
    return said is not None, table(out.buffer.getvalue()), said


def run_script(*names, **options):
    """The same from the command line, without what it says."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / "grade.py", *names], stdout=subprocess.PIPE, check=False, **options)
    return done.returncode, table(done.stdout)


def table(csv_bytes):
    return list(csv.DictReader(io.StringIO(csv_bytes.decode("utf-8-sig"))))


@pytest.mark.parametrize("names", [["empty"], ["no_such.ipynb"], ["no_such_folder", "empty"]])
def test_when_there_is_nothing_to_grade_one_line_says_so(names, folder):
    Path("empty").mkdir()
    assert run(SOLVED, *names) == (1, [], f"no notebook to grade in {', '.join(names)}")


def test_solutions_that_are_no_notebook_are_named_in_one_line(folder):
    folder("empty.ipynb")
    assert run("empty.ipynb", "x") == (1, [], "empty.ipynb is not a notebook: the file is empty")
    with pytest.raises(OSError, match=r"no_such\.ipynb"):      # which the last lines of the script turn into one line
        run("no_such.ipynb", "x")


def test_files_that_cannot_be_run_get_a_row_each_and_a_missing_one_the_exit_status(folder):
    folder("in/empty.ipynb")
    for name, text in {"no cells": nbformat.writes(new_notebook()), "text": "hello", "list": "[]", "object": "{}",
                       "other": nbformat.writes(new_notebook(cells=[new_code_cell("x = 1")]))}.items():
        Path("in", f"{name}.ipynb").write_text(text, encoding="utf-8")
    status, rows, said = run(SOLVED, "in", "gone.ipynb")
    assert status == 1 and said == "there is no such file: gone.ipynb"
    assert {row["exercise"] for row in rows} == {"total"} and {row["points"] for row in rows} == {"0"}
    told = {Path(row["file"]).stem: row["message"] for row in rows}
    assert set(told) == {"empty", "no cells", "text", "list", "object", "other", "gone"}
    assert all(message.startswith("could not be run: ") for message in told.values())
    assert "the file is empty" in told["empty"] and "no code" in told["no cells"] and "no such file" in told["gone"]
    assert "no notebook, or only a part of one" in told["text"]
    assert run(SOLVED, "in")[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names of files that are no text")
def test_a_name_that_is_no_text_does_not_stop_the_others(folder):
    Path("in").mkdir()
    Path(os.fsdecode(b"in/Zo\xeb.ipynb")).touch()
    folder("in/b.ipynb")
    assert [row["file"] for row in run(SOLVED, "in")[1]] == ["in/Zo\\udceb.ipynb", "in/b.ipynb"]


@pytest.mark.parametrize("form", ["format 3", "format 4.0, without ids", "a mark at its beginning"])
def test_an_older_format_is_read(form, solved, tmp_path):
    if form == "format 3":
        text = nbformat.writes(nbformat.convert(solved, 3), version=3)
        assert json.loads(text)["nbformat"] == 3
    elif form == "a mark at its beginning":
        text = "\ufeff" + nbformat.writes(solved)
    else:
        plain = json.loads(nbformat.writes(solved)) | {"nbformat_minor": 0}
        for cell in plain["cells"]:
            del cell["id"]
        text = json.dumps(plain)
    (tmp_path / "old.ipynb").write_text(text, encoding="utf-8")
    cells = grade.with_checks(grade.read(tmp_path / "old.ipynb"), LESSON).cells
    assert [cell.source for cell in cells if grade.marks(cell)] == [cell.source for cell in LESSON.checks.values()]


@pytest.mark.parametrize("left_out", ["metadata", "outputs", "execution_count", "id", "metadata of all", "nbformat", "null"])
def test_what_some_programs_leave_out_costs_nothing(left_out, solved, tmp_path):
    plain = json.loads(nbformat.writes(solved))
    if left_out == "metadata of all":
        del plain["metadata"]
    elif left_out == "nbformat":
        del plain["nbformat"], plain["nbformat_minor"]
    elif left_out == "null":
        plain["cells"] += [None, {"cell_type": "code", "source": None, "metadata": None}]
    else:
        for cell in plain["cells"]:
            cell.pop(left_out, None)
    (tmp_path / "a.ipynb").write_text(json.dumps(plain), encoding="utf-8")
    cells = grade.with_checks(grade.read(tmp_path / "a.ipynb"), LESSON).cells
    assert [cell.source for cell in cells if grade.marks(cell)] == [cell.source for cell in LESSON.checks.values()]


@pytest.mark.parametrize(("raw", "words"), [
    (b"PK\x03\x04\xa2", "is not in UTF-8"), ("{}".encode("utf-16"), "is not in UTF-8"),
    *((raw, "no notebook, or only a part of one") for raw in (
        b"null", b"5", b'"a"', b"NaN", b"[" * 100_000, b'{"nbformat": 4, "cells": {"a": 1}}', b'{"nbformat": 4}',
            b'{"nbformat": 1}',
        b'{"nbformat": 4, "cells": [5]}', b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": [[1]]}]}'))])
def test_what_is_no_notebook_is_told_in_one_line(raw, words, tmp_path):
    (tmp_path / "a.ipynb").write_bytes(raw)
    with pytest.raises(ValueError, match=words) as caught:
        grade.read(tmp_path / "a.ipynb")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_right_answers_get_all_points_however_the_notebook_was_saved(solved, tmp_path):
    for name, change in VARIANTS.items():
        (tmp_path / name).mkdir()
        nbformat.write(change(copy.deepcopy(solved)), tmp_path / name / "02_loss.ipynb")
    nbformat.write(nbformat.convert(copy.deepcopy(solved), 3), tmp_path / "old.ipynb", version=3)
    status, rows = run_script(SOLVED, tmp_path)
    totals = {Path(row["file"]).relative_to(tmp_path).parts[0]: float(row["points"])
              for row in rows if row["exercise"] == "total"}
    assert status == 0 and totals == dict.fromkeys([*VARIANTS, "old.ipynb"], LESSON.points)


@pytest.mark.slow
@pytest.mark.parametrize("home", ["/dev/null/x", None])
def test_grading_needs_no_home_folder(home, solved, tmp_path):
    nbformat.write(solved, tmp_path / "a.ipynb")
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "IPYTHONDIR", "MPLCONFIGDIR")}
    status, rows = run_script(SOLVED, tmp_path, env=environment | ({"HOME": home} if home else {}))
    assert status == 0 and float(rows[-1]["points"]) == LESSON.points
