"""The Clerk learns the tide as the story says: by hairs, down to the weather, and never by a whole turn."""
import pytest
import torch

from gpt_helpers.lessons.clerk import _WEATHER, AMPLITUDES, WHEELS, plot_tide, read_gauge

SPEEDS = torch.tensor(list(WHEELS.values())).deg2rad()
HOURS = 7.0 * torch.arange(400)


def train(hair, readings=400):
    screws, ledger = torch.zeros(12), []
    for wheel, height in zip(torch.cos(torch.outer(HOURS[:readings], SPEEDS)), read_gauge(HOURS), strict=False):
        red = wheel @ screws - height
        screws -= hair * 2 * red * wheel
        ledger.append(red.item())
    return screws, torch.tensor(ledger)


def test_the_wheels_turn_as_moon_and_sun_do():
    assert list(WHEELS)[:2] == ["Moon", "Sun"] and len(WHEELS) == len(AMPLITUDES) == 12
    assert 360 / WHEELS["Moon"] == pytest.approx(12.42, abs=0.005)      # hours from one high water to the next
    assert 360 / WHEELS["Sun"] == 12


def test_the_same_hours_have_the_same_sea_and_other_hours_other_weather():
    assert torch.equal(read_gauge(HOURS), read_gauge(HOURS))
    now, later = (read_gauge(hours) - torch.cos(torch.outer(hours, SPEEDS)) @ torch.tensor(AMPLITUDES)
                  for hours in (HOURS, HOURS + 3000))
    assert now.std() == pytest.approx(_WEATHER, rel=0.1) and later.std() == pytest.approx(_WEATHER, rel=0.1)
    assert abs(torch.corrcoef(torch.stack([now, later]))[0, 1]) < 0.15


def test_by_hairs_the_screws_come_to_where_the_sea_wants_them_and_the_red_to_the_weather():
    screws, ledger = train(hair=0.02)
    assert (screws - torch.tensor(AMPLITUDES)).abs().max() < 0.25
    assert ledger[-100:].square().mean().sqrt() < 1.3 * _WEATHER < ledger[:100].square().mean().sqrt()


def test_a_whole_turn_diverges():
    _, ledger = train(hair=1, readings=10)
    assert ledger[-1].abs() > 1000 * ledger[0].abs()


def test_the_figure_tells_the_typical_error_of_each_line():
    soon = torch.arange(0, 24.0)
    figure = plot_tide(soon, torch.zeros(24), {"after 0": torch.ones(24), "after 9": torch.full((24,), 0.5)})
    assert repr(figure).endswith("Typical error of the Clerk's line, in feet: 1.00 after 0, 0.50 after 9.")
