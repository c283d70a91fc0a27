"""The gate: what a stored notebook may and may not contain."""
import re
from pathlib import Path
from statistics import median

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}}
TAGS = re.compile(r"device-dependent|nbval-ignore-output|nbval-(rtol|atol)=[\d.e-]+|truth=-?[\d.e+-]+")
FOLDED = [("code", {"outputs_hidden": True}), ("code", {"source_hidden": True})]      # the answer to a Predict; code that draws
NBGRADER = {"grade", "grade_id", "locked", "points", "schema_version", "solution", "task"}
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|usr|Users|work|var|mnt|opt)/|\b[A-Z]:\\\\?\w"
                     r"|site-packages|\w*Warning\b|\bnan\b")


def faults(notebook, folder):
    """Everything in a notebook that a reader should not meet, a line each."""
    if notebook.metadata != METADATA:
        yield f"notebook metadata {sorted(notebook.metadata)}: run scripts/store_outputs.py"
    ids = [cell.id for cell in notebook.cells]
    yield from (f"cell id {id!r} is used twice" for id in sorted({id for id in ids if ids.count(id) > 1}))
    levels, count = [0], 0
    for cell in notebook.cells:
        count += cell.cell_type == "code"
        yield from (f"{cell.id}: {fault}" for fault in cell_faults(cell, count, levels, folder))


def cell_faults(cell, count, levels, folder):
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", cell.id):
        yield "the id is not made of words"
    if set(cell.metadata) - {"tags", "nbgrader", "jupyter"}:
        yield f"metadata {sorted(cell.metadata)}"
    if "jupyter" in cell.metadata and (cell.cell_type, dict(cell.metadata.jupyter)) not in FOLDED:
        yield f"folded by {dict(cell.metadata.jupyter)}"
    if cell.metadata.get("jupyter", {}).get("outputs_hidden") and re.search(r"\d", first_line(cell.outputs)):
        yield f"the fold would show {first_line(cell.outputs)!r}: print a line of words before the answer"
    if "nbgrader" in cell.metadata and (folder.name not in ("solutions", "exercises") or set(cell.metadata.nbgrader) - NBGRADER
                                        or cell.metadata.nbgrader.get("grade_id") != cell.id):
        yield f"nbgrader's metadata {dict(cell.metadata.nbgrader)}"
    yield from (f"unknown tag {tag!r}" for tag in cell.metadata.get("tags", []) if not TAGS.fullmatch(tag))
    guessed = "\nguess = None" in f"\n{cell.source}"
    if any(tag.startswith("truth=") for tag in cell.metadata.get("tags", [])) and not guessed:
        yield "a truth, but no guess"
    if guessed and any("None" in shown(output) for output in cell.outputs):
        yield "an output shows a guess that nobody has made"
    if not cell.source.strip():
        yield "nothing in it"
    if cell.cell_type == "code":
        if cell.execution_count != count:
            yield f"execution count {cell.execution_count}, expected {count}"
        if cell.source.rstrip().endswith(";"):
            yield "a semicolon hides the value from a reader, and not from nbval"
        yield from output_faults(cell.outputs)
        return
    text = re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL)
    for marks in re.findall(r"^(#+) ", text, flags=re.MULTILINE):
        if len(marks) > levels[-1] + 1 or (len(marks) == 1) != (levels == [0]):
            yield f"heading of level {len(marks)} after level {levels[-1]}"
        levels.append(len(marks))
    for alt, target in re.findall(r"!\[(.*?)\]\((.*?)\)", text):
        if len(alt.split()) < 3:
            yield f"picture {target} has alt text {alt!r}"
        if not (folder / target).is_file():
            yield f"picture {target} is not in the project"
    if re.search(r"<img|<script|<iframe", text):
        yield "HTML where Markdown would do"


def shown(output):
    """The words of an output."""
    return output.get("text") or output.get("data", {}).get("text/plain", "")


def first_line(outputs):
    """What JupyterLab shows of folded outputs: the first line of the first one."""
    data = outputs[0].get("data", outputs[0]) if outputs else {}
    kinds = ("text/html", "image/svg+xml", "text/markdown", "text/plain", "text")
    return next((data[kind].strip().partition("\n")[0] for kind in kinds if kind in data), "")


def output_faults(outputs):
    for i, output in enumerate(outputs):
        if output.output_type == "error":
            yield f"stored error {output.ename}"
            continue
        if output.get("name") == "stderr":
            yield "stderr"
        data = output.get("data", {})
        if any("widget" in kind for kind in data):
            yield "widget state"
        text = "".join(v for kind, v in data.items() if kind.startswith("text/")) + output.get("text", "")
        text = re.sub(r"^Stopped at step .*", "", text, flags=re.MULTILINE)      # where a lesson shows a loss that is no number
        if found := MACHINE.search(text):
            yield f"output with {found.group()!r}"
        if "image/png" in data:
            words = data.get("text/plain", "")
            if len(words.split()) < 5 or words.startswith("<"):
                yield "figure without a description"
            if len(output.metadata.get("image/png", {}).get("alt", "").split()) < 3:
                yield "figure without alt text"
            if not any(words in other.get("data", {}).get("text/markdown", "") for other in outputs[i + 1:]):
                yield "figure without its description under it"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_stored_notebook_is_clean(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert list(faults(notebook, path.parent)) == []


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.parent.name == "notebooks"], ids=lambda path: path.name)
def test_a_lesson_goes_in_small_steps(path):
    """Lines that are not blank; what is longer is the lesson itself, and the rest has a home in `gpt_helpers`."""
    cells = nbformat.read(path, as_version=nbformat.NO_CONVERT).cells
    lines = [sum(map(bool, map(str.strip, cell.source.splitlines()))) for cell in cells if cell.cell_type == "code"]
    assert len(cells) <= 45 and median(lines) <= 5 and max(lines) <= 25


def test_there_are_notebooks_to_check():
    assert {"05_training_loop.ipynb", "06_stop_and_resume.ipynb", "07_gpt2_124m.ipynb"} <= {path.name for path in NOTEBOOKS}


# The gate notices: each fault put into a clean notebook on purpose.

FIGURE = {"image/png": "iVBORw0KGgo=", "text/plain": "A line that rises from 0 to 1."}


def clean():
    return new_notebook(metadata=METADATA, cells=[
        new_markdown_cell("# Title", id="title"),
        new_code_cell("figure", id="figure", execution_count=1, outputs=[
            new_output("display_data", dict(FIGURE), metadata={"image/png": {"alt": "A rising line"}}),
            new_output("display_data", {"text/markdown": "*A line that rises from 0 to 1.*"})]),
        new_code_cell("print(1)", id="print", execution_count=2, outputs=[new_output("stream", text="1\n")])])


def test_a_clean_notebook_has_no_faults(tmp_path):
    assert list(faults(clean(), tmp_path)) == []


@pytest.mark.parametrize(("spoil", "fault"), [
    (lambda nb: nb.metadata.update(widgets={}), "notebook metadata"),
    (lambda nb: nb.metadata.language_info.update(version="3.11.7"), "notebook metadata"),
    (lambda nb: nb.cells[1].update(id="print"), "used twice"),
    (lambda nb: nb.cells[1].update(id="7f3A"), "not made of words"),
    (lambda nb: nb.cells[2].update(source=" "), "nothing in it"),
    (lambda nb: nb.cells[2].metadata.update(nbgrader=nbformat.from_dict({"grade_id": "print"})), "nbgrader's metadata"),
    (lambda nb: nb.cells[2].update(source="print(1);"), "a semicolon hides the value"),
    (lambda nb: nb.cells[2].update(execution_count=3), "execution count 3, expected 2"),
    (lambda nb: nb.cells[2].update(execution_count=None), "execution count None"),
    (lambda nb: nb.cells[2].metadata.update(collapsed=True), "metadata ['collapsed']"),
    (lambda nb: nb.cells[2].metadata.update(truth=1), "metadata ['truth']"),
    (lambda nb: nb.cells[2].metadata.update(tags=["truth=1"]), "a truth, but no guess"),
    (lambda nb: nb.cells[2].update(source="guess = None", outputs=[new_output("stream", text="None\n")]), "guess that nobody"),
    (lambda nb: nb.cells[2].metadata.update(jupyter=nbformat.from_dict({"outputs_hidden": False})), "folded by"),
    (lambda nb: nb.cells[2].metadata.update(jupyter=nbformat.from_dict({"outputs_hidden": True})), "the fold would show '1'"),
    (lambda nb: nb.cells[1].metadata.update(jupyter=nbformat.from_dict({"outputs_hidden": True})), "would show 'A line"),
    (lambda nb: nb.cells[0].metadata.update(jupyter=nbformat.from_dict({"source_hidden": True})), "folded by"),
    (lambda nb: nb.cells[2].metadata.update(tags=["skip-me"]), "unknown tag 'skip-me'"),
    (lambda nb: nb.cells[2].outputs[0].update(name="stderr"), "stderr"),
    (lambda nb: nb.cells[2].outputs[0].update(text="in /root/.venv/lib"), "output with '/root/'"),
    (lambda nb: nb.cells[2].outputs[0].update(text="C:\\Users\\me"), "output with 'C:"),
    (lambda nb: nb.cells[2].outputs[0].update(text="UserWarning: x"), "output with 'UserWarning'"),
    (lambda nb: nb.cells[2].outputs[0].update(text="loss nan"), "output with 'nan'"),
    (lambda nb: nb.cells[2].outputs.append(new_output("error", ename="ValueError")), "stored error ValueError"),
    (lambda nb: nb.cells[1].outputs[0].data.update({"application/vnd.jupyter.widget-view+json": {}}), "widget state"),
    (lambda nb: nb.cells[1].outputs[0].data.update({"text/plain": "<Figure size 700x420 with 1 Axes>"}), "without a description"),
    (lambda nb: nb.cells[1].outputs[0].metadata.clear(), "without alt text"),
    (lambda nb: nb.cells[1].outputs.pop(), "without its description under it"),
    (lambda nb: nb.cells[0].update(source="## Title"), "heading of level 2"),
    (lambda nb: nb.cells[0].update(source="# Title\n\n### Detail"), "heading of level 3 after level 1"),
    (lambda nb: nb.cells[0].update(source="# Title\n\n# Another"), "heading of level 1"),
    (lambda nb: nb.cells[0].update(source="# Title\n\n![x](a.svg)"), "alt text 'x'"),
    (lambda nb: nb.cells[0].update(source="# Title\n\n![a good text](a.svg)"), "a.svg is not in the project"),
    (lambda nb: nb.cells[0].update(source="# Title\n\n![a good text](https://x.org/a.svg)"), "is not in the project"),
    (lambda nb: nb.cells[0].update(source="# Title\n\n<img src='a.svg'>"), "HTML"),
])
def test_the_gate_notices(tmp_path, spoil, fault):
    notebook = nbformat.from_dict(clean())
    spoil(notebook)
    assert any(fault in found for found in faults(notebook, tmp_path)), list(faults(notebook, tmp_path))
