"""Run notebooks from top to bottom and store their outputs: python scripts/store_outputs.py [NOTEBOOK ...]

Without names, all of them. Two runs on one machine give the same bytes. A notebook is written only when
all of it ran, by way of a file beside it, so an error or a Ctrl-C leaves the stored one as it was.
"""
import os
import sys
import time
from pathlib import Path

import nbclient
import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def run(path):
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=None, kernel_name="python3", store_widget_state=False, record_timing=False,
        coalesce_streams=True, resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    # Only what does not depend on the machine, the Python version or the editor.
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
    })
    nbformat.validate(notebook)
    draft = path.with_suffix(".draft")
    try:
        nbformat.write(notebook, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def main(names):
    paths = [Path(name) for name in names] or sorted(NOTEBOOKS.rglob("[0-9]*.ipynb"))
    for path in paths:
        start = time.perf_counter()
        print(f"{path.name} …", end=" ", flush=True)
        run(path)
        print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (nbclient.exceptions.CellExecutionError, OSError) as error:
        sys.exit(str(error))
