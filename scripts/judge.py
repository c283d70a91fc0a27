"""The teacher's side of isolated grading: checks judge a student's functions from outside.

A check calls a Remote as it would call the function itself. What goes in is sent to the student's process, what comes out is read
as plain data, and what the function changed in its arguments is changed in those that are here, so that the check sees it. The
right answers, the tables of mistakes and the marks never leave this process.
"""
import ast
import contextlib
import importlib
import io
import re
import sys
import time
import weakref
from types import SimpleNamespace

import cloudpickle
import torch
import wire
from IPython.core.inputtransformer2 import TransformerManager
from sandbox import Ended, Sandbox
from torch.overrides import _get_current_function_mode_stack as modes_of_torch

from gpt_checks import core

CELL = 1.5 * core.WAITING       # seconds by the clock after which a cell is ended from outside; it ends itself before that
CALL = 1.5 * core.WAITING       # and a call
ALL = 300                       # and everything that one notebook asks


class Notebook:
    """A student's notebook in a sandbox. If it ends before its time, it starts again, without the cell that ended it."""

    def __init__(self):
        self.sandbox, self.cells, self.end = None, [], time.monotonic() + ALL
        self.seen = {}      # the source of every cell, and the error that it stopped with, in one line, or None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.sandbox:
            self.sandbox.close()

    def running(self):
        """The sandbox, in which all cells so far have been run."""
        if not self.sandbox or self.sandbox.ended:
            if time.monotonic() > self.end:
                raise Ended("its notebook took too long")
            self.sandbox = Sandbox(self.end)
            for source in self.cells:
                self.sandbox.ask(CELL, do="cell", source=source)
        return self.sandbox

    def run(self, source):
        """Run a cell."""
        self.seen.pop(source, None)      # the last of the same stands last
        try:
            stopped = self.running().ask(CELL, do="cell", source=source)
            self.cells.append(source)
        except Ended as error:
            stopped = error
        self.seen[source] = stopped and core.one_line(stopped)

    def verdict(self, check, name, *more, seed=None):
        """(mark, line): what a check says of the function with this name; more: names of what else it is given, as data."""
        try:
            sandbox, about = self.about(name)
            values = [sandbox.ask(CALL, do="value", name=other) for other in more]
            for wanted, found in zip((name, *more), (about, *values), strict=True):
                if found is None:
                    return "✘", f"✘ {why_missing(wanted, self.seen)}"
            return check.verdict(Remote(sandbox, name, *about), *(unpacked(value) for [value] in values), seed=seed)
        except Ended as error:
            return "✘", f"✘ Exercise {check.number}, {check.title}: could not be checked: {error}"
        finally:
            if self.sandbox:
                self.sandbox.end_if_crowded()

    def about(self, name):
        """(a sandbox, what it says about a function); a new one, if an earlier exercise has spoilt the old one."""
        with contextlib.suppress(Ended):
            return self.running(), self.running().ask(CALL, do="about", name=name)
        return self.running(), self.running().ask(CALL, do="about", name=name)


class Remote:
    """A function that runs in a sandbox."""

    def __init__(self, sandbox, name, called, *parameters):
        self.sandbox, self.name = sandbox, name
        self.__name__, *varnames = (part if re.fullmatch(r"\w{1,60}|<lambda>", str(part)) else "the answer"
                                    for part in (called, *parameters))
        self.__code__ = SimpleNamespace(co_varnames=varnames, co_argcount=len(varnames))

    def __call__(self, *args, **kwargs):
        return self.run(args, kwargs)

    def observed(self, use, args):
        """The facts that `use` finds when it calls the function. All of it runs in the sandbox; no right answer may be in it."""
        return self.run(args, {}, use)

    def run(self, args, kwargs, use=None):
        message, things = shipped(args, kwargs, use)
        try:
            reply = self.sandbox.ask(CALL, do="call", name=self.name, **message)
        except Ended as error:
            raise core.NotYet(f"stopped while it ran: {error}") from None
        except core.TooSlow as error:
            self.sandbox.close(str(error))
            raise
        try:
            for number, became in reply["became"]:
                wire.put(things[number], became, things)
            torch.set_rng_state(wire.unpack(reply["random"]))
            torch.set_grad_enabled(bool(reply["grad"]))
            value = wire.unpack(reply.get("value"), things)
        except Exception as error:      # forged by whoever found the pipe
            raise core.NotYet(f"what came back could not be read ({type(error).__name__})") from None
        if "to do" in reply:
            raise core.ToDo
        if "slow" in reply:
            raise core.Asleep if reply["slow"] == "Asleep" else core.TooSlow
        if "not yet" in reply:
            raise core.NotYet(str(reply["not yet"]))
        return value


def why_missing(name, cells):
    """Why a name is not defined: the error in the last cell that was to define it. cells: {source: its error, or None}."""
    for source, stopped in reversed(cells.items()):
        if re.search(rf"^\s*def\s+{re.escape(name)}\b|^{re.escape(name)}\s*=", source, re.MULTILINE):
            try:
                ast.parse(TransformerManager().transform_cell(source))
            except (SyntaxError, ValueError) as error:
                return f"{type(error).__name__}: {getattr(error, 'msg', error)}; so {name} is not defined"
            if stopped:
                return f"{stopped}; so {name} is not defined"
            break
    return f"NameError: name '{name}' is not defined"


def unpacked(data):
    """A value of a student's; None where its data are forged."""
    with contextlib.suppress(Exception):
        return wire.unpack(data)


class Pickler(cloudpickle.Pickler):
    """Writes arguments for a sandbox, with the classes of our spies inside. It is sent tensors apart, by their numbers."""

    def __init__(self, file, things, numbers):
        super().__init__(file)
        self.things, self.numbers = things, numbers

    def persistent_id(self, value):
        if isinstance(value, weakref.ref):
            return "gone"
        if not isinstance(value, torch.Tensor):
            return None
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.things)
            self.things.append(value)
        return self.numbers[id(value)]


def shipped(args, kwargs, use):
    """(a call as plain data, the things in it that can be changed)."""
    for name, module in list(sys.modules.items()):
        if name.startswith("gpt_checks.") and name != "gpt_checks.core":      # a sandbox has that, and no other
            cloudpickle.register_pickle_by_value(module)
    things = list(wire.changeable((args, kwargs)).values())
    numbers, file = {id(thing): i for i, thing in enumerate(things)}, io.BytesIO()
    others = {i: thing for i, thing in enumerate(things) if not isinstance(thing, torch.Tensor)}
    Pickler(file, things, numbers).dump((args, kwargs, modes_of_torch(), use, others))
    tensors = [[i, isinstance(thing, torch.nn.Parameter), wire.state(thing, numbers)]
               for i, thing in enumerate(things) if isinstance(thing, torch.Tensor)]
    return {"tensors": tensors, "pickled": wire.text_of(file.getvalue()), "random": wire.pack(torch.get_rng_state()),
            "grad": torch.is_grad_enabled()}, things


def check_named(name, sources):
    """A check of gpt_checks by its name; sources: cells that import it."""
    for module in re.findall(r"from (gpt_checks\.\w+) import", "\n".join(sources)):
        if check := getattr(importlib.import_module(module), name, None):
            return check
    raise ValueError(f"{name} is not imported from gpt_checks in the teacher's notebook")
