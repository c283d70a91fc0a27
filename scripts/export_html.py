"""Export the lessons and exercises as HTML pages: python scripts/export_html.py [FOLDER]   (default: html)

A page contains all it needs, pictures, style and formulas, so it can be read offline and printed. Formulas become MathML,
which browsers draw and screen readers read aloud. Links between notebooks become links between pages. What is
folded in JupyterLab, the answer to a prediction and code that only draws, is folded here, too, and open on paper.
"""
import argparse
import html
import mimetypes
import re
import sys
from base64 import b64encode
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from gpt_helpers.files import write_text

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>
/* Colours of the code with a contrast of at least 4.5 to 1 */
body { --jp-mirror-editor-comment-color: #356a6a; --jp-mirror-editor-keyword-color: #006b00;
       --jp-mirror-editor-operator-color: #8a00d4; --jp-mirror-editor-number-color: #006b00; --jp-content-link-color: #0060a0; }
.jp-RenderedHTMLCommon a:link { text-decoration: underline; }
main { max-width: 60rem; margin: 0 auto; }
details.folded > summary { padding: 0.4em 0; cursor: pointer; font: var(--jp-content-font-size1) var(--jp-content-font-family); }
.jp-Notebook img, .jp-Notebook svg { max-width: 100%; height: auto; }
.highlight pre, .jp-RenderedText pre { white-space: pre-wrap !important; overflow-wrap: anywhere; word-break: normal !important; }
@media (max-width: 480px) { .jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th { padding: 0.3em !important; } }
math { font-size: 1.1em; font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", "Libertinus Math",
       "DejaVu Math TeX Gyre", math; }
math[display="block"] { margin: 0.8em 0; }
@media print {
  .jp-RenderedImage, img, table, blockquote, math[display="block"] { break-inside: avoid; }
  h1, h2, h3 { break-after: avoid; }
  details::details-content { content-visibility: visible; display: block; height: auto; }      /* paper does not unfold */
  body { font-size: 10.5pt; }
  .highlight pre, .jp-RenderedText pre { font-size: 7.5pt !important; orphans: 4; widows: 4; }
  .jp-Cell-outputWrapper { break-before: avoid; }
}
</style>{% endblock %}
{% block input_group %}
{%- if cell.metadata.get("jupyter", {}).source_hidden -%}
<details class="folded"><summary>The code</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{% endblock %}
{% block output_group %}
{%- if cell.metadata.get("jupyter", {}).outputs_hidden -%}
<details class="folded"><summary>The answer</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{% endblock %}
{% block data_png scoped %}
<div class="jp-RenderedImage jp-OutputArea-output">
<img src="data:image/png;base64,{{ output.data['image/png'] }}"
 alt="{{ output.metadata['image/png'].alt | escape_html_keep_quotes }}">
</div>
{% endblock %}
"""


class Page(IPythonRenderer):
    """Markdown to HTML: formulas as MathML, pictures inside the page, links to pages instead of notebooks."""

    def inline_math(self, body):
        return formula(body)

    def block_math(self, body):
        return formula(body, display="block")

    def image(self, text, url, title=None):
        file = Path(self.path) / url
        if not file.is_file():
            raise FileNotFoundError(f"there is no picture {url}")
        picture = b64encode(file.read_bytes()).decode()
        return f'<img src="data:{mimetypes.guess_type(url)[0]};base64,{picture}" alt="{html.escape(text)}">'

    def link(self, text, url, title=None):
        return super().link(text, url.replace(".ipynb", ".html"), title)


def formula(latex, **options):
    """A LaTeX formula as MathML, with the thin space that LaTeX itself puts after a function's name."""
    name = r"(?<!<msup>)(?<!<msub>)(<mi>(?:ln|log|exp|tanh)</mi>)(?!<mo|<mrow><mo)"
    return re.sub(name, r'\1<mspace width="0.17em"/>', convert(latex, **options).replace(r"\_", "_"))


def page_of(path):
    """The page of one notebook, as HTML."""
    notebook = nbformat.read(path, as_version=4)
    page = Page(escape=False, path=str(path.parent), exclude_anchor_links=True)
    exporter = HTMLExporter(raw_template=TEMPLATE, filters={"markdown2html": MarkdownWithMath(renderer=page).render},
                            exclude_input_prompt=True, exclude_output_prompt=True)
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    return exporter.from_notebook_node(notebook, {"metadata": {"name": title}})[0]


def export(paths, folder, base=NOTEBOOKS):
    """Write the pages of these notebooks into a folder, laid out as below `base`; none is written if one cannot be made."""
    pages = {}
    for path in paths:
        try:
            pages[Path(folder, path.relative_to(base)).with_suffix(".html")] = page_of(path)
        except (OSError, ValueError, nbformat.ValidationError) as error:
            raise ValueError(f"{path.name} cannot be exported: {str(error).splitlines()[0]}. Restore it and try again") from None
    for to, text in pages.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        write_text(to, text)
        print(to)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="html", help="where to put the pages")
    export(sorted([*NOTEBOOKS.glob("[0-9]*.ipynb"), *NOTEBOOKS.glob("exercises/[0-9]*.ipynb")]), parser.parse_args().folder)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"{error}. (Each page listed above is complete.)")
