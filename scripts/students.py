"""Whose notebook a file is: the student's name, as the place where notebooks were collected writes it into their paths.

Known are the downloads of Moodle and Canvas, Google Classroom's copies, nbgrader's folders, one folder for each student, and
names in file names. Where a path has no name, the file's own name stands for it.
"""
import os
import re
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_[a-z]+(_|$)")      # some versions end without the last _
CANVAS = re.compile(r"(?P<name>[^_]+?)(?P<late>_late)?_(?P<number>\d+)_\d+_.+", re.IGNORECASE)
NBGRADER = ("submitted", "autograded", "feedback")      # its folders of students
COPY = re.compile(r"(Copy of|Kopie von|Copie de|Copia de|Copia di|Cópia de|Kopie van)\s+", re.IGNORECASE)      # Google's words
VERSION = re.compile(r"\s*\(\d+\)$|-\d+$|[ -]*-Copy\d*$", re.IGNORECASE)      # a browser's, Canvas' and Jupyter's


class Student(NamedTuple):
    """name: as the path has it. number: the platform's own for the student, if it has one. late: as the platform marks it."""

    name: str
    number: str = ""
    late: bool = False

    @property
    def key(self):
        """What is the same in all files of one student."""
        return self.name, self.number


def students(paths):
    """{path: Student} of files that were collected together, or of students' folders that are empty."""
    found = {path: by_platform(path) for path in paths}
    others = [path for path, student in found.items() if student is None]
    base = Path(os.path.commonpath([path.absolute().parent for path in found])) if found else None
    own = folders_are_students(others, base)
    return {path: readable(student or by_place(path, base, own)) for path, student in found.items()}


def by_platform(path):
    """The student of a file that Moodle, Canvas or nbgrader has put where it is; None for others."""
    parts = path.absolute().parts
    for part in parts:
        if found := MOODLE.match(part):
            return Student(found["name"], found["number"])
    if found := CANVAS.fullmatch(path.name):
        return Student(found["name"], found["number"], bool(found["late"]))
    above = parts[:-1] if path.is_dir() else parts[:-2]
    return next((Student(parts[i + 1]) for i, part in enumerate(above) if part in NBGRADER), None)


def by_place(path, base, own):
    """The student of any other file. base: the folder that all files share. own: whether each folder in it is one student's."""
    inside = path.absolute().relative_to(base).parts
    if len(inside) > 1 and own:
        return Student(inside[0])
    return Student("/".join([*inside[:-1], name_in(path.stem.removesuffix(".ipynb")) or path.stem]))      # as in Ada.ipynb.txt


def folders_are_students(paths, base):
    """Whether most folders hold one student's notebooks, and not those of a group: copies of one are still one.

    Never where a folder has notebooks of three names, or where most notebooks lie beside the folders: two students that are
    taken for one are not noticed, one who is taken for two is.
    """
    names, beside = defaultdict(set), 0
    for path in paths:
        inside = path.absolute().relative_to(base).parts
        if len(inside) == 1:
            beside += path.suffix.lower() == ".ipynb"
        elif path.suffix.lower() in (".ipynb", ""):      # a folder without a notebook stands for its student
            names[inside[0]].add(name_in(path.stem))
    if beside > len(names) or any(len(some - {""}) > 2 for some in names.values()):
        return False
    return 2 * sum(len(some) == 1 for some in names.values()) >= len(names)


def name_in(stem):
    """The student's name in the name of a file, without the lesson's, words for a copy, and numbers of versions."""
    before = None
    while stem != before:
        before = stem
        stem = VERSION.sub("", COPY.sub("", stem))
        for lesson in LESSONS:
            stem = re.sub(rf"(?<![^\W_]){re.escape(lesson)}(?![^\W_])", "", stem)
        stem = stem.strip(" _-–,.")
    return stem


LESSONS = sorted((path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb")), key=len, reverse=True)


def readable(student):
    """The same with a name for people: composed letters, spaces, and no bytes that are no text."""
    name = unicodedata.normalize("NFC", student.name.replace("_", " ")).encode("utf-8", "backslashreplace").decode()
    return student._replace(name=name)
