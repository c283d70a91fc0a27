"""Run notebooks from top to bottom and store their outputs: python scripts/store_outputs.py [NOTEBOOK ...]

Without names, it runs all of them. Two runs on one machine give the same bytes. A notebook is written only once
all of it has run, and atomically, so an error or a Ctrl-C leaves the stored one as it was.
"""
import base64
import sys
import time
from pathlib import Path

import nbclient
import nbformat
from writable_home import use_a_writable_home

from gpt_helpers.files import write_atomically, write_text

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
README_CURVES = {"07_gpt2_124m.ipynb": ("curve", ROOT / "images" / "07_curve.png"),      # notebook: cell, copy of its picture
                 "08_enough_text.ipynb": ("train", ROOT / "images" / "08_curve.png")}


def require_fresh(notebook, folder):
    """Raise FileExistsError when a checkpoint of an earlier run is there: the notebook would go on from it."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for checkpoint in sorted(folder.glob("*.pt")):
        if checkpoint.name in code:
            raise FileExistsError(f"{checkpoint.name} is there from an earlier run, and the lesson would go on from it: move it")


def store(notebook, path):
    """Run a notebook in the folder of path, and write it there once all of it has run."""
    require_fresh(notebook, path.parent)
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
    write_text(path, nbformat.writes(notebook) + "\n")


def copy_curve(name):
    """The README shows the loss curves of some lessons: copy this one's out of the stored notebook."""
    cell_id, copy = README_CURVES[name]
    write_atomically(copy, lambda temporary: temporary.write_bytes(picture(NOTEBOOKS / name, cell_id)))


def picture(path, cell_id):
    """The first PNG in the outputs of a cell, as bytes."""
    [cell] = [cell for cell in nbformat.read(path, as_version=4).cells if cell.id == cell_id]
    return base64.b64decode(next(out.data["image/png"] for out in cell.outputs if "image/png" in out.get("data", {})))


def main(names):
    use_a_writable_home()
    paths = [Path(name) for name in names] or sorted(NOTEBOOKS.rglob("[0-9]*.ipynb"))
    for path in paths:
        start = time.perf_counter()
        print(f"{path.name} …", end=" ", flush=True)
        store(nbformat.read(path, as_version=4), path)
        print(f"{time.perf_counter() - start:.0f} s")
        if path.name in README_CURVES:
            copy_curve(path.name)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (nbclient.exceptions.CellExecutionError, OSError, ValueError, nbformat.ValidationError) as error:
        sys.exit(f"{error}\nThis notebook stays as it was.")
    except (KeyboardInterrupt, AssertionError):      # nbclient answers Ctrl-C with a failed assertion
        sys.exit("\nStopped. This notebook stays as it was.")
