"""Numbers of each student's own: what an exercise asks of one student is not what it asks of the neighbour."""
import random
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product

VALUES: dict[str, Mapping[str, Sequence]] = {}      # {exercise: {name: the values that it can have}}


@cache
def sheets(number: str) -> list[dict]:
    """Every set of numbers of an exercise, {name: value}, shuffled alike on every machine."""
    values = VALUES[number]
    every = [dict(zip(values, some, strict=True)) for some in product(*values.values())]
    random.Random(number).shuffle(every)
    return every


def numbers_of(number: str, student: int) -> dict:
    """A student's numbers in an exercise, as {name: value}; student: an integer. ValueError where there are none."""
    if number not in VALUES:
        raise ValueError(f"exercise {number!r} has no numbers of your own; {', '.join(VALUES) or 'none'} has")
    if not isinstance(student, int) or isinstance(student, bool):
        raise ValueError(f"student is {student!r}; need an integer, as in student = 17")
    return sheets(number)[student % len(sheets(number))]


def numbers(number: str, student: int) -> str:
    """A student's numbers in an exercise, a line each, as Python."""
    return "\n".join(f"{name} = {value}" for name, value in numbers_of(number, student).items())
