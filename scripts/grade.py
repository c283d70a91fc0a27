"""Grade exercises without nbgrader: python scripts/grade.py SOLUTIONS SUBMISSION [SUBMISSION ...]

SOLUTIONS: the teacher's notebook, notebooks/solutions/02_loss.ipynb for one. SUBMISSION: a notebook that a student
handed in, or a folder of them. Each is run in a kernel of its own, with the teacher's checks in place of the student's.
Prints CSV: file, exercise, points, out of, message, and a total; a submission that cannot be run gets one line that says so.
"""
import copy
import csv
import os
import re
import sys
from pathlib import Path

import nbclient
import nbformat

SECONDS = 60      # for one cell; a check itself stops an answer after a few seconds


def checks_of(solutions):
    """The teacher's check cells, by nbgrader's id."""
    return {cell.metadata.nbgrader.grade_id: cell for cell in solutions.cells if cell.metadata.get("nbgrader", {}).get("grade")}


def with_checks(submission, checks):
    """A submission with the teacher's check cells in place of its own, and those that are missing at its end."""
    notebook, missing, found = copy.deepcopy(submission), dict(checks), False
    for i, cell in enumerate(notebook.cells):
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        found = found or name in checks
        if name in checks:
            notebook.cells[i] = copy.deepcopy(checks[name])
            missing.pop(name, None)
    if not found:
        raise ValueError("none of these exercises is in it: another lesson's notebook?")
    notebook.cells += [copy.deepcopy(cell) for cell in missing.values()]
    return notebook


def grade(submission, checks, folder):
    """Run a submission. Yields (exercise's id, points, out of, message) for each check."""
    notebook = with_checks(submission, checks)
    nbclient.NotebookClient(notebook, timeout=SECONDS, interrupt_on_timeout=True, allow_errors=True, kernel_name="python3",
                            resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        if (name := cell.metadata.get("nbgrader", {}).get("grade_id")) in checks:
            message = verdict(cell.outputs)
            points = cell.metadata.nbgrader.points
            yield name, points if message.startswith("✔") else 0, points, message


def verdict(outputs):
    """The line of a check, or the error that kept it from running."""
    text = "".join(output.get("text", "") for output in outputs)
    lines = re.findall(r"[✔✘◦] Exercise \d.*$", text, flags=re.MULTILINE)      # a student may have printed before it
    errors = [f"✘ {output.ename}: {output.evalue}".splitlines()[0] for output in outputs if output.output_type == "error"]
    return ([*lines, *errors] or ["✘ the check printed nothing"])[-1]


def submissions(names):
    """The paths of all notebooks that were named, or lie in a folder that was."""
    for path in map(Path, names):
        yield from sorted(path.glob("*.ipynb")) if path.is_dir() else [path]


def main(names):
    if len(names) < 2:
        sys.exit("usage: python scripts/grade.py SOLUTIONS SUBMISSION [SUBMISSION ...]")
    checks = checks_of(nbformat.read(names[0], as_version=4))
    if not checks:
        sys.exit(f"{names[0]} has no check cells: give a notebook of notebooks/solutions first")
    os.environ.pop("NBGRADER_EXECUTION", None)
    sys.stdout.reconfigure(encoding="utf-8-sig")      # with the mark by which spreadsheets know UTF-8
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["file", "exercise", "points", "out of", "message"])
    for name in submissions(names[1:]):
        try:
            graded = list(grade(nbformat.read(name, as_version=4), checks, name.parent))
            rows.writerows([name, *row] for row in graded)
            rows.writerow([name, "total", sum(row[1] for row in graded), sum(row[2] for row in graded), ""])
        except Exception as error:      # whatever is wrong with one file, the others are graded
            rows.writerow([name, "total", 0, sum(cell.metadata.nbgrader.points for cell in checks.values()),
                           f"could not be run: {next(iter(str(error).splitlines()), type(error).__name__)}"])
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.exit(str(error))
