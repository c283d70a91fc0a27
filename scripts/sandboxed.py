"""The student's side of isolated grading: runs a notebook's cells and calls its functions, as the judge at the other end asks.

It runs in a process of its own, behind the walls that sandbox.py builds. Nothing that it says is believed: judge.py compares
results with right ones, which are not here.
"""
import contextlib
import io
import os
import pickle
import sys

import torch
import wire
from IPython.core.interactiveshell import InteractiveShell
from torch import get_rng_state, is_grad_enabled  # as they are before a student's code runs

from gpt_checks import core

SECONDS = 240             # of processor time, of all cells and answers together
MEMORY = 3 * 2**30        # bytes
FILE = 64 * 2**20         # bytes of a file
PROCESSES = 64            # and threads


def main(uid=None, processes=False):
    """Serve the judge on stdin and stdout. uid: whom to become; processes: whether their number can be limited."""
    source, out = quiet_streams()
    give_up_rights(uid, processes)
    torch.set_num_threads(1)
    sys.path.append("")      # a notebook may import what it has written
    notebook = Notebook()
    with contextlib.suppress(EOFError):
        while True:
            number, do, message = wire.read(source.read)
            out.write(wire.frame([number, getattr(notebook, do)(**message)]))
            out.flush()


def quiet_streams():
    """(in, out): streams to the judge. What else reads finds nothing, and what else is printed goes nowhere."""
    streams = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    return streams


def give_up_rights(uid, processes):
    """Become nobody in particular, where that is asked, and never take more than a share of the machine."""
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    with contextlib.suppress(ImportError):      # Windows has no limits of this kind
        import resource
        for name, most in {"CPU": SECONDS, "DATA": MEMORY, "FSIZE": FILE, "CORE": 0, "NPROC": PROCESSES}.items():
            with contextlib.suppress(ValueError, OSError):      # macOS refuses some
                if name != "NPROC" or processes:
                    resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))


class Unpickler(pickle.Unpickler):
    """Reads what the judge sends. Tensors have come before; a weak reference points to nothing."""

    def __init__(self, file, tensors):
        super().__init__(file)
        self.tensors = tensors

    def persistent_load(self, number):
        return (lambda: None) if number == "gone" else self.tensors[number]


class Notebook:
    """A student's notebook, run cell by cell."""

    def __init__(self):
        self.shell = InteractiveShell.instance()

    def cell(self, source):
        """Run a cell. Returns the error that it stopped with, in one line, or None."""
        error = None
        try:
            with core.time_limit():
                result = self.shell.run_cell(source, store_history=True)
                error = result.error_before_exec or result.error_in_exec
        except core.TooSlow as slow:      # IPython catches it, but may have been about to come back
            error = slow
        if isinstance(error, core.TooSlow):
            return f"still running after {core.WAITING:g} seconds"
        return f"{type(error).__name__}: {core.one_line(error)}" if error else None

    def about(self, name):
        """What a function is called, and its parameters; None when there is no such name."""
        if name not in self.shell.user_ns:
            return None
        answer = core.Answer(self.shell.user_ns[name])
        return [str(answer.name), *core.parameter_names(answer.function)]

    def value(self, name):
        """[a value], or None when there is no such name."""
        return [wire.pack(self.shell.user_ns[name])] if name in self.shell.user_ns else None

    def call(self, name, tensors, pickled, random, grad):
        """What a function gives or raises, and what has become of its arguments and of PyTorch's random state and modes."""
        things = {}
        for number, is_parameter, (tensor, _) in tensors:
            tensor = wire.unpack(tensor)
            things[number] = torch.nn.Parameter(tensor, tensor.requires_grad) if is_parameter else tensor
        for number, _, (_, gradient) in tensors:
            things[number].grad = wire.unpack(gradient, things)
        args, kwargs, modes, use, others = Unpickler(io.BytesIO(wire.bytes_of(pickled)), things).load()
        things |= others
        known = wire.numbered(things)
        before = {number: wire.state(thing, known) for number, thing in things.items()}
        answer = core.Answer(self.shell.user_ns[name])
        torch.set_rng_state(wire.unpack(random))
        torch.set_grad_enabled(grad)
        reply = {}
        try:
            with core.time_limit(), contextlib.ExitStack() as stack:
                for mode in modes:
                    stack.enter_context(mode)
                value = use(answer, *args) if use else answer(*args, may_change=range(len(args)), **kwargs)
                reply["value"] = wire.pack(value, known)
        except core.ToDo:
            reply["to do"] = True
        except core.TooSlow as error:
            reply["slow"] = type(error).__name__
        except Exception as error:
            reply["not yet"] = core.one_line(error)
        reply["random"], reply["grad"] = wire.pack(get_rng_state()), is_grad_enabled()
        torch.set_grad_enabled(True)
        after = {number: wire.state(thing, known) for number, thing in things.items()}
        return reply | {"became": [[number, became] for number, became in after.items() if became != before[number]]}
