"""The drawings: described for those who do not see them, whole in themselves, and true to what they draw."""
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
DRAWINGS = sorted((ROOT / "images").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.name)
def test_a_drawing_is_described_and_fetches_nothing(path):
    text = path.read_text(encoding="utf-8")
    root = ET.fromstring(text)
    told = " ".join(node.text for tag in ("title", "desc") if (node := root.find(SVG + tag)) is not None)
    assert root.get("role") == "img" and len(told.split()) >= 15
    assert root.get("viewBox") and not re.search(r"<script|<foreignObject|(?:href|src)=[\"'](?!#)|@import|url\((?!#)", text)


# A GPT on one sheet

CODE = {      # what stands in the lines of model.py that the sheet names
    "1": "self.tok_emb(in_idx) + self.pos_emb(positions)", "2": "for block, layer_cache in", "3": "x + self.drop(self.att(",
    "4": "nn.LayerNorm(", "5": "self.qkv(x).chunk(3", "6": "F.scaled_dot_product_attention(q, k, v", "7": "is_causal=",
    "8": "self.out_proj(heads.", "9": "self.fc_out(F.gelu(self.fc_in(x)", "10": "self.out_head(self.final_norm(x))",
}


def sheet():
    """The rows of the sheet's table, (no., part, sentence, gives, lines), and the whole page as text."""
    page = "\n".join(cell.source for cell in nbformat.read(ROOT / "notebooks" / "00b_gpt_sheet.ipynb", 4).cells)
    return [row.strip("| ").split(" | ") for row in re.findall(r"^\| \d+ .+$", page, flags=re.MULTILINE)], page


def lines_of_model(told):
    """The source in lines told as "53", "54–55" or "70, 72"."""
    lines = (ROOT / "gpt_helpers" / "model.py").read_text(encoding="utf-8").splitlines()
    spans = [re.split("–", span) for span in re.split(", | and ", told)]
    return "\n".join(line for span in spans for line in lines[int(span[0]) - 1 : int(span[-1])])


def test_the_sheets_numbers_are_those_of_its_table():
    drawn = re.findall(r"<text[^>]*>(\d+)</text>", (ROOT / "images" / "gpt_sheet.svg").read_text(encoding="utf-8"))
    assert drawn == [row[0] for row in sheet()[0]] == list(CODE)


def test_the_sheet_names_the_lines_of_the_model():
    """When the model has changed: give the sheet's table, in notebooks/00b_gpt_sheet.ipynb, the new lines."""
    rows, page = sheet()
    assert {row[0]: CODE[row[0]] in lines_of_model(row[-1]) for row in rows} == dict.fromkeys(CODE, True)
    for line in re.search(r"Dropout, .* in lines (.+)\.", page).group(1).replace(" and ", ", ").split(", "):
        assert "drop" in lines_of_model(line)
