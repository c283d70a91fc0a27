"""The long runs of lesson 10: python scripts/bigger.py     half an hour on two cores

Trains GPTs on the harbour log, each setting with several seeds, and stores a line for each run in `notebooks/10_bigger.csv`.
Lines that are there already are kept, so it can be stopped and started again.
"""
from pathlib import Path

import torch

from gpt_helpers.files import read_table, write_table
from gpt_helpers.lessons.bigger import (
    SMALL,
    STEPS,
    WIDE,
    constant,
    damaged,
    decay_groups,
    learn,
    validation_loss,
    warm_up,
    warm_up_and_decay,
)

PATH = Path(__file__).resolve().parent.parent / "notebooks" / "10_bigger.csv"
RATES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
CURES = {      # on the small model, beside "plain"; each seed has the same weights and batches in all of them
    "plain": {}, "clipped": {"max_grad_norm": 1.0}, "damaged": {"spoil": {STEPS // 2: damaged}},
    "damaged clipped": {"spoil": {STEPS // 2: damaged}, "max_grad_norm": 1.0},
    "matrices decay": {"groups": decay_groups}, "bfloat16": {"bfloat16": True},
}
SETTINGS = {(schedule.__name__, lr): (WIDE, {"schedule": schedule})
            for lr in RATES for schedule in (constant, warm_up, warm_up_and_decay)}
SETTINGS |= {(name, 0.01): (SMALL, {"schedule": warm_up_and_decay} | options) for name, options in CURES.items()}
WANTED = [(*setting, seed) for seed in range(1, 11) for setting, (cfg, _) in SETTINGS.items() if cfg is SMALL or seed <= 5]


def one_line(setting, rate, seed):
    """Train with a setting from a seed; a line of the table."""
    cfg, options = SETTINGS[setting, rate]
    model, _ = learn(cfg, seed, rate, **options)
    return {"setting": setting, "rate": rate, "seed": seed, "loss": f"{validation_loss(model):.4f}"}


def main():
    torch.set_num_threads(1)      # the same numbers however many cores there are
    lines = {}
    if PATH.exists():
        lines = {(line["setting"], float(line["rate"]), int(line["seed"])): line for line in read_table(PATH)}
    for key in WANTED:
        if key not in lines:
            lines[key] = one_line(*key)
            write_table(PATH, [lines[key] for key in WANTED if key in lines])
            print(*lines[key].values(), flush=True)


if __name__ == "__main__":
    main()
