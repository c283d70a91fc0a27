"""Watching a training run: callbacks in general, the samples, and one line that says how far it has come."""
import sys
import time

from IPython import get_ipython
from IPython.display import display, update_display

from gpt_helpers.evaluate import History


class Callback:
    """What `train_model(..., callbacks=[...])` calls. Subclass it, and write the methods that you need.

    It may draw random numbers, for a sample or an evaluation of its own: training then goes on with those it had before.
    """

    def on_step(self, step: int, loss: float) -> None:
        """After an update; the first is step 0. loss: the batch's, before the update, in nats per token."""

    def on_eval(self, history: History) -> None:
        """After an evaluation, with all records so far."""

    def on_sample(self, epoch: int, text: str) -> None:
        """With the sample after an epoch; the first is epoch 1. On resuming, with all earlier samples, too."""


class Samples(Callback):
    """Collects a run's samples for `train_model(..., callbacks=[Samples()])`: texts, {epoch: what the model wrote after it}."""

    def __init__(self):
        self.texts = {}

    def on_sample(self, epoch: int, text: str) -> None:
        self.texts[epoch] = text


class Progress(Callback):
    """A progress line for `train_model(..., callbacks=[Progress(total_steps)])`.

    In a notebook the line is updated in place. After the last step it stays, and is stored, without times, so that no
    reader sees a stale clock. In a terminal it is one line on stderr; in a file it is nothing.
    """

    def __init__(self, total: int):
        self.total, self.start, self.shown = total, time.perf_counter(), 0.0
        self.first = self.last = self.cell = self.handle = None

    def on_step(self, step: int, loss: float) -> None:
        done, now = step + 1, time.perf_counter()
        if self.first is None:
            self.first = step                                 # a resumed run does not begin at 0
        elif step <= self.last:
            self.first, self.start = step, now                # another run
        self.last = step
        if done < self.total and now - self.shown < 0.2:      # five times a second is enough for an eye
            return
        self.shown = now
        minutes, seconds = divmod(round((now - self.start) / (done - self.first) * (self.total - done)), 60)
        clock = f", {minutes} min {seconds:02} s left" if done < self.total else ""
        self._show(f"{done} of {self.total} steps, training loss {loss:.3f}{clock}")

    def on_eval(self, history: History) -> None:
        if self.first is None:                                # the line appears above what is drawn and printed before step 0
            self._show(f"{self.total} steps in all")

    def _show(self, line: str) -> None:
        if cell := this_cell():
            if cell != self.cell:
                self.cell, self.handle = cell, display({"text/plain": line}, raw=True, display_id=True)
            else:
                update_display({"text/plain": line}, raw=True, display_id=self.handle.display_id)
        elif sys.stderr and sys.stderr.isatty():
            print(f"\r{line:<78}", end="\n" if line.startswith(f"{self.total} of") else "", file=sys.stderr, flush=True)


def this_cell() -> int | None:
    """The number of the notebook cell that runs this; None in a terminal, where there is no page to display anything on."""
    return get_ipython().execution_count if hasattr(get_ipython(), "kernel") else None
