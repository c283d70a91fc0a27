"""Run every fault of lesson 09 over five seeds, and the healthy program over ten; writes `notebooks/09_broken_loops.csv`.

A line for each run: its validation losses as the program itself reports them, before the first update and then every
25; what the trained model pays when it writes, by a sound evaluation; and the tests of `preflight` that found a fault beforehand.
Takes about an hour on two cores. Lines that are there already are kept, so it can be stopped and started again.

    python scripts/broken_loops.py          the runs that are missing
    python scripts/broken_loops.py tests    the tests of `preflight` once more, for all lines; the runs stay as they are
"""
import sys
from pathlib import Path
from typing import Any

import torch

from gpt_helpers.diagnose import preflight
from gpt_helpers.files import read_table, write_table
from gpt_helpers.instruments.model import writing_loss
from gpt_helpers.lessons import broken
from gpt_helpers.lessons.healthy import CONFIG, END_ID, LOG, STEPS
from gpt_helpers.words import entry_windows

PATH = Path(__file__).parent.parent / "notebooks" / "09_broken_loops.csv"


def a_training(fault: str, seed: int) -> Any:
    """A new training run with this fault, or a healthy one."""
    return broken.training(*[fault] * (fault != "healthy"), seed=seed)


def found_by(training: Any) -> str:
    """The tests of `preflight` that find a fault in a training run."""
    report = preflight(training.model, (training.train_loader, training.val_loader), training.optimizer, LOG.tokenizer,
                       step=training.step, evaluate=training.evaluate, scheduler=training.scheduler, steps=STEPS)
    return " ".join(test.replace(" ", "_") for test, finding in report.items() if finding.sound is False)


def one_line(fault: str, seed: int) -> dict:
    """Train with this fault from this seed; a line of the table."""
    training = a_training(fault, seed)
    tests, curve = found_by(training), training.run()
    windows = entry_windows(LOG.write(3_000, seed=0), END_ID, CONFIG["context_length"])
    written = writing_loss(training.model.eval(), windows[:64])
    return {"fault": fault, "seed": seed, **{str(step): f"{loss:.4f}" for step, _, loss in curve},
            "train": f"{curve[-1][1]:.4f}", "writing": f"{written:.4f}", "found_by": tests}


def store(lines: dict) -> None:
    """Write the table, in the order of the faults."""
    order = ["healthy", *broken.FAULTS]
    write_table(PATH, [lines[key] for key in sorted(lines, key=lambda key: (order.index(key[0]), key[1]))])


def main() -> None:
    torch.set_num_threads(1)      # the same numbers however many cores there are
    lines = {}
    if PATH.exists():
        lines = {(line["fault"], int(line["seed"])): line for line in read_table(PATH)}
    if sys.argv[1:] == ["tests"]:
        for (fault, seed), line in lines.items():
            line["found_by"] = found_by(a_training(fault, seed))
        store(lines)
        return
    wanted = [("healthy", seed) for seed in range(1, 11)] + [(fault, seed) for seed in range(1, 6) for fault in broken.FAULTS]
    for key in wanted:
        if key not in lines:
            lines[key] = one_line(*key)
            store(lines)
            print(*key, lines[key][str(STEPS)], lines[key]["writing"], lines[key]["found_by"], flush=True)


if __name__ == "__main__":
    main()
