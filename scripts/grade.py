"""Grade exercises without nbgrader: python scripts/grade.py SOLUTIONS SUBMISSION [SUBMISSION ...]

SOLUTIONS: the teacher's notebook, for example notebooks/solutions/02_loss.ipynb. SUBMISSION: a notebook that a student
handed in, or a folder of them, with or without subfolders. Each is run in a kernel of its own, with the teacher's checks
in place of the student's, and every exercise counts once.
Prints CSV: file, exercise, points, out of, message, and a total; a submission that cannot be run gets one line that says why.
The exit status is 1 when a name matches no file.
"""
import copy
import csv
import glob
import os
import re
import sys
import warnings
from pathlib import Path

import nbformat
from judge import Notebook, check_named
from sandbox import not_isolated
from writable_home import use_a_writable_home


class Lesson:
    """What grading needs from the teacher's notebook.

    checks: the check cells, by nbgrader's id. answers: the ids of the answer cells. functions: the names of the functions
    that are checked. imports: the code cells before the first exercise.
    """

    def __init__(self, solutions):
        marked = [(cell, marks(cell)) for cell in solutions.cells]
        self.checks = {mark["grade_id"]: without_outputs(cell) for cell, mark in marked if mark.get("grade")}
        self.answers = {mark["grade_id"] for _, mark in marked if mark.get("solution")}
        self.functions = [re.search(r"\((\w+)(?:, student)?\)\s*$", cell.source).group(1) for cell in self.checks.values()]
        first = next((i for i, (_, mark) in enumerate(marked) if mark), 0)
        self.imports = [without_outputs(cell) for cell in solutions.cells[:first] if cell.cell_type == "code"]
        self.points = sum(cell.metadata.nbgrader.points for cell in self.checks.values())


def marks(cell):
    """nbgrader's metadata on a cell; empty when there is none, as after an editor that does not keep it."""
    found = (cell.get("metadata") or {}).get("nbgrader")
    return found if isinstance(found, dict) and "grade_id" in found else {}


def without_outputs(cell):
    """A copy of a code cell that has not been run."""
    cell = copy.deepcopy(cell)
    cell.outputs, cell.execution_count = [], None
    return cell


def check_in(cell, lesson):
    """The id of the check that a cell of a submission is, or was made from; None for other cells.

    nbgrader's metadata, the cell's own id or its text shows it, whichever an editor has kept.
    """
    for name in (marks(cell).get("grade_id"), cell.get("id")):
        if name in lesson.checks:
            return name
    return next((name for name, check in lesson.checks.items() if same_words(cell, check)), None)


def same_words(cell, check):
    """Whether two cells say the same, apart from spaces and line breaks."""
    return "".join(cell.source.split()) == "".join(check.source.split())


def with_checks(submission, lesson):
    """A submission with the teacher's checks, each once: in place of the last copy of its own, or at the end if it has none."""
    if fault := not_of_this_lesson(submission, lesson):
        raise ValueError(fault)
    found = [check_in(cell, lesson) for cell in submission.cells]
    cells = copy.deepcopy(lesson.imports)
    for i, (cell, name) in enumerate(zip(submission.cells, found, strict=True)):
        if name is None or not same_words(cell, lesson.checks[name]):
            cells.append(copy.deepcopy(cell))      # an answer may have been written, or merged, into the cell of a check
            cells[-1].metadata = {}
        if name and name not in found[i + 1:]:
            cells.append(copy.deepcopy(lesson.checks[name]))
    cells += [copy.deepcopy(check) for name, check in lesson.checks.items() if name not in found]
    for i, cell in enumerate(cells):      # ids that were lost, or are used twice
        cell.id = f"cell-{i}"
    return nbformat.v4.new_notebook(cells=cells)


def not_of_this_lesson(submission, lesson):
    """Why a submission cannot be graded as this lesson's, in words; None when any of the exercises is found in it."""
    code = [cell for cell in submission.cells if cell.cell_type == "code" and cell.source.strip()]
    if any(check_in(cell, lesson) or marks(cell).get("grade_id") in lesson.answers for cell in code):
        return None
    text = "\n".join(cell.source for cell in code)
    if any(re.search(rf"^\s*((async\s+)?def|class)\s+{name}\b|^{name}\s*=", text, re.MULTILINE) for name in lesson.functions):
        return None
    if not code:
        return "there is no code in it"
    if others := sorted(set(re.findall(r"\bcheck_\w+(?=\()", text))):
        return f"none of these exercises is in it, but {', '.join(others)}: another lesson's notebook?"
    return f"none of these exercises is in it: neither a check nor one of the functions {', '.join(lesson.functions)}"


def grade(submission, lesson, folder):
    """Run a submission. Yields (exercise's id, points, out of, message) for each check, which judges from outside.

    folder: where it lies; what else lies there is not shown to it. Not for several threads of one process, which would share
    PyTorch's random state.
    """
    imports = [cell.source for cell in lesson.imports]
    calls = {name: re.findall(r"\w+", cell.source) for name, cell in lesson.checks.items()}      # check, function, student
    checks = {name: check_named(check, imports) for name, (check, *_) in calls.items()}
    with Notebook() as notebook:
        for cell in with_checks(submission, lesson).cells:
            if name := marks(cell).get("grade_id"):
                mark, message = notebook.verdict(checks[name], *calls[name][1:])
                points = cell.metadata.nbgrader.points
                yield name, points if mark == "✔" else 0, points, message
            elif cell.cell_type == "code":
                notebook.run(cell.source)


def verdict(outputs):
    """The line that a check printed, or the error that kept it from running."""
    text = "".join(output.get("text", "") for output in outputs)
    lines = re.findall(r"[✔✘◦] Exercise \d.*$", text, flags=re.MULTILINE)      # a student may have printed before it
    errors = [f"✘ {output.ename}: {output.evalue}".splitlines()[0] for output in outputs if output.output_type == "error"]
    return ([*lines, *errors] or ["✘ the check printed nothing"])[-1]


def read(path):
    """A notebook of any format, converted to format 4."""
    text = Path(path).read_text(encoding="utf-8-sig")
    if not text.strip():
        raise ValueError("the file is empty")
    with warnings.catch_warnings():      # about ids that an older format does not have
        warnings.simplefilter("ignore")
        return nbformat.reads(text, as_version=4)


def submissions(names):
    """(path, fault) of every notebook that was named, or is somewhere in a folder that was; each file once.

    fault: why there is nothing to grade, in words, or None. A pattern with * or ? that no shell has expanded is expanded here.
    """
    seen = set()
    for name in names:
        for path in map(Path, [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True)) or [name]):
            found = list(notebooks_in(path)) if path.is_dir() else [(path, None if path.exists() else "there is no such file")]
            for path, fault in found:
                if path.resolve() not in seen:
                    seen.add(path.resolve())
                    yield path, fault


def notebooks_in(folder):
    """(path, None) of every notebook below a folder; (folder, fault) of a student's folder that has none."""
    def below(folder):
        return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() == ".ipynb" and path.is_file()
                and not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)]      # made by programs

    found = below(folder)
    yield from ((path, None) for path in found)
    if found and not any(path.parent == folder for path in found):      # one folder for each student
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.name.startswith((".", "__")) and not below(path):
                yield path, "there is no notebook in this folder"


def main(names):
    if len(names) < 2:
        sys.exit("usage: python scripts/grade.py SOLUTIONS SUBMISSION [SUBMISSION ...]")
    try:
        lesson = Lesson(read(names[0]))
    except ValueError as error:
        sys.exit(f"{names[0]} is not a notebook: {first_line(error)}")
    if not lesson.checks:
        sys.exit(f"{names[0]} has no check cells: give a notebook of notebooks/solutions first")
    todo = list(submissions(names[1:]))
    if all(fault for _, fault in todo):
        sys.exit(f"no notebook to grade in {', '.join(names[1:])}")
    os.environ.pop("NBGRADER_EXECUTION", None)
    use_a_writable_home()
    if line := not_isolated():
        print(line, file=sys.stderr)
    sys.stdout.reconfigure(encoding="utf-8-sig", errors="backslashreplace")      # its mark tells spreadsheets that it is UTF-8
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["file", "exercise", "points", "out of", "message"])
    for path, fault in todo:
        try:
            if fault:
                raise ValueError(fault)
            graded = list(grade(read(path), lesson, path.parent))
            rows.writerows([path, *row] for row in graded)
            rows.writerow([path, "total", sum(row[1] for row in graded), sum(row[2] for row in graded), ""])
        except Exception as error:      # whatever is wrong with one file, the others are graded
            rows.writerow([path, "total", 0, lesson.points, f"could not be run: {first_line(error)}"])
        sys.stdout.flush()
    if missing := [str(path) for path, fault in todo if fault and not path.exists()]:
        sys.exit(f"there is no such file: {', '.join(missing)}")


def first_line(error):
    """The first line of an error's message, or its type when it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.exit(str(error))
