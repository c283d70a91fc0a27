"""What all checks share: call an answer safely, compare what it returns, and put what is wrong into one line."""
import contextlib
import copy
import ctypes
import functools
import io
import itertools
import linecache
import math
import os
import random
import secrets
import signal
import sys
import threading
import time
import traceback
import types
import warnings
from collections.abc import Iterator
from numbers import Integral, Real

import torch
from numpy import bool_

SECONDS = 5.0      # of processor time, after which an answer is cut off; a right one takes some milliseconds
USUAL = 0.004      # seconds that the work in `slowness` takes where SECONDS are enough
WAITING = 60.0     # by the clock, for an answer that sleeps or waits; far more than a right one needs on a busy machine


class NotYet(Exception):
    """Why an answer is not right yet, in one line; IPython shows that line alone, without a traceback."""

    def _render_traceback_(self):
        return [str(self)]


class ToDo(Exception):
    """The stub is as it was handed out."""


class TooSlow(BaseException):
    """The time is up. Not an Exception, so that an answer's own `except Exception` lets it through."""

    def __str__(self):
        seconds = f"{SECONDS * slowness():.2g} seconds"
        return f"still running after {seconds} of work, so it was stopped. Is there a loop that never ends?"


class Asleep(TooSlow):
    """The time is up, and hardly any of it was spent on work."""

    def __str__(self):
        return f"still waiting after {WAITING:g} seconds, so it was stopped. Does it sleep, or wait for what never comes?"


def exercise(number, title, see):
    """Turn checker(answer, draw) into a check of one answer that prints one line; what else it is given, it passes on.

    number, title: as in the exercise's heading. see: (lesson, section), where the answer is explained.
    The check never raises, so that Run All goes on; only while nbgrader grades or validates (it sets
    NBGRADER_EXECUTION) does it raise NotYet with that line, since nbgrader gives points for cells without an error.
    """
    def decorate(checker):
        def verdict(answer, *student, seed=None):
            """(mark, line): what the check says of an answer."""
            mark, words = judge(checker, answer, Draw(secrets.randbits(62) if seed is None else seed), *student)
            if mark == "✘":
                words = f'{words}{"" if words[-1] in ".?!" else "."} See lesson {see[0]}, "{see[1]}".'
            return mark, f"{mark} Exercise {number}, {title}: {words}"

        @functools.wraps(checker)
        def check(answer, *student, seed=None):
            mark, line = verdict(answer, *student, seed=seed)
            if mark != "✔" and os.environ.get("NBGRADER_EXECUTION"):
                raise NotYet(line)
            say(line)

        del check.__wrapped__                       # help() shows how to call the check, not the checker
        check.number, check.title, check.see, check.verdict = number, title, see, verdict
        return check
    return decorate


@contextlib.contextmanager
def sandbox():
    """Around an answer: its time is limited, and PyTorch's random state and modes are put back."""
    with time_limit(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        yield


@contextlib.contextmanager
def quiet():
    """Around what is tried out: neither its output nor its warnings are shown."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def judge(checker, answer, draw, *more):
    """(mark, words): ✔ right, ✘ and what is wrong, or ◦ to do. Leaves PyTorch's random state and modes as they were."""
    try:
        with sandbox():
            checker(answer := Answer(answer), draw, *more)
    except ToDo:
        return "◦", "to do"
    except NotYet as error:
        return "✘", one_line(error)
    except TooSlow as stopped:
        return "✘", str(stopped)
    except Exception as error:      # an odd answer that no check foresaw: refuse it in the same way
        return "✘", f"what came back could not be judged ({type(error).__name__}: {one_line(error)}); compare it with the stub"
    return "✔", "right"


def say(line):
    """Print a line; on a terminal that cannot show the marks, with plain ones."""
    try:
        print(line)
    except UnicodeEncodeError:
        print(line.translate({ord("✔"): "OK", ord("✘"): "NO", ord("◦"): "--"}).encode("ascii", "replace").decode())


def one_line(error):
    """The first line of an error's message, not too long."""
    text = next(iter(str(error).strip().splitlines()), "no message")
    return text if len(text) <= 400 else text[:400] + " …"


@contextlib.contextmanager
def time_limit():
    """Raise TooSlow in the body when it takes longer than a Meter allows.

    In the main thread on Linux and macOS by a timer signal, which also ends a sleep; elsewhere from a second thread,
    which ends what runs in Python, but neither a sleep nor one long call into a library. The check's own bookkeeping is never
    cut in two.
    """
    every = min(SECONDS, WAITING) / 20
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        meter = Meter(time.thread_time, every)

        def look(_, frame):
            if (error := meter.look(frame)) and frame.f_code.co_filename not in OWN_FILES:
                meter.allow_a_little_more()      # to clean up; an answer that swallows the error is told again
                raise error

        before = signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, every, every)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return

    thread, done, meter = threading.get_ident(), threading.Event(), Meter(clock_of_this_thread(), every)

    def watch():
        with contextlib.suppress(OSError):      # a thread that has just ended has no clock
            while not done.wait(every):
                frame = sys._current_frames().get(thread)
                if frame and (error := meter.look(frame)) and frame.f_code.co_filename not in OWN_FILES:
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
                    return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


OWN_FILES = (__file__, contextlib.__file__)


class Meter:
    """How long an answer has run, as one finds by looking every few moments.

    What counts is the processor time inside the answer: neither a busy machine nor the check's search for a mistake adds to it,
    and a slow machine gets more of it. The clock on the wall only ends an answer that waits for ever, and a computer that was
    asleep in between adds no more than two looks to it. Imports are not counted: PyTorch's first optimizer makes a long one,
    and half of it would be worse than none.
    """

    def __init__(self, clock, every):
        self.clock, self.every = clock, every
        self.worked = self.waited = 0.0
        self.seconds, self.waiting = SECONDS, WAITING
        self.last = clock(), time.monotonic()

    def look(self, frame):
        """The error to raise in the frame where the answer is now; None while it has time left."""
        now = self.clock(), time.monotonic()
        work, wall = (new - old for new, old in zip(now, self.last, strict=True))
        self.last = now
        if (place := where(frame)) == "import":
            return None
        if place == "answer":
            self.worked += min(work, wall)      # where only the whole process has a clock, PyTorch's threads run it several times
        self.waited += min(wall, 2 * self.every)
        if self.worked > self.seconds and self.worked > SECONDS * slowness():
            return TooSlow
        return Asleep if self.waited > self.waiting else None

    def allow_a_little_more(self):
        """Another tenth of the time."""
        self.seconds, self.waiting = self.worked + SECONDS / 10, self.waited + WAITING / 10


def clock_of_this_thread():
    """A function that another thread can call for the processor time of this one; of the whole process on Windows and macOS."""
    if hasattr(time, "pthread_getcpuclockid"):
        return functools.partial(time.clock_gettime, time.pthread_getcpuclockid(threading.get_ident()))
    return time.process_time


@functools.cache
def slowness():
    """How many times longer this machine takes for the same work than others do, at least 1; asked when an answer takes long."""
    def work():
        start = time.thread_time()
        sum(i * i for i in range(50_000))
        return time.thread_time() - start

    return max(1.0, min(work() for _ in range(3)) / USUAL)


def where(frame):
    """Whether a frame runs in an import, in an answer, or in the check itself."""
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return "import"
        if frame.f_code is Answer.__call__.__code__:
            return "answer"
        frame = frame.f_back
    return "check"


class Draw(random.Random):
    """Fresh inputs: Python's Random, and tensors from the same seed. PyTorch's global random state is not touched."""

    def __init__(self, seed):
        super().__init__(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape, dtype=torch.float32):
        """A tensor of standard normal numbers."""
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64).to(dtype)

    def ids(self, *shape, vocab_size):
        """A tensor of token ids from 0 to vocab_size − 1."""
        return torch.randint(vocab_size, shape, generator=self.generator)


class SmallDraw(Draw):
    """Inputs as small as the exercise allows: every size is the least that could have been drawn."""

    def randint(self, a, b):
        return a


class generator(list):
    """What a generator, or another iterator, has yielded; a list with the name that messages show."""


ANEW = {torch.Tensor: "x = x - 1 and not x -= 1, or x.clone() first", list: "sorted(x) and not x.sort(), or list(x) first"}


class Answer:
    """A student's function: what it raises becomes one line with its own line number, and its inputs must survive.

    may_change: what the answer is allowed to change in place, as positions of arguments.
    """

    def __init__(self, function, name="the answer"):
        self.function = function.function if isinstance(function, Answer) else function
        self.name = getattr(self.function, "__name__", name) if callable(self.function) else name
        self.results = []                           # of all calls

    def __call__(self, *args, may_change=(), **kwargs):
        if not callable(self.function):
            given = short(self.function) + ("" if self.function is None else f", of type {type(self.function).__name__}")
            raise NotYet(f"the check got {given}; give it the function itself, by its name and without parentheses")
        before = [copy_of(arg) for arg in args]
        try:
            result = self.function(*args, **kwargs)
            if isinstance(result, Iterator):      # a generator: what it would yield, and not for ever
                result = generator(itertools.islice(result, 100_000))
        except (NotYet, ToDo, KeyboardInterrupt, TooSlow):
            raise
        except BaseException as error:      # SystemExit too
            raise explain(error, self.name) from None
        self.results.append(result)
        for i, (old, new) in enumerate(zip(before, args, strict=True)):
            if i not in may_change and not unchanged(old, new):
                raise NotYet(f"{self.name} changes its input {parameter_name(self.function, i)} in place, and whoever called it "
                             f"still needs that: make a new one ({ANEW.get(type(new), 'copy.deepcopy(x) first')})")
        return result


def explain(error, name):
    """ToDo for the stub's own NotImplementedError; otherwise NotYet with the line of the answer that failed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    if not frames:
        return NotYet(f"{name} could not be called as in the stub: {type(error).__name__}: {one_line(error)}")
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    if isinstance(error, NotImplementedError) and frames[-1] is own[-1]:
        return ToDo()
    source = linecache.getline(own[-1].filename, own[-1].lineno).strip()
    return NotYet(f"line {own[-1].lineno} of your cell{f' ({source})' if source else ''} stopped with "
                  f"{type(error).__name__}: {one_line(error)}")


def copy_of(value):
    """A copy of tensors, numbers and containers of them; everything else (models, loaders) is not compared."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return [copy_of(part) for part in value]
    if isinstance(value, dict):
        return {key: copy_of(part) for key, part in value.items()}
    return copy.copy(value) if isinstance(value, Real | str) else None


def unchanged(old, new):
    """Whether an argument still is what copy_of found before the call."""
    if isinstance(old, torch.Tensor):
        return old.shape == new.shape and torch.equal(old.nan_to_num(), new.detach().nan_to_num())
    if isinstance(old, list):
        return len(old) == len(new) and all(map(unchanged, old, new))
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(unchanged(old[key], new[key]) for key in old)
    return old is None or old == new or (old != old and new != new)      # nan is not even equal to itself


def parameter_names(function):
    """The names of a function's parameters, as its author wrote them."""
    with contextlib.suppress(Exception):      # odd things have odd attributes
        return [*function.__code__.co_varnames[: function.__code__.co_argcount]]
    return []


def kept_between_calls(function):
    """Whether a list, dict or set that is a parameter's default value has something in it, put there by earlier calls."""
    defaults = function.__defaults__ if isinstance(function, types.FunctionType) else None
    return any(isinstance(default, list | dict | set) and default for default in defaults or ())


def parameter_name(function, i):
    """The name of a function's i-th parameter, or its number."""
    return f"`{names[i]}`" if i < len(names := parameter_names(function)) else f"number {i + 1}"


# Comparing.

def what_is_wrong(got, want, *, scales=(), name="the result", rtol=1e-4, atol=1e-6):
    """What is wrong with a result, as its kind or its numbers tell; None when they tell nothing.

    want: a number, a tensor, a string, None, or a tuple or list of these. An integer asks for an integer, a
    float accepts every number or tensor of one element.
    scales: {what it is, in words: number}, to name a constant factor between the result and want. name: what it is called.
    """
    if fault := kind_fault(got, want):
        return f"{name} {fault}"
    return generic(got, want, dict(scales), name, rtol, atol)


def want_that(condition, words):
    """Raise NotYet with these words unless the condition holds."""
    if not condition:
        raise NotYet(words)


def same(got, want, rtol=1e-4, atol=1e-6, lenient=False):
    """Whether two values agree: kinds, shapes and numbers. lenient: kinds aside, and nan equals nan, to recognise a mistake."""
    if isinstance(want, str | bool) or want is None:
        return type(got := plain(got)) is type(want) and got == want
    if isinstance(want, list | tuple):
        return isinstance(got, list | tuple) and len(got) == len(want) and all(
            same(g, w, rtol, atol, lenient) for g, w in zip(got, want, strict=True))
    if not lenient and kind_fault(got, want):
        return False
    got, want = as_tensor(got, want), as_tensor(want)
    if got is None or want is None or got.shape != want.shape:
        return False
    return torch.allclose(got.double(), want.double(), rtol, atol, equal_nan=lenient)


def plain(value):
    """A truth value of NumPy's as Python's; anything else as it is."""
    return bool(value) if isinstance(value, bool_) else value


def as_tensor(value, want=None):
    """A detached tensor on the CPU of a number or tensor; None for anything else. Where want is one number, so is one element."""
    value = plain(value)
    if isinstance(value, torch.Tensor) and not value.is_complex() and value.layout == torch.strided and not value.is_meta:
        single = value.numel() == 1 and (wanted := as_tensor(want)) is not None and wanted.ndim == 0
        return value.detach().cpu().reshape(()) if single else value.detach().cpu()
    if isinstance(value, Integral) and abs(int(value)) >= 2**63:
        return torch.tensor(float("inf"))
    if isinstance(value, Real):
        return torch.tensor(value if isinstance(value, bool) else int(value) if isinstance(value, Integral) else float(value))
    return None


def kind_fault(got, want):
    """What is wrong with the kind of a result (type, shape, dtype), in words; None when nothing is."""
    if got is None:
        return "is None: is a `return` missing?"
    got = plain(got)
    if isinstance(want, str | bool | type(None)):
        return None if isinstance(got, type(want)) else f"is {short(got)}, of type {type(got).__name__}; need {short(want)} here"
    if isinstance(want, list | tuple):
        if not isinstance(got, list | tuple):
            return f"is of type {type(got).__name__}; need {len(want)} values, as a {type(want).__name__}"
        if len(got) != len(want):
            return f"has {len(got)} values; need {len(want)}"
        return next((f"has a value, number {i + 1}, that {fault}" for i, (g, w) in enumerate(zip(got, want, strict=True))
                     if (fault := kind_fault(g, w))), None)
    if isinstance(got, bool) and not (isinstance(want, torch.Tensor) and want.dtype == torch.bool):
        return f"is {got}; need a number"
    if as_tensor(got) is None or (isinstance(want, torch.Tensor) and want.ndim and not isinstance(got, torch.Tensor)):
        needed = f"a tensor of shape {tuple(want.shape)}" if isinstance(want, torch.Tensor) and want.ndim else "a number"
        return f"is of type {type(got).__name__}; need {needed}"
    tensor, wanted = as_tensor(got, want), as_tensor(want)
    if tensor.shape != wanted.shape:
        return f"has shape {tuple(tensor.shape)}; need {f'shape {tuple(wanted.shape)}' if wanted.ndim else 'a single number'}"
    if wanted.dtype == torch.bool or tensor.dtype == torch.bool:
        return None if tensor.dtype == wanted.dtype else f"has dtype {tensor.dtype}; need {wanted.dtype}"
    if not wanted.is_floating_point() and tensor.is_floating_point():
        return f"is {short(got)}, a float; need integers (// or round, or dtype=torch.int64)"
    return None


def is_finite(value):
    """Whether a number, a tensor, or all that a list holds, is finite; what is no number counts as finite."""
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    tensor = as_tensor(value)
    return tensor is None or bool(tensor.isfinite().all())


def as_float(value):
    """A number, or a tensor of one element, as a float; infinite where it is too large for one."""
    return as_tensor(value).double().item()


def is_rounded(got, want):
    """Whether a number is another one, rounded to at most four places, and not to 0."""
    return any(number and math.isclose(got, number, rel_tol=1e-7) for number in (round(want, digits) for digits in range(5)))


def generic(got, want, scales, name, rtol, atol, exact=False):
    """What numbers tell without knowing the exercise: a sign, a factor, an offset, a place; None when they tell nothing.

    exact: whether other results show that nothing was rounded.
    """
    if isinstance(want, list | tuple):
        numbers = all(isinstance(w, int | float) for w in want)
        if numbers and same(*(sorted(map(as_float, some)) for some in (got, want)), rtol, atol):
            return f"{name} has the right values, in another order"
        right = [same(g, w, rtol, atol) for g, w in zip(got, want, strict=True)]
        i, exact = right.index(False), any(ok and isinstance(w, float) and not is_rounded(as_float(g), w)
                                           for g, w, ok in zip(got, want, right, strict=True))
        return generic(got[i], want[i], scales, f"number {i + 1} of {len(want)} in {name}", rtol, atol, exact)
    if isinstance(want, str | bool | type(None)):
        return None
    got, want = as_tensor(got, want).double(), as_tensor(want).double()

    def close(a, b):
        return a.shape == b.shape and torch.allclose(a, b, rtol, atol)

    if not got.isfinite().all() and want.isfinite().all():
        what = "nan" if got.isnan().any() else "infinite"
        return f"{name} is {what}: look for exp of a large number, log of 0, or a division by 0"
    if close(got, -want):
        return f"{name} has the wrong sign: a minus is missing, or one too many"
    if got.numel() == 1 and not exact and is_rounded(got.item(), want.item()):
        return f"{name} is rounded; return it as it is"
    if want.abs().max() > 10 * atol and (factor := factor_between(got, want, rtol)):
        for words, scale in scales.items():
            for power, direction in ((1, "large"), (-1, "small")):
                if scale not in (0, 1) and math.isclose(factor, float(scale) ** power, rel_tol=10 * rtol):
                    return f"{name} is too {direction} by a factor of {float(scale):.4g}, which is {words}"
        if want.numel() > 2 and f"{factor:.4g}" != "1":
            return f"{name} is {factor:.4g} times what it should be"
    if want.ndim == 2 and close(got.T, want):
        return f"{name} is transposed: rows and columns are exchanged"
    if want.ndim and want.numel() > 1:
        return places(got, want, name, close)
    return None


def factor_between(got, want, rtol):
    """The number that want must be multiplied by to give got; None when there is none."""
    factor = ((got * want).sum() / want.square().sum()).item()
    fits = torch.allclose(got, factor * want, rtol, 1e-12 + rtol * want.abs().max().item())
    return factor if fits and factor and math.isfinite(factor) else None


def places(got, want, name, close):
    """What is wrong with where the numbers of a tensor stand; None when it does not show."""
    off, little = got - want, 1e-5 * (1 + want.abs().max())
    if (off - off.mean()).abs().max() < little < off.mean().abs():
        return f"{name} is off by the same {off.mean():.4g} everywhere"
    if close(got.flatten().sort().values, want.flatten().sort().values):
        return f"{name} has the right numbers at the wrong places"
    right = torch.isclose(got, want, 1e-4, 1e-6)
    rows = right.flatten(1).all(1) if want.ndim > 1 else right
    if rows.sum() == len(rows) - 1 and len(rows) > 2 and not (rows[0] and rows[-1]):
        return f"{name} is right except in the {'first' if not rows[0] else 'last'} place"
    return None


def values(got, want, call, name):
    """The plain statement: what came back, and what would be right."""
    if isinstance(want, list | tuple) and not call:
        i = next((i for i, (g, w) in enumerate(zip(got, want, strict=True)) if not same(g, w)), 0)
        return values(got[i], want[i], None, f"number {i + 1} of {len(want)} in {name}")
    if isinstance(as_tensor(want), torch.Tensor) and as_tensor(want).numel() > 8:
        off = (as_tensor(got).double() - as_tensor(want).double()).abs()
        place = tuple(int(i) for i in torch.unravel_index(off.argmax(), off.shape))
        return (f"{name} is wrong, most at place {list(place)}: {short(as_tensor(got)[place].item())}, "
                f"where {short(as_tensor(want)[place].item())} is right")
    return f"{f'{call} gives' if call else f'{name} is'} {short(got)}, and {short(want)} is right"


def call_text(answer, args):
    """A call as one would write it, when all its arguments are short; otherwise None."""
    texts = [short(arg) for arg in args]
    return f"{answer.name}({', '.join(texts)})" if sum(map(len, texts)) <= 60 and "…" not in "".join(texts) else None


def short(value):
    """A value in a few characters."""
    if isinstance(value, torch.Tensor):
        if value.numel() > 8 or value.is_meta or value.layout != torch.strided:
            return f"a tensor of shape {tuple(value.shape)} …"
        value = value.tolist()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple) and len(value) <= 8:
        inside = ", ".join(map(short, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:60] + "…"
