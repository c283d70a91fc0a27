"""The Clerk, the machine of the story that foretells the tide: its twelve wheels, and a sea for it to learn from.

Source of the speeds: Paul Schureman, "Manual of Harmonic Analysis and Prediction of Tides", 1940. How much each wheel has to say
at Harrow Point is made up, as the place is.
"""
from collections.abc import Mapping

import torch

from gpt_helpers.plot import PALETTE, DescribedFigure, label_lines, new_axes

WHEELS = {      # degrees an hour; behind each the constituent's usual name
    "Moon": 28.9841042,             # M2
    "Sun": 30.0,                    # S2
    "Elder": 28.4397295,            # N2
    "Younger": 30.0821373,          # K2
    "Limper": 15.0410686,           # K1
    "Widow": 13.9430356,            # O1
    "First Cousin": 14.9589314,     # P1
    "Second Cousin": 13.3986609,    # Q1
    "Parson": 29.5284789,           # L2
    "Sleeper": 1.0980331,           # Mf, a fortnight long
    "Thief": 57.9682084,            # M4
    "Hair": 86.9523127,             # M6
}
AMPLITUDES = [5.2, 1.8, 1.0, 0.5, 0.4, 0.35, 0.15, 0.1, 0.25, 0.2, 0.3, 0.1]      # feet, as the sea would have the screws
_WEATHER = 0.3                                                                # feet, a standard deviation


def read_gauge(hours: torch.Tensor) -> torch.Tensor:
    """How high the water stands, in feet above the middle of the stair, at these hours; both (N,).

    The tide, and on top of it weather, which no wheel knows of; the same again when the same hours are asked for.
    """
    speeds = torch.tensor(list(WHEELS.values())).deg2rad()
    weather = torch.randn(len(hours), generator=torch.Generator().manual_seed(123 + int(hours[0])))
    return torch.cos(torch.outer(hours, speeds)) @ torch.tensor(AMPLITUDES) + _WEATHER * weather


def plot_tide(hours: torch.Tensor, sea: torch.Tensor, lines: Mapping[str, torch.Tensor]) -> DescribedFigure:
    """The sea as dots, and up to four lines of the Clerk, {name: feet}, the last one strong; each (N,), as `hours` is.

    The description tells each line's typical error, the root of the mean squared error.
    """
    title = "What the Clerk foretells, and what the sea does"
    figure, axes = new_axes(title, "hours from now", "feet above the middle of the stair", height=3.4)
    axes.plot(hours, sea, ".", color=PALETTE["floor"], markersize=4, label="the sea")
    shades = [PALETTE[name] for name in ("baseline", "val", "accent", "train")][-len(lines):]
    for (name, line), shade in zip(lines.items(), shades, strict=True):
        axes.plot(hours, line, color=shade, linewidth=2.2 if name == [*lines][-1] else 1.2, label=name)
    axes.set(xlim=(0, float(hours[-1])), ylim=(-11, 11))
    label_lines(axes)
    errors = ", ".join(f"{(line - sea).square().mean().sqrt():.2f} {name}" for name, line in lines.items())
    return DescribedFigure(figure, title, f"Over {hours[-1] - hours[0]:.0f} hours the sea moves between {sea.min():.1f} and "
                           f"{sea.max():.1f} feet. Typical error of the Clerk's line, in feet: {errors}.")
