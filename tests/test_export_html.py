"""Notebooks as pages: formulas are MathML, and a page is written wholly or not at all. What it looks like: tests/browser."""
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import export_html
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ONE = {"msup": 2, "msub": 2, "mfrac": 2, "munder": 2, "msubsup": 3, "munderover": 3}


@pytest.mark.parametrize("latex", [r"\tanh' = 1 - \tanh^2", r"\ln_2 x", r"p_v = e^{l_v} / \sum_u e^{l_u}", r"\frac{\ln x}{2}"])
def test_a_formula_is_mathml_whose_parts_are_as_many_as_they_must_be(latex):
    root = ET.fromstring(export_html.formula(latex))
    for node in root.iter():
        tag = node.tag.split("}")[-1]
        assert len(node) == ONE.get(tag, len(node)), ET.tostring(node)


def test_a_functions_name_keeps_its_distance():
    assert '<mi>ln</mi><mspace width="0.17em"/><mi>V</mi>' in export_html.formula(r"\ln V")


def test_an_underscore_in_words_is_one():
    assert "<mtext>max_norm</mtext>" in export_html.formula(r"g > \text{max\_norm}")


def write(path, source):
    nbformat.write(new_notebook(cells=[new_markdown_cell(source, id="only")]), path)


def test_a_page_has_the_title_of_its_notebook_and_links_to_pages(tmp_path):
    write(tmp_path / "one.ipynb", "# One & only\n\n[two](two.ipynb), [part](two.ipynb#part)")
    export_html.export([tmp_path / "one.ipynb"], tmp_path / "new", tmp_path)
    page = (tmp_path / "new" / "one.html").read_text(encoding="utf-8")
    assert "<title>One &amp; only</title>" in page and 'href="two.html"' in page and 'href="two.html#part"' in page
    assert "src=" not in page and "@import" not in page      # nothing that would be fetched


@pytest.mark.parametrize(("hidden", "word", "where"), [("outputs_hidden", "The answer", "42</pre>"),
                                                       ("source_hidden", "The code", "draw</span>")])
def test_what_a_cell_folds_is_folded_on_the_page(tmp_path, hidden, word, where):
    answer = [new_output("execute_result", {"text/plain": "42"}, execution_count=1)]
    cells = [new_code_cell("draw", id="folded", outputs=answer, metadata={"jupyter": {hidden: True}}),
             new_code_cell("draw", id="open", outputs=answer)]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# One", id="title"), *cells]), tmp_path / "one.ipynb")
    page = export_html.page_of(tmp_path / "one.ipynb")
    [folded] = re.findall(r"<details.*?</details>", page, flags=re.DOTALL)
    assert f"<summary>{word}</summary>" in folded and where in folded
    assert page.count("42</pre>") == page.count("draw</span>") == 2 and ("42</pre>" in folded) != ("draw</span>" in folded)


def test_a_page_whose_picture_is_missing_is_named_and_nothing_is_written(tmp_path):
    write(tmp_path / "one.ipynb", "# One")
    write(tmp_path / "two.ipynb", "# Two\n\n![A picture of two](../images/two.svg)")
    (tmp_path / "three.ipynb").write_text("{}")
    for broken, words in (("two", r"two\.ipynb cannot be exported: there is no picture"), ("three", r"three\.ipynb")):
        with pytest.raises(ValueError, match=words):
            export_html.export([tmp_path / "one.ipynb", tmp_path / f"{broken}.ipynb"], tmp_path / "new", tmp_path)
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fills_leaves_no_half_page(tmp_path, monkeypatch):
    write(tmp_path / "one.ipynb", "# One")

    def half(self, text, **options):
        self.write_bytes(text[:100].encode())
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match=r"one\.html could not be written"):
        export_html.export([tmp_path / "one.ipynb"], tmp_path / "new", tmp_path)
    assert list((tmp_path / "new").iterdir()) == []
