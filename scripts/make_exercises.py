"""Make notebooks/exercises/ from notebooks/solutions/: python scripts/make_exercises.py

The solutions are removed by nbgrader's own preprocessor, so that a teacher who uses nbgrader hands out the same
notebooks. Outputs come from running them: every exercise says "to do".

A sheet of each student's own: python scripts/make_exercises.py --seed-from students.csv [FOLDER]
writes FOLDER/NAME/ for each student (FOLDER is `sheets` if none is named): the exercises that depend on a student's number,
with the number filled in. students.csv, in UTF-8 and without a header: a name a line, and after a comma the number, if it is not
to be that of the line.
"""
import contextlib
import copy
import csv
import io
import re
import sys
from pathlib import Path

import nbformat
import store_outputs
from nbgrader.preprocessors import ClearSolutions
from writable_home import use_a_writable_home

from gpt_helpers.files import write_text

ROOT = Path(__file__).resolve().parent.parent
SOLUTIONS, EXERCISES = ROOT / "notebooks" / "solutions", ROOT / "notebooks" / "exercises"


def exercises_of(solutions):
    """A notebook of solutions without its solutions, and without outputs."""
    notebook, _ = ClearSolutions().preprocess(copy.deepcopy(solutions), {})
    notebook.metadata = copy.deepcopy(solutions.metadata)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


PRINTED = re.compile(r'print\(\w+\("\d\.\d", student\)\)')      # a cell that shows what depends on a student's number


def sheet(exercises, number):
    """A notebook of exercises with a student's number in it; None where nothing in it depends on that."""
    notebook, space = copy.deepcopy(exercises), {}
    if not any(PRINTED.fullmatch(cell.source) for cell in notebook.cells):
        return None
    for cell in notebook.cells:
        if cell.id == "student":
            cell.source = f"student = {number}"
        if cell.id in ("imports", "student"):
            exec(cell.source, space)
        if PRINTED.fullmatch(cell.source):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(cell.source, space)
            cell.outputs[0].text = out.getvalue()
    return notebook


def students_in(path):
    """[(name, number)] of a list of students. ValueError where a sheet could not be told from another."""
    students = {}
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not in UTF-8: save it as UTF-8 (Excel: CSV UTF-8)") from None
    for line, row in enumerate(csv.reader(text.splitlines()), start=1):
        name, number = ([field.strip() for field in row] + ["", ""])[:2]
        if ";" in name:
            raise ValueError(f"line {line} is {','.join(row)!r}: separate name and number by a comma")
        if name:
            if not re.fullmatch(r"\d*", number) or not re.fullmatch(r"[^\\/:*?\"<>|]*[^\\/:*?\"<>|. ]", name):
                raise ValueError(f"line {line} is {','.join(row)!r}: need a name that can be a folder's, and if you like a comma "
                                 "and an integer")
            number = int(number or line)
            if name in students or number in students.values():
                raise ValueError(f"line {line}: {name} and {number} must not stand there twice")
            students[name] = number
    return list(students.items())


def make_sheets(path, folder):
    """Write FOLDER/NAME/ for each student of a list."""
    notebooks = {path.name: nbformat.read(path, as_version=4) for path in sorted(EXERCISES.glob("[0-9]*.ipynb"))}
    for name, number in students_in(path):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file, notebook in notebooks.items():
            if made := sheet(notebook, number):
                write_text(folder / name / file, nbformat.writes(made) + "\n")
        print(folder / name)


def main(names):
    if names:
        if names[0] != "--seed-from" or not 2 <= len(names) <= 3:
            sys.exit("usage: python scripts/make_exercises.py [--seed-from STUDENTS.csv [FOLDER]]")
        return make_sheets(names[1], Path(*names[2:] or ["sheets"]))
    use_a_writable_home()
    if not (solutions := sorted(SOLUTIONS.glob("[0-9]*.ipynb"))):
        sys.exit(f"there are no notebooks in {SOLUTIONS}, from which the exercises are made: get the whole project")
    EXERCISES.mkdir(exist_ok=True)
    for path in solutions:
        notebook = exercises_of(nbformat.read(path, as_version=4))
        store_outputs.store(notebook, EXERCISES / path.name)
        print(f"exercises/{path.name}")
    return None


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(str(error))
