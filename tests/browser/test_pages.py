"""The exported pages, opened from a folder, by readers of all kinds."""
import importlib.util
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from opened import ROOT

NAMES = sorted(str(path.relative_to(ROOT / "notebooks").with_suffix(".html"))
               for path in [*ROOT.glob("notebooks/[0-9]*.ipynb"), *ROOT.glob("notebooks/exercises/[0-9]*.ipynb")])


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The folder that scripts/export_html.py fills."""
    spec = importlib.util.spec_from_file_location("export_html", ROOT / "scripts" / "export_html.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("html")
    script.export([ROOT / "notebooks" / Path(name).with_suffix(".ipynb") for name in NAMES], folder)
    return folder


@pytest.fixture(params=NAMES)
def opened(request, page, pages):
    """One of the pages in a browser."""
    page.goto((pages / request.param).as_uri())
    return page


def test_a_page_shows_its_pictures_and_formulas_and_fits_a_telephone(opened):
    assert opened.locator("img").evaluate_all(
        "all => all.filter(i => !(i.complete && i.naturalWidth > 50 && i.alt.split(' ').length > 2)).length") == 0
    assert not re.search(r"\$[^$]*\\[^$]*\$", opened.locator("main").inner_text()), "a formula was left as LaTeX"
    assert opened.locator("math").evaluate_all("all => all.filter(m => m.textContent.includes('\\\\')).length") == 0
    for width in (1280, 390):
        opened.set_viewport_size({"width": width, "height": 800})
        assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_has_no_fault_that_axe_can_see(opened):
    """Source: axe-core's rules for the Web Content Accessibility Guidelines."""
    found = Axe().run(opened).response["violations"]
    assert [f"{rule['id']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]] == []


def test_links_lead_to_pages_that_are_there(opened, pages):
    for link in opened.locator("a").evaluate_all("all => all.map(a => a.href)"):
        if link.startswith("file:"):
            page, _, part = link.removeprefix(pages.parent.as_uri() + "/").partition("#")
            assert (pages.parent / page).is_file() or (ROOT / page).is_file(), link      # the project's folder holds html/
            assert not part or f'id="{part}"' in (pages.parent / page).read_text(encoding="utf-8"), link


def test_on_paper_nothing_is_cut_off(opened, tmp_path):
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": 700, "height": 1000})      # the width of a page of A4 between its margins, at 96 dpi
    assert opened.evaluate("document.documentElement.scrollWidth") <= 700
    assert opened.locator("pre").evaluate_all("all => all.filter(p => p.scrollWidth > p.clientWidth + 1).length") == 0
    assert opened.locator("details > *:not(summary)").evaluate_all("all => all.filter(n => n.offsetHeight === 0).length") == 0
    opened.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
