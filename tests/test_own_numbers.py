"""Numbers of each student's own: the same for the sheet and the check, others for the neighbour."""
import contextlib
import io
import re
import sys
from functools import partial
from pathlib import Path

import nbformat
import pytest

from gpt_checks import adamw, gpt2_124m
from gpt_checks.numbers import VALUES, numbers_of
from gpt_checks.spec import ANOTHERS

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
make_exercises = __import__("make_exercises")
CHECKS = {check.number: check for module in (adamw, gpt2_124m) for check in vars(module).values() if hasattr(check, "number")}
STUDENTS = range(1, 301)
EXERCISES = {path.name: nbformat.read(path, 4) for path in sorted((ROOT / "notebooks" / "exercises").glob("*.ipynb"))}
PERSONAL = [name for name, notebook in EXERCISES.items() if make_exercises.sheet(notebook, 1)]
own = pytest.mark.parametrize("number", VALUES)


def verdict(check, *args):
    """The line that a check prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        check(*args, seed=1)
    return out.getvalue()


def answer(check, student):
    """The right answer of a student."""
    return check.of(student).right


@own
def test_300_students_have_numbers_of_their_own(number):
    assert len({tuple(numbers_of(number, student).items()) for student in STUDENTS}) == 300


@own
def test_each_students_right_answer_gets_a_tick_and_is_refused_as_the_neighbours(number):
    check = CHECKS[number]
    for student in STUDENTS:
        assert verdict(check, answer(check, student), student).startswith("✔")
    for student in STUDENTS[::10]:
        for other in (student + 1, student + 29):
            assert ANOTHERS in verdict(check, answer(check, other), student)


@own
def test_a_mistake_is_told_with_its_own_sentence_whatever_the_numbers_are(number):
    check = CHECKS[number]
    for student in (2, 30, 299):
        for words, (parts, *_) in check.table.items():
            assert words in verdict(check, partial(answer(check, student), **parts), student)


def test_without_a_number_a_check_takes_that_of_student_1():
    check = CHECKS["7.2"]
    assert verdict(check, answer(check, 1)).startswith("✔") and ANOTHERS in verdict(check, answer(check, 2))


@pytest.mark.parametrize("student", ["Ada", 1.5, None, True])
def test_a_number_that_is_none_is_told_in_one_line(student):
    line = verdict(CHECKS["7.2"], answer(CHECKS["7.2"], 1), student)
    assert re.match(rf"✘ Exercise 7.2, what fits: student is {student!r}; need an integer, as in student = 17\.", line)


def test_an_exercise_without_own_numbers_says_so():
    with pytest.raises(ValueError, match=r"exercise '7.1' has no numbers of your own; .*7.2"):
        numbers_of("7.1", 1)


@pytest.mark.parametrize("name", PERSONAL)
def test_no_two_sheets_in_a_class_of_30_ask_the_same_in_any_exercise(name):
    asked = [[cell.outputs[0].text for cell in make_exercises.sheet(EXERCISES[name], student).cells
              if make_exercises.PRINTED.fullmatch(cell.source)] for student in STUDENTS]
    for exercise in zip(*asked, strict=True):
        assert all(len({*exercise[first : first + 30]}) == 30 for first in range(271))


@pytest.mark.parametrize("name", PERSONAL)
def test_the_solution_solves_every_sheet(name):
    """The cells of the solutions that depend on the number, as the sheet has them."""
    notebook = nbformat.read(ROOT / "notebooks" / "solutions" / name, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    wanted = {cells[i + 1].id for i, cell in enumerate(cells) if make_exercises.PRINTED.fullmatch(cell.source)}
    for student in (1, 17, 300):
        space, lines = {}, []
        for cell in make_exercises.sheet(notebook, student).cells:
            if cell.id in {"imports", "student"} | wanted | {f"check-{id}" for id in wanted}:
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(cell.source, space)
                lines += out.getvalue().splitlines()
        assert len(lines) == len(wanted) and all(line.startswith("✔") for line in lines), lines


def run(tmp_path, text):
    """Do what make_exercises.py does with a list of students."""
    (tmp_path / "students.csv").write_text(text, encoding="utf-8")
    make_exercises.main(["--seed-from", tmp_path / "students.csv", tmp_path / "out"])


def test_a_list_of_students_becomes_a_folder_for_each(tmp_path):
    run(tmp_path, "Ada\nÉmile,17\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Ada", "Émile"]
    for name, number in (("Ada", 1), ("Émile", 17)):
        folder = tmp_path / "out" / name
        assert sorted(path.name for path in folder.iterdir()) == PERSONAL
        for path in folder.iterdir():
            notebook = nbformat.read(path, 4)
            nbformat.validate(notebook)
            assert [cell.source for cell in notebook.cells if cell.id == "student"] == [f"student = {number}"]
            assert "".join(f"{name} = {value}\n" for name, value in numbers_of("7.2", number).items()) in [
                output.text for cell in notebook.cells for output in cell.get("outputs", [])] or path.name[:2] != "07"


@pytest.mark.parametrize(("text", "words"), [
    ("Ada\nAda,7\n", "line 2: Ada and 7 must not stand there twice"), ("Ada,3\nBob,3", "line 2: Bob and 3 must not stand"),
    ("a/b\n", "line 1 is 'a/b': need a name that can be a folder's"),
    ("..,4", "line 1 is '..,4': need a name"), ("Ada,x", "line 1 is 'Ada,x'"),
    ("Bob\nAnna Müller;17", "line 2 is 'Anna Müller;17': separate name and number by a comma")])
def test_a_list_that_cannot_be_used_is_refused_in_one_line_and_nothing_is_written(tmp_path, text, words):
    with pytest.raises(ValueError, match=f"^{words}.*$"):
        run(tmp_path, text)
    assert not (tmp_path / "out").exists()


def test_a_list_that_is_not_in_utf_8_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "students.csv"
    path.write_text("Zoë\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"students\.csv is not in UTF-8: save it as UTF-8 \(Excel: CSV UTF-8\)$"):
        make_exercises.main(["--seed-from", path, tmp_path / "out"])
    path.write_text("Zoë\n\"Müller, Anna\",17\n", encoding="utf-8-sig", newline="\r\n")
    assert make_exercises.students_in(path) == [("Zoë", 1), ("Müller, Anna", 17)]
