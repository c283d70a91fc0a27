"""Draw lesson 04's valley as a moving picture, images/04_valley.svg: python scripts/valley_picture.py

The paths are those that the lesson computes: its cells are run here, so run it again when they have changed. It moves three
times, and then stands still; for readers who asked for less motion it never moves. The whole paths are there at every moment.
"""
import contextlib
import io
import math
from pathlib import Path

import nbformat
import torch
from matplotlib.figure import Figure

from gpt_helpers.files import write_text
from gpt_helpers.lessons.adamw import COLOURS, LEVELS
from gpt_helpers.plot import PALETTE

ROOT = Path(__file__).resolve().parent.parent
LESSON, PICTURE = ROOT / "notebooks" / "04_adamw.ipynb", ROOT / "images" / "04_valley.svg"
CELLS = ("imports", "toy-data", "push", "average", "rules", "valley")
STAGES = (0, 5, 10, 20, 40)                                       # the steps whose weights stand in the table
SECONDS, TIMES, REST = 14, 3, 0.15                                # a play, how often, and the share of it that stands at the end
LEFT, RIGHT, TOP, BOTTOM = 40, 690, 30, 300                       # where the valley lies in the picture
LABELS = {"SGD": (4, 24), "momentum": (18, -16), "Adam": (46, 5), "AdamW": (-22, 28)}      # beside the ends of the paths
WEST, EAST, SOUTH, NORTH = -2.3, 1.3, -0.8, 1.5                   # and which weights it spans


def lesson():
    """What the lesson's cells define, {name: value}: `paths`, {rule: (steps + 1, 2)}, `toy_loss`, a function of two weights, …"""
    sources, names = {cell.id: cell.source for cell in nbformat.read(LESSON, as_version=4).cells}, {}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in CELLS:
            exec(sources[cell], names)
    return names


def valley():
    """The lesson's ({rule: its path, (steps + 1, 2)}, loss as a function of two weights)."""
    names = lesson()
    return names["paths"], names["toy_loss"]


def place(weights):
    """Where a pair of weights lies in the picture."""
    x, y = map(float, weights)
    return LEFT + (RIGHT - LEFT) * (x - WEST) / (EAST - WEST), BOTTOM - (BOTTOM - TOP) * (y - SOUTH) / (NORTH - SOUTH)


def points(path):
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, path))


def heights(loss):
    """The lines of equal loss."""
    xs, ys = torch.linspace(WEST, EAST, 61, dtype=torch.float64), torch.linspace(SOUTH, NORTH, 61, dtype=torch.float64)
    grid = [[loss(torch.stack([x, y])).item() for x in xs] for y in ys]
    lines = Figure().add_subplot().contour(xs, ys, grid, levels=LEVELS).allsegs
    return "".join(f'<polyline points="{points(line)}"/>' for level in lines for line in level)


def walker(k, name, path):
    """A rule's path, the dots of its steps, and the large dot that walks."""
    colour, (x, y), (dx, dy) = PALETTE[COLOURS[name]], place(path[-1]), LABELS[name]
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in map(place, path))
    return (f'<g stroke="{colour}" fill="none"><polyline class="{name}" points="{points(path)}" stroke-opacity="0.5"/>'
            f'<path d="{dots}" stroke-width="4" stroke-linecap="round" stroke-opacity="0.6"/>'
            f'<circle class="walker walker{k}" cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{colour}" stroke="#ffffff" '
            f'stroke-width="2"/></g><text x="{x + dx:.0f}" y="{y + dy:.0f}" text-anchor="middle" fill="{colour}">{name}</text>')


def walk(k, path):
    """The walker's motion, as shifts from where it ends."""
    (end_x, end_y), share = place(path[-1]), 100 * (1 - REST) / (len(path) - 1)
    shifts = " ".join(f"{share * t:.4g}% {{ transform: translate({x - end_x:.1f}px, {y - end_y:.1f}px); }}"
                      for t, (x, y) in enumerate(map(place, path)))
    return f"@keyframes walk{k} {{ {shifts} }} .walker{k} {{ animation-name: walk{k}; }}"


def light(k):
    """When a column of the table is lit: from its stage to the next one."""
    first, end = (100 * (1 - REST) * step / STAGES[-1] for step in (STAGES[k], (*STAGES, math.inf)[k + 1]))
    frames = {0: 0, first: 1} | ({end: 0} if end < 100 else {100: 1})
    frames = " ".join(f"{at:.4g}% {{ opacity: {opacity}; }}" for at, opacity in frames.items())
    return f"@keyframes light{k} {{ {frames} }} .light{k} {{ animation-name: light{k}; }}"


def table(paths):
    """The rare weight of each rule after some steps; the last column is lit when nothing moves."""
    columns = [330 + 80 * k for k in range(len(STAGES))]
    lit = "".join(f'<rect class="light light{k}" x="{x - 58}" y="334" width="72" height="142" rx="6" fill="#eadfe9" '
                  f'opacity="{int(x == columns[-1])}"/>' for k, x in enumerate(columns))
    rows = [("the rare weight after … steps", "#595959", STAGES)]
    rows += [(name, PALETTE[COLOURS[name]], [minus(f"{path[step, 0]:.2f}") for step in STAGES]) for name, path in paths.items()]
    texts = "".join(f'<text x="40" y="{356 + 27 * i}" fill="{colour}">{name}</text>' + "".join(
        f'<text x="{x}" y="{356 + 27 * i}" text-anchor="end" fill="{colour}">{number}</text>'
        for x, number in zip(columns, numbers, strict=True)) for i, (name, colour, numbers) in enumerate(rows))
    return f'{lit}<g class="strip">{texts}</g>'


def minus(number):
    return number.replace("-", "−")


def draw(paths, loss):
    """The whole picture, as SVG."""
    told = "; ".join(minus(f"{name} {path[10, 0]:.1f}, then {path[-1, 0]:.1f}") for name, path in paths.items())
    start_x, start_y = place(next(iter(paths.values()))[0])
    motion = "\n    ".join([walk(k, path) for k, path in enumerate(paths.values())] + [light(k) for k in range(len(STAGES))])
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 490" role="img" aria-labelledby="t d" font-family="sans-serif"
  font-size="14">
  <title id="t">Four optimizers in a valley</title>
  <desc id="d">A long valley in lines of equal loss; from left to right the rare weight, from bottom to top the common one.
  Moving: four dots walk forty steps each. Standing: their whole paths. SGD drops to the floor and creeps along it, momentum
  swings across it, Adam and AdamW cross it diagonally. The rare weight, −2.0 at the start, after ten steps and in the end:
  {told}.</desc>
  <style>
    @media (prefers-reduced-motion: no-preference) {{
    .walker, .light {{ animation: {SECONDS}s linear {TIMES}; }}
    .light {{ animation-timing-function: step-end; }}
    {motion}
    }}
    @media print {{ .walker, .light {{ animation: none; }} }}
  </style>
  <clipPath id="map"><rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}"/></clipPath>
  <rect width="720" height="490" rx="12" fill="#f7f7f4"/>
  <g clip-path="url(#map)" fill="none" stroke="#c4c4c4">{heights(loss)}</g>
  <g stroke-width="1.5">{"".join(walker(k, name, path) for k, (name, path) in enumerate(paths.items()))}</g>
  <g fill="#595959"><text x="{start_x:.0f}" y="{start_y + 20:.0f}" text-anchor="middle">start</text>
    <text x="{RIGHT}" y="{BOTTOM + 20}" text-anchor="end">the rare weight →</text>
    <text x="{LEFT - 12}" y="{TOP}" text-anchor="end" transform="rotate(-90 {LEFT - 12} {TOP})">the common weight →</text></g>
  {table(paths)}
</svg>
"""


def main():
    picture = draw(*valley())
    write_text(PICTURE, picture)
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
