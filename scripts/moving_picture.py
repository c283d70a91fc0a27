"""Draw the training of lesson 05 as a moving picture, images/00_training.svg: python scripts/moving_picture.py

Its losses and samples are those that lesson 05 has stored, so run it again when lesson 05 was stored anew. It moves three
times, and then stands still; for readers who asked for less motion it never moves. At every moment all stages are there to read,
so that paper, which catches one moment, has them all.
"""
import html
import re
import textwrap
from pathlib import Path
from string import Template

import nbformat
import torch

from gpt_helpers.files import write_text
from gpt_helpers.generate import generate_text_simple
from gpt_helpers.model import GPT_CONFIG_TINY, GPTModel
from gpt_helpers.text import get_tokenizer, text_to_token_ids, token_ids_to_text

ROOT = Path(__file__).resolve().parent.parent
LESSON, PICTURE = ROOT / "notebooks" / "05_training_loop.ipynb", ROOT / "images" / "00_training.svg"
TEMPLATE = Path(__file__).with_suffix(".svg")
START = "Every effort moves you"
EPOCHS = (1, 4, 5, 8)                                            # the stages that are shown, after the untrained model
SECONDS, ROUND, TIMES = 4, 2, 3                                  # a stage, a round of the loop; how often all of it is played
LEFT, RIGHT, TOP, BOTTOM, HIGHEST = 420, 640, 84, 244, 12        # the plot: where it lies, and the highest loss


def stored(lesson=LESSON):
    """What lesson 05 printed: ([(epoch, step, train loss, validation loss)], {epoch: sample}); epoch 0 is the untrained model."""
    told = "\n".join(output.text for cell in nbformat.read(lesson, as_version=4).cells
                     for output in cell.get("outputs", []) if output.output_type == "stream")
    [(train, val)] = re.findall(r"^untrained: train ([\d.]+), validation ([\d.]+)$", told, flags=re.MULTILINE)
    rows, samples = [(0, -1, float(train), float(val))], {0: untrained_sample()}
    line = re.compile(rf"^Ep (\d+) \(Step (\d+)\): Train loss ([\d.]+), Val loss ([\d.]+)$|^({START}.*)$", flags=re.MULTILINE)
    for epoch, step, train, val, sample in line.findall(told[told.index("\nEp 1 (Step 000000)"):]):
        if sample:
            samples[rows[-1][0]] = sample
        else:
            rows.append((int(epoch), int(step), float(train), float(val)))
    return rows, samples


def untrained_sample():
    """What lesson 05's model writes before its first step."""
    torch.manual_seed(123)
    model, tokenizer = GPTModel(GPT_CONFIG_TINY).eval(), get_tokenizer()
    with torch.no_grad():
        ids = generate_text_simple(model, text_to_token_ids(START, tokenizer), 20, GPT_CONFIG_TINY["context_length"])
    return token_ids_to_text(ids, tokenizer)


def stages(rows, samples):
    """The stages that are shown: (epoch, its last training and validation loss, what is written after START)."""
    last = {epoch: (train, val) for epoch, _, train, val in rows}
    return [(epoch, *last[epoch], re.sub(r"\s+", " ", samples[epoch].removeprefix(START)).strip()) for epoch in (0, *EPOCHS)]


def draw(rows, samples):
    """The whole picture, as SVG."""
    shown, width = stages(rows, samples), RIGHT - LEFT
    steps_per_epoch = next(step for epoch, step, *_ in rows if epoch == 2)
    place = [(LEFT + width * (step + 1) / steps_per_epoch / EPOCHS[-1], train, val) for _, step, train, val in rows]
    stops = [max(x for (x, *_), (epoch, *_) in zip(place, rows, strict=True) if epoch == stage) for stage, *_ in shown]
    count, end = len(shown), place[-1][0]
    share = 100 / count
    curtain = "".join(f"{at:g}% {{ transform: translateX({x - end:.1f}px); }} " for k, x in enumerate(stops)
                      for at in ((k + 0.35) * share if k else 0, (k + 1) * share - 0.01))
    parts = {
        "seconds": SECONDS * count, "times": TIMES, "rounds": round(SECONDS / ROUND) * count * TIMES, "round": f"{ROUND:g}",
        "quarter": f"{ROUND / 4:g}", "half": f"{ROUND / 2:g}", "rest": f"{3 * ROUND / 4:g}", "curtain": curtain,
        "frames": "\n    ".join(f"@keyframes stage{k} {{ 0%, {max(0, k * share - 0.01):g}% {{ opacity: {int(k == 0)}; }} "
                                f"{k * share:g}%, {(k + 1) * share - 0.01:g}% {{ opacity: 1; }} "
                                f"{min(100, (k + 1) * share):g}%, 100% {{ opacity: {int(k == count - 1)}; }} }}\n"
                                f"    .stage{k} {{ animation-name: stage{k}; }}" for k in range(count)),
        "end": f"{end:.1f}",
        "train": " ".join(f"{x:.1f},{height(train):.1f}" for x, train, _ in place),
        "val": " ".join(f"{x:.1f},{height(val):.1f}" for x, _, val in place),
        "train_end": f"{height(place[-1][1]) + 5:.0f}", "val_end": f"{height(place[-1][2]) + 5:.0f}",
        "epochs": "".join(f'<text x="{LEFT + width * epoch / EPOCHS[-1]:.0f}" y="{BOTTOM + 18}">{epoch}</text>'
                          for epoch in (0, 2, 4, 6, 8)),
        "losses": "".join(f'<text x="{LEFT - 8}" y="{height(loss) + 5:.0f}">{loss}</text>' for loss in (0, 5, 10)),
        "big": "".join(f'<text class="stage stage{k}" x="20" y="44"{still(k, count)}>{START} '
                       f'<tspan fill="#8a3a78">{words(sample, 46)}</tspan></text>\n  ' for k, (*_, sample) in enumerate(shown)),
        "strip": "".join(row(k, count, *stage) for k, stage in enumerate(shown)),
        "told": ";\n  ".join(f"{name(epoch)}: {train:.2f} and {val:.2f}, “{words(sample, 46)}”"
                              for epoch, train, val, sample in shown),
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(parts)


def height(loss):
    """Where a loss lies in the plot."""
    return BOTTOM - (BOTTOM - TOP) * loss / HIGHEST


def words(sample, length):
    """The beginning of a sample, whole words, safe inside SVG."""
    return html.escape(textwrap.shorten(sample, length, placeholder=" …"), quote=False)


def name(epoch):
    return {0: "not yet", 1: "once"}.get(epoch, f"{epoch} times")


def still(k, count):
    """Without motion, the last stage alone is lit."""
    return "" if k == count - 1 else ' opacity="0"'


def row(k, count, epoch, train, val, sample):
    """One line of the strip of stages."""
    y = 344 + 30 * k
    return (f'<rect class="stage stage{k}" x="12" y="{y - 20}" width="696" height="29" rx="6"{still(k, count)}/>\n  '
            f'<text x="20" y="{y}">{name(epoch)}</text><text x="150" y="{y}" text-anchor="end">{train:.2f}</text>'
            f'<text x="222" y="{y}" text-anchor="end">{val:.2f}</text><text x="250" y="{y}">… {words(sample, 56)}</text>\n  ')


def main():
    picture = draw(*stored())
    write_text(PICTURE, picture)
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
