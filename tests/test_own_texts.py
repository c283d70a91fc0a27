"""A lesson takes any text that is long enough: no cell hangs or breaks, and a claim that does not hold there says so in words."""
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import lesson_runner
import pytest
from nbformat import write
from nbformat.v4 import new_code_cell, new_notebook

from gpt_helpers.text import get_tokenizer, load_text, text_to_token_ids

ROOT = Path(__file__).parent.parent
DRAW = random.Random(123)
TEXTS = {
    "sums": "".join(f"{a} + {b} = {a + b}\n" for a in range(40) for b in range(40)),
    "chinese": "".join(DRAW.choices("潮水屋燈塔渡船人海風雨夜鐘聲的了在是不。，", k=5000)),
    "endless-word": "".join(DRAW.choices("abcdefghijklmnopqrstuvwxyz", k=20_000)),
    "one-token": " the" * 6000,
    "documents": "The tide came in.<|endoftext|>" * 900,
    "emoji": "".join(DRAW.choices("😀🌊🚢🔔🏠🌙", k=2000)),
    "punctuation": "".join(DRAW.choices(".,;:!?-()\n", k=12_000)),
    "few-formulas": "$$x_1$$ costs $5, $^{_\n" * 203,
    "long": load_text() * 20,
    "python": Path(random.__file__).read_text(encoding="utf-8"),
}
PLANS = {
    "01_split": list(TEXTS),
    "02_loss": ["one-token", "few-formulas"],
    "03_backprop": ["one-token"],
    "04_adamw": ["one-token"],
}


def run(notebook, texts=(), seconds=600):
    """[text, cell, error, message] of each cell; a cell that never ends is one with the error `Hang`."""
    command = [sys.executable, lesson_runner.__file__, str(notebook), *map(str, texts)]
    try:
        lines = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds, check=True,
                               cwd=ROOT / "notebooks", env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}).stdout
    except subprocess.TimeoutExpired as error:
        lines = error.stdout or b""
        cells, done = lesson_runner.code_cells(notebook), len(lines.splitlines())
        names = [path.stem for path in texts] or [None]
        lines += json.dumps([names[done // len(cells)], cells[done % len(cells)][0], "Hang", ""]).encode()
    return [json.loads(line) for line in lines.splitlines()]


def faults(went):
    """Every error but a claim that explains itself."""
    return [line for line in went if line[2] and not (line[2] == "AssertionError" and len(line[3].split()) >= 5)]


@pytest.mark.slow
@pytest.mark.parametrize("lesson", PLANS)
def test_a_lesson_takes_any_text_or_says_what_does_not_hold_there(lesson, tmp_path):
    paths = [tmp_path / f"{name}.txt" for name in PLANS[lesson]]
    for path in paths:
        path.write_text(TEXTS[path.stem], encoding="utf-8")
    went = run(ROOT / "notebooks" / f"{lesson}.ipynb", paths)
    assert len(went) == len(paths) * len(lesson_runner.code_cells(ROOT / "notebooks" / f"{lesson}.ipynb"))
    assert faults(went) == []


@pytest.mark.parametrize("name", TEXTS)
def test_the_texts_are_as_long_as_the_readme_asks(name):
    assert text_to_token_ids(TEXTS[name], get_tokenizer()).numel() >= 2570


@pytest.mark.slow
def test_a_bare_claim_another_error_and_a_cell_that_never_ends_are_noticed(tmp_path):
    sources = ["assert 1 > 2, 'in this text one is less'", "assert 1 > 2", "assert 1 > 2, 'too short'", "max([])",
               "while True: pass"]
    write(new_notebook(cells=[new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]), tmp_path / "a.ipynb")
    found = faults(run(tmp_path / "a.ipynb", seconds=10))
    assert [(cell, error) for _, cell, error, _ in found] == [
        ("cell-1", "AssertionError"), ("cell-2", "AssertionError"), ("cell-3", "ValueError"), ("cell-4", "Hang")]
