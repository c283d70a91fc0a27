"""The pages of the class report in a browser: for everyone, at every width, in both colour schemes, and on paper."""
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from opened import ROOT, SCREENSHOTS

sys.path.append(str(ROOT / "scripts"))
import anonymous
import class_report
import grade
import guesses
import simulated_class
from students import students


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder of a report on a class of 40, with one notebook that could not be graded, and with guesses."""
    lesson = grade.Lesson(grade.read(ROOT / "notebooks" / "solutions" / "02_loss.ipynb"))
    checks = simulated_class.exercises(lesson)
    group, known = simulated_class.draw_class(40, 1, simulated_class.Bank("loss", checks)), anonymous.known()
    people, files = students(Path("in", student.file) for student in group), []
    for (path, person), student in zip(people.items(), group, strict=True):
        rows, codes = [], {}
        for name, answer in zip(lesson.checks, student.answers.values(), strict=True):
            words = "; and ".join(answer.mistakes) or "the result is 2.5, and 3.5 is right"
            rows.append((name, 0, 1, {"right": "✔ right", "to do": "◦ to do", "wrong": f"✘ {words}"}[answer.mark]))
            codes[name] = anonymous.anonymous(answer.source, known)
        files.append(class_report.Graded(path, person, tuple(rows), "", codes))
    files[-1] = files[-1]._replace(rows=(), fault="the file is empty")
    numbers = {"few": [2.0], "many": [1, 2, 2, 2, 3, 5, 40, 1000], "none": [], "below 0": [-3, 0, 2]}
    questions = [guesses.Question(label, label, f"How {label}?", 2, tuple(zip(people.values(), some, strict=False)))
                 for label, some in numbers.items()]
    folder = tmp_path_factory.mktemp("class") / "report"
    class_report.write(class_report.pages_of(files, lesson, "Exercises 02 · The loss", questions), folder)
    return folder


def paths(report):
    """One page of each kind, and the page of a submission that could not be graded."""
    feedback = sorted((report / "feedback").rglob("*.html"))
    return {"report": report / "report.html", "names": report / "names.html", "feedback": feedback[0],
            "fault": next(path for path in feedback if "the file is empty" in path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "names", "feedback", "fault"])
def test_a_page_has_no_fault_that_axe_can_see_and_fits_a_telephone(name, scheme, page, report):
    """Source: axe-core's rules for the Web Content Accessibility Guidelines."""
    page.emulate_media(color_scheme=scheme)
    page.goto(paths(report)[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    assert [f"{rule['id']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]] == []
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"class_{name}_{scheme}.png")


def test_what_to_begin_with_is_seen_without_scrolling(page, report):
    page.goto((report / "report.html").as_uri())
    box = page.locator("section.first").bounding_box()
    assert box["y"] < 100 and box["y"] + box["height"] < 1000
    assert page.locator("section.first pre").count() == 1


def test_on_paper_every_example_is_unfolded_and_nothing_is_cut_off(page, report, tmp_path):
    page.goto((report / "report.html").as_uri())
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert page.locator("details > *:not(summary)").evaluate_all("all => all.filter(n => n.offsetHeight === 0).length") == 0
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000


def test_the_bars_are_as_long_as_their_numbers_say(page, report):
    page.goto((report / "report.html").as_uri())
    for row in page.locator("tr:has(.bar)").all():
        numbers = [int(text) for text in row.locator("td.n").all_inner_texts()]
        widths = row.locator(".bar span").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
        assert [width / sum(widths) for width in widths] == pytest.approx([n / sum(numbers) for n in numbers], abs=0.01)
