"""Draw how training sharpens a distribution, images/02_sharpening.svg: python scripts/sharpening_picture.py

It trains the model of lesson 05, for longer than the lesson does, which takes a few minutes, and asks it now and then for the
probabilities of what follows "Every effort moves you". The picture moves three times, and then stands still; for readers who
asked for less motion it never moves. All stages stand in its table, so that paper, which catches one moment, has them, too.
"""
import html
from pathlib import Path

import torch

from gpt_helpers.data import create_dataloader, split_tokens
from gpt_helpers.files import write_text
from gpt_helpers.loss import calc_loss_batch
from gpt_helpers.model import GPT_CONFIG_TINY, GPTModel
from gpt_helpers.text import get_tokenizer, load_text, text_to_token_ids

PICTURE = Path(__file__).resolve().parent.parent / "images" / "02_sharpening.svg"
START = "Every effort moves you"
CAPTION = "Probabilities in percent. Choices: how many equally likely tokens would be as hard to guess."
EPOCHS = (0, 1, 6, 12, 18)                                        # the stages that are shown
TOKENS, OTHERS = 6, "all others"                                  # columns: the likeliest tokens, and the rest together
SECONDS, TIMES = 2.5, 3                                           # a stage; how often all of it is played
LEFT, COLUMN, BOTTOM, HIGH = 150, 76, 208, 130                    # the first bar's middle, the next one's; where p = 0, and p = 1


def train(epochs=EPOCHS):
    """The probabilities of the next token after these epochs: (stages, V)."""
    tokenizer = get_tokenizer()
    split, start = split_tokens(text_to_token_ids(load_text(), tokenizer)), text_to_token_ids(START, tokenizer)
    torch.manual_seed(123)
    loader = create_dataloader(split.train, 4, 64, shuffle=True, drop_last=True)
    torch.manual_seed(123)
    model = GPTModel(GPT_CONFIG_TINY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1, fused=True)
    stages = []
    for epoch in range(max(epochs) + 1):
        for inputs, targets in loader if epoch else ():
            optimizer.zero_grad()
            calc_loss_batch(inputs, targets, model.train(), "cpu").backward()
            optimizer.step()
        if epoch in epochs:
            with torch.no_grad():
                stages.append(model.eval()(start)[0, -1].softmax(-1))
    return torch.stack(stages)


def table(probs, epochs=EPOCHS):
    """The names of the columns, and for each stage (epoch, perplexity, percentages, one for each column).

    The likeliest tokens stand in the order in which they have their best time.
    """
    likeliest = probs.max(dim=0).values.topk(TOKENS).indices.tolist()
    likeliest.sort(key=lambda i: probs[:, i].argmax().item())
    shown = torch.cat([probs[:, likeliest], 1 - probs[:, likeliest].sum(dim=1, keepdim=True)], dim=1)
    perplexity = torch.special.entr(probs).sum(dim=1).exp()
    stages = [(epoch, round(choices), [round(100 * p, 1) for p in row])
              for epoch, choices, row in zip(epochs, perplexity.tolist(), shown.tolist(), strict=True)]
    return [name(get_tokenizer().decode([i])) for i in likeliest] + [OTHERS], stages


def name(token):
    """A token as it is shown: quoted, a line end as an arrow."""
    return f"“{token.strip(' ').replace(chr(10), '⏎')}”"


def draw(columns, stages):
    """The whole picture, as SVG."""
    count = len(stages)
    share = 100 / count
    xs = [LEFT + COLUMN * k for k in range(len(columns))]
    last = [height(percent) for percent in stages[-1][2]]
    frames = [" ".join(f"{at:g}% {{ transform: scaleY({height(percents[k]) / last[k]:.4g}); }}"
                       for i, (_, _, percents) in enumerate(stages)
                       for at in (i * share + (0.35 * share if i else 0), (i + 1) * share)) for k in range(len(columns))]
    lit = [f"@keyframes stage{i} {{ 0%, {max(0, i * share - 0.01):g}% {{ opacity: {int(i == 0)}; }} "
           f"{i * share:g}%, {(i + 1) * share - 0.01:g}% {{ opacity: 1; }} "
           f"{min(100, (i + 1) * share):g}%, 100% {{ opacity: {int(i == count - 1)}; }} }}\n"
           f"    .stage{i} {{ animation-name: stage{i}; }}" for i in range(count)]
    moves = "\n    ".join([f"@keyframes bar{k} {{ {frame} }}\n    .bar{k} {{ animation-name: bar{k}; }}"
                           for k, frame in enumerate(frames)] + lit)
    bars = "\n  ".join(f'<rect class="bar bar{k}" x="{x - 20}" y="{BOTTOM - high:.1f}" width="40" height="{high:.1f}"/>'
                       for k, (x, high) in enumerate(zip(xs, last, strict=True)))
    names = "".join(f'<text x="{x}" y="{BOTTOM + 20}">{html.escape(column, quote=False)}</text>'
                    for x, column in zip(xs, columns, strict=True))
    rows = "\n  ".join(row(i, count, xs, *stage) for i, stage in enumerate(stages))
    bottom = BOTTOM + 64 + 27 * count
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {bottom + 12}" role="img" aria-labelledby="t d" font-family="sans-serif"
  font-size="14">
  <title id="t">What follows “{START}”, while a small GPT is trained</title>
  <desc id="d">Moving: a bar for each of the likeliest next tokens, and one for all others together, grow and shrink from stage to
  stage. Standing, a table of the stages: how often the story was read, the probabilities in percent, and the perplexity, as a
  number of choices. {told(columns, stages)}.</desc>
  <style>
    .bar {{ fill: #0060a0; transform-origin: 0 {BOTTOM}px; }} .bar{len(columns) - 1} {{ fill: #8a8a86; }}
    .stage {{ fill: #eadfe9; }}
    @media (prefers-reduced-motion: no-preference) {{
    .bar, .stage {{ animation: {SECONDS * count:g}s linear {TIMES}; }}
    {moves}
    }}
    @media print {{ .bar, .stage {{ animation: none; }} }}
  </style>
  <rect width="720" height="{bottom + 12}" rx="12" fill="#f7f7f4"/>
  <text x="20" y="40" font-size="19" fill="#1a1a1a">{START} <tspan fill="#8a3a78">…</tspan></text>
  <g class="bars">
  {bars}</g>
  <path d="M{xs[0] - 40} {BOTTOM}H{xs[-1] + 40}" stroke="#1a1a1a" stroke-width="1.2"/>
  <g class="columns" text-anchor="middle" fill="#1a1a1a">{names}</g>
  <g fill="#595959"><text x="20" y="{BOTTOM + 20}">read</text><text x="700" y="{BOTTOM + 20}" text-anchor="end">choices</text></g>
  <g class="strip" fill="#1a1a1a">
  {rows}</g>
  <text x="20" y="{bottom}" font-size="13" fill="#595959">{CAPTION}</text>
</svg>
"""


def height(percent):
    """How high a bar is; never quite nothing, so that it can grow."""
    return max(0.5, HIGH * percent / 100)


def row(i, count, xs, epoch, choices, percents):
    """One line of the table of stages. Without motion, the last one alone is lit."""
    y = BOTTOM + 47 + 27 * i
    lit = "" if i == count - 1 else ' opacity="0"'
    numbers = "".join(f'<text x="{x}" y="{y}" text-anchor="middle">{percent:.1f}</text>'
                      for x, percent in zip(xs, percents, strict=True))
    return (f'<rect class="stage stage{i}" x="12" y="{y - 18}" width="696" height="26" rx="6"{lit}/>'
            f'<text x="20" y="{y}">{times(epoch)}</text>{numbers}<text x="700" y="{y}" text-anchor="end">{choices:,}</text>')


def times(epoch):
    return {0: "not yet", 1: "once", 2: "twice"}.get(epoch, f"{epoch} times")


def told(columns, stages):
    """The stages in words: the likeliest token, and the perplexity."""
    likeliest = [max(zip(percents[:-1], columns, strict=False)) for *_, percents in stages]
    return ";\n  ".join(f"{times(epoch)}: {html.escape(column, quote=False)} {percent:.1f} percent, perplexity {choices:,}"
                        for (epoch, choices, _), (percent, column) in zip(stages, likeliest, strict=True))


def main():
    picture = draw(*table(train()))
    write_text(PICTURE, picture)
    print(PICTURE.name)


if __name__ == "__main__":
    main()
