"""A class that never was: students with names, whose notebooks are made of answers from the bank in tests/mistakes.

Which mistakes an answer has is known from the bank alone, from the words that its message must contain, and not from what the
grading says of it. Drawn from a seed; laid out as Moodle, Canvas, Google Classroom and nbgrader lay out what they collect.
"""
import ast
import copy
import random
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import named
import nbformat

ROOT = Path(__file__).parent.parent
NAMES = ("Ada Lovelace", "Zoë Łoś", "Jean-Luc Ó Brien", "Wisława Szymborska", "李 小龙", "Ngũgĩ wa Thiong'o", "Max Power",
         "Val Head", "Björk Guðmundsdóttir", "محمد علي", "Marie Curie", "Srinivasa Ramanujan", "Grace Hopper", "Alan Turing",
         "Emmy Noether")


class Answer(NamedTuple):
    """Code that defines the function of an exercise. mistakes: sentences of the check; none where its mistake has no name."""

    source: str
    mark: str
    mistakes: tuple = ()


class Student(NamedTuple):
    """answers: {name of a check: Answer}. file: where the notebook was collected."""

    name: str
    file: str
    answers: dict
    extra: str = ""      # code in a cell of its own, before all answers


class Bank:
    """The answers of one file of tests/mistakes, as text that runs on its own; checks: {name: (check, function's name)}."""

    def __init__(self, module, checks):
        tree = ast.parse((ROOT / "tests" / "mistakes" / f"{module}.py").read_text(encoding="utf-8"))
        self.checks = checks
        self.imports = [node for node in tree.body if isinstance(node, ast.Import) or (
            isinstance(node, ast.ImportFrom) and not node.module.startswith(("gpt_checks", "mistakes")))]
        self.helpers = {node.name: bare(node) for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.answers = {name: [] for name in checks}
        for node in tree.body:
            for call in node.decorator_list if isinstance(node, ast.FunctionDef) else []:
                self.enter(call, node)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Call):
                self.enter(node.value.func, node.value.args[0])

    def enter(self, call, node):
        """Enter an answer, if a call is right(check) or wrong(check, *words)."""
        kind = getattr(getattr(call, "func", None), "id", "")
        if kind not in ("right", "wrong") or getattr(call.args[0], "id", None) not in self.checks:
            return
        check, function = self.checks[call.args[0].id]
        source = self.source(node, function)
        if kind == "right":
            self.answers[call.args[0].id].append(Answer(source, "right"))
        elif (mistakes := sentences([ast.literal_eval(arg) for arg in call.args[1:]], check)) is not None:
            self.answers[call.args[0].id].append(Answer(source, "wrong", mistakes))

    def source(self, node, function):
        """Code that defines the function as a node of the bank does, with the helpers that it calls."""
        if isinstance(node, ast.FunctionDef):
            main = bare(node)
            main.name = function
        elif isinstance(node, ast.Lambda):
            main = ast.FunctionDef(function, node.args, [ast.Return(node.body)], [], type_params=[])
        else:
            main = ast.Assign([ast.Name(function, ast.Store())], node)
        needed, queue = {}, [main]
        while queue:
            for part in ast.walk(queue.pop()):
                if isinstance(part, ast.Name) and part.id in self.helpers and part.id not in needed and part.id != function:
                    needed[part.id] = self.helpers[part.id]
                    queue.append(needed[part.id])
        body = [*self.imports, *needed.values(), main]
        return ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))

    def pick(self, draw, name, mark, with_words=None):
        """An answer to an exercise; with_words: of the sentence that its mistake must have."""
        return draw.choice([answer for answer in self.answers[name] if answer.mark == mark
                            and (with_words is None or any(with_words in words for words in answer.mistakes))])


def bare(node):
    """A function without the decorators that enter it into the bank."""
    node = copy.deepcopy(node)
    node.decorator_list = [call for call in node.decorator_list
                           if getattr(getattr(call, "func", None), "id", None) not in ("right", "wrong")]
    return node


def sentences(words, check):
    """The sentences of a check's table that a message with all these words must have: one, or two; () for none of them.

    None when the words fit several.
    """
    table = [*check.table, *named.outside_tables()]
    whole = [sentence for sentence in table if all(word in sentence for word in words)]
    parts = [(one, other) for one in table for other in table if one < other
             and all(word in one or word in other for word in words)] if len(words) > 1 and not whole else []
    if len(whole) == 1:
        return tuple(whole)
    if not any(word in sentence for word in words for sentence in table):
        return ()
    return parts[0] if len(parts) == 1 else None


def draw_class(n, seed, bank):
    """n students. One in five confuses nats with bits, in two exercises at once: their mistakes come together."""
    draw, students = random.Random(seed), []
    for i in range(n):
        able, answers = draw.random(), {}
        for name in bank.checks:
            roll = draw.random()
            mark = "right" if roll < 0.2 + 0.6 * able else "wrong" if roll < 0.85 + 0.1 * able else "to do"
            answers[name] = bank.pick(draw, name, mark) if mark != "to do" else Answer("", "to do")
        if i % 5 == 0:
            answers["check_perplexity"] = bank.pick(draw, "check_perplexity", "wrong", "a power of 2 goes with bits")
            answers["check_bits_per_byte"] = bank.pick(draw, "check_bits_per_byte", "wrong", "still in nats")
        first = NAMES[i % len(NAMES)]
        name = first if i < len(NAMES) else f"{first} {'I' * (i // len(NAMES) + 1)}"
        students.append(Student(name, place(name, i), answers))
    return students


def place(name, i):
    """Where a student's notebook was collected: one layout for each quarter of the class, and the name as that writes it."""
    return [f"moodle/{name}_{1000 + i}_assignsubmission_file_/02_loss.ipynb",
            f"canvas/{''.join(name.lower().split())}{'_LATE' if i % 8 == 1 else ''}_{2000 + i}_{50000 + i}_02_loss-1.ipynb",
            f"google/Copy of 02_loss - {name} (1).ipynb",
            f"submitted/{name.replace(' ', '_')}/02_loss/02_loss.ipynb"][i % 4]


def named_as(student):
    """The name that the teacher should read: Canvas writes it in small letters without spaces."""
    return "".join(student.name.lower().split()) if student.file.startswith("canvas") else student.name


def write(students, folder, handed_out, checks):
    """Write each student's notebook, made from the one that was handed out."""
    for student in students:
        notebook = copy.deepcopy(handed_out)
        for cell, check in zip(notebook.cells, notebook.cells[1:], strict=False):
            if check.source.startswith("check_") and (answer := student.answers[check.source.split("(")[0]]).source:
                cell.source = answer.source
        if student.extra:
            notebook.cells.insert(1, nbformat.v4.new_code_cell(student.extra))
        path = Path(folder, student.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)


def planted(students):
    """({(name of a check, mark): how many students}, {sentence: how many students}): what the report must find."""
    marks, mistakes = Counter(), Counter()
    for student in students:
        marks.update((name, answer.mark) for name, answer in student.answers.items())
        mistakes.update({words for answer in student.answers.values() for words in answer.mistakes})
    return marks, mistakes


class Read(HTMLParser):
    """What a report says: counts, as [number, right, wrong, to do] of each exercise; mistakes and kinds, {words: students}."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tag, self.heading = [], "", ""
        self.feed(page)
        summaries = [(heading, re.fullmatch(r"(\d+) students?, exercises? [\d., ]+: (.+)", text, re.DOTALL))
                     for tag, heading, text in self.texts if tag == "summary"]
        self.mistakes = {found[2]: int(found[1]) for heading, found in summaries if heading == "The mistakes"}
        self.kinds = {found[2]: int(found[1]) for heading, found in summaries if heading.startswith("Wrong")}
        cells = [text for tag, heading, text in self.texts if heading == "The exercises" and tag in ("th", "td")][4:]
        self.counts = [[cells[i].split(",")[0], *map(int, cells[i + 1 : i + 4])] for i in range(0, len(cells), 4)]

    def handle_starttag(self, tag, attributes):
        self.tag = tag

    def handle_data(self, text):
        if text.strip():
            self.heading = text.strip() if self.tag == "h2" else self.heading
            self.texts.append((self.tag, self.heading, text.strip()))


def exercises(lesson):
    """{name of a check: (check, function's name)} of a teacher's notebook, for a Bank."""
    return {(name := cell.source.split("(")[0].strip()): (named.checks()[name], function)
            for cell, function in zip(lesson.checks.values(), lesson.functions, strict=True)}
