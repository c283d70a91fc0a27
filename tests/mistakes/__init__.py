"""A bank of answers, right ones and wrong ones, as students write them; tests/test_checks.py runs each against its check."""
import math
from collections import defaultdict
from typing import NamedTuple


class Wrong(NamedTuple):
    """A wrong answer, and words that its message must contain."""

    answer: object
    words: tuple


RIGHT, WRONG = defaultdict(list), defaultdict(list)      # {check: answers}


def right(check):
    """Enter a function as a right answer to an exercise."""
    def enter(answer):
        RIGHT[check].append(answer)
        return answer
    return enter


def wrong(check, *words):
    """Enter a function as a wrong answer, whose message must contain all these words."""
    def enter(answer):
        WRONG[check].append(Wrong(answer, words))
        return answer
    return enter


def clip_by_hand(parameters, max_norm):
    """Scale all gradients down to this norm together, as students who avoid PyTorch's own function do."""
    grads = [p.grad for p in parameters]
    norm = math.sqrt(sum(grad.square().sum().item() for grad in grads))
    for grad in grads:
        grad *= min(1.0, max_norm / norm)
