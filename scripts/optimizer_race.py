"""The long runs of lesson 04: python scripts/optimizer_race.py     ten minutes on one core

Trains the lesson's small GPT with each optimizer: at every learning rate of its row with the tuning seeds, then at the best of
these with ten other seeds. Stores a line for each run in `notebooks/04_race.csv`. Lines that are there already are kept, so it
can be stopped and started again.
"""
import math
from functools import partial
from pathlib import Path

import torch
from torch.nn.utils import parameters_to_vector

from gpt_helpers.data import create_dataloader, split_tokens
from gpt_helpers.files import write_table
from gpt_helpers.lessons.race import RACE, losses_by_frequency, read_race, small_gpt, train_steps
from gpt_helpers.loss import calc_token_losses
from gpt_helpers.text import get_tokenizer, load_text, text_to_token_ids

PATH = Path(__file__).resolve().parent.parent / "notebooks" / "04_race.csv"
EPOCHS, TUNING = 10, range(1, 4)


class SharedAdam(torch.optim.Optimizer):
    """Adam, except that many weights share one v, the average of their mean squared gradient.

    share: "tensor", the weights of a tensor; or "model", all weights there are. betas 0.9 and 0.999, eps 1e-8, no decay.
    """

    def __init__(self, params, lr, share):
        super().__init__(params, {"lr": lr})
        self.share = share

    @torch.no_grad()
    def step(self):
        """Move every weight."""
        [group] = self.param_groups
        squares = [p.grad.square() for p in group["params"]]
        of_all = parameters_to_vector(squares).mean()
        for p, square in zip(group["params"], squares, strict=True):
            state = self.state[p]
            state["step"] = t = state.get("step", 0) + 1
            state["m"] = 0.9 * state.get("m", 0) + 0.1 * p.grad
            state["v"] = 0.999 * state.get("v", 0) + 0.001 * (square.mean() if self.share == "tensor" else of_all)
            p -= group["lr"] * state["m"] / (1 - 0.9**t) / ((state["v"] / (1 - 0.999**t)).sqrt() + 1e-8)


RULES = {
    "SGD": (torch.optim.SGD, (0.35, 0.5, 0.7, 1.0, 1.4, 2.0)),
    "momentum": (partial(torch.optim.SGD, momentum=0.9), (0.07, 0.1, 0.14, 0.2, 0.28, 0.4)),
    "Adam": (torch.optim.Adam, (0.0035, 0.005, 0.007, 0.01, 0.014, 0.02)),
    "AdamW": (partial(torch.optim.AdamW, weight_decay=0.1), (0.0035, 0.005, 0.007, 0.01, 0.014, 0.02)),
    "Adam, one v a tensor": (partial(SharedAdam, share="tensor"), (0.0035, 0.005, 0.007, 0.01, 0.014, 0.02)),
    "Adam, one v for all": (partial(SharedAdam, share="model"), (0.0035, 0.005, 0.007, 0.01, 0.014, 0.02)),
}


def one_line(rule, rate, seed, epochs=EPOCHS):
    """Train with a rule from a seed; a line of the table."""
    vocab, ids = text_to_token_ids(load_text(), get_tokenizer()).unique(return_inverse=True)
    story = split_tokens(ids)
    model = small_gpt(len(vocab), seed)
    loader = create_dataloader(story.train, batch_size=4, context_length=32, shuffle=True, drop_last=True)
    list(train_steps(model, RULES[rule][0](model.parameters(), lr=rate), loader, epochs))
    train, val = (calc_token_losses(create_dataloader(part, 64, 32), model, "cpu") for part in (story.train, story.val))
    losses = {"train": train.mean().item(), "validation": val.mean().item()} | losses_by_frequency(train, story.train)
    return {"rule": rule, "rate": rate, "seed": seed} | {name: round(loss, 4) for name, loss in losses.items()}


def best_rate(lines, rule):
    """The rate with the lowest mean training loss over the tuning seeds; a run that diverged counts as infinitely bad."""
    def mean(rate):
        losses = [lines[rule, rate, seed]["train"] for seed in TUNING]
        return sum(loss if math.isfinite(loss) else math.inf for loss in losses)

    return min(RULES[rule][1], key=mean)


def main():
    torch.set_num_threads(1)      # the same numbers however many cores there are
    lines = {(run["rule"], run["rate"], run["seed"]): run for run in read_race(PATH)} if PATH.exists() else {}

    def add(*keys):
        for key in keys:
            if key not in lines:
                lines[key] = one_line(*key)
                write_table(PATH, [*lines.values()])
                print(*lines[key].values(), flush=True)

    for rule, (_, rates) in RULES.items():
        add(*((rule, rate, seed) for rate in rates for seed in TUNING))
        add(*((rule, best_rate(lines, rule), seed) for seed in RACE))


if __name__ == "__main__":
    main()
