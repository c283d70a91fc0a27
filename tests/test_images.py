"""The drawings: described for those who do not see them, whole in themselves, and true to what they draw."""
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import clerk_picture
import here_maps
import moving_picture
import nbformat
import pytest
import sharpening_picture
import torch

from gpt_helpers.lessons.clerk import AMPLITUDES, WHEELS

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
    "4": "(self.norm1(x)", "5": "self.qkv(x).chunk(3", "6": "part.unflatten(-1, (self.n_heads",
    "7": "F.scaled_dot_product_attention(q, k, v", "8": "is_causal=", "9": "self.out_proj(heads.",
    "10": "self.fc_out(F.gelu(self.fc_in(x)", "11": "self.out_head(self.final_norm(x))",
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


# The moving picture of a training

PICTURE = moving_picture.PICTURE.read_text(encoding="utf-8")


def test_the_moving_picture_is_the_one_that_its_script_draws_of_the_stored_lesson():
    """When lesson 05 was stored anew: python scripts/moving_picture.py."""
    assert moving_picture.draw(*moving_picture.stored()) == PICTURE


def test_the_stages_of_the_moving_picture_are_those_of_the_run_in_lesson_05():
    """Read off the strip, and looked up in what the lesson printed."""
    cells = nbformat.read(moving_picture.LESSON, 4).cells
    told = "".join(output.text for cell in cells for output in cell.get("outputs", []) if output.output_type == "stream")
    texts = [text.text for text in ET.fromstring(PICTURE).find(f".//{SVG}g[@class='strip']").iter(f"{SVG}text")]
    stages = list(zip(*[iter(texts)] * 4, strict=True))
    assert [name for name, *_ in stages] == ["not yet", "once", "4 times", "5 times", "8 times"]
    for name, *losses, sample in stages:
        epoch = {"not yet": "untrained", "once": "Ep 1"}.get(name, f"Ep {name[0]}")
        lines = re.findall(rf"^{epoch}\W.*?([\d.]+), .*?([\d.]+)$", told, flags=re.MULTILINE)
        assert losses == [f"{float(loss):.2f}" for loss in lines[-1]]
        if epoch != "untrained":
            written = re.search(rf"^{epoch} .*\nEvery effort moves you(.*)$", told, flags=re.MULTILINE).group(1)
            assert " ".join(written.split()).startswith(sample.removeprefix("… ").removesuffix(" …"))


def test_the_curves_of_the_moving_picture_pass_through_every_row_of_the_run():
    """Its heights are the losses, up to where 0 lies and how long a nat is."""
    rows, _ = moving_picture.stored()
    for name, losses in (("val", [row[3] for row in rows]), ("train", [row[2] for row in rows])):
        points = ET.fromstring(PICTURE).find(f".//{SVG}polyline[@class='{name}']").get("points").split()
        heights = [float(point.split(",")[1]) for point in points]
        nat = (heights[-1] - heights[0]) / (losses[-1] - losses[0])
        assert [heights[0] + nat * (loss - losses[0]) for loss in losses] == pytest.approx(heights, abs=0.1)


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.name)
def test_a_drawing_moves_only_for_who_wants_motion_and_comes_to_rest(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"<animate|<set\b|infinite", text)
    asked = re.search(r"@media \(prefers-reduced-motion: no-preference\) \{(.*)\n    \}", text, flags=re.DOTALL)
    moving = re.findall(r"(?:animation|transition)[\w-]*: (?!none)", text)
    assert len(moving) == len(re.findall(r"(?:animation|transition)[\w-]*: (?!none)", asked.group(1) if asked else ""))


def test_the_strip_of_stages_stands_still_so_that_paper_has_all_of_it():
    strip = ET.fromstring(PICTURE).find(f".//{SVG}g[@class='strip']")
    texts = list(strip.iter(f"{SVG}text"))
    assert len(texts) == 20 and not any(text.get("class") or text.get("opacity") for text in texts)


# The Clerk at work

def test_the_picture_of_the_clerk_is_the_one_that_its_script_draws():
    assert clerk_picture.draw() == clerk_picture.PICTURE.read_text(encoding="utf-8")


def test_the_clerks_pen_draws_the_sum_of_its_wheels():
    """The curve on the paper, the newest hour at the pen, against the wheels turned by PyTorch."""
    points = ET.parse(clerk_picture.PICTURE).getroot().find(f".//{SVG}polyline").get("points").split()
    hours = torch.linspace(-clerk_picture.HOURS, clerk_picture.HOURS, len(points))
    tide = torch.cos(torch.outer(hours, torch.tensor(list(WHEELS.values())).deg2rad())) @ torch.tensor(AMPLITUDES)
    drawn = torch.tensor([float(point.split(",")[1]) for point in points])
    assert torch.allclose((clerk_picture.MIDDLE - drawn) / clerk_picture.FOOT, tide, atol=0.02)
    assert float(points[-1].split(",")[0]) == clerk_picture.PEN


# You are here

@pytest.mark.parametrize("place", [*here_maps.STOPS, *here_maps.SIDE])
def test_a_map_is_what_its_script_draws(place):
    assert (ROOT / "images" / f"here_{place}.svg").read_text(encoding="utf-8") == here_maps.here(place)


# The distribution after "Every effort moves you"

SHARPENING = sharpening_picture.PICTURE.read_text(encoding="utf-8")


def sharpening():
    """The columns and stages, as the picture's table tells them."""
    parts = {part.get("class"): part for part in ET.fromstring(SHARPENING).iter(f"{SVG}g")}
    columns = [text.text for text in parts["columns"]]
    texts = iter([text.text for text in parts["strip"].iter(f"{SVG}text")])
    rows = list(zip(*[texts] * (len(columns) + 2), strict=True))
    assert [name for name, *_ in rows] == [sharpening_picture.times(epoch) for epoch in sharpening_picture.EPOCHS]
    return columns, [(epoch, int(choices.replace(",", "")), [float(percent) for percent in percents])
                     for epoch, (_, *percents, choices) in zip(sharpening_picture.EPOCHS, rows, strict=True)]


def test_the_sharpening_bars_move_from_row_to_row_of_their_table():
    assert sharpening_picture.draw(*sharpening()) == SHARPENING


def test_every_row_of_the_sharpening_table_is_a_whole_distribution():
    _, stages = sharpening()
    assert [sum(percents) for *_, percents in stages] == pytest.approx([100] * len(stages), abs=0.5)


@pytest.mark.slow
def test_a_training_sharpens_as_the_picture_shows():
    """The first two stages; on other processors dropout draws other numbers, so that the second may differ a little."""
    columns, drawn = sharpening()
    names, measured = sharpening_picture.table(sharpening_picture.train(epochs=(0, 1)), epochs=(0, 1))
    assert measured[0][1] == pytest.approx(drawn[0][1], rel=0.001) and measured[1][1] == pytest.approx(drawn[1][1], rel=0.5)
    favourites = {words[stage[2].index(max(stage[2][:-1]))] for words, stage in ((names, measured[1]), (columns, drawn[1]))}
    assert len(favourites) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_page_says_where_one_is(path):
    first = nbformat.read(path, 4).cells[0].source
    assert re.findall(r"!\[You are here: .+\]\(\.\./images/here_(\w+)\.svg\)", first) == [path.stem.partition("_")[0]]
