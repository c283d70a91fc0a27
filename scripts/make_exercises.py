"""Make notebooks/exercises/ from notebooks/solutions/: python scripts/make_exercises.py

The solutions are removed by nbgrader's own preprocessor, so that a teacher who uses nbgrader hands out the same
notebooks. Outputs come from running them: every exercise says "to do".
"""
import copy
import sys
from pathlib import Path

import nbformat
import store_outputs
from nbgrader.preprocessors import ClearSolutions
from writable_home import use_a_writable_home

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


def main():
    use_a_writable_home()
    if not (solutions := sorted(SOLUTIONS.glob("[0-9]*.ipynb"))):
        sys.exit(f"there are no notebooks in {SOLUTIONS}, from which the exercises are made: get the whole project")
    EXERCISES.mkdir(exist_ok=True)
    for path in solutions:
        notebook = exercises_of(nbformat.read(path, as_version=4))
        store_outputs.store(notebook, EXERCISES / path.name)
        print(f"exercises/{path.name}")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(str(error))
