"""The exercises of lesson 01 as data: the split."""
import math

import torch

from gpt_checks.core import generator, want_that
from gpt_checks.observe import as_list
from gpt_checks.spec import as_given, exchange, spec


def no_generator(got):
    want_that(not isinstance(got, generator), "the values are right, but a generator (or zip, or map) gives them, and only once; "
              "list(...) makes a list of it")


# 1.1
def cut_points(n, train, val, *, given=as_given, times=lambda share, n: share * n, whole=round,
               second=lambda cut, n, p, q: cut(p + q), give=lambda a, b, n: (a, b)):
    n, train, val = given(n, train, val)

    def cut(share):
        return whole(times(share, n))

    return give(cut(train), second(cut, n, train, val), n)


def shares_of_a_text(draw):
    """Cuts that fall beside a token by tenths of it; but for the lesson's, no share is a whole percent."""
    for first, more in ((0.7, 0.7), (0.3, 0.3), (0.6, 0.3), (0.8, 0.6), (0.2, 0.1), (0.9, 0.3), (0.1, 0.7), (0.4, 0.4)):
        n = draw.randint(200, 9999)
        train, val = draw.randint(55 * n // 100, 75 * n // 100) + first, draw.randint(8 * n // 100, 17 * n // 100) + more
        yield None, (n, round(train / n, 6), round(val / n, 6))
    yield None, (10 * draw.randint(30, 999) + draw.choice([1, 2, 3, 4, 6, 7, 8, 9]), 0.8, 0.1)
    n = draw.randint(700_000, 999_999)
    yield None, (n, round((n * 2 // 3 + 0.7) / n, 8), round((n // 7 + 0.6) / n, 8))


END_IS_OUT = "too small: a slice leaves out its end by itself, so ids[:first] holds first tokens"
FROM_0 = "too large: tokens are counted from 0, so ids[:first] holds first tokens, and ids[first:] goes on"
AT_THE_END = "the second cut lies where validation ends, at (train + val)·n"
NEAREST = "each cut falls on the nearest token: round"
LENGTHS = "lengths of the parts came back; two cuts are asked, where training ends and where validation ends"
check_cut_points = spec(
    "1.1", "the cut points", see=("01", "Three parts, three purposes"), right=cut_points, cases=shares_of_a_text, rtol=1e-9,
    use=lambda answer, *args: got if isinstance(got := answer(*args), generator) else as_list(got),      # tensors and arrays, too
    name="the pair of cuts", also=no_generator,
    doc="cut_points(n, train, val): the integers nearest to train·n and (train + val)·n, a pair of ints.",
    mistakes=exchange("whole", {
        f"the places are not rounded; {NEAREST}": lambda x: x,
        f"rounded down (int, floor and // cut off what follows the point); {NEAREST}": math.floor,
        f"rounded up; {NEAREST}": math.ceil,
    }) | exchange("second", {
        "two roundings add up in the second cut; round the whole place, (train + val)·n":
            [lambda cut, n, p, q: cut(p) + cut(q), lambda cut, n, p, q: cut(p) + math.floor(q * n)],
        f"the second number is val's share alone; {AT_THE_END}": lambda cut, n, p, q: cut(q),
        f"train + val·n is val's share and little more, without brackets; {AT_THE_END}": lambda cut, n, p, q: cut(p / n + q),
        f"validation and test are exchanged, as (1 - val)·n does; {AT_THE_END}": lambda cut, n, p, q: cut(1 - q),
        f"0.9 is fixed in the function; {AT_THE_END}": lambda cut, n, p, q: cut(0.9),
        "val is taken as a share of what training leaves; it is one of n": lambda cut, n, p, q: cut(p) + round(q * (n - cut(p))),
        "val is taken as a share of the training part; it is one of n": lambda cut, n, p, q: cut(p * (1 + q)),
        f"the second number is n, where test ends; {AT_THE_END}": lambda cut, n, p, q: n,
        f"the shares were multiplied with each other; {AT_THE_END}": lambda cut, n, p, q: cut(p * q),
        f"the rest after training was halved; {AT_THE_END}": [lambda cut, n, p, q: cut((1 + p) / 2),
            lambda cut, n, p, q: cut(p) + round((n - cut(p)) / 2), lambda cut, n, p, q: cut(p) + (n - cut(p)) // 2],
        f"the second cut is rounded down, as int does; {NEAREST}": lambda cut, n, p, q: math.floor((p + q) * n),
        f"the second cut is rounded up; {NEAREST}": lambda cut, n, p, q: math.ceil((p + q) * n),
    }) | exchange("give", {
        f"the second number is the length of validation; {AT_THE_END}": lambda a, b, n: (a, b - a),
        "n came back as a third cut; the text ends there anyway, and two cuts make three parts": lambda a, b, n: (a, b, n),
        "0 came back as a cut; the text begins there anyway": [lambda a, b, n: (0, a, b, n), lambda a, b, n: (0, a, b)],
        "the two cuts are exchanged; the first is where training ends": lambda a, b, n: (b, a),
        "counted from the end of the text; training comes first": lambda a, b, n: (n - a, n - b),
    }) | {f"{which} one {why}": {"give": lambda a, b, n, i=i, j=j: (a + i, b + j)} for which, i, j, why in [
        ("each cut is", -1, -1, END_IS_OUT), ("the first cut is", -1, 0, END_IS_OUT), ("the second cut is", 0, -1, END_IS_OUT),
        ("each cut is", 1, 1, FROM_0), ("the first cut is", 1, 0, FROM_0), ("the second cut is", 0, 1, FROM_0)]
    } | exchange("given", {
        "the shares are exchanged: training comes first, so the first cut is train·n": lambda n, p, q: (n, q, p),
        "0.8 and 0.1 are fixed in the function; use the shares it is given": lambda n, p, q: (n, 0.8, 0.1),
        "one share is fixed in the function; use both, as given": [lambda n, p, q: (n, 0.8, q), lambda n, p, q: (n, p, 0.1)],
    }) | exchange("times", {
        "the shares were multiplied by n - 1; they are shares of all n tokens": lambda share, n: share * (n - 1),
        "n was divided by the shares; a share of n is a product": [lambda share, n: n / share, lambda share, n: n // share],
        "the shares were rounded before the multiplication; round the product, train * n": lambda share, n: round(share) * n,
        "the shares were rounded first, or cut off, as to whole percents; they are exact, and only the two places are rounded":
            [lambda share, n, k=k, f=f: f(share * k) / k * n for k in (100, 10, 10**3, 10**4, 10**5) for f in (round, int)],
    }) | {
        "the shares themselves came back; multiply them by n": {"times": lambda share, n: share, "whole": lambda x: x},
        **{f"the first cut is rounded {words}; {NEAREST}": {"whole": whole, "second": lambda cut, n, p, q, f=f: f((p + q) * n)}
           for words, whole, f in [("down, as int does", math.floor, round), ("up", math.ceil, round),
                                   ("down, and the second up, as n - int(test·n) does", math.floor, math.ceil)]},
        LENGTHS: [{"give": lambda a, b, n: (a, b - a, n - b)}, {"give": lambda a, b, n: (b - a, n - b)},
                  {"second": lambda cut, n, p, q: cut(q), "give": lambda a, b, n: (a, b, n - a - b)}],
    })


# 1.2
def piece(first, end):
    """The tokens of a window that starts at a, from a + first up to, but without, a + T + end."""
    return lambda ids, a, t, s: ids[a + first : a + t + end]


def until(more):
    """Starts a stride apart; with until(0), T + 1 tokens are left from each."""
    return lambda n, t, s: range(0, n - t + more, s)


INPUTS, TARGETS, STARTS = piece(0, 0), piece(1, 1), until(0)


def windows(ids, t, s, *, given=as_given, text=lambda ids: ids, starts=STARTS, inputs=INPUTS, targets=TARGETS,
            give=lambda pairs: pairs):
    ids, t, s = given(ids, t, s)
    tokens = text(ids)
    return give([(inputs(tokens, a, t, s), targets(tokens, a, t, s)) for a in starts(len(ids), t, s)])


def texts(draw):
    """Texts in which no token comes twice, so that a token tells its place."""
    t, s, more = draw.randint(3, 6), draw.randint(2, 3), draw.randint(2, 4)
    s = min(s, t - 1)
    room = t + 1 + more * s                               # tokens of more + 1 windows
    for n, stride, case in [
            (room, s, None), (room + 1, s, None), (room - 1, s, None), (4 * t + draw.randint(2, t), t, None), (4 * t, t, None),
            (4 * t + 1, t, None), (4 * t + 9, t + draw.randint(2, 3), "a stride above T"), (2 * t + 3, 1, "stride 1"),
            (t + 1, s, "T + 1 tokens, one window"), (t, s, "T tokens, no window"), (t - 2, s, "fewer than T tokens, no window")]:
        yield case, (torch.tensor(draw.sample(range(100, 1000), n)), t, stride)


def unpacked(answer, *args):
    """What an answer gives; a tensor of two rows counts as a pair."""
    got = answer(*args)
    if not isinstance(got, list) or isinstance(got, generator):
        return got
    return [tuple(pair) if isinstance(pair, torch.Tensor) and pair.ndim == 2 and len(pair) == 2 else pair for pair in got]


def every(f):
    """For each window f(inputs, targets)."""
    return lambda pairs: [f(x, y) for x, y in pairs]


PARTIAL_TOO = [lambda n, t, s: range(0, n - 1, s), lambda n, t, s: range(0, n, s), lambda n, t, s: range(0, n // s * s, s)]
WHOLE, STRIDE = "leave out what does not fill a window, T + 1 tokens", "window i starts at i·stride"
check_windows = spec(
    "1.2", "windows and targets", see=("01", "Windows, shifted by one"), right=windows, cases=texts, rtol=1e-9, use=unpacked,
    name="the list of windows", also=no_generator,
    doc="windows(ids, context_length, stride): a list of all whole windows, (inputs, targets), the targets one token later.",
    mistakes={
        "the targets are the inputs themselves; a target is the token after its input": {"targets": piece(0, 0)},
        "the targets lie one token before the inputs; they lie one after":
            [{"targets": lambda ids, a, t, s: ids.roll(1)[a : a + t]}, {"targets": piece(-1, -1)}],
        "the targets lie a stride after the inputs; need 1": [
            {"targets": lambda ids, a, t, s: ids[a + s : a + s + t], "starts": lambda n, t, s: range(0, n - t - s + 1, s)},
            {"targets": lambda ids, a, t, s: ids[a + s : a + s + t]}],
        "the targets lie 2 tokens after the inputs; need 1": [
            {"targets": piece(2, 2), "starts": until(-1)}, {"targets": piece(2, 2)}],
        "the targets are the tokens after the window; each follows its own input, so they start one later":
            [{"targets": lambda ids, a, t, s, i=i: ids[a + t + i : a + 2 * t + i],
              "starts": lambda n, t, s, k=k, more=more: range(0, n - k * t + more, s)}
             for i in (0, 1) for k, more in ((2, 0), (2, 1), (1, 0))],
        "only one target for a window, the token after it; each of the T inputs has a target of its own, one token later":
            [{"targets": lambda ids, a, t, s: ids[a + t]}, {"targets": lambda ids, a, t, s: ids[a + t, None]}],
        "one target is missing: a slice leaves out its end, so the targets are ids[a + 1 : a + T + 1]": {"targets": piece(1, 0)},
        "all targets but a window's last are right; the last one is the token after all inputs, so read T + 1 tokens":
            [{"targets": lambda ids, a, t, s, last=last: torch.cat([ids[a + 1 : a + t], last(ids[a : a + t])])}
             for last in (lambda x: x[:1], lambda x: x[-1:], lambda x: 0 * x[:1], lambda x: 0 * x[:1] - 100)],
        f"the last target is the first token of the text (torch.roll goes round), since nothing follows the last; {WHOLE}":
            {"targets": lambda ids, a, t, s: ids.roll(-1)[a : a + t], "starts": until(1)},
        "T + 1 inputs: the last token of a window is a target only, so the inputs are all but the last": {"inputs": piece(0, 1)},
        "T + 1 inputs and T + 1 targets; T + 1 tokens are a whole window, T inputs and, one later, T targets":
            [{"inputs": piece(0, 1), "targets": piece(1, 2), "starts": until(more)} for more in (-1, 0)],
        "T tokens were cut, which leaves T - 1 inputs with a target; a window of T inputs takes T + 1 tokens":
            [{"inputs": piece(0, -1), "targets": piece(1, 0), "starts": until(more)} for more in (1, 0)],
        "the tokens inside a window do not follow each other; the stride lies between windows, not between tokens":
            [{"inputs": lambda *at: INPUTS(*at)[:: at[-1]], "targets": lambda *at: TARGETS(*at)[:: at[-1]], "starts": starts}
             for starts in (lambda n, t, s: range(0, n - t), STARTS)],
        "context_length and stride are exchanged; a window has T inputs and T targets": {"given": lambda ids, t, s: (ids, s, t)},
        "positions came back, not token ids: take the ids at these places, ids[a:b]": {"text": lambda x: torch.arange(len(x))},
        f"the last window is filled up; {WHOLE}":
            [{"text": lambda ids, token=token: torch.cat([ids, torch.full((99,), token)]), "starts": starts}
             for token in (0, -1, -100, 50256) for starts in (*PARTIAL_TOO, until(1))],
        "all inputs came back, then all targets; need a pair for each window, a list of (inputs, targets): zip does that":
            [{"give": lambda pairs, f=f: (f([x for x, _ in pairs]), f([y for _, y in pairs]))} for f in (list, torch.stack)],
        "all windows came back in one tensor; need a list of pairs (inputs, targets), one a window":
            [{"give": lambda pairs, f=f: torch.stack(every(f)(pairs))}
             for f in (lambda x, y: torch.cat([x, y[-1:]]), lambda x, y: torch.stack([x, y]), lambda x, y: x)],
    } | exchange("starts", {
        f"a window at the end is not whole; {WHOLE}": PARTIAL_TOO,
        f"the last window has one target too few; {WHOLE}": until(1),
        "the last whole window is missing where it ends with the text; every start up to N - T - 1 fits": until(-1),
        "(N - T) // stride windows came back; (N - T - 1) // stride + 1 fit": lambda n, t, s: range(0, (n - t) // s * s, s),
        f"the stride is ignored, as if it were T; {STRIDE}": lambda n, t, s: range(0, n - t, t),
        f"windows start T + 1 tokens apart; {STRIDE}": lambda n, t, s: range(0, n - t, t + 1),
        f"windows start 1 token apart; {STRIDE}": [lambda n, t, s: range(n - t), lambda n, t, s: range(len(STARTS(n, t, s)))],
        f"windows start too far apart, or too near; {STRIDE}": [lambda n, t, s, step=step: range(0, n - t, max(step(s), 1))
            for step in (lambda s: 2 * s, lambda s: s + 1, lambda s: s - 1, lambda s: 2)],
        f"windows start T·stride tokens apart; {STRIDE}": lambda n, t, s: range(0, n - t, t * s),
        f"as many windows came back as fit side by side; {STRIDE}, and each start that leaves T + 1 tokens counts":
            [lambda n, t, s: range(0, (n - 1) // t * s, s), lambda n, t, s: range(0, n // t * s, s)],
        "the window that starts at token 0 is missing": [lambda n, t, s: range(s, n - t, s), lambda n, t, s: range(1, n - t, s)],
        f"a window was added that ends with the text; {STRIDE}": lambda n, t, s: sorted({*STARTS(n, t, s), max(n - t - 1, 0)}),
        f"a window came back where none fits; {WHOLE}": lambda n, t, s: range(0, max(n - t, 1), s),
    }) | exchange("give", {
        "inputs and targets are exchanged: the targets are the later ones": every(lambda x, y: (y, x)),
        "the last whole window is missing; every start up to N - T - 1 fits": lambda pairs: pairs[:-1],
        "the windows are the right ones, but not in the order of the text": lambda pairs: pairs[::-1],
        "only the first window came back: is `return` inside the loop?": lambda pairs: pairs[:1],
        "only the last window came back: append each to a list": [lambda pairs: pairs[-1:], lambda pairs: pairs[-1]],
        "lists of numbers came back; need a tensor each, and ids[a:b] is one": every(lambda x, y: (x.tolist(), y.tolist())),
        "the tokens came back as floats; token ids are integers, torch.int64": every(lambda x, y: (x.float(), y.float())),
        "each window came back as one row of T + 1 tokens; part it": every(lambda x, y: torch.cat([x, y[-1:]])),
        "no pairs came back, but one tensor a window; need (inputs, targets)": [every(lambda x, y: x), every(lambda x, y: y)],
        "inputs and targets came back in turn; need pairs (inputs, targets)": lambda pairs: [x for pair in pairs for x in pair],
    }))


# 1.3
def count_windows(n, t, s, *, given=as_given, room=lambda n, t: n - t - 1, strides=lambda room, s: room // s, more=1,
                  end=lambda c, n, t, s: max(c, 0)):
    n, t, s = given(n, t, s)
    return end(strides(room(n, t), s) + more, n, t, s)


def sizes_of_texts(draw):
    t, s = draw.randint(10, 20), draw.randint(7, 9)
    for left in ([5, 6], [1, 2, 3], [5, 6], [0]):             # tokens left over after the last window
        yield None, (t + 1 + draw.randint(2, 12) * s + draw.choice(left), t, s)
        t, s = draw.randint(10, 20), draw.randint(8, 9)
    yield from ((None, sizes) for sizes in [(t + 5 * s, t, s), (5 * t, t, t), (7 * t + 2, t, t), (6 * s - 1, 2 * s, s)])
    yield from [("a stride above T", (6 * t + 7, t, t + s)), ("stride 1", (3 * t, t, 1)),
                ("T + 1 tokens, one window", (t + 1, t, s)), ("T tokens, no window", (t, t, s)),
                ("2 tokens, no window", (2, t, 2)), ("1 token, no window", (1, t, s))]


ROOM = "a start counts only if T + 1 tokens are left from there"
PARTIAL = "a window that fits only in part does not count, so round down with //"
check_count_windows = spec(
    "1.3", "counting windows", see=("01", "Windows, shifted by one"), right=count_windows, cases=sizes_of_texts, rtol=1e-9,
    name="the count", scales=lambda n, t, s: {"the stride": s, "T": t},
    doc="count_windows(n, context_length, stride): how many starts 0, S, 2S … leave T + 1 tokens; 0 when none does.",
    mistakes=exchange("end", {
        "min(0, …) keeps what is below 0, and of the rest nothing; max(0, …) does the opposite": lambda c, n, t, s: min(c, 0),
        "less than none: the formula goes below 0 where the text is too short, so take at least 0": lambda c, n, t, s: c,
        "0 for T + 1 tokens, which are exactly one window": lambda c, n, t, s: 0 if n <= t + 1 else c,
        f"n // T counts windows side by side, and forgets the token after the last; {ROOM}": lambda c, n, t, s: n // t,
        f"n / T, rounded up, counts windows side by side, the last in part; {ROOM}": lambda c, n, t, s: -(-n // t),
        "n // (T + 1) counts windows that share no token; they start a stride apart": lambda c, n, t, s: n // (t + 1),
        f"n // stride counts starts; {ROOM}": [
            lambda c, n, t, s: n // s, lambda c, n, t, s: (n - 1) // s, lambda c, n, t, s: n // s if n > t else 0],
        f"all starts are counted, so partial windows too; {ROOM}":
            [lambda c, n, t, s: len(range(0, n, s)), lambda c, n, t, s: len(range(0, n - 1, s))],
        "// goes before -, so brackets are missing: (n - T - 1) // stride": lambda c, n, t, s: n - t - 1 // s + 1,
        "that is the number of tokens, n": lambda c, n, t, s: n,
        "that is the number of inputs, and not of windows": lambda c, n, t, s: max(c, 0) * t,
        "1 where no window fits; need 0 there": lambda c, n, t, s: max(c, 1),
        "abs turns less than none into some; the formula goes below 0 where the text is too short, so take at least 0":
            lambda c, n, t, s: abs(c),
        "two numbers of starts are subtracted, each of them rounded; subtract first, (n - T - 1) // stride, and add one": [
            f for rest in (lambda n, t, s: (n - 1) // s - t // s + 1, lambda n, t, s: n // s - t // s,
                           lambda n, t, s: -(-n // s) + -t // s)
            for f in (lambda c, n, t, s, rest=rest: max(rest(n, t, s), 0), lambda c, n, t, s, rest=rest: rest(n, t, s))],
    }) | exchange("strides", {
        f"not an integer: {PARTIAL}": lambda room, s: room / s,
        f"rounded up; {PARTIAL}": lambda room, s: math.ceil(room / s),
        "stride was a factor; a larger stride gives fewer windows, so divide by it": lambda room, s: room * s,
    }) | exchange("given", {
        "the stride is ignored, as if it were T": lambda n, t, s: (n, t, t),
        "the stride is ignored, as if it were 1": lambda n, t, s: (n, t, 1),
        "context_length and stride are exchanged": lambda n, t, s: (n, s, t),
    }) | {
        "1 where no window fits: T tokens hold none, since the last target needs one more (int() of -0.2 is 0, // gives -1)":
            {"strides": lambda room, s: int(room / s)},
        f"rounded to the nearest; {PARTIAL}": [{"strides": lambda room, s: math.floor(room / s + 0.5)},
            {"strides": lambda room, s: round((room + 1) / s), "more": 0}],
        "one too few: the first window needs no stride, so there is one more than (n - T - 1) // stride": {"more": 0},
        "two are added; the first window adds one": {"more": 2},
        "the next token is forgotten: T inputs and the target of the last take T + 1 tokens": [
            {"room": lambda n, t: n - t}, {"end": lambda c, n, t, s: (n - t) // s + 1 if n > t else 0}],
        "2 tokens are subtracted besides T; a window takes T + 1 tokens": {"room": lambda n, t: n - t - 2},
        "that is n - T - 1, the last start; divide by the stride, and add one": {"strides": lambda room, s: room, "more": 0},
    })


# 1.4
def smallest_text(t, s, b, parts, drop_last, *, given=as_given, windows=lambda b, drop_last: b if drop_last else 1,
                  strides=lambda windows: windows - 1, part=lambda k, s, t: k * s + t + 1,
                  whole=lambda p, parts: p * parts):
    t, s, b, parts, drop_last = given(t, s, b, parts, drop_last)
    return whole(part(strides(windows(b, drop_last)), s, t), parts)


def loaders(draw):
    for low, high in ((5, 9), (10, 14), (15, 20)):
        t, s = draw.sample(range(low, high), 2)
        b, parts = draw.randint(3, 7), draw.randint(3, 12)
        yield from ((None, (t, s, b, parts, drop_last)) for drop_last in (True, False))
    yield from [("one window a batch", (t, s, 1, parts, True)), ("stride = T", (t, t, b, parts, True)),
                ("a stride above T", (t, t + s, b, parts, True)), ("validation alone", (t, s, b, 1, True))]


LONGER, BETWEEN = "the text is `parts` times as long", "from the first start to the last of B windows it is B - 1 strides"
check_smallest_text = spec(
    "1.4", "the smallest text", see=("01", "The drop_last trap"), right=smallest_text, cases=loaders, rtol=1e-9,
    name="the number of tokens", scales=lambda t, s, b, parts, drop_last: {"the number of parts": parts, "the batch size B": b},
    doc="smallest_text(context_length, stride, batch_size, parts, drop_last): parts·((windows - 1)·S + T + 1).",
    mistakes=exchange("windows", {
        "drop_last is the wrong way round: with True a batch must be full, with False one window is enough":
            lambda b, drop: 1 if drop else b,
        "drop_last is ignored: True drops a batch that is not full, so B windows are needed": lambda b, drop: 1,
        "drop_last is ignored: with drop_last=False a batch need not be full, so one window is enough": lambda b, drop: b,
        "with drop_last=False one window is enough for a batch; here it takes two": lambda b, drop: b if drop else 2,
        "one window more than a batch holds; B of them are enough with drop_last=True": lambda b, drop: b + 1 if drop else 1,
    }) | exchange("part", {
        "the next token is forgotten: the last window takes T + 1 tokens, and not T": lambda k, s, t: k * s + t,
        "one token too many in the validation part: T + 1 tokens are a window": lambda k, s, t: k * s + t + 2,
        "T + 1 tokens are taken for each window; a further one ends `stride` tokens later": lambda k, s, t: (k + 1) * (t + 1),
        "a next token is added for each window; only the last one's lies outside the inputs": lambda k, s, t: k * (s + 1) + t + 1,
        "B strides and one token are too few: the last window takes T + 1 tokens": lambda k, s, t: (k + 1) * s + 1,
    }) | exchange("whole", {
        f"that is the validation part alone; {LONGER}": lambda p, parts: p,
        f"that is the validation part divided by `parts`; {LONGER}":
            [lambda p, parts: p / parts, lambda p, parts: p // parts, lambda p, parts: -(-p // parts)],
        f"that is the validation part, rounded up to a multiple of `parts`; {LONGER}": lambda p, parts: -(-p // parts) * parts,
        f"`parts` is added; {LONGER} as one of them": lambda p, parts: p + parts,
        f"the other parts have one token each; {LONGER} as validation": lambda p, parts: p + parts - 1,
        "`parts` - 1 is the factor; validation itself is one of the parts": lambda p, parts: p * (parts - 1),
        "the next token is added to the whole text; it belongs to validation, before the multiplication":
            lambda p, parts: (p - 1) * parts + 1,
        "one token less than is needed, so that the loader is still empty": lambda p, parts: p * parts - 1,
        "one more than is needed; the fewest are asked": lambda p, parts: p * parts + 1,
    }) | exchange("given", {
        "the stride is ignored, as if it were T; windows start `stride` tokens apart": lambda t, s, *rest: (t, t, *rest),
        "the stride is ignored, as if it were 1; windows start `stride` tokens apart": lambda t, s, *rest: (t, 1, *rest),
        "context_length and stride are exchanged": lambda t, s, *rest: (s, t, *rest),
    }) | {
        f"one stride too many: {BETWEEN}, none for a single window": {"strides": lambda windows: windows},
        f"one stride too few: {BETWEEN}": {"strides": lambda windows: max(windows - 2, 0)},
        "the strides are added to the whole text; they lie in the validation part, which `parts` multiplies":
            {"part": lambda k, s, t: (k * s, t + 1), "whole": lambda p, parts: p[0] + p[1] * parts},
        "that is B windows, and not tokens":
            [{"part": lambda k, s, t: k + 1}, {"part": lambda k, s, t: k + 1, "windows": lambda b, drop: b}],
    })


# 1.5
def kept_of(windows, b, drop_last):
    return windows // b * b if drop_last else windows


def batches(windows, b, drop_last):
    return windows // b if drop_last else -(-windows // b)


def tokens_seen(n, t, b, epochs, drop_last, *, given=as_given, fit=lambda n, t: (n - 1) // t,
                kept=lambda w, b, e, drop: e * kept_of(w, b, drop), end=lambda k, n, t, e: k * t):
    """kept: the windows that go into the model in all epochs."""
    n, t, b, epochs, drop_last = given(n, t, b, epochs, drop_last)
    return end(kept(fit(n, t), b, epochs, drop_last), n, t, epochs)


def trainings(draw):
    def ragged():
        """n, T, B and epochs, where no last window or batch is full, and what all epochs drop does not fill batches."""
        t, (b, left, epochs) = draw.randint(6, 9), draw.choice([(4, 2, 3), (4, 3, 3), (5, 2, 4), (5, 3, 3), (5, 4, 4)])
        return (draw.randint(2, 4) * b + left) * t + draw.randint(2, t - 1), t, b, epochs

    for drop_last in (True, False, True, False):
        yield None, (*ragged(), drop_last)
    _, t, b, epochs = ragged()
    full = draw.randint(2, 4) * b * t                         # inputs of windows that fill all batches
    yield from ((None, (n, t, b, epochs, drop)) for n, drop in [
        (full, True), (full, False), (full + 1, True), (full + 1, False), (full + 2, False)])
    yield from [("fewer windows than B", ((b - 1) * t + 2, t, b, epochs, True)), ("one epoch", ((b - 1) * t + 2, t, b, 1, False)),
                ("T + 1 tokens, one window", (t + 1, t, b, epochs, False)), ("T tokens, no window", (t, t, b, epochs, False)),
                ("fewer than T tokens, no window", (draw.randint(2, t - 1), t, b, epochs, True))]


def as_tokens(n, t, b, epochs, drop_last):
    """The same training in windows of one token, and batches of as many tokens."""
    return n, 1, b * t, epochs, drop_last


INPUTS_ONLY, NOT_FULL = "only the inputs go into the model", "a last batch that is not full is left out in each epoch"
FIT = "(n - 1) // T windows fit, and the rest is left out"
check_tokens_seen = spec(
    "1.5", "tokens seen", see=("01", "Tokens seen, unique tokens"), right=tokens_seen, cases=trainings, rtol=1e-9,
    name="the number of tokens",
    scales=lambda n, t, b, epochs, drop_last: {"T": t, "the batch size B": b, "the number of epochs": epochs, "B·T": b * t},
    doc="tokens_seen(n, context_length, batch_size, epochs, drop_last): inputs of whole windows, in the batches that are kept.",
    mistakes=exchange("fit", {
        f"the next token is forgotten: n // T windows would need a target after the last token; {FIT}": lambda n, t: n // t,
        f"rounded up, so a piece of a window is counted; {FIT}": [lambda n, t: -(-(n - 1) // t), lambda n, t: -(-n // t)],
        "one window is missing; (n - 1) // T fit, and 0 in a text that is too short": [lambda n, t: max((n - t - 1) // t, 0),
            lambda n, t: max(n // t - 1, 0), lambda n, t: n // t - 1, lambda n, t: (n - t - 1) // t],
        f"windows of T + 1 tokens side by side; they start T apart, and share a token; {FIT}": lambda n, t: n // (t + 1),
        "windows at every start were counted, as if the stride were 1; it is T": lambda n, t: max(n - t, 0),
        "0 windows were found in a text of T + 1 tokens, which are one": lambda n, t: (n - 1) // t if n > t + 1 else 0,
        "T tokens or less are no window, since the last target needs one more; need 0": lambda n, t: max((n - 1) // t, 1),
    }) | exchange("kept", {
        "drop_last is the wrong way round: True leaves out what is not full": lambda w, b, e, drop: e * kept_of(w, b, not drop),
        f"drop_last is ignored: {NOT_FULL}": lambda w, b, e, drop: e * w,
        "drop_last is ignored: with drop_last=False the last batch counts too, with the windows it has":
            lambda w, b, e, drop: e * kept_of(w, b, True),
        "batches times T: a batch has up to B windows, each of T tokens": lambda w, b, e, drop: e * batches(w, b, drop),
        f"one window was left out, and not a batch; {NOT_FULL}": lambda w, b, e, drop: e * max(w - drop, 0),
        f"drop_last was applied once, at the end of all epochs; {NOT_FULL}": lambda w, b, e, drop: kept_of(e * w, b, drop),
        f"drop_last was applied in one epoch; {NOT_FULL}": lambda w, b, e, drop: e * w - w + kept_of(w, b, drop),
        f"a full last batch was dropped; {NOT_FULL}": lambda w, b, e, drop: e * (max(-(-w // b) - 1, 0) * b if drop else w),
        "only what drop_last leaves out was counted": lambda w, b, e, drop: e * (w % b),
        "only one full batch is counted; count all, in all epochs": [lambda w, b, e, drop: b, lambda w, b, e, drop: e * b],
    }) | exchange("end", {
        "that is the number of windows; each has T tokens": lambda k, n, t, e: k,
        f"T + 1 tokens are counted for a window; its last token is a target, and {INPUTS_ONLY}": lambda k, n, t, e: k * (t + 1),
        "T - 1 tokens are counted for a window; it has T inputs": lambda k, n, t, e: k * (t - 1),
        f"a last target was counted too; {INPUTS_ONLY}": [lambda k, n, t, e: k * t + e, lambda k, n, t, e: k * t + 1],
        f"inputs and targets are both counted; {INPUTS_ONLY}": lambda k, n, t, e: 2 * k * t,
        f"that is n or n - 1 tokens for each epoch; {FIT}": [lambda k, n, t, e: e * n, lambda k, n, t, e: e * (n - 1)],
        "that is n, the length of the text; only whole windows go in, in each epoch": lambda k, n, t, e: n,
    }) | {
        "tokens are counted, and not whole windows; what is left over and does not fill a window of T does not go in":
            [{"given": as_tokens, "fit": lambda n, t: n}, {"given": as_tokens, "fit": lambda n, t: n - 1}],
        "batches of B·T tokens are counted, the last as if it were full; take the windows first, (n - 1) // T, and count those": [
            {"given": as_tokens, "fit": fit, "kept": lambda w, b, e, drop: e * b * batches(w, b, drop)}
            for fit in (lambda n, t: n, lambda n, t: n - 1)],
        "with drop_last=False one more full batch is counted; there may be fewer windows left than B, or none":
            {"kept": lambda w, b, e, drop: e * b * (w // b + (not drop))},
        "the last batch is counted as if it were full; it has only the windows that are left":
            [{"kept": lambda w, b, e, drop: e * b * batches(w, b, drop)}, {"kept": lambda w, b, e, drop: e * b * -(-w // b)}],
        "that is the number of batches; each has up to B windows of T tokens":
            {"kept": lambda w, b, e, drop: e * batches(w, b, drop), "end": lambda k, n, t, e: k},
        "that is one epoch, its unique tokens; each further one is seen again": {"given": lambda n, t, b, e, d: (n, t, b, 1, d)},
        "context_length and batch_size are exchanged": {"given": lambda n, t, b, *rest: (n, b, t, *rest)},
    })


# 1.6
def places(first, end):
    """The places of windows from start + first up to, but without, start + T + end, with repeats; of targets: places(1, 1)."""
    return lambda starts, t: [start + i for start in starts for i in range(first, t + end)]


OF_TARGETS = places(1, 1)


def leaked_share(train_starts, val_starts, t, *, given=as_given, train=OF_TARGETS, val=OF_TARGETS,
                 shared=lambda v, a, t: len(set(v) & set(a)), among=lambda v, a, t: len(set(v)), end=lambda share: share):
    """shared, among: of the places v of validation and a of training."""
    train_starts, val_starts, t = given(train_starts, val_starts, t)
    v, a = val(val_starts, t), train(train_starts, t)
    return end(shared(v, a, t) / among(v, a, t))


def splits(draw):
    for _ in range(6):      # gaps and overlaps: one window is in both parts, one covered by two, the first and last in part
        t, start = draw.randint(6, 9), draw.randint(80, 90)
        both, *more = draw.sample(range(70), draw.randint(6, 9))
        train, val = [both, start, start + 3, *more[::2]], [both, start + 1, *more[1::2]]
        yield None, (draw.sample(train, len(train)), [start - 2, *draw.sample(val, len(val)), start + 5], t)
    t, first, more = draw.randint(5, 9), draw.randint(7, 15), draw.randint(5, 9)
    yield "windows at every token", (list(range(first)), list(range(first, first + more)), t)
    yield "windows side by side, none shared", ([i * t for i in range(first)], [i * t for i in range(first, first + more)], t)
    yield "all shared", (list(range(first)), draw.sample(range(1, first - 1), 4), t)


def with_repeats(v, a, t):
    return sum(place in set(a) for place in v)


def windows_with(how):
    """The number of validation windows of which all, or any, targets are shared."""
    return lambda v, a, t: sum(how(place in set(a) for place in v[i : i + t]) for i in range(0, len(v), t))


def without_gaps(starts, t):
    return range(min(starts) + 1, max(starts) + t + 1)


OF_VALIDATION, ONCE = "asked is the share of the validation targets", "a place counts once, in both numbers: take sets"
ONE_LATER, GAPS = "compare targets with targets, one place later", "there are gaps between windows"
LAST = "it has T targets, the last at start + T"
check_leaked_share = spec(
    "1.6", "the leak", see=("01", "How a split leaks"), right=leaked_share, cases=splits, name="the share",
    scales=lambda train, val, t: {"T": t, "the number of validation windows": len(val)},
    doc="leaked_share(train_starts, val_starts, context_length): the part of validation's targets that are training's too.",
    mistakes=exchange("among", {
        f"the shared places are counted once, but divided by all targets with their repeats; {ONCE}": lambda v, a, t: len(v),
        f"divided by the number of training targets; {OF_VALIDATION}": [lambda v, a, t: len(set(a)), lambda v, a, t: len(a)],
        f"divided by all places, of training and validation together; {OF_VALIDATION}": lambda v, a, t: len({*v, *a}),
        f"divided by the targets of both parts; {OF_VALIDATION}": lambda v, a, t: len(set(v)) + len(set(a)),
        "divided by the number of validation windows; divide by the number of their unique targets": lambda v, a, t: len(v) // t,
        "divided by T; divide by the number of unique validation targets": lambda v, a, t: t,
        "that is the number of shared places; divide by the number of validation targets": lambda v, a, t: 1,
    }) | exchange("shared", {
        f"the shared places are counted with their repeats, but divided by the unique ones; {ONCE}": with_repeats,
        f"each shared place was counted for each training window that has it; {ONCE}": lambda v, a, t: sum(map(a.count, set(v))),
    }) | {words: {"shared": shared, "among": among} for words, shared, among in [
        (f"a place of several validation windows was counted several times (the mean of windows' shares does so too); {ONCE}",
         with_repeats, lambda v, a, t: len(v)),
        ("that is the number of shared targets, with repeats; count places once, and divide by the number of validation targets",
         with_repeats, lambda v, a, t: 1),
        (f"each shared place was counted once for every pair of windows that shares it; {ONCE}",
         lambda v, a, t: sum(map(a.count, v)), lambda v, a, t: len(v)),
        ("that is the share of windows that share some target; count places, not windows",
         windows_with(any), lambda v, a, t: len(v) // t),
        ("that is the share of windows all of whose targets leaked; count places, not windows",
         windows_with(all), lambda v, a, t: len(v) // t)]
    } | exchange("end", {
        "rounded to an integer; a share is a float from 0 to 1, and // rounds where / does not": [math.floor, round],
        "in percent; a share goes from 0 to 1": lambda share: 100 * share,
        "that is the share that did not leak": lambda share: 1 - share,
    }) | exchange("given", {
        "only the first training window was compared; take all": lambda a, v, t: (a[:1], v, t),
        "only the last training window was compared: add to the set, and do not overwrite it": lambda a, v, t: (a[-1:], v, t),
        "only the first validation window was counted; take all": lambda a, v, t: (a, v[:1], t),
        "only the last validation window was counted: add to the set, and do not overwrite it": lambda a, v, t: (a, v[-1:], t),
    }) | {words: {"train": places(*train), "val": places(*val)} for words, train, val in [
        (f"T - 1 places were taken for each training window; {LAST}", (1, 0), (1, 1)),
        (f"T - 1 places were taken for each validation window; {LAST}", (1, 1), (1, 0)),
        (f"T - 1 places were taken for each window; {LAST}", (1, 0), (1, 0)),
        ("T + 1 places were taken for each window, inputs and targets together; take the targets alone", (0, 1), (0, 1)),
        (f"T + 2 places were taken for each window; {LAST}, the first at start + 1", (0, 2), (0, 2)),
        (f"validation's targets were compared with training's inputs; {ONE_LATER}", (0, 0), (1, 1)),
        (f"validation's inputs were compared with training's targets; {ONE_LATER}", (1, 1), (0, 0)),
        ("validation's targets were compared with all tokens of training's windows; only targets count", (0, 1), (1, 1)),
        ("all tokens of validation's windows were compared with training's targets; only targets count", (1, 1), (0, 1))]
    } | {
        "only the starts were compared; windows that start elsewhere share targets too":
            {"train": lambda starts, t: starts, "val": lambda starts, t: starts},
        "only the first target of each validation window was taken; a window has T": {"val": lambda v, t: [s + 1 for s in v]},
        "that tells only of the last target of each validation window; a window has T": {"val": lambda v, t: [s + t for s in v]},
        f"all places between the first and the last window were taken, of training or of both; {GAPS}":
            [{"train": without_gaps}, {"train": without_gaps, "val": without_gaps}],
    })
