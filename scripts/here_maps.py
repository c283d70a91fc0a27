"""Draw the "you are here" maps, images/here_01.svg and so on: python scripts/here_maps.py

One line with a stop for each lesson; the stops already passed are filled, and a pin stands over the lesson that is open.
"""
from pathlib import Path

from gpt_helpers.files import write_text

IMAGES = Path(__file__).resolve().parent.parent / "images"
STOPS = {"00": "start", "01": "split", "02": "loss", "03": "gradients", "04": "step", "05": "loop", "06": "resume",
         "07": "GPT-2's size", "08": "enough text", "09": "diagnosis", "10": "bigger"}
SIDE = {"00b": "one sheet", "08b": "real text"}      # stops below the one whose number they share
X = {number: 42 + 63.6 * i for i, number in enumerate(STOPS)}
BLUE, RED, GREY, INK, CARD = "#0060a0", "#b34000", "#8a8a86", "#1a1a1a", "#f7f7f4"


def text(x, y, words, colour=INK, size=11, **options):
    options = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in options.items())
    return f'  <text x="{x:.0f}" y="{y}" fill="{colour}" font-size="{size}"{options}>{words}</text>'


def stop(x, y, number, colour):
    """A circle with a number; filled when it has a colour."""
    return [f'  <circle cx="{x:.0f}" cy="{y}" r="13" fill="{colour or CARD}" stroke="{colour or GREY}" stroke-width="2"/>',
            text(x, y + 4, number, "#ffffff" if colour else INK, 11 if len(number) == 2 else 10)]


def here(place):
    """The map with its pin at a place, as SVG."""
    at = X[place[:2]]
    words = ", ".join(f"{number} {name}" for number, name in (STOPS | SIDE).items())
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 140" role="img" aria-labelledby="t d" font-family="sans-serif" '
        'text-anchor="middle">',
        f'  <title id="t">You are here: {place}, {(STOPS | SIDE)[place]}</title>',
        f'  <desc id="d">The way through the lessons as stops on a line: {words}. From 05 an arc leads back to 02: again and '
        f'again. The pin is at {place}.</desc>',
        f'  <rect width="720" height="140" rx="12" fill="{CARD}"/>',
        f'  <path d="M{X["05"]:.0f} 49 C{X["05"] - 10:.0f} 12 {X["02"] + 10:.0f} 12 {X["02"]:.0f} 42" fill="none" '
        f'stroke="{GREY}" stroke-width="2" stroke-dasharray="5 4"/>',
        f'  <path d="M{X["02"]:.0f} 49 l-3 -11 l9 3 z" fill="{GREY}"/>',
        f'  <path d="M{X["00"]:.0f} 64 H{X["10"]:.0f}" stroke="{GREY}" stroke-width="3"/>',
        f'  <path d="M{X["00"]:.0f} 64 H{at:.0f}" stroke="{BLUE}" stroke-width="3"/>',
    ]
    for number, name in STOPS.items():
        lines += stop(X[number], 64, number, RED if number == place else BLUE if X[number] <= at else None)
        lines.append(text(X[number], 94, name, RED if number == place else INK))
    for number, name in SIDE.items():
        lines += stop(X[number[:2]] - 14, 118, number, RED if number == place else None)
        lines.append(text(X[number[:2]] + 4, 122, name, RED if number == place else INK, text_anchor="start"))
    if place in STOPS:
        lines += [f'  <path d="M{at:.0f} 49 c-4 -8 -9 -12 -9 -20 a9 9 0 0 1 18 0 c0 8 -5 12 -9 20 z" fill="{RED}"/>',
                  f'  <circle cx="{at:.0f}" cy="29" r="3.5" fill="{CARD}"/>']
    return "\n".join([*lines, "</svg>", ""])


def main():
    for place in STOPS | SIDE:
        write_text(IMAGES / f"here_{place}.svg", here(place))


if __name__ == "__main__":
    main()
