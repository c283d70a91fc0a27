"""The class's guesses: numbers that students wrote into the line `guess = None` of a lesson, beside the truth. Nothing is run.

A question is a cell of the lesson with such a line. The comment there says what is guessed, the cell above asks it, and the
truth is the number in the cell's tag, `truth=3.1`; a test demands that it stands in the stored output.
"""
import ast
import json
import math
import operator
import re
from collections import Counter
from statistics import median
from typing import NamedTuple

from pages import number

LINE = re.compile(r"^guess *= *(?P<value>[^#\n]*?) *(?:# *(?P<label>.*))?$", re.MULTILINE)
NOT_YET = re.compile(LINE.pattern.replace("[^#\\n]*?", "None"), re.MULTILINE)      # as the lesson has it
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
WIDTH, HEIGHT, EDGE, DOT = 640, 96, 40, 9      # of a picture, its margins and its dots


class Question(NamedTuple):
    """A prediction. label: what is guessed. text: the question. truth: a number, or None. guesses: (student, number).

    unread: how many students wrote something else than a number.
    """

    cell: str
    label: str
    text: str
    truth: float | None
    guesses: tuple = ()
    unread: int = 0

    @property
    def numbers(self):
        return sorted(guess for _, guess in self.guesses)

    @property
    def summary(self):
        """The class beside the truth, in a sentence or two."""
        truth = "" if self.truth is None else f"The truth is {number(self.truth)}."
        unread = f"{self.unread} wrote no number that can be read." if self.unread else ""
        if not self.guesses:
            return f"{unread or 'Nobody wrote down a number.'} {truth}".strip()
        n, low, high = len(self.guesses), self.numbers[0], self.numbers[-1]
        middle, plural = number(median(self.numbers)), "" if n == 1 else "es"
        words = f"{n} guess{plural}, from {number(low)} to {number(high)}, median {middle}."
        if self.truth:
            near = sum(guess * self.truth > 0 and 0.5 <= guess / self.truth <= 2 for guess in self.numbers)
            truth += f" {near} of {n} {'is' if near == 1 else 'are'} within a factor of two."
        elif self.truth == 0:
            same = self.numbers.count(0)
            truth += f" {same} of {n} {'says' if same == 1 else 'say'} so."
        return " ".join(filter(None, [words, unread, truth]))

    @property
    def listed(self):
        return ", ".join(map(number, self.numbers))

    @property
    def picture(self):
        """Where things are drawn: each guess a dot on a line, (x, y); the ends of the numbers, and the truth, (x, number).

        The scale is logarithmic where positive numbers span more than a factor of 100.
        """
        values = [*self.numbers, *([] if self.truth is None else [self.truth])]
        low, high = min(values), max(values)
        logarithmic = 0 < 100 * low < high
        scale = math.log10 if logarithmic else float
        room = scale(high) - scale(low)

        def x(value):
            return round(EDGE + (WIDTH - 2 * EDGE) * ((scale(value) - scale(low)) / room if room else 0.5), 1)

        dots, heights = [], Counter()
        for guess in self.numbers:
            place = round(x(guess) / DOT)
            dots.append((x(guess), HEIGHT - 34 - min(heights[place], 5) * DOT))
            heights[place] += 1
        return {"width": WIDTH, "height": HEIGHT, "dots": dots, "logarithmic": logarithmic,
                "ends": [(x(value), value) for value in dict.fromkeys((low, high))],
                "truth": None if self.truth is None else (x(self.truth), self.truth)}


def questions_in(lesson):
    """The questions of a lesson, without guesses."""
    found, text = [], ""
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            text = cell.source
        elif cell.cell_type == "code" and (line := NOT_YET.search(cell.source)):
            label = re.sub(r"^your (guess(,| for) )?|,? if you like$", "", line["label"] or "") or "a guess"
            found.append(Question(cell.id, label, asked(text), truth_of(cell)))
    return found


def truth_of(cell):
    """The number in a cell's tag `truth=…`; None where it has none."""
    truths = [tag.removeprefix("truth=") for tag in cell.metadata.get("tags", []) if tag.startswith("truth=")]
    return json.loads(truths[0]) if truths else None


def asked(markdown):
    """The words of the last Predict in a cell; all its words where there is none."""
    quotes = re.findall(r"(?:^>.*\n?)+", markdown, re.MULTILINE)
    predicts = [quote for quote in quotes if "**Predict" in quote]
    words = re.sub(r"^> ?", "", predicts[-1], flags=re.MULTILINE) if predicts else markdown.split("<details>")[0]
    return " ".join(re.sub(r"\*\*Predict\.?\*\*|^#+ .*$|\*\*|`", "", words, flags=re.MULTILINE).split())


def is_copy(notebook, questions):
    """Whether a notebook is a copy of the lesson with these questions: it has one of its lines."""
    return any(guess_line(notebook, question) for question in questions)


def guess_line(notebook, question):
    """The line of a copy that answers a question: in the cell with its id, or, where ids are lost, with its comment."""
    lines = [(cell.get("id"), line) for cell in notebook.cells if cell.cell_type == "code" for line in LINE.finditer(cell.source)]
    alike = [line for _, line in lines if question.label in (line["label"] or "")]
    return next((line for cell, line in lines if cell == question.cell), next(iter(alike), None))


def guess_in(notebook, question):
    """The number that a copy has as its guess; None when there is none."""
    line = guess_line(notebook, question)
    try:
        value = value_of(ast.parse(line["value"], mode="eval").body) if line else None
        return value if value is not None and math.isfinite(value) else None
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        return None


def is_tried(notebook, question):
    """Whether a copy has anything in place of the lesson's None."""
    line = guess_line(notebook, question)
    return line is not None and line["value"] not in ("", "None")


def value_of(node):
    """The value of a number, or of a sum, difference, product or quotient of numbers; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) in (int, float) and abs(node.value) < 1e300 else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = value_of(node.operand)
        return value if value is None or isinstance(node.op, ast.UAdd) else -value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = value_of(node.left), value_of(node.right)
        return None if left is None or right is None else OPERATORS[type(node.op)](left, right)
    return None


def collect(questions, copies):
    """The questions with the guesses of (student, notebook) pairs; of several copies of one student the last number counts."""
    found = []
    for question in questions:
        guesses = {student.key: (student, guess) for student, notebook in copies
                   if (guess := guess_in(notebook, question)) is not None}
        tried = {student.key for student, notebook in copies if is_tried(notebook, question)}
        found.append(question._replace(guesses=tuple(guesses.values()), unread=len(tried - guesses.keys())))
    return found
