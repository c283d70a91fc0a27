"""The pages in JupyterLab, as a student sees them."""
import shutil

import pytest
from opened import SCREENSHOTS, Opened

LESSONS = ["00_start_here", "01_split", "02_loss", "03_backprop", "04_adamw"]


def outline(opened):
    """What JupyterLab's table of contents lists."""
    opened.page.evaluate("window.jupyterapp.commands.execute('toc:show-panel')")
    entries = opened.page.locator(".jp-TableOfContents-tree .jp-tocItem-content")
    entries.first.wait_for()
    return [text.strip() for text in entries.all_inner_texts()]


def headings(opened):
    """The headings that a notebook has."""
    return [line.lstrip("# ") for cell in opened.stored.cells if cell.cell_type == "markdown"
            for line in cell.source.splitlines() if line.startswith("#")]


def test_jupyterlab_opens_on_the_start_page_and_asks_no_question(page, lab):
    page.goto(f"{lab.url}/lab", wait_until="domcontentloaded")
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
