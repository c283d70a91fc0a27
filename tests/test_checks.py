"""The checks of the exercises: they accept what is right, and name what is wrong."""
import contextlib
import importlib
import io
import math
import re
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import named
import nbformat
import numpy
import pytest
import torch
from mistakes import RIGHT, WRONG

from gpt_checks import core
from gpt_checks.numbers import VALUES, numbers_of
from gpt_checks.spec import several, spec

ROOT = Path(__file__).parent.parent
for path in sorted((ROOT / "tests" / "mistakes").glob("[a-z]*.py")):
    importlib.import_module(f"mistakes.{path.stem}")
CHECKS = named.checks()
FEW, MANY = range(1), range(1, 6)      # draws for every answer: while one works, and in the full run


def verdict(capsys, check, answer, seed=None):
    """The one line that a check prints."""
    capsys.readouterr()
    assert check(answer, seed=seed) is None
    [line] = capsys.readouterr().out.splitlines()
    return line


def named(bank):
    """pytest parameters: check, entry, seeds, with a readable id: one entry in four with few seeds, and all with many."""
    names = {check: name for name, check in CHECKS.items()}
    all_of_them = [(check, entry, f"{names[check]}-{getattr(getattr(entry, 'answer', entry), '__name__', i)}")
                   for check, entries in bank.items() for i, entry in enumerate(entries)]
    return ([pytest.param(check, entry, FEW, id=f"{name}-few") for check, entry, name in all_of_them[::4]]
            + [pytest.param(check, entry, MANY, id=name, marks=pytest.mark.slow) for check, entry, name in all_of_them])


@pytest.mark.parametrize(("check", "answer", "seeds"), named(RIGHT))
def test_a_right_answer_gets_a_tick_whatever_is_drawn(check, answer, seeds, capsys):
    for seed in seeds:
        assert verdict(capsys, check, answer, seed) == f"✔ Exercise {check.number}, {check.title}: right"


@pytest.mark.parametrize(("check", "wrong", "seeds"), named(WRONG))
def test_a_mistake_is_refused_and_named_whatever_is_drawn(check, wrong, seeds, capsys):
    for seed in seeds:
        line = verdict(capsys, check, wrong.answer, seed)
        assert line.startswith(f"✘ Exercise {check.number}, {check.title}: "), line
        assert line.endswith(f'See lesson {check.see[0]}, "{check.see[1]}".'), line
        assert not [words for words in wrong.words if words not in line], line
        assert "could not be judged" not in line


def sentences(one_in, seeds, suffix=""):
    """pytest parameters: check, sentence, seeds; of each table one sentence in so many."""
    return [pytest.param(check, words, seeds, id=f"{name}-{i}{suffix}") for name, check in CHECKS.items()
            for i, words in enumerate(check.table) if i % one_in == 0]


@pytest.mark.parametrize(("check", "words", "seeds"), sentences(8, [0], "-few") + [
    pytest.param(*one.values, id=one.id, marks=pytest.mark.slow) for one in sentences(1, range(1, 6))])
def test_a_mistake_of_a_table_is_told_with_its_own_sentence(check, words, seeds, capsys):
    for i, parts in enumerate(check.table[words][:3]):
        for seed in seeds if i == 0 else seeds[:1]:
            line = verdict(capsys, check, lambda *args, parts=parts: check.right(*args, **parts), seed)
            assert line.startswith("✘") and f"{words}{'' if words[-1] in '.?!' else '.'} See lesson" in line, line


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("nothing", [float("nan"), float("inf"), -1e9, 0.123])
def test_an_answer_that_has_no_mistake_of_the_table_is_told_none(check, nothing, capsys):
    idle = verdict(capsys, check, lambda *args: None, 1)      # where deeds are asked for, whoever returns a number is told so
    for answer in (lambda *args: nothing, lambda *args: check.right(*args) + nothing):
        line = verdict(capsys, check, answer, 1)
        assert line.startswith("✘") and not [words for words in check.table if words in line and words not in idle], line


NO_RETURN = {"check_accumulate", "check_undisturbed", "check_diverged", "check_write_beside"}      # None is right there


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in NO_RETURN])
def test_a_right_answer_without_its_return_is_told_so(name, capsys):
    line = verdict(capsys, CHECKS[name], lambda *args: [CHECKS[name].right(*args)].clear())
    assert "is a `return` missing" in line or "; None came back" in line, line


@pytest.mark.parametrize("name", CHECKS)
def test_the_bank_has_several_right_answers_and_at_least_five_mistakes(name):
    assert len(RIGHT[CHECKS[name]]) >= 2 and len(WRONG[CHECKS[name]]) >= 5


def test_every_exercise_has_its_number_once():
    numbers = [check.number for check in CHECKS.values()]
    assert len(set(numbers)) == len(numbers) >= 24


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_points_to_a_section_that_the_lesson_has(name):
    lesson, section = CHECKS[name].see
    [path] = (ROOT / "notebooks").glob(f"{lesson}_*.ipynb")
    text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    assert re.search(rf"^##+ {re.escape(section)}$", text.replace("`", ""), flags=re.MULTILINE)


# Odd answers: one line, never a crash, never a tick.

def stub(*args):
    raise NotImplementedError


def endless(*args):
    while True:
        pass


def zero_all(*args):
    for arg in args:
        if isinstance(arg, torch.Tensor):
            arg.zero_()
    return args[0]


def recursive(*args):
    return recursive(*args)


class Strange:
    """Whatever it is asked, it fails."""

    def __getattr__(self, name):
        raise RuntimeError("strange")

    def __bool__(self):
        raise RuntimeError("strange")

    def __eq__(self, other):
        raise RuntimeError("strange")

    __hash__ = None


ODD = {
    "None itself": None, "a number": 3, "a string": "softmax", "a tensor": torch.ones(3), "a type": int, "an object": Strange(),
    "takes nothing": lambda: 1, "takes too much": lambda a, b, c, d, e, f, g, h, i, j: 1, "builtin": len, "print": print,
    "raises": lambda *args: 1 / 0, "raises without words": lambda *args: [][0], "exits": lambda *args: exit(),
    "recursive": recursive, "zeroes its inputs": zero_all, "gives its inputs back": lambda *args: args,
    "gives its first input": lambda *args: args[0],
} | {f"gives {value!r:.30}": lambda *args, value=value: value for value in (
    None, True, False, 0, 1, -1, 1.5, float("nan"), float("inf"), 10**400, 1j, "text", b"text", [], (), {}, set(), [None],
    [[1, 2], [3]], (1,), (1, 2), (1, 2, 3), (None, None), (None, None, None), ("a", "b"), torch.tensor([]), torch.tensor(1),
    torch.tensor(1.5), torch.tensor(float("nan")), torch.tensor(True), torch.zeros(3), torch.zeros(4, 4),
    torch.zeros(1, 1, 1, 1, 1), torch.tensor(1j), torch.zeros(3, dtype=torch.float16), torch.zeros(2, device="meta"),
    torch.zeros(2, 2).to_sparse(), object(), Strange(), torch, int, (x for x in ()), len, Exception("no"))}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_an_odd_answer_is_refused_in_one_line(name, capsys):
    for what, odd in ODD.items():
        capsys.readouterr()
        CHECKS[name](odd)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("✔", "✘", "◦"))]
        assert len(lines) == 1 and lines[0].startswith("✘") and len(lines[0]) < 700, (what, lines)
        assert "could not be judged" not in lines[0], (what, lines)


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_to_do(name, capsys):
    assert verdict(capsys, CHECKS[name], stub) == f"◦ Exercise {CHECKS[name].number}, {CHECKS[name].title}: to do"


@pytest.mark.parametrize("name", CHECKS)
def test_an_endless_loop_is_cut(name, capsys, monkeypatch):
    monkeypatch.setattr(core, "SECONDS", 0.1)
    assert "still running" in verdict(capsys, CHECKS[name], endless)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_leaves_pytorchs_random_state_as_it_was(name, capsys):
    before = torch.random.get_rng_state()
    verdict(capsys, CHECKS[name], lambda *args: torch.rand(3))
    assert torch.equal(torch.random.get_rng_state(), before)


# What is told where no mistake is known: the numbers themselves tell something.

X = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [3.0, 5.0, 7.0]])


@pytest.mark.parametrize(("got", "want", "words"), [
    (-X, X, "wrong sign"), (6 * X, X, "too large by a factor of 6, which is rows"), (X / 6, X, "too small by a factor of 6"),
    (X * 1.7, X, "1.7 times"), (X.T, X, "transposed"), (X + 0.5, X, "off by the same 0.5"), (X.flip(1), X, "at the wrong places"),
    (X * float("nan"), X, "is nan"), (X / 0, X, "is infinite"),
    (torch.cat([X[:2], X[2:] + X[2:] ** 2]), X, "except in the last place"),
    ([3, 1, 2], [1, 2, 3], "the right values, in another order"),
    (X[:2], X, "has shape (2, 3); need shape (3, 3)"), (X.tolist(), X, "is of type list; need a tensor"),
    (None, X, "`return`"), (2.5, 3.5, "the result is 2.5, and 3.5 is right"), (3.0, 3, "a float; need integers"),
    (True, 1, "is True; need a number"), ((1, 2), (1, 3), "number 2 of 2 in the result is 2, and 3 is right"),
    ((1,), (1, 2), "has 1 values; need 2"), ("b", "a", "'b'"),
    (True, torch.tensor([True, False]), "need a tensor of shape (2,)"),
    (X.long(), X > 2, "need torch.bool"), (X > 2, X, "has dtype torch.bool"), ([X, X + X**2], [X, X], "number 2 of 2")])
def test_what_numbers_alone_tell(got, want, words):
    assert words in (core.what_is_wrong(got, want, scales={"rows": 6}) or core.values(got, want, None, "the result"))


def test_who_has_a_number_with_all_its_digits_is_not_told_that_another_one_is_rounded():
    want = [6 / 7, 5 / 7, 0.5]
    assert "rounded" in core.what_is_wrong([1.0, 1.0, 0.5], want)
    assert not core.what_is_wrong([1.0, 5 / 7, 0.5], want)
    assert "rounded" in core.what_is_wrong([0.857, 0.7143, 0.5], want)      # near enough to be right, and rounded as well


@pytest.mark.parametrize(("got", "want"), [
    (torch.tensor(3), 3), (numpy.int64(3), 3), (numpy.float32(2.5), 2.5), (torch.tensor(2.5).double(), 2.5), (2, 2.0),
    ([1, 2], (1, 2)), (X.double(), X), (X.clone().requires_grad_(), X), (torch.tensor([[2.5]]), 2.5),
    (torch.tensor([2.5]), torch.tensor(2.5)), (numpy.True_, True)])
def test_a_right_value_in_another_kind_is_right(got, want):
    assert core.same(got, want)


def test_a_mistake_that_changes_nothing_explains_nothing(capsys):
    """Rounding down is right wherever integers are drawn: an answer that gives floats is told that, and no more."""
    check = spec("1.1", "double", see=("01", "Batches"), doc="", right=lambda n, whole=lambda n: n: 2 * whole(n),
                 cases=lambda draw: [(None, (draw.randint(1, 9),)) for _ in range(3)],
                 mistakes={"n is rounded down": [{"whole": math.floor}], "n is counted from 1": [{"whole": lambda n: n + 1}]})
    assert "n is counted from 1" in verdict(capsys, check, lambda n: 2 * n + 2)
    assert "a float; need integers" in verdict(capsys, check, lambda n: 2.0 * n)


def made(right, mistakes, cases, **more):
    """A check of an exercise that no sheet has."""
    return spec("0.1", "made up", see=("01", "Batches"), right=right, cases=cases, mistakes=mistakes, **more)


def area(height, width, *, sides=lambda h, w: (h, w), times=lambda h, w: h * w, given=1.0):
    return given * times(*sides(height, width))


def rectangles(draw):
    return [(None, (draw.uniform(1, 9), draw.uniform(1, 9))) for _ in range(4)]


def test_two_mistakes_in_one_result_are_told_with_care_and_only_when_no_other_two_explain_it(capsys):
    """A number that two mistakes give may have come about in another way; two results that are wrong are told each by itself."""
    twice = {"the height is doubled": {"sides": lambda h, w: (2 * h, w)}, "the sides are added": {"times": lambda h, w: h + w}}
    check = made(area, twice, rectangles, doc="area(height, width)")
    assert "it is as if two things were wrong: the height is doubled; and the sides are added" in verdict(
        capsys, check, lambda height, width: 2 * height + width)
    doubled = {"the height is doubled": {"sides": lambda h, w: (2 * h, w)}, "the area is doubled": {"given": 2.0},
               "the width is doubled": {"sides": lambda h, w: (h, 2 * w)}}
    check = made(area, doubled, rectangles, doc="area(height, width)")
    assert "as if" not in verdict(capsys, check, lambda height, width: 4 * height * width)
    both = made(lambda h, w, *, a=area, p=lambda h, w: 2 * h + 2 * w: (a(h, w), p(h, w)),
                {"the sides are added": {"a": lambda h, w: h + w}, "half of the sides are missing": {"p": lambda h, w: h + w}},
                rectangles, doc="both(h, w)", use=several("the area", "the perimeter"))
    assert ": the sides are added; and half of the sides are missing" in verdict(capsys, both, lambda h, w: (h + w, h + w))


def test_arguments_in_another_order_are_told_only_to_those_who_have_changed_the_first_line(capsys):
    check = made(lambda n, parts: n / parts, {}, rectangles, doc="share(n, parts)")
    assert "another order" in verdict(capsys, check, lambda parts, n: n / parts)
    assert "another order" not in verdict(capsys, check, lambda n, parts: parts / n)


def test_a_list_that_is_kept_from_call_to_call_is_told(capsys):
    def tokens_axis(eval_freq, num_steps, batch_size, context_length, seen=[]):  # noqa: B006
        for step in range(0, num_steps, eval_freq):
            seen.append((step + 1) * batch_size * context_length)
        return seen

    assert "kept from call to call" in verdict(capsys, CHECKS["check_tokens_axis"], tokens_axis)


def test_an_answer_that_always_gives_the_same_is_not_said_to_be_another_students(monkeypatch):
    monkeypatch.delitem(VALUES, "0.1", raising=False)
    check = made(lambda n, *, room: max(0, int(room - n)), {}, lambda draw, room: [(None, (n,)) for n in (2, 4, 5)],
                 doc="largest(n)", own={"room": (1.0, 20.0, 30.0)})
    mine = next(student for student in range(3) if numbers_of("0.1", student) == {"room": 30.0})
    assert "another student's numbers give this, or yours rounded" in check.verdict(lambda n: 20 - n, mine)[1]
    assert "another student" not in check.verdict(lambda n: 0, mine)[1]


def test_what_an_answer_raises_is_told_with_its_own_line(capsys):
    source = "def perplexity(loss):\n    x = 1\n    return missing + x\n"
    space = {}
    exec(compile(source, "<cell>", "exec"), space)
    line = verdict(capsys, CHECKS["check_perplexity"], space["perplexity"])
    assert "line 3 of your cell stopped with NameError: name 'missing' is not defined" in line


def test_while_nbgrader_grades_a_mistake_is_an_error_of_one_line(monkeypatch, capsys):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(core.NotYet, match="to do") as caught:
        CHECKS["check_perplexity"](stub)
    assert caught.value._render_traceback_() == [str(caught.value)] and capsys.readouterr().out == ""
    with pytest.raises(core.NotYet, match="bits"):
        CHECKS["check_perplexity"](lambda loss: 2**loss)
    CHECKS["check_perplexity"](lambda loss: 2.718281828459045**loss)


def test_a_terminal_without_the_marks_gets_plain_ones(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    core.say("✘ Exercise 2.2: σ")
    assert raw.getvalue() == b"NO Exercise 2.2: ?\n"


# An answer's time: its own work counts, not that of the machine. Where a test needs a clock, it turns it by hand.

SLOWNESS = core.slowness


@pytest.fixture(autouse=True)
def usual_machine(monkeypatch):
    """Limits as they are written, on whatever machine the tests run."""
    monkeypatch.setattr(core, "slowness", lambda: 1.0)


@pytest.fixture
def clocks(monkeypatch):
    """What core takes for the module time; both clocks stand still until a test turns them."""
    clocks = SimpleNamespace(work=0.0, wall=0.0, thread_time=lambda: clocks.work, monotonic=lambda: clocks.wall)
    monkeypatch.setattr(core, "time", clocks)
    return clocks


needs_signals = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no timer signals")


@needs_signals
@pytest.mark.parametrize(("work", "told"), [(0.0, "right"), (core.SECONDS / 15, "still running after 5 seconds of work")])
def test_ten_looks_at_an_answer_refuse_it_for_its_work_and_not_for_the_clock_on_the_wall(work, told, clocks, capsys):
    """Each look comes an hour after the one before: so slow is no machine, unless its lid was closed."""
    def perplexity(loss):
        for _ in range(10):
            clocks.work, clocks.wall = clocks.work + work, clocks.wall + 3600
            signal.raise_signal(signal.SIGALRM)
        return 2.718281828459045**loss

    assert told in verdict(capsys, CHECKS["check_perplexity"], perplexity)


IN_ANSWER = SimpleNamespace(f_code=core.Answer.__call__.__code__, f_back=None)


def looks(clocks, n, work, wall, frame=IN_ANSWER):
    """What n looks find when each comes after so many seconds of work and of the clock on the wall."""
    meter = core.Meter(clocks.thread_time, every=0.25)
    for _ in range(n):
        clocks.work, clocks.wall = clocks.work + work, clocks.wall + wall
        found = meter.look(frame)
    return found


def test_work_counts_up_to_its_limit_however_long_it_takes(clocks):
    assert looks(clocks, 49, work=0.1, wall=0.5) is None
    assert looks(clocks, 51, work=0.1, wall=0.5) is core.TooSlow


def test_waiting_counts_up_to_a_generous_limit(clocks):
    assert looks(clocks, 239, work=0.0, wall=0.25) is None
    assert looks(clocks, 241, work=0.0, wall=0.25) is core.Asleep
    assert looks(clocks, 100, work=0.0, wall=9000.0) is None


def test_threads_that_work_at_the_same_time_count_once(clocks):
    """Where only the whole process has a clock, 16 threads of PyTorch turn it 16 times as fast."""
    assert looks(clocks, 19, work=4.0, wall=0.25) is None
    assert looks(clocks, 21, work=4.0, wall=0.25) is core.TooSlow


def test_the_work_of_the_check_itself_does_not_count(clocks):
    assert looks(clocks, 200, work=0.25, wall=0.25, frame=None) is None


def test_on_a_slow_machine_an_answer_has_more_time(clocks, monkeypatch):
    monkeypatch.setattr(core, "slowness", lambda: 3.0)
    assert looks(clocks, 149, work=0.1, wall=0.1) is None
    assert looks(clocks, 151, work=0.1, wall=0.1) is core.TooSlow
    assert "after 15 seconds" in str(core.TooSlow())


def test_how_slow_a_machine_is_takes_some_milliseconds_to_measure():
    start = time.perf_counter()
    assert 1 <= SLOWNESS() < 100
    assert time.perf_counter() - start < 1


def test_the_time_of_an_import_does_not_count(clocks):
    frame = SimpleNamespace(f_code=SimpleNamespace(co_filename="<frozen importlib._bootstrap>"), f_back=None)
    assert looks(clocks, 500, work=0.25, wall=0.25, frame=frame) is None


def test_an_answer_that_has_been_told_gets_a_little_more_time_and_then_is_told_again(clocks):
    meter = core.Meter(clocks.thread_time, every=0.25)
    told = []
    for _ in range(30):
        clocks.work, clocks.wall = clocks.work + 0.25, clocks.wall + 0.25
        told.append(meter.look(IN_ANSWER) is not None)
        if told[-1]:
            meter.allow_a_little_more()
    assert told.index(True) == 20 and told[20:26] == [True, False, False] * 2


@needs_signals
def test_an_answer_that_sleeps_for_ever_is_woken(monkeypatch, capsys):
    monkeypatch.setattr(core, "WAITING", 0.1)
    assert "still waiting after 0.1 seconds" in verdict(capsys, CHECKS["check_perplexity"], lambda loss: time.sleep(1e6))


@needs_signals
def test_an_answer_that_waits_for_a_lock_for_ever_is_woken(monkeypatch, capsys):
    monkeypatch.setattr(core, "WAITING", 0.1)
    locked = threading.Lock()
    locked.acquire()
    assert "still waiting" in verdict(capsys, CHECKS["check_perplexity"], lambda loss: locked.acquire())


def test_a_loop_that_counts_and_one_that_swallows_exceptions_are_cut(monkeypatch, capsys):
    monkeypatch.setattr(core, "SECONDS", 0.1)

    def counts(loss):
        x = 0
        while True:
            x = x + 1

    def swallows(loss):
        while True:
            with contextlib.suppress(Exception):
                loss / 0

    for answer in (counts, swallows):
        assert "still running after 0.1 seconds of work" in verdict(capsys, CHECKS["check_perplexity"], answer)


def test_an_answer_that_is_wrong_first_and_endless_later_is_refused_in_one_line(monkeypatch, capsys):
    """Whether a wrong answer is a constant is asked by calling it again."""
    monkeypatch.setattr(core, "SECONDS", 0.1)
    calls = []

    def perplexity(loss):
        calls.append(loss)
        return -123.456 if len(calls) == 1 else endless()

    assert verdict(capsys, CHECKS["check_perplexity"], perplexity).startswith("✘")
    assert len(calls) > 1


@needs_signals
def test_after_a_check_no_timer_is_left(monkeypatch, capsys):
    monkeypatch.setattr(core, "SECONDS", 0.1)
    before = signal.getsignal(signal.SIGALRM)
    verdict(capsys, CHECKS["check_perplexity"], endless)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0) and signal.getsignal(signal.SIGALRM) is before


@needs_signals
def test_the_check_itself_is_never_cut_in_two(clocks):
    """Only an answer's own code is interrupted: a check that was stopped while it puts things back would leave them half done."""
    reached = []

    def answer():
        clocks.work, clocks.wall = 7200.0, 7200.0
        exec(compile("import signal; signal.raise_signal(signal.SIGALRM)", core.__file__, "exec"))
        reached.append(True)
        signal.raise_signal(signal.SIGALRM)

    with pytest.raises(core.TooSlow), core.time_limit():
        core.Answer(answer)()
    assert reached


@pytest.mark.parametrize("own_clock", [True, False], ids=["a clock for each thread", "one clock, as on Windows and macOS"])
def test_outside_the_main_thread_an_endless_loop_is_cut_too(own_clock, monkeypatch):
    monkeypatch.setattr(core, "SECONDS", 0.1)
    if not own_clock:
        monkeypatch.delattr(time, "pthread_getcpuclockid", raising=False)
    said = []
    monkeypatch.setattr(core, "say", said.append)
    thread = threading.Thread(target=CHECKS["check_perplexity"], args=(endless,), daemon=True)
    thread.start()
    thread.join(60)
    assert "still running" in said[0]


@needs_signals
@pytest.mark.parametrize("clock", ["work", "wall"])
def test_an_import_is_waited_for(clock, clocks, monkeypatch, tmp_path, capsys):
    """Cut off in the middle, it would leave half a module to whoever comes next."""
    (tmp_path / "slow_to_import.py").write_text("turn()\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_to_import", raising=False)

    def turn():
        for _ in range(1000):
            setattr(clocks, clock, getattr(clocks, clock) + 1.0)
            signal.raise_signal(signal.SIGALRM)

    monkeypatch.setattr("builtins.turn", turn, raising=False)

    def perplexity(loss):
        return 2.718281828459045**loss if importlib.import_module("slow_to_import").whole else None

    assert verdict(capsys, CHECKS["check_perplexity"], perplexity).startswith("✔")


def test_an_endless_loop_that_swallows_every_error_is_cut(monkeypatch, capsys):
    monkeypatch.setattr(core, "SECONDS", 0.1)

    def perplexity(loss):
        for _ in range(2):
            with contextlib.suppress(BaseException):
                endless()

    assert "None" in verdict(capsys, CHECKS["check_perplexity"], perplexity)
