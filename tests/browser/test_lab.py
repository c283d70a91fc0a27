"""The pages in JupyterLab, as a student sees them."""
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from opened import SCREENSHOTS, Opened

LESSONS = ["00_start_here", "00b_gpt_sheet", "01_split", "02_loss", "03_backprop", "04_adamw", "05_training_loop"]
EXERCISES = ["01_split", "02_loss", "03_backprop", "04_adamw", "05_training_loop", "06_stop_and_resume", "07_gpt2_124m",
             "09_diagnosis"]


def outline(opened):
    """What JupyterLab's table of contents lists."""
    opened.page.evaluate("window.jupyterapp.commands.execute('toc:show-panel')")
    entries = opened.page.locator(".jp-TableOfContents-tree .jp-tocItem-content")
    entries.first.wait_for()
    return [text.strip() for text in entries.all_inner_texts()]


def headings(opened):
    """The headings that a notebook has."""
    return [line.lstrip("# ").replace("`", "") for cell in opened.stored.cells if cell.cell_type == "markdown"
            for line in cell.source.splitlines() if line.startswith("#")]


def test_jupyterlab_opens_on_the_start_page_and_asks_no_question(page, lab):
    page.goto(lab.url, wait_until="domcontentloaded")
    page.locator(".jp-NotebookPanel:visible").get_by_role("heading", name="Start here").wait_for()
    page.wait_for_timeout(3000)
    assert page.locator(".jp-Dialog, .Toastify__toast").count() == 0
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "start.png")


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_and_everything_on_it_is_there(page, lab, name):
    with Opened(page, lab, f"notebooks/{name}.ipynb") as opened:
        opened.run_all()
        opened.wait_until_run()
        assert list(opened.faults()) == []
        assert outline(opened) == headings(opened)
        assert list(opened.take_pictures()) == []


def test_the_answer_to_a_prediction_shows_once_it_is_clicked_or_run(page, lab):
    """Folded, JupyterLab shows the first line of an output, which must not be the answer."""
    with Opened(page, lab, "notebooks/00_start_here.ipynb") as opened:
        cell = opened.cell("whole-turn")
        told, fold = cell.locator(".jp-Cell-outputWrapper"), cell.locator(".jp-OutputPlaceholder")
        fold.wait_for()
        assert "red ink, guess by guess, in feet" in told.inner_text() and not re.search(r"\d", told.inner_text())
        fold.click()
        told.filter(has_text="'-10.5'").wait_for()
    with Opened(page, lab, "notebooks/00_start_here.ipynb") as opened:
        opened.run_all()
        opened.wait_until_run()
        assert "'-10.5'" in opened.cell("whole-turn").locator(".jp-Cell-outputWrapper").inner_text()


def test_lesson_06_is_a_pleasure_to_watch_and_gives_the_same_numbers_again(page, lab):
    with Opened(page, lab, "notebooks/06_stop_and_resume.ipynb") as opened:
        page.evaluate(WATCH, [opened.index("watch")])
        opened.run_all()
        opened.wait_until_run()
        assert list(opened.faults()) == []
        assert outline(opened) == headings(opened)
        seen = page.evaluate("Object.assign(window.seen, {done: true})")
        assert len(seen["words"]) >= 4 and seen["pictures"] >= 4 and len(seen["lines"]) >= 3, seen      # the stored state is one
        line = opened.cell("watch").locator(".jp-OutputArea-output").first.inner_text()
        assert line.startswith("64 of 64 steps") and " left" not in line
        assert seen["frames"] > 20 and seen["collapsed"] == 0, "the plot flickers: the page moved while it was drawn anew"
        opened.cell("watch").locator(".jp-OutputArea").evaluate("node => node.scrollIntoView()")
        page.screenshot(path=SCREENSHOTS / "watching.png")      # a copy of it is in the README
        assert list(opened.take_pictures()) == []
        first = opened.texts()
        opened.run_all(restart=True)
        opened.wait_until_run()
        assert opened.texts() == first


# In every frame while the cell runs: which words, lines and pictures it shows, and whether its plot keeps its height.
WATCH = """([index]) => {
    const seen = window.seen = {words: [], lines: [], pictures: 0, frames: 0, collapsed: 0};
    let shown = '';
    let height = 0;
    const look = () => {
        const cell = document.querySelectorAll('.jp-NotebookPanel .jp-Notebook .jp-Cell')[index];
        const text = kind => cell.querySelector(kind)?.textContent.trim() ?? '';
        const line = text('.jp-RenderedText pre'), words = text('.jp-RenderedMarkdown');
        if (seen.done) return;
        requestAnimationFrame(look);
        if (text('.jp-InputPrompt') !== '[*]:') return;
        if (/ of \\d+ steps/.test(line) && seen.lines.at(-1) !== line) seen.lines.push(line);
        if (words && seen.words.at(-1) !== words) seen.words.push(words);
        const now = cell.querySelector('.jp-RenderedImage')?.offsetHeight ?? 0;
        const source = cell.querySelector('.jp-RenderedImage img')?.src ?? shown;
        seen.pictures += source !== shown;
        shown = source;
        if (seen.words.length > 2) {      // the first may be the stored one, which makes room for the first of this run
            seen.frames += 1;
            seen.collapsed += now < height;
            height = Math.max(height, now);
        }
    };
    look();
}"""

STOPPED = """
import time

class Hold(Callback):      # until it is stopped, however late the click comes; a training that goes on is not held
    held = not Path("stopped.pt").exists()

    def on_step(self, step, loss):
        while self.held and step == 18:
            time.sleep(0.05)

model, optimizer = from_seed()
history = train_model(
    model, train_loader, val_loader, optimizer, device, num_epochs=4, eval_freq=4, eval_iter=2,
    start_context="Every effort moves you", tokenizer=tokenizer, checkpoint_path="stopped.pt", resume=True,
    callbacks=[Progress(4 * len(train_loader)), LivePlot(), Hold()])
"""


def test_the_stop_button_keeps_the_records_and_resume_goes_on(page, lab):
    notebook = nbformat.read(lab.root / "notebooks/06_stop_and_resume.ipynb", as_version=4)
    cells = {cell.id: cell for cell in notebook.cells}
    notebook.cells = [cells["title"], *(cells[id] for id in ("imports", "device", "split", "from-seed")),
                      new_code_cell(STOPPED, id="stopped"), new_code_cell("print(history.tokens_seen)", id="kept")]
    nbformat.write(notebook, lab.root / "notebooks" / "stopped.ipynb")
    with Opened(page, lab, "notebooks/stopped.ipynb") as opened:
        opened.run_all()
        outputs = opened.cell("stopped").locator(".jp-OutputArea")
        outputs.filter(has_text="Ep 2 (Step 000016)").wait_for()
        page.get_by_role("button", name="Interrupt").click()
        outputs.filter(has_text="by hand.").wait_for()
        step = int(re.search(r"Stopped at step (\d+): by hand\.", outputs.inner_text()).group(1))
        opened.notebook.locator("[data-mime-type='application/vnd.jupyter.error']").first.wait_for(state="detached")
        rows = re.findall(r"Step (\d+)", outputs.inner_text())
        opened.command("Run All Cells")
        outputs.filter(has_text="64 of 64 steps").wait_for()
        opened.cell("kept").locator(".jp-InputPrompt", has_text="[12]:").wait_for()      # the sixth cell, run for the second time
        again = re.findall(r"Step (\d+)", outputs.inner_text())
        assert len(rows) >= 4 and int(again[0]) >= step - 1 and int(again[-1]) == 63, (rows, step, again)
        kept = opened.cell("kept").locator(".jp-OutputArea-output").inner_text()
        assert len(kept.split(",")) == len(rows) + len(again) + 1      # and the one before the first step
        assert page.locator(".jp-Dialog").count() == 0


@pytest.mark.parametrize("name", EXERCISES)
def test_exercises_run_with_every_hint_folded(page, lab, name):
    with Opened(page, lab, f"notebooks/exercises/{name}.ipynb") as opened:
        opened.run_all()
        opened.wait_until_run()
        assert list(opened.faults()) == []
        hints = sum("<details" in cell.source for cell in opened.stored.cells)
        assert hints >= 6 and opened.notebook.locator("details").evaluate_all("all => all.map(d => d.open)") == [False] * hints
        told = [text for text in opened.texts() if "Exercise" in text]      # programs to repair, and numbers, are shown, too
        assert len(told) >= 6 and all("to do" in text for text in told), told
        assert list(opened.take_pictures()) == []


def test_an_exercise_is_answered_with_the_keyboard_alone_first_wrong_then_right(page, lab):
    with Opened(page, lab, "notebooks/exercises/01_split.ipynb") as opened:
        opened.run_all()
        opened.wait_until_run()
        verdict = opened.cell("check-cut-points").locator(".jp-OutputArea-output")
        assert verdict.inner_text().startswith("◦ Exercise 1.1, the cut points: to do")
        page.keyboard.press("Escape")
        for place, told in (("int", "✘"), ("round", "✔")):
            for _ in opened.stored.cells:
                page.keyboard.press("ArrowUp")
            for _ in range(opened.index("cut-points")):
                page.keyboard.press("ArrowDown")
            page.keyboard.press("Enter")
            page.keyboard.press("Control+A")
            body = f"return {place}(train * n), {place}((train + val) * n)"
            page.keyboard.insert_text(f"def cut_points(n, train=0.8, val=0.1): {body}")
            page.keyboard.press("Shift+Enter")
            page.keyboard.press("Shift+Enter")
            verdict.filter(has_not_text="to do" if told == "✘" else "✘").wait_for()
            words = verdict.inner_text()
            assert ("rounded down" in words) == (told == "✘") and words.startswith(f"{told} Exercise 1.1"), words
        hint = opened.cell("cut-points-words").locator("details")
        hint.locator("summary").focus()
        page.keyboard.press("Enter")
        assert hint.evaluate("node => node.open")


@pytest.mark.parametrize(("name", "cell", "words"), [
    ("07_gpt2_124m", "cost-memory", "times the weights"), ("08_enough_text", "floor", "14.683 nats an entry"),
    ("08b_real_text", "look", "Whether this version is a pre-release."), ("09_diagnosis", "past", "a later token changes"),
    ("10_bigger", "first-step", "'wide':")])
def test_a_long_lesson_opens_with_its_results_and_its_first_cells_run(page, lab, name, cell, words):
    with Opened(page, lab, f"notebooks/{name}.ipynb") as opened:
        opened.unfold()
        assert list(opened.faults()) == []
        assert list(opened.take_pictures()) == []
        page.keyboard.press("Escape")
        for _ in range(opened.index(cell) + 1):
            page.keyboard.press("Shift+Enter")
        number = opened.stored.cells[opened.index(cell)].execution_count
        opened.cell(cell).locator(".jp-InputPrompt", has_text=f"[{number}]").wait_for()
        assert words in opened.cell(cell).locator(".jp-OutputArea").inner_text()
        assert list(opened.faults()) == []
