"""Moving pictures as images on a page: they move, unless the reader's system asks for less motion."""
import pytest
from opened import ROOT

PAGE = '<img src="{}" alt="A picture" width="720">'


@pytest.mark.parametrize("picture", ["00_training", "04_valley"])
@pytest.mark.parametrize(("asked", "moves"), [([], True), (["--force-prefers-reduced-motion"], False)])
def test_it_moves_and_stands_still_for_who_asked_for_it(launch, tmp_path, picture, asked, moves):
    """The system's own setting: what Playwright emulates on a page does not reach the images on it."""
    (tmp_path / "page.html").write_text(PAGE.format((ROOT / "images" / f"{picture}.svg").as_uri()), encoding="utf-8")
    browser = launch(*asked)
    page, seen = browser.new_page(), set()
    page.goto((tmp_path / "page.html").as_uri())
    for _ in range(4):
        page.wait_for_timeout(700)
        seen.add(page.screenshot())
    browser.close()
    assert (len(seen) > 1) == moves
