"""Checks for the exercises of lesson 01: the split."""
import math
from itertools import pairwise
from numbers import Real

import torch

from gpt_checks.core import NotYet, as_tensor, exercise, expect, raise_not_yet, same, short


def plain(value):
    """A result as Python's numbers and lists, where it came as tensors of up to one dimension or as numpy's numbers."""
    if type(value).__module__ == "numpy" or (isinstance(value, torch.Tensor) and value.ndim < 2 and as_tensor(value) is not None):
        value = value.tolist()
    return [plain(part) for part in value] if isinstance(value, list | tuple) and len(value) < 10 else value


def agree(a, b, rtol):
    """Whether two plain results are the same numbers, whole or not."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(agree(x, y, rtol) for x, y in zip(a, b, strict=True))
    try:
        numbers = isinstance(a, Real) and isinstance(b, Real) and not isinstance(a, bool)
        return numbers and math.isclose(a, b, rel_tol=rtol, abs_tol=1e-6)
    except OverflowError:                             # a whole number beyond all floats
        return False


def ask(answer, cases, right, mistakes, *, name, describe, scales=lambda *args: {}, rtol=1e-9):
    """Compare answer with right in all cases, and name the mistake that explains most of the wrong results.

    right: a function of a case. mistakes: {words: a function of a case}. describe: a case in words.
    scales: the factors of a case that can be named, as in `compare`.
    """
    results = []
    for args in cases:
        try:
            results.append((args, plain(answer(*args))))
        except NotYet as error:                       # a wrong number before it tells more
            if all(same(got, right(*args), rtol) for args, got in results):
                raise_not_yet(str(error), describe(*args) if results else None)
            break
    wrong = [(args, got) for args, got in results if not same(got, right(*args), rtol)]
    if not wrong:
        return
    if len(results) > 2 and all(agree(got, results[0][1], rtol) for _, got in results):
        raise_not_yet(f"{answer.name} gives {short(results[0][1])} whatever it is given; compute it from the inputs")

    off = [(args, got) for args, got in wrong if not agree(got, right(*args), rtol)]      # not in kind alone

    def explained(words, among):
        return [(args, got) for args, got in among if agree(got, mistakes[words](*args), rtol)]

    best = max(mistakes, key=lambda words: (len(explained(words, off)), len(explained(words, results))))
    known = 3 * len(explained(best, off)) >= max(len(off), 1)       # fewer are a coincidence
    args, got = explained(best, off)[0] if known else wrong[0]
    expect(got, right(*args), {best: mistakes[best]} if known else {}, args=args, name=name, case=describe(*args),
           scales=scales(*args), rtol=rtol)


def near(x):
    """The nearest whole number; the checks draw nothing that lies halfway."""
    return math.floor(x + 0.5)


# 1.1 the cut points

def cuts(n, train, val):
    """Where training ends and where validation ends."""
    return near(train * n), near((train + val) * n)


def lengths(n, train, val):
    """How many tokens the three parts have."""
    first, second = cuts(n, train, val)
    return first, second - first, n - second


CUTS = {
    "the places are not rounded; a cut lies between two tokens, so take the nearest whole number":
        lambda n, train, val: (train * n, (train + val) * n),
    "rounded down (int, floor and // cut off what follows the point); each cut falls on the nearest token: round":
        lambda n, train, val: (int(train * n), int((train + val) * n)),
    "rounded up; each cut falls on the nearest token: round":
        lambda n, train, val: (math.ceil(train * n), math.ceil((train + val) * n)),
    "the second cut was counted on from the rounded first one, so two roundings add up; round (train + val)·n, once":
        lambda n, train, val: (near(train * n), near(train * n) + near(val * n)),
    "rounded down, each part for itself, so the errors add up; round train·n and (train + val)·n to the nearest":
        lambda n, train, val: (int(train * n), int(train * n) + int(val * n)),
    "the second number is val's share alone; the second cut lies where validation ends, at (train + val)·n":
        lambda n, train, val: (near(train * n), near(val * n)),
    "the second number is the length of validation; the second cut lies where validation ends, at (train + val)·n":
        lambda n, train, val: lengths(n, train, val)[:2],
    "the second number is val's share alone, and rounded down; the second cut is nearest to (train + val)·n":
        lambda n, train, val: (int(train * n), int(val * n)),
    "× goes before +, so train + val·n is little more than val's share; write (train + val)·n, with brackets":
        lambda n, train, val: (near(train * n), near(train + val * n)),
    "the lengths of three parts came back; two cuts are asked, where training ends and where validation ends":
        lambda n, train, val: lengths(n, train, val),
    "the lengths of three parts came back, each rounded for itself; two cuts are asked, where training and where validation end":
        lambda n, train, val: (near(train * n), near(val * n), n - near(train * n) - near(val * n)),
    "n came back as a third cut; the text ends there anyway, and two cuts make three parts":
        lambda n, train, val: (*cuts(n, train, val), n),
    "0 came back as a cut; the text begins there anyway, and two cuts make three parts":
        lambda n, train, val: (0, *cuts(n, train, val)),
    "0 and n came back too; the text begins and ends there anyway, and two cuts make three parts":
        lambda n, train, val: (0, *cuts(n, train, val), n),
    "the two cuts are exchanged; the first is where training ends":
        lambda n, train, val: cuts(n, train, val)[::-1],
    "the shares are exchanged: training comes first, so the first cut is train·n":
        lambda n, train, val: (near(val * n), cuts(n, train, val)[1]),
    "validation and test are exchanged: (1 - val)·n leaves val's share to the test part; the second cut is (train + val)·n":
        lambda n, train, val: (near(train * n), near((1 - val) * n)),
    "0.8 and 0.1 are fixed in the function; use the shares it is given, train and val":
        lambda n, train, val: (near(0.8 * n), near(0.9 * n)),
    "0.9 is fixed in the function; use the shares it is given: (train + val)·n":
        lambda n, train, val: (near(train * n), near(0.9 * n)),
    "val is taken as a share of what training leaves over; it is a share of n":
        lambda n, train, val: (near(train * n), near(train * n) + near(val * (n - near(train * n)))),
    "val is taken as a share of the training part; it is a share of n":
        lambda n, train, val: (near(train * n), near(train * n * (1 + val))),
    "each cut is one too small: a slice leaves out its end, so ids[:first] holds first tokens":
        lambda n, train, val: (cuts(n, train, val)[0] - 1, cuts(n, train, val)[1] - 1),
    "each cut is one too large: tokens are counted from 0, so ids[:first] holds first tokens":
        lambda n, train, val: (cuts(n, train, val)[0] + 1, cuts(n, train, val)[1] + 1),
    "the second cut is one too large: validation is ids[first:second], and begins at first itself":
        lambda n, train, val: (cuts(n, train, val)[0], cuts(n, train, val)[1] + 1),
    "the first cut is one too small: a slice leaves out its end, so ids[:first] holds first tokens":
        lambda n, train, val: (cuts(n, train, val)[0] - 1, cuts(n, train, val)[1]),
    "the second cut is one too small, or rounded down: take the nearest, and a slice leaves out its end by itself":
        lambda n, train, val: (cuts(n, train, val)[0], cuts(n, train, val)[1] - 1),
    "the first cut is one too large: tokens are counted from 0, so ids[:first] holds first tokens":
        lambda n, train, val: (cuts(n, train, val)[0] + 1, cuts(n, train, val)[1]),
    "the second number is n, where test ends; the second cut lies where validation ends, at (train + val)·n":
        lambda n, train, val: (near(train * n), n),
    "the shares were multiplied with each other; validation ends at (train + val)·n":
        lambda n, train, val: (near(train * n), near(train * val * n)),
    "the rest after training was halved; val says how much of n is for validation":
        lambda n, train, val: (near(train * n), near((n + train * n) / 2)),
    "n was divided by the shares; a share of n is a product, train·n":
        lambda n, train, val: (near(n / train), near(n / (train + val))),
    "n was divided by the shares, with //; a share of n is a product, train·n":
        lambda n, train, val: (n // train, n // (train + val)),
    "the shares were multiplied by n - 1; they are shares of all n tokens":
        lambda n, train, val: (near(train * (n - 1)), near((train + val) * (n - 1))),
    "the shares themselves came back; multiply them by n": lambda n, train, val: (train, train + val),
    "the lengths of validation and test came back; the cuts are asked, where training ends and where validation ends":
        lambda n, train, val: lengths(n, train, val)[1:],
    "counted from the end of the text; training comes first": lambda n, train, val: tuple(n - cut for cut in cuts(n, train, val)),
}


@exercise("1.1", "the cut points", see=("01", "Three parts, three purposes"))
def check_cut_points(answer, draw):
    """cut_points(n, train, val): the whole numbers nearest to train·n and (train + val)·n."""
    def make(first, val, second):
        """n and shares whose places have parts of a token in these ranges, in hundredths; nothing lies halfway."""
        while True:
            n, p, q = draw.randint(300, 9999), draw.choice([55, 60, 65, 70, 75]), draw.choice([8, 12, 14, 16, 17])
            if p * n % 100 in first and q * n % 100 in val and (p + q) * n % 100 in second:
                return n, p / 100, q / 100

    down, up = range(5, 46), range(55, 96)
    default = draw.randint(300, 9999) // 10 * 10 + draw.choice([1, 2, 3, 4, 6, 7, 8, 9]), 0.8, 0.1
    either = {*down, *up}
    cases = (make(up, up, down), make(down, down, up), make(up, down, up), default,
             *(make(either, either, either) for _ in range(8)))
    ask(answer, cases, cuts, CUTS, name="the pair of cuts",
        describe=lambda n, train, val: f"n = {n}, train = {train}, val = {val}")


# 1.2 windows and targets

@exercise("1.2", "windows and targets", see=("01", "Windows, shifted by one"))
def check_windows(answer, draw):
    """windows(ids, context_length, stride): each whole window as (inputs, targets), the targets one token later."""
    t, s, more = draw.randint(5, 7), draw.randint(3, 4), draw.randint(3, 4)
    room = t + 1 + more * s                               # tokens of more + 1 windows
    for n, stride in ((room + 1, s), (room, s), (room - 1, s), (4 * t + draw.randint(2, t), t), (4 * t, t), (4 * t + 1, t),
                      (4 * t + 9, t + draw.randint(2, 3)), (t + 5, 1), (t + 1, s), (t, s), (t - 2, s)):
        ids = torch.tensor(draw.sample(range(1000, 50257), n))      # each once, so that a token tells its place
        case = f"{n} tokens, T = {t}, stride {stride}"
        try:
            got = answer(ids, t, stride)
        except NotYet as error:
            raise_not_yet(str(error), case if answer.results else None)
        if fault := kind_of_windows(got, t):
            raise_not_yet(fault, case)
        if fault := places_of_windows([(x.tolist(), y.tolist()) for x, y in got], ids.tolist(), t, stride):
            raise_not_yet(fault, case)


def kind_of_windows(got, t):
    """What keeps a result from being a list of pairs of 1-D tensors of whole numbers, in words; None when nothing does."""
    if got is None:
        return "nothing came back (None): is a `return` missing?"
    if not isinstance(got, list | tuple):
        shape = f" of shape {tuple(got.shape)}" if isinstance(got, torch.Tensor) else ""
        return f"a result of type {type(got).__name__}{shape} came back; need a list of pairs (inputs, targets), one a window"
    if len(got) == 2 and all((isinstance(part, list | tuple) or (isinstance(part, torch.Tensor) and part.ndim == 2))
                             and len(part) > 2 for part in got):
        return "all inputs came back, then all targets; need a pair for each window, a list of (inputs, targets): zip does that"
    for i, pair in enumerate(got):
        if isinstance(pair, torch.Tensor) and pair.ndim == 1 and len(pair) == t + 1:
            return f"window {i} came back as one row of T + 1 tokens; part it into inputs, all but the last, and targets"
        if isinstance(pair, torch.Tensor) and not (pair.ndim == 2 and len(pair) == 2):
            return f"item {i} is one tensor of shape {tuple(pair.shape)}; need a pair (inputs, targets)"
        if not isinstance(pair, list | tuple | torch.Tensor) or len(pair) != 2:
            size = f" with {len(pair)} values" if isinstance(pair, list | tuple) else ""
            return f"item {i} is of type {type(pair).__name__}{size}; need a pair (inputs, targets)"
        for name, part in zip(("inputs", "targets"), pair, strict=True):
            if name == "targets" and isinstance(as_tensor(part), torch.Tensor) and as_tensor(part).ndim == 0:
                return ("only one target for a window, the token after it; each of the T inputs has a target of its own, "
                        "so the targets are T tokens too, one later")
            if not isinstance(part, torch.Tensor) or as_tensor(part) is None:
                return f"the {name} of window {i} are of type {type(part).__name__}; need a tensor, and ids[a:b] is one"
            if part.ndim != 1:
                return f"the {name} of window {i} have shape {tuple(part.shape)}; need ({t},)"
            if part.is_floating_point() or part.dtype == torch.bool:
                return f"the {name} of window {i} have dtype {part.dtype}; token ids are whole numbers, torch.int64"
    return None


def places_of_windows(got, ids, t, stride):
    """What is wrong with windows, lists of pairs of lists of ids, in words; None when nothing is."""
    n, place = len(ids), {token: i for i, token in enumerate(ids)}
    want = [(list(range(a, a + t)), list(range(a + 1, a + t + 1))) for a in range(0, n - t, stride)]
    for i, (x, y) in enumerate(got):
        if strangers := [token for token in x + y if token not in place]:
            if x and strangers[0] == x[0] and max(x + y) <= n:
                return "positions came back, not token ids: take the ids at these places, ids[a:b]"
            return (f"window {i} holds {short(strangers[0])}, which is not in ids; a window that is not whole is left out, "
                    "and not filled up")
    got = [([place[token] for token in x], [place[token] for token in y]) for x, y in got]      # places in the text
    if got == want:
        return None
    if not want:
        return (f"{n} tokens hold no whole window, since T inputs and the target of the last of them take T + 1 = {t + 1}; "
                f"need an empty list, got {len(got)} window{'s'[:len(got) != 1]}")
    if not got:
        return f"no window came back, but {len(want)} fit{'s'[:len(want) == 1]}: a window takes T + 1 = {t + 1} tokens"
    return fault_of_targets(got, n, t) or fault_of_lengths(got, t, stride) or fault_of_starts(got, want, n, t, stride)


def fault_of_targets(got, n, t):
    """What is wrong with where the targets lie, seen from the inputs; None when they lie one later."""
    if any(b - a != 1 for x, _ in got for a, b in pairwise(x)):
        return "the tokens inside a window do not follow each other; the stride lies between windows, not between tokens"
    distances = {b - a for x, y in got for a, b in zip(x, y, strict=False)}
    if distances == {0}:
        return "the targets are the inputs themselves; a target is the token after its input, so they start one later"
    if distances in ({-1}, {-1, n - 1}):
        if got[0][0][:1] == [1]:
            return "inputs and targets are exchanged: the targets are the later ones"
        return "the targets lie one token before the inputs; they lie one after"
    if distances == {1, 1 - n}:
        return ("the last target is the first token of the text (torch.roll goes round); nothing follows the last token, "
                "so a window must end before it: start + T + 1 ≤ N")
    if all(len(y) == 1 and x and y[0] == x[-1] + 1 for x, y in got) and len(got[0][0]) == t:
        return ("only one target for a window, the token after it; each of the T inputs has a target of its own, "
                "so the targets are T tokens too, one later")
    if distances and distances <= {t, t + 1}:
        return "the targets are the tokens after the window; each follows its own input, so they start one later"
    if len(distances) == 1 and distances != {1}:
        return f"the targets lie {distances.pop()} tokens after the inputs; need 1"
    return None


def fault_of_lengths(got, t, stride):
    """Windows that do not hold T inputs and T targets; None when all do."""
    sizes = [(len(x), len(y)) for x, y in got]
    if sizes[0] == (t - 1, t - 1):
        return f"T tokens were cut, which leaves T - 1 = {t - 1} inputs with a target; a window of T inputs takes T + 1 tokens"
    if sizes[0] == (t, t - 1):
        return f"{t} inputs, but {t - 1} targets: a slice leaves out its end, so the targets are ids[start + 1 : start + T + 1]"
    if sizes[0] == (t + 1, t):
        return "T + 1 inputs: the last token of the window is a target only, so the inputs are all but the last"
    if sizes[0] == (t + 1, t + 1):
        return "T + 1 inputs and T + 1 targets; T + 1 tokens are a whole window, T inputs and, one later, T targets"
    if sizes[0] == (stride, stride) != (t, t):
        return f"{stride} inputs and targets: context_length and stride are exchanged; a window has T = {t} of both"
    for i, (inputs, targets) in enumerate(sizes):
        if i and (inputs, targets) == (t, t - 1):
            return f"the last target of window {i} is missing: a window takes T + 1 tokens, and only whole windows count"
        if i and max(inputs, targets) <= t and min(inputs, targets) < t:
            return f"window {i} is not whole, it has {inputs} inputs and {targets} targets; leave out what does not fill a window"
        if (inputs, targets) != (t, t):
            return f"window {i} has {inputs} inputs and {targets} targets; need T = {t} of both"
    return None


def fault_of_starts(got, want, n, t, stride):
    """Windows of T inputs and T targets, but not those that were asked."""
    if all(y[:-1] == x[1:] and y[-1] != x[-1] + 1 for x, y in got):
        return "all targets but the last of a window are right; the last one is the token after all inputs, so read T + 1"
    for i, (x, y) in enumerate(got):
        if y != [a + 1 for a in x]:
            return f"the targets of window {i} are not its inputs one token later"
    starts, right = [x[0] for x, _ in got], [x[0] for x, _ in want]
    steps = {b - a for a, b in pairwise(starts)}
    if len(starts) == 1 < len(right) and starts in (right[:1], right[-1:]):
        return (f"only the first of {len(right)} windows came back: is `return` inside the loop?" if starts == [0] else
                f"only the last of {len(right)} windows came back: append each to a list")
    if starts != right and sorted(starts) == right:
        return "the windows are the right ones, but not in the order of the text"
    if starts == right[:-1]:
        return (f"the last whole window is missing: it takes the tokens {right[-1]} to {right[-1] + t} of {n}; "
                "every start up to N - T - 1 fits")
    if starts == right[1:]:
        return "the first window, which starts at token 0, is missing"
    if starts[:-1] == right and starts[-1] == n - t - 1:
        return "a window was added that ends with the text; windows start at multiples of the stride only"
    if len(steps) == 1 and steps != {stride}:
        apart = steps.pop()
        if apart == t:
            return f"the stride is ignored: windows start T = {t} tokens apart; need {stride}"
        return f"windows start {apart} token{'s'[:apart != 1]} apart; the stride asks for {stride}: window i starts at i·stride"
    if starts[0] != 0:
        return f"the first window starts at token {starts[0]}; need 0"
    if len(starts) < len(right) and starts == right[:len(starts)]:
        return f"{len(starts)} windows came back, but {len(right)} fit: every start up to N - T - 1"
    return f"the windows start at {short(starts)}; need {short(right)}"


# 1.3 counting windows

def count(n, t, s):
    """How many windows fit."""
    return len(range(0, n - t, s))


COUNTS = {
    "less than none: the formula goes below 0 where the text is too short for a window, so take at least 0":
        lambda n, t, s: (n - t - 1) // s + 1,
    "1 where no window fits: T tokens hold none, since the last target needs one more (int() of -0.2 is 0, // gives -1)":
        lambda n, t, s: 1 if n <= t else count(n, t, s),
    "0 for T + 1 tokens, which are exactly one window": lambda n, t, s: 0 if n <= t + 1 else count(n, t, s),
    "not a whole number: a window that fits only in part does not count, so round down with //":
        lambda n, t, s: (n - t - 1) / s + 1,
    "rounded up; a window that fits only in part does not count, so round down with //":
        lambda n, t, s: max(math.ceil((n - t - 1) / s) + 1, 0),
    "rounded to the nearest; a window that fits only in part does not count, so round down with //":
        lambda n, t, s: max(near((n - t - 1) / s) + 1, 0),
    "one too few: the first window needs no stride, so there is one more than (n - T - 1) // stride":
        lambda n, t, s: max((n - t - 1) // s, 0),
    "the next token is forgotten: T inputs and the target of the last of them take T + 1 tokens":
        lambda n, t, s: max((n - t) // s + 1, 0),
    "the stride is ignored, as if it were T": lambda n, t, s: max((n - t - 1) // t + 1, 0),
    "n // T counts windows side by side, and forgets the token that the last one needs; use the stride": lambda n, t, s: n // t,
    "n // (T + 1) lets each window begin after the last one's target; windows start a stride apart": lambda n, t, s: n // (t + 1),
    "the stride is ignored, as if it were 1": lambda n, t, s: max(n - t, 0),
    "the stride is ignored, as if it were 1, and the next token forgotten: a window takes T + 1":
        lambda n, t, s: max(n - t + 1, 0),
    "n // stride counts starts; a start counts only if T + 1 tokens are left from there": lambda n, t, s: n // s,
    "n / T, rounded up, counts windows side by side, the last in part; a start counts only if T + 1 tokens are left from there":
        lambda n, t, s: -(-n // t),
    "all starts are counted; a start counts only if T + 1 tokens are left from there": lambda n, t, s: -(-n // s),
    "all starts that have a target are counted, so partial windows too; a start counts only if T + 1 tokens are left from there":
        lambda n, t, s: -(-(n - 1) // s),
    "(n - 1) // stride counts starts; a start counts only if T + 1 tokens are left from there": lambda n, t, s: (n - 1) // s,
    "context_length and stride are exchanged": lambda n, t, s: max((n - s - 1) // t + 1, 0),
    "two are added; the first window adds one": lambda n, t, s: max((n - t - 1) // s + 2, 0),
    "// goes before -, so brackets are missing: (n - T - 1) // stride": lambda n, t, s: n - t - 1 // s + 1,
    "stride was a factor; a larger stride gives fewer windows, so divide by it": lambda n, t, s: max((n - t - 1) * s + 1, 0),
    "that is n - T - 1, where the last window can start; divide by the stride, and add one": lambda n, t, s: max(n - t - 1, 0),
    "that is the number of tokens, n": lambda n, t, s: n,
    "that is the number of inputs, and not of windows": lambda n, t, s: count(n, t, s) * t,
}


@exercise("1.3", "counting windows", see=("01", "Windows, shifted by one"))
def check_count_windows(answer, draw):
    """count_windows(n, context_length, stride): how many starts 0, S, 2S … leave T + 1 tokens; 0 when none does."""
    def make(least, most):
        """From least to most tokens are left over after the last window; stride 8 or 9."""
        t, s = draw.randint(10, 20), draw.randint(8, 9)
        return t + 1 + draw.randint(5, 12) * s + draw.randint(least, most), t, s

    t, s = draw.randint(10, 20), draw.randint(7, 9)
    cases = (make(5, 6), make(1, 3), make(5, 6), make(1, 3), make(0, 0), (t + 5 * s, t, s), (5 * t, t, t), (7 * t + 2, t, t),
             (6 * t + 7, t, t + s), (3 * t, t, 1), (t + 1, t, s), (t, t, s), (2, t, 2), (1, t, s))
    ask(answer, cases, count, COUNTS, name="the count", describe=lambda n, t, s: f"n = {n}, T = {t}, stride {s}")


# 1.4 the drop_last trap

def smallest(t, s, b, parts, drop_last):
    """The fewest tokens of a text, one of whose parts holds a batch."""
    return parts * (((b if drop_last else 1) - 1) * s + t + 1)


SMALLEST = {
    "drop_last is the wrong way round: with drop_last=True a batch must be full, with False one window is enough":
        lambda t, s, b, k, d: smallest(t, s, b, k, not d),
    "drop_last is ignored: one window is a batch that is not full, and drop_last=True drops it, so B windows are needed":
        lambda t, s, b, k, d: smallest(t, s, b, k, False),
    "drop_last is ignored: with drop_last=False a batch need not be full, so one window is enough":
        lambda t, s, b, k, d: smallest(t, s, b, k, True),
    "that is the validation part alone; the text is `parts` times as long":
        lambda t, s, b, k, d: smallest(t, s, b, 1, d),
    "that is the validation part divided by `parts`; the text is `parts` times as long":
        lambda t, s, b, k, d: smallest(t, s, b, 1, d) / k,
    "that is the validation part divided by `parts`, rounded down; the text is `parts` times as long":
        lambda t, s, b, k, d: smallest(t, s, b, 1, d) // k,
    "that is the validation part divided by `parts`, rounded up; the text is `parts` times as long":
        lambda t, s, b, k, d: -(-smallest(t, s, b, 1, d) // k),
    "`parts` is added; the text is `parts` times as long as one of them":
        lambda t, s, b, k, d: smallest(t, s, b, 1, d) + k,
    "`parts` - 1 is the factor; validation itself is one of the parts":
        lambda t, s, b, k, d: smallest(t, s, b, k - 1, d),
    "the next token is forgotten: the last window takes T + 1 tokens, and not T":
        lambda t, s, b, k, d: smallest(t - 1, s, b, k, d),
    "the next token is added to the whole text; it is needed in the validation part, so before the multiplication by `parts`":
        lambda t, s, b, k, d: smallest(t - 1, s, b, k, d) + 1,
    "the stride is ignored, as if it were T; windows start `stride` tokens apart":
        lambda t, s, b, k, d: smallest(t, t, b, k, d),
    "the stride is ignored, as if it were T, and the next token forgotten: the last window takes T + 1 tokens":
        lambda t, s, b, k, d: k * (b if d else 1) * t,
    "T + 1 tokens are taken for each window; a further window starts, and ends, `stride` tokens later":
        lambda t, s, b, k, d: k * (b if d else 1) * (t + 1),
    "the stride is ignored, as if it were 1; windows start `stride` tokens apart":
        lambda t, s, b, k, d: smallest(t, 1, b, k, d),
    "one stride too many: from the first start to the last of B windows it is B - 1 strides, none for a single window":
        lambda t, s, b, k, d: smallest(t, s, (b if d else 1) + 1, k, True),
    "one stride too many, and the next token forgotten: B windows have B - 1 strides between, and the last takes T + 1":
        lambda t, s, b, k, d: smallest(t - 1, s, (b if d else 1) + 1, k, True),
    "one stride too few: from the first start to the last of B windows it is B - 1 strides":
        lambda t, s, b, k, d: smallest(t, s, max(b - 1, 1), k, d),
    "B strides and one token are too few: the last window takes T + 1 tokens from its start":
        lambda t, s, b, k, d: k * ((b if d else 1) * s + 1),
    "that is B windows, and not tokens": lambda t, s, b, k, d: k * b,
    "that is B windows and one, and not tokens": lambda t, s, b, k, d: k * (b + 1),
    "one token too many in the validation part: where T + 1 tokens are left, a window fits":
        lambda t, s, b, k, d: smallest(t + 1, s, b, k, d),
    "the strides are added to the whole text; they lie in the validation part, which `parts` multiplies":
        lambda t, s, b, k, d: k * (t + 1) + ((b if d else 1) - 1) * s,
    "one token less than is needed, so that the loader is still empty": lambda t, s, b, k, d: smallest(t, s, b, k, d) - 1,
    "one more than is needed; the fewest are asked": lambda t, s, b, k, d: smallest(t, s, b, k, d) + 1,
    "T + B tokens: a batch has B windows, each with T inputs": lambda t, s, b, k, d: k * (t + b),
    "context_length and stride are exchanged": lambda t, s, b, k, d: smallest(s, t, b, k, d),
    "that is a training part, all the parts but two": lambda t, s, b, k, d: smallest(t, s, b, k - 2, d),
}


@exercise("1.4", "the smallest text", see=("01", "The drop_last trap"))
def check_smallest_text(answer, draw):
    """smallest_text(context_length, stride, batch_size, parts, drop_last): the fewest tokens for a validation batch."""
    def make(drop_last):
        t, s = draw.sample(range(13, 25), 2)
        return t, s, draw.randint(4, 6), draw.randint(7, 12), drop_last

    t, s, b, k, _ = make(True)
    cases = (make(True), make(False), make(True), make(False), make(True),
             (t, s, 1, k, True), (t, t, b, k, True), (t, t + s, b, k, True))
    ask(answer, cases, smallest, SMALLEST, name="the number of tokens",
        describe=lambda t, s, b, k, d: f"T = {t}, stride {s}, B = {b}, {k} parts, drop_last={d}",
        scales=lambda t, s, b, k, d: {"the number of parts": k, "the batch size B": b})


# 1.5 tokens seen

def seen(n, t, b, epochs, drop_last, windows=None):
    """Inputs that went into the model; windows: how many there are in an epoch, where a mistake counts them."""
    windows = (n - 1) // t if windows is None else windows
    return epochs * t * (windows // b * b if drop_last else windows)


def steps(n, t, b, drop_last):
    """Batches in an epoch."""
    return (n - 1) // t // b if drop_last else -(-((n - 1) // t) // b)


SEEN = {
    "drop_last is the wrong way round: True leaves out a last batch that is not full, False keeps it":
        lambda n, t, b, e, d: seen(n, t, b, e, not d),
    "drop_last is ignored: with drop_last=True the last batch is left out in every epoch if it is not full":
        lambda n, t, b, e, d: seen(n, t, b, e, False),
    "drop_last is ignored: with drop_last=False the last batch counts too, with the windows it has":
        lambda n, t, b, e, d: seen(n, t, b, e, True),
    "the last batch is counted as if it were full; it has only the windows that are left":
        lambda n, t, b, e, d: e * t * b * steps(n, t, b, False),
    "that is the number of batches; each has up to B windows of T tokens": lambda n, t, b, e, d: e * steps(n, t, b, d),
    "batches times T: a batch has up to B windows, each of T tokens": lambda n, t, b, e, d: e * t * steps(n, t, b, d),
    "that is the number of windows; each has T tokens": lambda n, t, b, e, d: seen(n, 1, b, e, d, (n - 1) // t),
    "batches times B are windows, if all are full; each window has T tokens": lambda n, t, b, e, d: e * b * steps(n, t, b, d),
    "that is one epoch, its unique tokens; each further epoch is seen again": lambda n, t, b, e, d: seen(n, t, b, 1, d),
    "that is a single full batch; count all of them, in all epochs": lambda n, t, b, e, d: b * t,
    "T + 1 tokens are counted for a window; its last token is a target only, and the inputs go into the model":
        lambda n, t, b, e, d: seen(n, t, b, e, d) // t * (t + 1),
    "a token more was counted in each epoch, the last target; only the inputs go into the model":
        lambda n, t, b, e, d: seen(n, t, b, e, d) + e,
    "a token more was counted, the last target; only the inputs go into the model":
        lambda n, t, b, e, d: seen(n, t, b, e, d) + 1,
    "drop_last left out a window; it leaves out the whole last batch, and only if that is not full":
        lambda n, t, b, e, d: seen(n, t, b, e, False, max((n - 1) // t - d, 0)),
    "inputs and targets are both counted; only the inputs go into the model": lambda n, t, b, e, d: 2 * seen(n, t, b, e, d),
    "that is n tokens for each epoch; only whole windows go in, of T inputs each": lambda n, t, b, e, d: e * n,
    "that is n - 1 tokens for each epoch; the rest after the last whole window is left out": lambda n, t, b, e, d: e * (n - 1),
    "that is n, the length of the text; only whole windows go in, in each epoch": lambda n, t, b, e, d: n,
    "the next token is forgotten: n // T windows would need a target after the last token; (n - 1) // T fit":
        lambda n, t, b, e, d: seen(n, t, b, e, d, n // t),
    "one window too many, as from rounding n / T up; (n - 1) // T fit, and a piece that does not fill one is left out":
        lambda n, t, b, e, d: seen(n, t, b, e, d, -(-n // t)),
    "rounded up, so a piece that does not fill a window is counted as one; it is left out":
        lambda n, t, b, e, d: seen(n, t, b, e, d, -(-(n - 1) // t)),
    "one window is missing: (n - T - 1) // T + 1 fit": lambda n, t, b, e, d: seen(n, t, b, e, d, max((n - t - 1) // t, 0)),
    "windows of T + 1 tokens side by side; windows start T apart, so neighbours share a token, and (n - 1) // T fit":
        lambda n, t, b, e, d: seen(n, t, b, e, d, n // (t + 1)),
    "windows at every start were counted, as if the stride were 1; it is T":
        lambda n, t, b, e, d: seen(n, t, b, e, d, max(n - t, 0)),
    "drop_last was applied once, at the end of all epochs; it leaves out the last batch of each epoch":
        lambda n, t, b, e, d: (seen(n, t, b, 1, True, e * ((n - 1) // t)) if d else seen(n, t, b, e, d)),
    "drop_last was applied in one epoch; it leaves out the last batch of each": lambda n, t, b, e, d:
        seen(n, t, b, e, False) - (seen(n, t, b, 1, False) - seen(n, t, b, 1, True) if d else 0),
    "a full last batch was dropped; drop_last leaves it out only if it is not full": lambda n, t, b, e, d:
        e * t * b * max(steps(n, t, b, False) - 1, 0) if d else seen(n, t, b, e, d),
    "only what drop_last leaves out was counted": lambda n, t, b, e, d: seen(n, t, b, e, False) - seen(n, t, b, e, True),
    "0 windows were found in a text that has one: T + 1 tokens are enough":
        lambda n, t, b, e, d: 0 if n <= t + 1 else seen(n, t, b, e, d),
    "a text of T tokens or less has no window, since the last target needs one more, so the model sees nothing":
        lambda n, t, b, e, d: e * t if n <= t else seen(n, t, b, e, d),
}


@exercise("1.5", "tokens seen", see=("01", "Tokens seen, unique tokens"))
def check_tokens_seen(answer, draw):
    """tokens_seen(n, context_length, batch_size, epochs, drop_last): inputs of whole windows, in the batches that are kept."""
    def make(drop_last):
        """Neither the last window nor the last batch is full, and what all epochs drop does not fill batches exactly."""
        while True:
            t, b, epochs, left = draw.randint(6, 9), draw.randint(4, 6), draw.randint(3, 5), draw.randint(2, 5)
            if left < b < epochs * left and epochs * left % b:
                return (draw.randint(3, 5) * b + left) * t + draw.randint(2, t - 1), t, b, epochs, drop_last

    _, t, b, epochs, _ = make(True)
    full = draw.randint(2, 4) * b                             # as many windows as fill all batches
    cases = (make(True), make(False), make(True), make(False), (full * t, t, b, epochs, True), (full * t, t, b, epochs, False),
             (full * t + 1, t, b, epochs, True), (full * t + 2, t, b, epochs, False), ((b - 1) * t + 2, t, b, epochs, True),
             ((b - 1) * t + 2, t, b, 1, False), (t + 1, t, b, epochs, False), (t, t, b, epochs, False),
             (draw.randint(2, t - 1), t, b, epochs, True))
    ask(answer, cases, seen, SEEN, name="the number of tokens",
        describe=lambda n, t, b, e, d: f"n = {n}, T = {t}, B = {b}, {e} epoch{'s'[:e != 1]}, drop_last={d}",
        scales=lambda n, t, b, e, d: {"T": t, "the batch size B": b, "the number of epochs": e, "B·T": b * t})


# 1.6 the leak

def targets(starts, t, first=1, end=None):
    """Positions of all targets of the windows with these starts, repeats and all; first and end: other places, for mistakes."""
    return [start + i for start in starts for i in range(first, t + 1 if end is None else end)]


def share(val, train, among=None):
    """The share of val's places that are train's too; among: another number to divide by, for mistakes."""
    return len(set(val) & set(train)) / (len(set(val)) if among is None else among)


LEAKS = {
    "a position of several validation windows was counted several times (the mean of windows' shares does so too); take sets":
        lambda a, v, t: sum(p in set(targets(a, t)) for p in targets(v, t)) / len(targets(v, t)),
    "the shared positions are counted once, but divided by all targets with their repeats; count both once":
        lambda a, v, t: share(targets(v, t), targets(a, t), len(v) * t),
    "the shared positions are counted with their repeats, but divided by the unique ones; count both once":
        lambda a, v, t: sum(p in set(targets(a, t)) for p in targets(v, t)) / len(set(targets(v, t))),
    "each shared position was counted once for every pair of windows that shares it; a position counts once":
        lambda a, v, t: sum(targets(a, t).count(p) for p in targets(v, t)) / len(targets(v, t)),
    "each shared position was counted for each training window that has it; a position counts once":
        lambda a, v, t: sum(targets(a, t).count(p) for p in set(targets(v, t))) / len(set(targets(v, t))),
    "divided by the number of training targets; asked is the share of the validation targets":
        lambda a, v, t: share(targets(a, t), targets(v, t)),
    "divided by all training targets with their repeats; asked is the share of the unique validation targets":
        lambda a, v, t: share(targets(v, t), targets(a, t), len(a) * t),
    "divided by all positions, of training and validation together; asked is the share of the validation targets":
        lambda a, v, t: share(targets(v, t), targets(a, t), len(set(targets(v, t)) | set(targets(a, t)))),
    "divided by the number of training and of validation targets; asked is the share of the validation targets alone":
        lambda a, v, t: share(targets(v, t), targets(a, t), len(set(targets(v, t))) + len(set(targets(a, t)))),
    "divided by the number of validation windows; divide by the number of their unique targets":
        lambda a, v, t: share(targets(v, t), targets(a, t), len(v)),
    "divided by T; divide by the number of unique validation targets":
        lambda a, v, t: share(targets(v, t), targets(a, t), t),
    "that is the number of shared positions; divide by the number of validation targets":
        lambda a, v, t: share(targets(v, t), targets(a, t), 1),
    "that is the number of shared targets, with repeats; count positions once, and divide by the number of validation targets":
        lambda a, v, t: sum(p in set(targets(a, t)) for p in targets(v, t)),
    "rounded down to a whole number; a share is a float from 0 to 1, and // rounds where / does not":
        lambda a, v, t: int(share(targets(v, t), targets(a, t))),
    "rounded to a whole number, as by round or //; a share is a float from 0 to 1":
        lambda a, v, t: round(share(targets(v, t), targets(a, t))),
    "in percent; a share goes from 0 to 1": lambda a, v, t: 100 * share(targets(v, t), targets(a, t)),
    "that is the share that did not leak": lambda a, v, t: 1 - share(targets(v, t), targets(a, t)),
    "only the starts were compared; windows that start at different tokens can share targets": lambda a, v, t: share(v, a),
    "only the first target of each window was taken; a window has T": lambda a, v, t: share(targets(v, t, 1, 2), targets(a, t)),
    "only the last target of each window was taken; a window has T": lambda a, v, t: share(targets(v, t, t), targets(a, t)),
    "that is the share of windows that share some target; positions are counted here, not windows":
        lambda a, v, t: sum(bool(set(targets([s], t)) & set(targets(a, t))) for s in v) / len(v),
    "that is the share of windows all of whose targets leaked; positions are counted here, not windows":
        lambda a, v, t: sum(set(targets([s], t)) <= set(targets(a, t)) for s in v) / len(v),
    "T - 1 positions were taken for each training window; it has T targets, the last at start + T":
        lambda a, v, t: share(targets(v, t), targets(a, t, 1, t)),
    "T - 1 positions were taken for each window; it has T targets, the last at start + T":
        lambda a, v, t: share(targets(v, t, 1, t), targets(a, t, 1, t)),
    "T + 1 positions were taken for each window, inputs and targets together; asked are the targets, start + 1 to start + T":
        lambda a, v, t: share(targets(v, t, 0), targets(a, t, 0)),
    "T + 2 positions were taken for each window; it has T targets, start + 1 to start + T":
        lambda a, v, t: share(targets(v, t, 0, t + 2), targets(a, t, 0, t + 2)),
    "validation's targets were compared with training's inputs; compare targets with targets, one place later":
        lambda a, v, t: share(targets(v, t), targets(a, t, 0, t)),
    "validation's inputs were compared with training's targets; compare targets with targets, one place later":
        lambda a, v, t: share(targets(v, t, 0, t), targets(a, t)),
    "validation's targets were compared with all tokens of the training windows, the first inputs too; only targets count":
        lambda a, v, t: share(targets(v, t), targets(a, t, 0)),
    "all tokens of the validation windows were compared with training's targets; only targets count":
        lambda a, v, t: share(targets(v, t, 0), targets(a, t)),
    "all positions between the first and the last training window were taken for training; there are gaps between windows":
        lambda a, v, t: share(targets(v, t), range(min(a) + 1, max(a) + t + 1)),
    "all positions between the first and the last window were taken, in both parts; there are gaps between windows":
        lambda a, v, t: share(range(min(v) + 1, max(v) + t + 1), range(min(a) + 1, max(a) + t + 1)),
    "only the first training window was compared; take all": lambda a, v, t: share(targets(v, t), targets(a[:1], t)),
    "only the last training window was compared: add to the set, and do not overwrite it":
        lambda a, v, t: share(targets(v, t), targets(a[-1:], t)),
    "only the first validation window was counted; take all": lambda a, v, t: share(targets(v[:1], t), targets(a, t)),
    "only the last validation window was counted: add to the set, and do not overwrite it":
        lambda a, v, t: share(targets(v[-1:], t), targets(a, t)),
}


@exercise("1.6", "the leak", see=("01", "How a split leaks"))
def check_leaked_share(answer, draw):
    """leaked_share(train_starts, val_starts, context_length): the part of validation's targets that are training's too."""
    def right(a, v, t):
        return share(targets(v, t), targets(a, t))

    def make():
        """Windows with gaps, which overlap in part, in no order; one is in both parts."""
        train, val = draw.sample(range(70), 6), draw.sample(range(5, 65), 4)
        val.insert(draw.randint(1, 3), draw.choice([start for start in train if start not in val]))
        return train, val, draw.randint(6, 9)

    t, first, more = draw.randint(5, 9), draw.randint(12, 15), draw.randint(5, 9)
    in_order = list(range(first)), list(range(first, first + more)), t
    apart = [i * t for i in range(first)], [i * t for i in range(first, first + more)], t      # side by side
    within = in_order[0], draw.sample(range(1, first - 1), 4), t
    ask(answer, (*(make() for _ in range(6)), in_order, apart, within), right, LEAKS, rtol=1e-4, name="the share",
        describe=lambda a, v, t: f"train_starts = {short(a)}, val_starts = {short(v)}, T = {t}",
        scales=lambda a, v, t: {"T": t, "the number of validation windows": len(v)})
