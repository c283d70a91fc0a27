"""Grade a class without nbgrader: python scripts/grade.py SOLUTIONS SUBMISSION [SUBMISSION ...] > grades.csv

SOLUTIONS: the teacher's notebook, for example notebooks/solutions/02_loss.ipynb. SUBMISSION: a notebook that a student
handed in, or a folder of them, with or without subfolders. Each is run in a process of its own, with the teacher's checks
in place of the student's, and every exercise counts once.

Prints CSV: file, exercise, points, out of, message, student, number, late, and a total; a submission that cannot be run gets
one line that says why. --report FOLDER also writes what the class misunderstood: report.html without a name,
names.html for the teacher alone, and feedback/, a page for each submission. --graded reads what nbgrader has graded, in its
folder autograded/, and runs nothing. --guesses LESSON adds what students guessed in copies of that lesson, which lie in the same
folders; where SOLUTIONS is such a lesson, nothing else is looked for.
The exit status is 1 when a name matches no file.
"""
import argparse
import copy
import csv
import glob
import json
import math
import os
import re
import sys
import time
import warnings
from pathlib import Path

import anonymous
import class_report
import guesses
import nbformat
from apart import each_apart, processors
from class_report import Graded
from judge import Notebook, check_named, why_missing
from sandbox import not_isolated
from students import by_platform, students
from writable_home import use_a_writable_home

from gpt_checks.core import one_line

LARGEST = 10**8    # bytes of a notebook that is read
LIMIT = 600        # seconds for a whole submission, on the clock
EMPTY = "there is no notebook in this folder"
DATA = (".csv", ".jpg", ".png", ".pt", ".safetensors")      # what may lie beside a notebook without being handed in as one


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


def read(path):
    """A notebook of any format, converted to format 4."""
    if (size := Path(path).stat().st_size) > LARGEST:
        raise ValueError(f"the file has {size // 10**6} million bytes; clear its outputs")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("the file is not in UTF-8, as notebooks are (is it a .zip file?): hand it in again as .ipynb") from None
    if not text.strip():
        raise ValueError("the file is empty")
    with warnings.catch_warnings():      # about ids that an older format does not have
        warnings.simplefilter("ignore")
        try:
            return nbformat.reads(json.dumps(completed(json.loads(text))), as_version=4)
        except Exception:      # nbformat raises any, as does JSON that is nested too deeply
            raise ValueError("the file is no notebook, or only a part of one: hand it in again") from None


def completed(notebook):
    """A notebook as JSON has it, with what some programs leave out, or null in its place."""
    if isinstance(notebook, dict) and isinstance(notebook.get("cells"), list):
        notebook = {"nbformat": 4, "nbformat_minor": 5} | notebook | {"cells": [cell for cell in notebook["cells"] if cell]}
        for part in (notebook, *notebook["cells"]):
            part["metadata"] = part.get("metadata") or {}
        for cell in notebook["cells"]:
            cell["source"] = cell.get("source") or ""
            if cell["cell_type"] == "code":
                cell.update({"outputs": cell.get("outputs") or [], "execution_count": cell.get("execution_count")})
    return notebook


def submissions(names):
    """[(path, fault)] of every notebook that was named, or is somewhere in a folder that was; each file once.

    fault: why there is nothing to grade, in words, or None. Of a student who has no notebook, whatever else was handed in is
    listed. A pattern with * or ? that no shell has expanded is expanded here.
    """
    found = {}
    for name in names:
        for path in map(Path, [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True)) or [name]):
            inside = notebooks_in(path) if path.is_dir() else [(path, None if path.exists() else "there is no such file")]
            for path, fault in inside:
                found.setdefault(path.resolve(), (path, fault))
    people = students(path for path, _ in found.values())
    with_notebook = {people[path].key for path, fault in found.values() if not fault}
    return [(path, fault) for path, fault in found.values()
            if not (fault and path.exists() and people[path].key in with_notebook)]


def notebooks_in(folder):
    """(path, None) of every notebook below a folder; (path, fault) of a student's folder that has none, and of files that
    are none, where notebooks lie beside or below.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() not in DATA
             and not any(made_by_programs(part) for part in path.relative_to(folder).parts)]
    found = [path for path in files if path.suffix.lower() == ".ipynb"]
    if not found:
        yield folder, EMPTY
        return
    folders = {place for path in found for place in path.parents if place == folder or folder in place.parents}
    for path in files:
        if path.suffix.lower() == ".ipynb":
            yield path, None
        elif path.parent in folders:
            yield path, f"a {path.suffix} file is no notebook" if path.suffix else "a file without an ending is no notebook"
    with_files = {path.parent for path in found}
    for place in sorted(folders):
        for path in sorted(place.iterdir()):
            if (path.is_dir() and path not in folders and not made_by_programs(path.name)
                    and (place not in with_files or by_platform(path))):      # a folder for each student, or one by its name
                yield path, EMPTY


def made_by_programs(name):
    """Whether a file or folder of this name is none that a student made."""
    return name.startswith((".", "__"))


def main(names):
    options = arguments(names)
    lesson, questions = lesson_of(options)
    todo = submissions(options.submissions)
    if all(fault for _, fault in todo):
        zipped = any(path.suffix.lower() == ".zip" for name in options.submissions for path in Path(name).rglob("*"))
        sys.exit(f"no notebook to grade in {', '.join(options.submissions)}" + ": unpack the .zip files first" * zipped)
    if options.report:
        class_report.require_free(options.report)
    os.environ.pop("NBGRADER_EXECUTION", None)
    if options.jobs > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")      # threads of several processes would wait for each other
    use_a_writable_home()
    if line := not_isolated():
        print(line, file=sys.stderr)
    sys.stdout.reconfigure(encoding="utf-8-sig", errors="backslashreplace")      # its mark tells spreadsheets that it is UTF-8
    rows = csv.writer(sys.stdout, lineterminator="\n")
    people = students(path for path, _ in todo)
    todo, copies = looked_at(todo, lesson, questions, people)
    files = []
    if lesson:
        rows.writerow(["file", "exercise", "points", "out of", "message", "student", "number", "late"])
        known = anonymous.known(student.name for student in people.values()) if options.report else None
        for file in graded(todo, people, lesson, known, options):
            files.append(file)
            for row in [*file.rows, total(file, lesson)]:
                rows.writerow([file.path, *row, as_text(file.student.name), file.student.number, "late" * file.student.late])
            sys.stdout.flush()
    questions = guesses.collect(questions, copies)
    if not lesson:
        rows.writerow(["question", "truth", "guess", "student", "number"])
        rows.writerows([question.label, question.truth, guess, as_text(student.name), student.number]
                       for question in questions for student, guess in question.guesses)
    if options.report:
        class_report.write(class_report.pages_of(files, lesson, title_of(options), questions), options.report)
    if missing := [str(path) for path, fault in todo if fault and not path.exists()]:
        sys.exit(f"there is no such file: {', '.join(missing)}")


def arguments(names):
    """The command line, understood."""
    start, *more = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(description=start.split(":")[0], epilog="\n\n".join(more),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("solutions", metavar="SOLUTIONS")
    parser.add_argument("submissions", metavar="SUBMISSION", nargs="+")
    parser.add_argument("--report", metavar="FOLDER", help="write report, names and feedback into this folder")
    parser.add_argument("--guesses", metavar="LESSON", help="a lesson in which the class wrote down guesses")
    parser.add_argument("--graded", action="store_true", help="nbgrader has graded these notebooks: run nothing")
    parser.add_argument("--jobs", type=int, default=processors(), help="how many to run at a time (default: all processors)")
    parser.add_argument("--seconds", type=float, default=LIMIT,
                        help=f"by the clock, after which a submission is stopped (default: {LIMIT})")
    options = parser.parse_args(names)
    if options.jobs < 1 or not options.seconds > 0:
        parser.error("--jobs and --seconds must be above 0")
    return options


def lesson_of(options):
    """(the teacher's Lesson, the questions of a lesson with guesses); None for the first where there are only guesses."""
    notebooks = {}
    for name in filter(None, [options.solutions, options.guesses]):
        try:
            notebooks[name] = read(name)
        except ValueError as error:
            sys.exit(f"{name} is not a notebook: {first_line(error)}")
    lesson = Lesson(notebooks[options.solutions])
    questions = [question for name in notebooks for question in guesses.questions_in(notebooks[name])]
    if options.guesses and not guesses.questions_in(notebooks[options.guesses]):
        sys.exit(f"{options.guesses} asks for no guess: none of its cells has a line `guess = None`")
    if not lesson.checks and not questions:
        sys.exit(f"{options.solutions} has no check cells: give a notebook of notebooks/solutions first")
    return (lesson if lesson.checks else None), questions


def title_of(options):
    """The title of the teacher's notebook."""
    heading = re.search(r"^# +(.+)$", "\n".join(cell.source for cell in read(options.solutions).cells), re.MULTILINE)
    return heading[1].strip() if heading else Path(options.solutions).stem


def looked_at(todo, lesson, questions, people):
    """([(path, fault)] of what is left to grade, [(student, notebook)] of copies of a lesson with guesses); nothing is run."""
    left, copies = [], []
    for path, fault in todo:
        try:
            notebook = None if fault else read(path)
            if notebook and guesses.is_copy(notebook, questions):
                copies.append((people[path], notebook))
                continue
            fault = fault or (not_of_this_lesson(notebook, lesson) if lesson else None)
        except Exception as error:      # whatever is wrong with one file, the others are graded
            fault = first_line(error)
        left.append((path, fault))
    return left, copies


def graded(todo, people, lesson, known, options):
    """Yield what came of each submission, a Graded, in order; several run at a time, and a line on stderr counts them."""
    progress = Progress(sum(not fault for _, fault in todo))
    work = each_apart(outcome, [(path, lesson, known, options.graded) for path, fault in todo if not fault],
                      options.jobs, options.seconds, progress)
    for path, fault in todo:
        result = ValueError(fault) if fault else next(work)
        if isinstance(result, Exception):
            yield Graded(path, people[path], fault=first_line(result))
        else:
            yield Graded(path, people[path], *result)


def outcome(task):
    """(rows, no fault, {exercise's id: answer, made anonymous}, sheet's number) of a submission, in a process of its own."""
    path, lesson, known, done = task
    notebook = read(path)
    rows = tuple(stored(notebook, lesson) if done else grade(notebook, lesson, path.parent))
    answers = {name: anonymous.answer_in(notebook, function)
               for name, function in zip(lesson.checks, lesson.functions, strict=True)} if known else {}
    codes = {name: anonymous.anonymous(source, known) for name, source in answers.items() if source}
    return rows, "", codes, sheet_of(notebook)


def sheet_of(notebook):
    """The student's number that a notebook says it was made for, as text; empty when it says none."""
    numbers = [found for cell in notebook.cells if cell.cell_type == "code"
               for found in re.findall(r"^student *= *(\d{1,9})\b", cell.source, re.MULTILINE)]
    return (numbers or [""])[-1]


def stored(notebook, lesson):
    """What `grade` yields, from the outputs of a notebook that nbgrader has graded."""
    found = {check_in(cell, lesson): cell for cell in notebook.cells if cell.cell_type == "code"}
    if found.keys().isdisjoint(lesson.checks):
        raise ValueError("nbgrader's copy has no checks: grade it without --graded")
    for name, check in lesson.checks.items():
        message = told_in(found[name].outputs) if name in found else "✘ its check is not in the notebook"
        if missing := re.fullmatch(r"✘ NameError: name '(\w+)' is not defined", message):
            message = f"✘ {why_missing(missing[1], {cell.source: error_in(cell) for cell in notebook.cells})}"
        points = check.metadata.nbgrader.points
        yield name, points if message.startswith("✔") else 0, points, message


def error_in(cell):
    """The error that a cell stopped with, in one line; None when there was none."""
    errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
    return f"{errors[-1].ename}: {one_line(errors[-1].evalue)}" if errors else None


def told_in(outputs):
    """The line that a check printed, or raised as an error, while nbgrader was grading; any other error in its place."""
    text = "".join(output.get("text", "") for output in outputs)
    lines = re.findall(r"[✔✘◦] Exercise \d.*$", text, flags=re.MULTILINE)      # a student may have printed before it
    for output in outputs:
        if output.output_type == "error":
            lines.append(output.evalue if re.match("[✘◦] Exercise", output.evalue) else f"✘ {output.ename}: {output.evalue}")
    return (lines or ["✘ the check printed nothing"])[-1].partition("\n")[0]


def total(file, lesson):
    """The last row of a file."""
    if file.fault:
        return "total", 0, lesson.points, f"could not be run: {file.fault}"
    return "total", sum(row[1] for row in file.rows), sum(row[2] for row in file.rows), ""


class Progress:
    """Tells on stderr how many submissions are done: in one line on a terminal, else in a line for each tenth of them."""

    def __init__(self, number):
        self.number, self.told, self.start = number, 0, time.monotonic()

    def __call__(self, done):
        left = (time.monotonic() - self.start) / done * (self.number - done)
        line = f"{done} of {self.number} graded" + (f", about {math.ceil(left / 60)} min left" if done < self.number else "")
        if sys.stderr.isatty():
            print(f"\r{line:<60}", end="\n" if done == self.number else "", file=sys.stderr, flush=True)
        elif done == self.number or done - self.told >= self.number / 10:
            self.told = done
            print(line, file=sys.stderr, flush=True)


def as_text(name):
    """A student's name, such that no spreadsheet takes it for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def first_line(error):
    """The first line of an error's message, or its type when it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the grades above are complete")
