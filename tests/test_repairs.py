"""The programs of lesson 09: which bugs a student gets, and what the check says while they are being repaired."""
import math
import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gpt_checks import diagnosis
from gpt_checks.diagnosis import PROGRAMS, patient

CHECKS = {check.number: check for check in vars(diagnosis).values() if hasattr(check, "number")}
programs = pytest.mark.parametrize("number", PROGRAMS)
STUDENTS = range(1, 31)
NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "solutions" / "09_diagnosis.ipynb"


def verdict(capsys, number, text):
    """What the check says about a program that a student has in a cell."""
    space = {"math": math, "torch": torch, "F": F, "nn": nn}
    exec(text, space)
    CHECKS[number](list(space.values())[-1], seed=1)
    return capsys.readouterr().out


@programs
def test_each_bug_changes_a_text_that_stands_once_in_a_short_program(number):
    program = PROGRAMS[number]
    assert len(program.bugs) >= 8 and len(program.source.splitlines()) <= 15
    assert [old for old, *_ in program.bugs.values() if program.source.count(old) != 1] == []


@programs
def test_the_notebook_of_solutions_has_the_sound_program(number):
    words = re.compile(r'^    (?:""".*?"""|#.*?)$\n?', flags=re.DOTALL | re.MULTILINE)      # the docstring, and lines of comment
    assert PROGRAMS[number].source in [words.sub("", cell.source).strip() for cell in nbformat.read(NOTEBOOK, as_version=4).cells]


def test_there_are_hundreds_of_patients():
    assert sum(len(program.pairs()) for program in PROGRAMS.values()) >= 300


@programs
def test_a_student_gets_the_same_program_every_time_and_neighbours_get_other_bugs(number):
    assert len({patient(number, student) for student in STUDENTS}) == len(STUDENTS)
    assert all(patient(number, student) == patient(number, student) for student in STUDENTS)
    pairs = PROGRAMS[number].pairs()
    assert not any({*one} & {*other} for one, other in pairwise(pairs[:31]))
    assert {words for pair in pairs[:30] for words in pair} == {*PROGRAMS[number].bugs}


@pytest.mark.parametrize("count", [pytest.param(3, id="few"), pytest.param(None, id="all", marks=pytest.mark.slow)])
@programs
def test_a_check_tells_each_bug_until_all_are_repaired(number, count, capsys):
    program = PROGRAMS[number]
    assert verdict(capsys, number, program.source).startswith("✔")
    for pair in program.pairs()[:count]:
        ill = verdict(capsys, number, program.ill(*pair))
        assert ill.startswith("✘") and any(words in ill for words in pair), (pair, ill)
        for words in pair:
            assert words in verdict(capsys, number, program.ill(words))


def test_there_is_no_patient_for_a_number_that_is_none():
    with pytest.raises(ValueError, match=r"no patient '9.7'; there are 9.1, 9.2"):
        patient("9.7", student=1)
    with pytest.raises(ValueError, match=r"student is 'Ada'; need an integer"):
        patient("9.1", student="Ada")
