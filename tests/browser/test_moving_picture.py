"""The moving pictures as images on a page: they move, unless the reader's system asks for less motion."""
import pytest
from opened import ROOT


@pytest.mark.parametrize("name", ["00_training.svg", "02_sharpening.svg", "04_valley.svg"])
@pytest.mark.parametrize(("asked", "moves"), [([], True), (["--force-prefers-reduced-motion"], False)])
def test_it_moves_and_stands_still_for_who_asked_for_it(launch, tmp_path, name, asked, moves):
    """The system's own setting: what Playwright emulates on a page does not reach the images on it."""
    picture = f'<img src="{(ROOT / "images" / name).as_uri()}" alt="A picture" width="720">'
    (tmp_path / "page.html").write_text(picture, encoding="utf-8")
    browser = launch(*asked)
    page, seen = browser.new_page(), set()
    page.goto((tmp_path / "page.html").as_uri())
    for _ in range(4):
        page.wait_for_timeout(900)
        seen.add(page.screenshot())
    browser.close()
    assert (len(seen) > 1) == moves
