"""Draw the Clerk at work, images/00_clerk.svg: python scripts/clerk_picture.py

Its wheels turn at their true paces, and the pen draws their sum, the tide. It moves three times, and then stands still; for
readers who asked for less motion it never moves. The roll of paper always shows the last sixty hours.
"""
import itertools
import math
from pathlib import Path

from gpt_helpers.files import write_text
from gpt_helpers.lessons.clerk import AMPLITUDES, WHEELS

PICTURE = Path(__file__).resolve().parent.parent / "images" / "00_clerk.svg"
HOURS, SECONDS, TIMES = 60, 30, 3      # of tide on the roll, and drawn in one play; how long that takes; how often it is played
PEN, MIDDLE, FOOT, HOUR = 522, 160, 8, 3          # where the pen is, where the sea's middle is, and pixels for a foot and an hour
NAMES = [name.replace("First ", "").replace("Second ", "") for name in WHEELS]
CIRCLES = [(52 + 37 * i, 92 if i % 2 == 0 else 212, 7 + 27 * math.sqrt(height / AMPLITUDES[0]))
           for i, height in enumerate(AMPLITUDES)]


def tide(hour):
    """The sum of the wheels, in feet."""
    return sum(says * math.cos(math.radians(speed * hour)) for says, speed in zip(AMPLITUDES, WHEELS.values(), strict=True))


def wire(circles):
    """An SVG path over the upper wheels and under the lower ones, which take turns: tangents, and arcs round the wheels."""
    path, entry = "", 0.0
    for (x1, y1, r1), (x2, y2, r2) in itertools.pairwise(circles):
        side = 1 if y2 < y1 else -1
        leave = math.atan2(y2 - y1, x2 - x1) + side * math.acos((r1 + r2) / math.hypot(x2 - x1, y2 - y1))
        long = (side * (entry - leave)) % (2 * math.pi) > math.pi
        path += f"A{r1:.1f} {r1:.1f} 0 {int(long)} {int(side < 0)} " if path else "M"
        path += f"{x1 + r1 * math.cos(leave):.1f} {y1 + r1 * math.sin(leave):.1f}"
        path += f"L{x2 - r2 * math.cos(leave):.1f} {y2 - r2 * math.sin(leave):.1f}"
        entry = leave + math.pi
    return path + "A8 8 0 0 1 514 60"


def wheel(name, speed, circle):
    """A wheel, its spoke where it stands after HOURS, and its name."""
    x, y, r = circle
    return (f'<circle cx="{x}" cy="{y}" r="{r:.1f}"/><g transform="translate({x} {y}) rotate({speed * HOURS % 360:.0f})">'
            f'<g class="wheel" style="--from: {-speed * HOURS:.0f}deg"><path d="M0 0V{-r:.1f}"/>'
            f'<circle r="2.5" cy="{3 - r:.1f}"/></g></g>'
            f'<text class="name" x="{x}" y="{46 if y < 150 else 270}">{name}</text>')


def draw():
    """The whole picture, as SVG."""
    drawn = [(PEN + HOUR * (HOURS - half / 2), MIDDLE - FOOT * tide(half / 2)) for half in range(-2 * HOURS, 2 * HOURS + 1)]
    end = drawn[-1][1]
    pen = " ".join(f"{50 * k / HOURS:.4g}% {{ transform: translateY({y - end:.1f}px); }}"
                   for k, (_, y) in enumerate(drawn[2 * HOURS:]))
    wheels = "\n  ".join(wheel(*parts) for parts in zip(NAMES, WHEELS.values(), CIRCLES, strict=True))
    curve = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
    right = PEN + HOUR * HOURS
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 322" role="img" aria-labelledby="t d" font-family="sans-serif"
  font-size="14">
  <title id="t">The Clerk at work</title>
  <desc id="d">Moving: twelve brass wheels turn, each at its own pace; the Moon is the largest, then the Sun, down to the Hair.
  One wire runs over and under all of them to a pen, which goes up and down and draws the tide on a roll of paper. Standing:
  the last sixty hours of tide, high waters of unequal height.</desc>
  <style>
    .name {{ fill: #1a1a1a; stroke: none; }}
    @media (prefers-reduced-motion: no-preference) {{
    .wheel, .pen, .paper {{ animation: turn {SECONDS}s linear {TIMES}; }}
    .pen {{ animation-name: pen; }} .paper {{ animation-name: paper; }}
    @keyframes turn {{ from {{ transform: rotate(var(--from)); }} }}
    @keyframes paper {{ from {{ transform: translateX({-HOUR * HOURS}px); }} }}
    @keyframes pen {{ {pen} }}
    }}
  </style>
  <clipPath id="roll"><rect x="{PEN}" y="70" width="{HOUR * HOURS}" height="180"/></clipPath>
  <clipPath id="below"><rect x="480" y="60" width="{right - 480}" height="200"/></clipPath>
  <rect width="720" height="322" rx="12" fill="#f7f7f4"/>
  <rect x="{PEN}" y="70" width="{HOUR * HOURS}" height="180" fill="#ffffff" stroke="#595959"/>
  <path d="M{PEN} {MIDDLE}H{right}" stroke="#bdbdbd" stroke-dasharray="4 4"/>
  <g clip-path="url(#roll)"><polyline class="paper" points="{curve}" fill="none" stroke="#0060a0" stroke-width="2.5"/></g>
  <g fill="#f3e2b3" stroke="#7a5c12" stroke-width="2" text-anchor="middle">
  {wheels}
  <circle cx="506" cy="60" r="8"/></g>
  <path d="{wire([(16, 236, 0), *CIRCLES, (506, 60, 8)])}" fill="none" stroke="#1a1a1a" stroke-width="1.6"/>
  <g clip-path="url(#below)"><g class="pen"><path d="M514 {end - 300:.1f}V{end:.1f}" stroke="#1a1a1a" stroke-width="1.6"/>
    <path d="M{PEN + 1} {end:.1f}l-12 -6v12z" fill="#b34000"/></g></g>
  <rect x="150" y="286" width="212" height="26" rx="4" fill="#f3e2b3" stroke="#7a5c12"/>
  <text x="256" y="304" text-anchor="middle" fill="#1a1a1a">Every effort moves you.</text>
  <text x="{right}" y="270" text-anchor="end" fill="#595959">the tide, sixty hours of it</text>
</svg>
"""


def main():
    picture = draw()
    write_text(PICTURE, picture)
    print(PICTURE.relative_to(PICTURE.parent.parent))


if __name__ == "__main__":
    main()
