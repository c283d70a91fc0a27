"""The exercise notebooks: made from the solutions, complete, and gradable with and without nbgrader."""
import copy
import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grade
import named
import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.preprocessors import ClearSolutions

ROOT = Path(__file__).parent.parent
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
EXERCISES = sorted((ROOT / "notebooks" / "exercises").glob("*.ipynb"))
SOLVED, HANDED_OUT = (ROOT / "notebooks" / folder / "02_loss.ipynb" for folder in ("solutions", "exercises"))
CHECKS = named.checks()
HEADING = re.compile(r"## Exercise (\d+\.\d): (.+) \(\d+ minutes, level [123] of 3\)\n")


PRINTED = re.compile(r'^print\((patient|numbers)\("(\d\.\d)", student\)\)$')      # what a student's number decides

# What each lesson must teach (its row in the design, in a few words), and the exercises that ask for it.
IDEAS = {
    "01": {"shares of tokens, not of characters": ["1.1"], "windows, stride, the target one step later": ["1.2", "1.3"],
           "what a text must have at least": ["1.4"], "batches, drop_last, tokens seen": ["1.5"], "how a split leaks": ["1.6"]},
    "02": {"logits to loss, by hand": ["2.2"], "nats and perplexity": ["2.1", "2.7"], "a mean over tokens": ["2.3"],
           "the untrained loss, predicted": ["2.4"], "baselines by counting": ["2.5"], "the standard error": ["2.6"]},
    "03": {"wiggling": ["3.1"], "p - y at the logits": ["3.2"], "a layer's backward": ["3.3", "3.4", "3.6"],
           "gradients add up": ["3.5"]},
    "04": {"momentum": ["4.1"], "bias correction, and the first step": ["4.2"], "AdamW, bit for bit": ["4.3"],
           "decoupled decay, and what decays": ["4.4", "4.6"], "the learning rate": ["4.5"]},
    "05": {"the bare loop": ["5.2", "5.4"], "loss against tokens seen": ["5.1"], "the best weights by validation": ["5.5"]},
    "06": {"looking disturbs, and the cure": ["5.3", "6.1"], "what must be kept": ["6.2"], "the place in the data": ["6.3"],
           "a stop leaves nothing out and does nothing twice": ["6.4"], "a file is whole at every moment": ["6.6"],
           "a training that diverges": ["5.6", "6.5"]},
    "07": {"weights, counted": ["7.1"], "memory, told beforehand": ["7.2"], "operations and time, told beforehand": ["7.3"],
           "overfitting, read off the curves": ["7.5"], "quotations, counted right": ["7.4"], "perplexity": ["2.1"],
           "the test set, with a standard error": ["7.6"]},
    "08": {"the floor": ["8.1"], "tables by counting, and how they fall back": ["8.2"],
           "one loss hides several; memory comes suddenly": ["8.3"], "a rule in place of a table: it looks back": ["8.4"],
           "size of the text against loss": ["8.5"], "size of the model against loss": ["8.6"],
           "real text; writing or quoting": ["8.7", "2.7"]},
    "09": {"an update": ["9.1"], "data": ["9.2"], "the model": ["9.3"], "evaluation": ["9.4"], "the loss": ["9.5"],
           "the schedule": ["9.6"]},
    "10": {"a schedule": ["10.1", "4.5"], "clipping": ["10.2", "5.6"], "accumulation, weighted by tokens": ["10.2", "3.5"],
           "which weights decay": ["4.4"], "precision, and a float32 copy": ["10.3", "10.4"], "less memory": ["10.8"],
           "several processes do the same updates": ["10.5", "10.6"], "what DDP and FSDP2 hold and send": ["10.7"]},
}


def read(path):
    return nbformat.read(path, as_version=4)


def kinds(notebook):
    """(kind, cell): words, code, solution or check."""
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        yield ("check" if marks.get("grade") else "solution" if marks.get("solution") else cell.cell_type), cell


def test_each_lesson_has_four_exercises_or_more():
    assert [path.stem[:2] for path in SOLUTIONS] == sorted(IDEAS)
    assert all((ROOT / "notebooks" / path.name).is_file() for path in SOLUTIONS)
    counts = [sum(kind == "check" for kind, _ in kinds(read(path))) for path in SOLUTIONS]
    assert all(count >= 4 for count in counts) and sum(counts) >= 24


def test_the_exercises_are_the_solutions_without_the_solutions():
    """If this fails: python scripts/make_exercises.py"""
    assert [path.name for path in EXERCISES] == [path.name for path in SOLUTIONS]
    for solved, path in zip(map(read, SOLUTIONS), EXERCISES, strict=True):
        wanted, _ = ClearSolutions().preprocess(copy.deepcopy(solved), {})
        handed_out = read(path)
        assert [(cell.cell_type, cell.id, cell.source, cell.metadata) for cell in handed_out.cells] == [
            (cell.cell_type, cell.id, cell.source, cell.metadata) for cell in wanted.cells], path.name
        assert "SOLUTION" not in "".join(cell.source for cell in handed_out.cells)


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.name)
def test_a_sheet_that_says_how_many_exercises_it_has_says_it_right(path):
    cells = list(kinds(read(path)))
    if said := re.search(r"^(\w+) exercises for", cells[0][1].source, flags=re.MULTILINE):
        assert said[1] == {6: "Six", 7: "Seven", 8: "Eight"}[sum(kind == "check" for kind, _ in cells)]


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.name)
def test_an_exercise_has_four_parts_a_hint_and_a_section(path):
    cells, asked = list(kinds(read(path))), set()
    for i, (kind, cell) in enumerate(cells):
        if kind != "check":
            continue
        before, words = cells[i - 1], next(words for words in cells[i - 2 :: -1] if not PRINTED.search(words[1].source))
        [name] = re.findall(r"^(check_\w+)\((\w+)(?:, student)?\)$", cell.source)
        check, heading = CHECKS[name[0]], HEADING.match(words[1].source)
        assert (words[0], before[0]) == ("markdown", "solution")
        assert (check.number, check.title) == heading.groups()
        assert f'(Lesson {check.see[0]}, "{check.see[1]}")' in words[1].source.replace("`", "").replace("\n", " ")
        assert re.search(r"<details><summary>Hint</summary>\n\n.+\n\n</details>$", words[1].source, flags=re.DOTALL)
        stub, solution, rest = re.split(r"    ### (?:BEGIN|END) SOLUTION\n?", before[1].source)
        assert stub.count('"""') == 2 and re.match(rf'(?:def|class) {name[1]}\b.*\n    """.+"""\n$', stub, flags=re.DOTALL)
        assert solution.strip() and not rest
        assert cell.metadata.nbgrader.points >= 1 and cell.metadata.nbgrader.locked
        asked.add(check.number)
    assert len(asked) == sum(kind == "check" for kind, _ in cells)


def test_each_idea_of_a_lesson_has_an_exercise_and_each_exercise_an_idea():
    asked = [number for ideas in IDEAS.values() for numbers in ideas.values() for number in numbers]
    assert all(numbers for ideas in IDEAS.values() for numbers in ideas.values())
    assert {*asked} == {check.number for check in CHECKS.values()}


def test_the_misconceptions_that_teachers_are_told_of_are_those_of_the_lessons_checks():
    """In TEACHING.md, three a lesson, each with an exercise of that lesson that finds it."""
    rows = dict(re.findall(r"^\| (\d\d) \| [^|]+ \| ([^|]+) \|", (ROOT / "docs" / "TEACHING.md").read_text(encoding="utf-8"),
                           flags=re.MULTILINE))
    assert [*rows] == sorted(IDEAS)
    for lesson, expected in rows.items():
        found = re.findall(r"\((\d+\.\d)\)", expected)
        asked = {check.number for check in CHECKS.values() if check.number.partition(".")[0] == str(int(lesson))}
        assert len(found) == 3 and {*found} <= asked, (lesson, found)


def test_every_check_has_its_exercise():
    sources = [cell.source for path in SOLUTIONS for kind, cell in kinds(read(path)) if kind == "check"]
    assert sorted(source.split("(")[0] for source in sources) == sorted(CHECKS)


@pytest.mark.parametrize(("folder", "mark"), [("solutions", "✔"), ("exercises", "◦")])
def test_the_stored_outputs_are_ticks_in_solutions_and_to_do_in_exercises(folder, mark):
    for path in (ROOT / "notebooks" / folder).glob("*.ipynb"):
        for kind, cell in kinds(read(path)):
            if kind == "check":
                [output] = cell.outputs
                assert output.text.startswith(f"{mark} Exercise") and output.text.count("\n") == 1


# Grading, on copies of one notebook: all right, and with a wrong, a missing and a spoiled answer.

def submissions():
    right, released = read(SOLVED), read(HANDED_OUT)
    mixed = copy.deepcopy(released)
    for cell in mixed.cells:
        if cell.id == "perplexity":
            cell.source = "def perplexity(loss):\n    return 2**loss"
        if cell.id == "check-perplexity":
            cell.source = "print('✔ Exercise 2.1, perplexity: right')"
        if cell.id == "untrained-loss":
            solution = next(solved.source for solved in right.cells if solved.id == cell.id)
            cell.source = solution.replace("    variance", "    print('my note', end='')\n    variance")
        if cell.id == "standard-error":
            cell.source = "def standard_error(losses:"
    return {"right": right, "mixed": mixed}


def points(notebook):
    return {cell.id: cell.metadata.nbgrader.points for kind, cell in kinds(notebook) if kind == "check"}


@pytest.mark.slow
def test_grading_without_nbgrader(tmp_path):
    for name, notebook in submissions().items():
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    (tmp_path / "broken.ipynb").write_text("{", encoding="utf-8")
    shutil.copy(EXERCISES[0], tmp_path / "other.ipynb")
    command = [sys.executable, ROOT / "scripts" / "grade.py", SOLVED, tmp_path]
    out = subprocess.run(command, capture_output=True, encoding="utf-8-sig", check=True).stdout
    rows = list(csv.DictReader(io.StringIO(out)))
    got = {(Path(row["file"]).stem, row["exercise"]): row for row in rows}
    for exercise, full in points(read(SOLVED)).items():
        assert float(got["right", exercise]["points"]) == full == float(got["right", exercise]["out of"])
        assert float(got["mixed", exercise]["points"]) == (full if exercise == "check-untrained-loss" else 0)
    assert "bits" in got["mixed", "check-perplexity"]["message"]
    assert got["mixed", "check-bigram-loss"]["message"].endswith("to do")
    assert "SyntaxError" in got["mixed", "check-standard-error"]["message"]
    assert "could not be run" in got["broken", "total"]["message"]
    assert "another lesson" in got["other", "total"]["message"]
    assert float(got["right", "total"]["points"]) == sum(points(read(SOLVED)).values())


@pytest.mark.slow
def test_grading_with_nbgrader(tmp_path, monkeypatch):
    """generate_assignment and autograde on a course made here."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)      # nbgrader calls its neighbour alembic
    (tmp_path / "nbgrader_config.py").write_text('c = get_config()\nc.CourseDirectory.course_id = "course"\n', encoding="utf-8")
    (tmp_path / "source" / "02_loss").mkdir(parents=True)
    shutil.copy(SOLVED, tmp_path / "source" / "02_loss")

    def nbgrader(*command):
        done = subprocess.run([sys.executable, "-m", "nbgrader", *command], cwd=tmp_path, capture_output=True, encoding="utf-8",
                              check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    nbgrader("generate_assignment", "02_loss")
    released = read(tmp_path / "release" / "02_loss" / "02_loss.ipynb")
    assert [cell.source for cell in released.cells] == [cell.source for cell in read(HANDED_OUT).cells]

    for name, notebook in submissions().items():
        folder = tmp_path / "submitted" / name / "02_loss"
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / "02_loss.ipynb")
    nbgrader("autograde", "02_loss")
    with Gradebook(f"sqlite:///{tmp_path}/gradebook.db") as gradebook:
        grades = {(name, grade.name): grade.score for name in ("right", "mixed")
                  for grade in gradebook.find_submission_notebook("02_loss", "02_loss", name).grades}
    for name in ("right", "mixed"):      # what is read from the notebooks for the class's report is what nbgrader has counted
        graded = grade.read(tmp_path / "autograded" / name / "02_loss" / "02_loss.ipynb")
        rows = list(grade.stored(graded, grade.Lesson(grade.read(SOLVED))))
        assert {(name, exercise): score for exercise, score, *_ in rows}.items() <= grades.items()
        assert all(re.match("[✔✘◦] (Exercise|SyntaxError)", message) for *_, message in rows)
    for exercise, full in points(read(SOLVED)).items():
        assert grades["right", exercise] == full
        assert grades["mixed", exercise] == (full if exercise == "check-untrained-loss" else 0)
