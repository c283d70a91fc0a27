"""What a whole class misunderstood: pages made of graded notebooks, one for the class, one for the teacher, one for each student.

Only the teacher's page has names. What students wrote is escaped wherever it stands, and nothing on a page is fetched or run.
"""
import math
import os
import shutil
import tempfile
import unicodedata
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from types import MappingProxyType
from typing import NamedTuple

import named
from pages import fill

SURE = 0.05      # mistakes are said to come together when chance would do that less often than this, for all pairs at once
FEW = 3          # students, below which nothing is said about what goes with what


class Graded(NamedTuple):
    """A file that was graded. rows: (exercise's id, points, out of, line). fault: why there are none. codes: answers. sheet: the
    student's number in it.
    """

    path: Path
    student: object
    rows: tuple = ()
    fault: str = ""
    codes: dict = MappingProxyType({})
    sheet: str = ""


class Exercise(NamedTuple):
    """An exercise of the lesson, with its check, and the points that it gives."""

    check: object
    points: float

    @property
    def name(self):
        return f"{self.check.number}, {self.check.title}"

    @property
    def section(self):
        lesson, section = self.check.see
        return f"lesson {lesson}, “{section}”"


class Result(NamedTuple):
    """A student's best answer to an exercise: what its check told, in which line, and the answer itself, anonymous."""

    told: named.Told
    line: str
    code: str | None


class Group:
    """Students who made one mistake, or whose answers are of one kind: of which exercises, and an example."""

    def __init__(self, words):
        self.words, self.students, self.exercises, self.codes = words, set(), Counter(), []

    def add(self, student, exercise, code, alone=True):
        self.students.add(student)
        self.exercises[exercise] += 1
        if code:
            self.codes.append((not alone, code.count("name_"), len(code), code))

    @property
    def code(self):
        """The example: of answers with this mistake alone the one with the fewest names that had to go, and then the shortest."""
        return min(self.codes)[-1] if self.codes else None

    @property
    def count(self):
        return len(self.students)

    @property
    def points(self):
        """The points of the exercise that gives most."""
        return max(exercise.points for exercise in self.exercises)

    @property
    def where(self):
        """The exercises in which it was made."""
        return sorted(self.exercises, key=lambda exercise: exercise.check.number)

    @property
    def sections(self):
        return list(dict.fromkeys(exercise.section for exercise in self.where))


class Class:
    """A class: the best answers of all students, as {student's key: {exercise: Result}}, and what can be counted in them."""

    def __init__(self, files, exercises):
        self.files, self.exercises, self.results = files, exercises, {}
        self.all = {file.student.key for file in files}
        for file in files:
            if file.rows:
                own = self.results.setdefault(file.student.key, {})
                for name, _, _, line in file.rows:
                    told = named.told(line, exercises[name].check)
                    best = own.get(name)
                    if best is None or RANK[told.mark] >= RANK[best.told.mark]:
                        own[name] = Result(told, line, file.codes.get(name))
        self.mistakes, self.kinds = self.groups()

    def groups(self):
        """The named mistakes, and the kinds of wrong answers that have no name, the most frequent first; ties by points."""
        mistakes, kinds = {}, {}
        for key, name, result in self.answers("wrong"):
            told = result.told
            for words in told.mistakes:
                mistakes.setdefault(words, Group(words)).add(key, self.exercises[name], result.code, len(told.mistakes) == 1)
            if told.kind:
                kinds.setdefault(told.kind, Group(told.kind)).add(key, self.exercises[name], result.code)
        return [sorted(some.values(), key=lambda group: (-group.count, -group.points, group.words)) for some in (mistakes, kinds)]

    def answers(self, *marks):
        """(student's key, exercise's id, result) of all answers with one of these marks."""
        for key, own in self.results.items():
            for name, result in own.items():
                if result.told.mark in marks:
                    yield key, name, result

    def counts(self):
        """(exercise, {mark: how many}) of each exercise."""
        for name, exercise in self.exercises.items():
            yield exercise, Counter(own[name].told.mark for own in self.results.values() if name in own)

    def sections(self):
        """(section, how many students were wrong in one of its exercises), the most first; ties by their wrong answers."""
        wrong = defaultdict(list)
        for key, name, _ in self.answers("wrong"):
            wrong[self.exercises[name].section].append(key)
        most = sorted(wrong.items(), key=lambda pair: (-len({*pair[1]}), -len(pair[1])))
        return [(section, len({*keys})) for section, keys in most]

    def sheets(self):
        """{number: the names of those who handed in its sheet}; empty where all have the same, and no own sheets."""
        used = defaultdict(set)
        for file in self.files:
            if file.sheet:
                used[int(file.sheet)].add(file.student.key)
        return {number: sorted(name for name, _ in used[number]) for number in sorted(used)} if len(used) > 1 else {}

    def together(self):
        """(mistake, mistake, how many made both, how many by chance, its probability) of mistakes that come together.

        Asked of the students who tried exercises of both. The probability that so many or more would make both, were the
        mistakes independent, is Fisher's; it must be below SURE after Bonferroni's correction for the number of pairs.
        """
        tried = defaultdict(set)
        for key, name, _ in self.answers("right", "wrong"):
            tried[self.exercises[name]].add(key)
        pairs = []
        for one, other in combinations([group for group in self.mistakes if group.count >= FEW], 2):
            asked = set.union(*(tried[e] for e in one.exercises)) & set.union(*(tried[e] for e in other.exercises))
            a, b = one.students & asked, other.students & asked
            if min(len(a), len(b)) >= FEW:
                pairs.append((one, other, len(a & b), len(a) * len(b) / len(asked),
                              by_chance(len(a & b), len(a), len(b), len(asked))))
        found = [pair for pair in pairs if pair[2] >= FEW and pair[4] * len(pairs) < SURE]
        return sorted(found, key=lambda pair: (-pair[2], pair[4]))

    def separation(self):
        """(exercise, others' share of points where it is right, where it is not, their difference, its standard error).

        The largest difference comes first. The points are those of all other exercises. An exercise is left out that fewer than
        FEW students have right, or fewer than FEW have not.
        """
        found = []
        for name, exercise in self.exercises.items():
            rest = {other: e.points for other, e in self.exercises.items() if other != name}
            shares = defaultdict(list)
            for own in self.results.values():
                if name in own and sum(rest.values()):
                    got = sum(points for other, points in rest.items() if other in own and own[other].told.mark == "right")
                    shares[own[name].told.mark == "right"].append(got / sum(rest.values()))
            if min(len(shares[True]), len(shares[False])) >= FEW:
                solved, not_solved = fmean(shares[True]), fmean(shares[False])
                error = math.hypot(*(stdev(some) / math.sqrt(len(some)) for some in shares.values()))
                found.append((exercise, solved, not_solved, solved - not_solved, error))
        return sorted(found, key=lambda row: -row[3])


RANK = {"to do": 0, "wrong": 1, "right": 2}


def by_chance(both, a, b, n):
    """The probability that of n students, a with one mistake and b with another, `both` or more have both: Fisher's test."""
    return sum(math.comb(a, k) * math.comb(n - a, b - k) for k in range(both, min(a, b) + 1)) / math.comb(n, b)


def differ(rows):
    """Whether the largest and the smallest of the differences of `separation` lie further apart than chance brings any two.

    The probability must be below SURE after Bonferroni's correction for the number of pairs.
    """
    if len(rows) < 2:
        return False
    (*_, most, one), (*_, least, other) = rows[0], rows[-1]
    errors = NormalDist().inv_cdf(1 - SURE / (len(rows) * (len(rows) - 1)))
    return most - least > errors * math.hypot(one, other)


def exercises_of(lesson):
    """{id: Exercise} of the teacher's notebook."""
    checks = named.checks()
    return {name: Exercise(checks[cell.source.split("(")[0].strip()], cell.metadata.nbgrader.points)
            for name, cell in lesson.checks.items()}


def pages_of(files, lesson, title, questions=()):
    """{file name: page} of the class's report, the teacher's names, and a feedback page for each file that was graded."""
    group = Class(files, exercises_of(lesson) if lesson else {})
    wrong = list(group.answers("wrong"))
    unnamed = sum(not result.told.mistakes for _, _, result in wrong)
    faults = [file for file in files if file.fault and file.student.key not in group.results]
    shared = [mistake for mistake in group.mistakes if mistake.count > 1]
    separation = group.separation()
    facts = {
        "title": title, "group": group, "students_": len(group.all), "faults": faults, "wrong": len(wrong), "unnamed": unnamed,
        "counts": list(group.counts()), "first": shared[:3], "sections": group.sections(), "together": group.together(),
        "separation": separation, "separate": differ(separation), "questions": questions,
        "graded": len(group.results),
        "untried": [(exercise, counts["to do"]) for exercise, counts in group.counts()
                    if 2 * counts["to do"] > len(group.results)]}
    pages = {"report.html": fill("report.html", **facts), "names.html": fill("names.html", **facts, people=people(group))}
    base = Path(os.path.commonpath([file.path.absolute().parent for file in files])) if files else None
    for file in files if lesson else ():
        inside = file.path.absolute().relative_to(base)
        name = inside / "feedback.html" if file.path.is_dir() else inside.with_suffix(".html")
        while str(Path("feedback", name)) in pages:
            name = name.with_name(f"{name.stem}_.html")
        pages[str(Path("feedback", name))] = fill("feedback.html", title=title, file=file, results=feedback_of(file, group))
    return pages


def people(group):
    """(name, number, late, files, {exercise's id: mark}, points) of each student, by name, for the teacher."""
    rows = []
    for key in sorted(group.all, key=lambda key: (unicodedata.normalize("NFKD", key[0]).casefold(), key)):      # É is an E
        files = [file for file in group.files if file.student.key == key]
        own = group.results.get(key, {})
        marks = {name: own[name].told.mark if name in own else "" for name in group.exercises}
        points = sum(group.exercises[name].points for name, mark in marks.items() if mark == "right")
        rows.append((key[0], key[1], any(file.student.late for file in files), files, marks, points))
    return rows


def feedback_of(file, group):
    """(exercise, what the check told, its words, how many others made the same mistake) of each exercise in a file."""
    for name, _, _, line in file.rows:
        exercise = group.exercises[name]
        told = named.told(line, exercise.check)
        others = max((mistake.count - 1 for mistake in group.mistakes if mistake.words in told.mistakes), default=0)
        words = line.removeprefix("✘ ").removeprefix(f"Exercise {exercise.name}: ")
        yield exercise, told, words, others


def require_free(folder):
    """Raise ValueError unless a report can be written to this folder: it is new, empty, or holds an earlier report."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the report, which is made anew")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "report.html").is_file():
        raise ValueError(f"{folder} holds other files; name a new folder for the report, or one with an earlier report")


def write(pages, folder):
    """Write pages into a folder, all or none; an earlier report there is replaced. Raises OSError."""
    folder = Path(os.path.realpath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        for name, page in pages.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")
        if folder.exists():
            shutil.move(folder, old)
        try:
            shutil.move(new, folder)
        except OSError:
            if old.exists():
                shutil.move(old, folder)
            raise
