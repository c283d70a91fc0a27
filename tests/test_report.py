"""The class report: every mistake found as often as it was made, under no name, whoever handed in what and in whatever folder."""
import contextlib
import io
import random
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import anonymous
import apart
import class_report
import grade
import guesses
import named
import nbformat
import pytest
import simulated_class
import spoilt_work
from class_report import Graded
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from simulated_class import Answer, Bank, Read, Student
from students import students

from gpt_checks.spec import ANOTHERS

ROOT = Path(__file__).parent.parent
SOLVED, HANDED_OUT = (ROOT / "notebooks" / folder / "02_loss.ipynb" for folder in ("solutions", "exercises"))
LESSON = grade.Lesson(grade.read(SOLVED))
CHECKS = simulated_class.exercises(LESSON)
BANK = Bank("loss", CHECKS)
IDS = dict(zip(CHECKS, LESSON.checks, strict=True))


# Whose file it is.

@pytest.mark.parametrize(("files", "expected"), [
    ({"Zoë Łoś_12345_assignsubmission_file_/02_loss.ipynb": ("Zoë Łoś", "12345", False),
      "Ada M. Lovelace_12346_assignsubmission_file_/mine (final).ipynb": ("Ada M. Lovelace", "12346", False),
      "Participant_77_assignsubmission_file_02_loss.ipynb": ("Participant", "77", False),
      "Ada_12347_assignsubmission_file/02_loss.ipynb": ("Ada", "12347", False),
      "Bob_12348_assignsubmission_file/02_loss.ipynb": ("Bob", "12348", False)}, "Moodle"),
    ({"lovelaceada_1234_56789_02_loss.ipynb": ("lovelaceada", "1234", False),
      "hopper_LATE_1235_56790_02_loss-1.ipynb": ("hopper", "1235", True),
      "turing_late_1236_56791_Copy of x.ipynb": ("turing", "1236", True)}, "Canvas"),
    ({"Copy of 02_loss - Ada Lovelace.ipynb": ("Ada Lovelace", "", False),
      "Grace Hopper - Copy of 02_loss (1).ipynb": ("Grace Hopper", "", False),
      "Kopie von Copy of Emmy Noether - 02_loss.ipynb": ("Emmy Noether", "", False),
      "Copy of 02_loss (2).ipynb": ("Copy of 02 loss (2)", "", False)}, "Google Classroom"),
    ({"submitted/ada/02_loss/02_loss.ipynb": ("ada", "", False),
      "submitted/grace_h/02_loss/02_loss.ipynb": ("grace h", "", False),
      "autograded/bob/02_loss/02_loss.ipynb": ("bob", "", False)}, "nbgrader"),
    ({"ada/02_loss/02_loss.ipynb": ("ada", "", False), "bob/02_loss/02_loss.ipynb": ("bob", "", False)}, "inside submitted"),
    ({"Ada/draft.ipynb": ("Ada", "", False), "Bob/02_loss.ipynb": ("Bob", "", False),
      "Zoe/02_loss-Copy1.ipynb": ("Zoe", "", False)}, "a folder each"),
    ({"group 1/ada.ipynb": ("group 1/ada", "", False), "group 1/bob 02_loss.ipynb": ("group 1/bob", "", False),
      "group 2/zoe.ipynb": ("group 2/zoe", "", False), "group 2/max_02_loss.ipynb": ("group 2/max", "", False)}, "groups"),
    ({"02_loss_ada.ipynb": ("ada", "", False), "bob-02_loss (1).ipynb": ("bob", "", False),
      "x.ipynb": ("x", "", False)}, "names"),
    ({"7a/04_adamw_Anna.ipynb": ("7a/Anna", "", False), "7a/04_adamw_Bo.ipynb": ("7a/Bo", "", False),
      "7a/04_adamw_Cy.ipynb": ("7a/Cy", "", False), "7b/04_adamw_Di.ipynb": ("7b/Di", "", False)}, "forms"),
    ({"04_adamw_Anna.ipynb": ("Anna", "", False), "04_adamw_Bo.ipynb": ("Bo", "", False),
      "late/04_adamw_Di.ipynb": ("late/Di", "", False)}, "a folder of late ones"),
    ({"Ada/02_loss.ipynb": ("Ada", "", False), "Ada/my text.docx": ("Ada", "", False), "Ada/page.pdf": ("Ada", "", False),
      "Bob": ("Bob", "", False), "Zoe/02_loss.ipynb": ("Zoe", "", False)}, "other files in folders"),
    ({"02_loss_ada.ipynb": ("ada", "", False), "02_loss_bob.ipynb.txt": ("bob", "", False)}, "two endings"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_students_name_is_taken_from_where_the_platform_writes_it(files, expected):
    found = students([Path("in", name) for name in files])
    assert {path.relative_to("in").as_posix(): tuple(student) for path, student in found.items()} == files


def test_two_copies_of_one_student_are_one_and_two_students_of_one_name_are_two():
    ada = students(map(Path, ["in/Ada - 02_loss.ipynb", "in/Copy of Ada - 02_loss (1).ipynb"]))
    assert len({student.key for student in ada.values()}) == 1
    two = students(map(Path, ["in/Ada_1_assignsubmission_file_/a.ipynb", "in/Ada_2_assignsubmission_file_/a.ipynb"]))
    assert len({student.key for student in two.values()}) == 2


def test_a_single_file_has_a_student_too():
    assert students([Path("Ada_02_loss.ipynb")])[Path("Ada_02_loss.ipynb")].name == "Ada"


# Which mistake a line tells.

def line(name, answer, seed=1):
    """What a check prints of a function."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        named.checks()[name](answer, seed=seed)
    return out.getvalue().strip()


@cache
def line_of(name, source):
    """What a check prints of an answer's source."""
    space = {}
    exec(source, space)
    return line(name, space[CHECKS[name][1]])


@pytest.mark.parametrize("name", [
    "check_perplexity", "check_bigram_loss", "check_cut_points", "check_learning_rate", "check_rate"])
def test_every_sentence_of_a_table_is_known_again_alone(name):
    check = named.checks()[name]
    for words, parts in [*check.table.items()][::4]:
        told = named.told(line(name, lambda *args, parts=parts[0]: check.right(*args, **parts)), check)
        assert (told.mark, told.mistakes) == ("wrong", (words,))


@pytest.mark.slow
def test_in_all_tables_a_sentence_is_found_alone_in_pairs_and_behind_a_case():
    """As the checks put them together; where one sentence is part of another, the longer one is told."""
    for check in named.checks().values():
        table = [*check.table]
        for one, other in zip(table, table[1:] + table[:1], strict=True):
            tail = f' See lesson {check.see[0]}, "{check.see[1]}".'
            for words, found in ((one, (one,)), (f"a case: {one}", (one,)), (f"{one}; and {other}", (one, other)),
                                 (f"line 3 of your cell (x = 1) stopped with KeyError: 1; {one}", (one,))):
                text = f"✘ Exercise {check.number}, {check.title}: {words}{'' if words[-1] in '.?!' else '.'}{tail}"
                assert named.told(text, check).mistakes == found, text


def test_where_one_sentence_is_part_of_another_the_longer_one_is_told():
    assert named.sentences_in("a; and b", ("a", "b", "a; and b")) == ("a; and b",)
    assert named.sentences_in("c: b; and a.", ("a", "b", "a; and b")) == ("b", "a")


@pytest.mark.parametrize(("answer", "kind"), [
    (lambda loss: None, "gave nothing back: a `return` is missing"), (lambda loss: 3.0, "gave the same, whatever it was given"),
    (lambda loss: "Ada", "gave another kind of result: its shape, its type or how many"),
    (lambda loss: loss.ada, "stopped with AttributeError"), (7, "was no function"),
    (lambda: 1, "could not be called with the stub's arguments"),
    (lambda loss: loss**3 + 7, "gave another value, in which the check sees no pattern"),
    (lambda loss: (_ for _ in ()).throw(type("AdaError", (Exception,), {})("Ada")), "stopped with an error of its own")])
def test_what_has_no_name_is_grouped_by_what_it_did_in_words_of_our_own(answer, kind):
    told = named.told(line("check_perplexity", answer), named.checks()["check_perplexity"])
    assert (told.mark, told.mistakes, told.kind) == ("wrong", (), kind)


@pytest.mark.parametrize(("text", "kind"), [
    ("✘ NameError: name 'perplexity' is not defined", "kept the check from running: NameError"),
    ("✘ EOFError: EOF when reading a line; so perplexity is not defined", "kept the check from running: EOFError"),
    ("✘ still running after 60 seconds; so perplexity is not defined", "did not come to an end"),
    ("✘ its process ended, as by os._exit or a crash; so f is not defined", "ended its own process, or crashed it"),
    ("✘ AdaError: x", "kept the check from running: an error of its own"),
    ("✘ the check printed nothing", "kept the check from printing anything"),
    ("✘ Exercise 2.1, perplexity: could not be checked: its notebook took too long", "did not come to an end"),
    ("✘ Exercise 2.1, perplexity: stopped while it ran: it took longer than it may", "did not come to an end"),
    ("✘ Exercise 2.1, perplexity: stopped while it ran: its process ended, as by os._exit or a crash",
     "ended its own process, or crashed it"),
    ("✘ Exercise 2.1, perplexity: stopped while it ran: it took more than 3 GB of memory",
     "took too much memory, or too many processes"),
    ("✘ Exercise 2.1, perplexity: could not be checked: it started too many processes",
     "took too much memory, or too many processes"),
    ("✘ Exercise 2.1, perplexity: still running after 5 seconds of work, so it was stopped.", "did not come to an end")])
def test_a_check_that_did_not_run_is_a_kind_too(text, kind):
    assert named.told(text, named.checks()["check_perplexity"]).kind == kind


def test_an_answer_to_a_neighbours_numbers_is_told_to_be_one():
    check = named.checks()["check_weight_decay_for"]
    assert named.told(line("check_weight_decay_for", check.of(2).right), check).mistakes == (ANOTHERS,)


def test_an_answer_that_quotes_a_sentence_of_the_table_in_its_code_has_not_made_that_mistake():
    sentence = next(iter(named.checks()["check_perplexity"].table))
    text = f"✘ Exercise 2.1, perplexity: line 2 of your cell (return x # {sentence}) stopped with KeyError: 1"
    assert named.told(text, named.checks()["check_perplexity"]).mistakes == ()


# The class.

def graded(group):
    """A simulated class as grading leaves it, without running a notebook: each answer is judged by its check, here."""
    known = anonymous.known([student.name for student in group])
    people = students(Path("in", student.file) for student in group)
    for student in group:
        path, rows, codes = Path("in", student.file), [], {}
        for name, answer in student.answers.items():
            text = line_of(name, answer.source) if answer.source else f"◦ Exercise {CHECKS[name][0].number}: to do"
            rows.append((IDS[name], int(text.startswith("✔")), 1, text))
            if answer.source:
                source = anonymous.answer_in(new_notebook(cells=[new_code_cell(answer.source)]), CHECKS[name][1])
                codes[IDS[name]] = anonymous.anonymous(source, known)
        yield Graded(path, people[path], tuple(rows), "", codes)


@cache
def class_of_200():
    group = simulated_class.draw_class(200, 7, BANK)
    return group, [*graded(group)]


@cache
def pages_of_200():
    return class_report.pages_of(class_of_200()[1], LESSON, "Exercises 02")


@pytest.mark.slow
def test_in_a_class_of_200_every_mistake_is_found_as_often_as_it_was_planted():
    marks, mistakes = simulated_class.planted(class_of_200()[0])
    page = Read(pages_of_200()["report.html"])
    assert len(mistakes) >= 20 and page.mistakes == mistakes
    by_number = {check.number: name for name, (check, _) in CHECKS.items()}
    assert page.counts == [[number, *(marks[name, mark] for mark in ("right", "wrong", "to do"))]
                           for number, name in by_number.items()]


@pytest.mark.slow
def test_the_page_begins_with_the_mistake_that_most_have_made_its_section_and_an_example():
    _, mistakes = simulated_class.planted(class_of_200()[0])
    top = max(mistakes, key=mistakes.get)
    begin = pages_of_200()["report.html"].partition("Begin the next lesson with")[2].partition("</section>")[0]
    assert class_report.fill.__globals__["sentence"](top) in begin.replace("&#39;", "'")
    assert f"{mistakes[top]} of 200 students" in begin and "Read again: lesson 02" in begin and "<pre><code>def " in begin


@pytest.mark.slow
def test_mistakes_that_come_together_are_found_and_no_others():
    """One student in five confuses bits with nats twice; everything else was drawn independently."""
    together = class_report.Class(class_of_200()[1], class_report.exercises_of(LESSON)).together()
    bits = ("a power of 2 goes with bits", "still in nats")
    across = [one.words + other.words for one, other, *_ in together if set(one.exercises) != set(other.exercises)]
    assert any(all(word in words for word in bits) for words in across)
    assert all(bits[0] in words for words in across)


def test_the_probability_is_that_of_fishers_test():
    """Source: R. A. Fisher's tea-tasting lady, "The Design of Experiments" (1935): all four cups of eight by chance, 1 in 70."""
    assert class_report.by_chance(4, 4, 4, 8) == pytest.approx(1 / 70)
    assert class_report.by_chance(0, 4, 4, 8) == pytest.approx(1)


def row(name, text):
    return IDS[name], int(text.startswith("✔")), 1, text


def test_an_exercise_that_the_able_alone_solve_separates_most_and_one_that_all_solve_alike_least():
    draw, files = random.Random(1), []
    for i in range(60):
        able, luck = i < 30, draw.random() < 0.5
        own = {name: "✔" if (luck if name == "check_perplexity" else able if name == "check_bigram_loss" else
                             draw.random() < (0.9 if able else 0.3)) else "◦" for name in CHECKS}
        files.append(Graded(Path(f"in/{i}.ipynb"), students([Path(f"in/{i}.ipynb")])[Path(f"in/{i}.ipynb")],
                            tuple(row(name, f"{mark} x") for name, mark in own.items())))
    found = class_report.Class(files, class_report.exercises_of(LESSON)).separation()
    assert (found[0][0].check.number, found[-1][0].check.number) == ("2.5", "2.1") and class_report.differ(found)


def test_exercises_that_were_solved_by_chance_are_not_said_to_separate_the_class():
    """At most in one class of ten, though the first and the last of seven exercises are picked."""
    said = 0
    for seed in range(40):
        draw, files = random.Random(seed), []
        for i in range(20):
            path = Path(f"in/{i}.ipynb")
            files.append(Graded(path, students([path])[path], tuple(row(name, "✔ x" if draw.random() < 0.6 else "◦ x")
                                                                    for name in CHECKS)))
        found = class_report.Class(files, class_report.exercises_of(LESSON)).separation()
        said += class_report.differ(found)
    assert said <= 4


def test_of_several_notebooks_of_one_student_the_best_answer_counts_once():
    paths = [Path("in/Ada - 02_loss.ipynb"), Path("in/Ada - 02_loss (1).ipynb")]
    people = students(paths)
    files = [Graded(path, people[path], (row("check_perplexity", text),)) for path, text in zip(paths, "✔◦", strict=True)]
    counts = dict(class_report.Class(files, class_report.exercises_of(LESSON)).counts())
    assert next(iter(counts.values())) == {"right": 1}
    assert "Ada, 2 files" in class_report.pages_of(files, LESSON, "Exercises 02")["names.html"]


def files_with(*marks):
    """A file for each student: {name of a check: what it told} in the order of the class."""
    paths = [Path(f"in/Student{chr(65 + i)}.ipynb") for i in range(len(marks))]
    people = students(paths)
    return [Graded(path, people[path], tuple(row(name, text) for name, text in own.items()))
            for path, own in zip(paths, marks, strict=True)]


def sentence_of(name):
    """The last by alphabet of the sentences in a check's table."""
    return max(CHECKS[name][0].table)


def test_of_mistakes_that_as_many_have_made_the_one_that_costs_most_comes_first():
    points = {name: exercise.points for name, exercise in zip(CHECKS, class_report.exercises_of(LESSON).values(), strict=True)}
    cheap, dear = min(points, key=points.get), max(points, key=points.get)
    own = {name: f"✘ {sentence_of(name)}." for name in (cheap, dear)}
    assert points[cheap] < points[dear] and sentence_of(cheap) < sentence_of(dear)
    page = class_report.pages_of(files_with(own, own), LESSON, "Exercises 02")["report.html"]
    assert [*Read(page).mistakes] == [sentence_of(dear), sentence_of(cheap)]


def test_of_sections_in_which_as_many_were_wrong_the_one_with_more_wrong_answers_comes_first():
    exercises = class_report.exercises_of(LESSON)
    by_section = {}
    for name, exercise in zip(CHECKS, exercises.values(), strict=True):
        by_section.setdefault(exercise.section, []).append(name)
    few, many = sorted(by_section.values(), key=len)[0], sorted(by_section.values(), key=len)[-1]
    assert len(many) > 1
    group = class_report.Class(files_with({name: "✘ x" for name in [few[0], *many]}), exercises)
    assert [n for _, n in group.sections()] == [1, 1] and group.sections()[0][0] == exercises[IDS[many[0]]].section


def test_a_sentence_that_begins_with_a_name_of_code_keeps_its_small_letter():
    words = "momentum_step changes its inputs"
    assert class_report.fill.__globals__["sentence"](words) == f"{words}."
    file, = files_with({"check_perplexity": f"✘ Exercise 2.1, perplexity: {words}."})
    assert f"<p>{words}.</p>" in class_report.pages_of([file], LESSON, "Exercises 02")["feedback/StudentA.html"]


def test_wrong_answers_without_a_name_are_not_said_to_be_beyond_the_checks():
    """The check has told each what is wrong; it only stands in no table."""
    named_one = f"✘ {sentence_of('check_perplexity')}."
    page = class_report.pages_of(files_with({"check_perplexity": named_one}, {"check_perplexity": "✘ x"}), LESSON, "02")
    assert "In 1 of 2 wrong answers (50 %), none of the mistakes above was made." in page["report.html"]
    page = class_report.pages_of(files_with({"check_perplexity": named_one}), LESSON, "02")
    assert "Each wrong answer has a mistake from above." in page["report.html"]


def test_the_teacher_first_sees_who_is_there_and_who_could_not_be_graded():
    files = files_with({"check_perplexity": "✘ x"}, {})
    files[1] = files[1]._replace(fault="the file is empty")
    page = class_report.pages_of(files, LESSON, "02")["names.html"]
    order = [page.index(f"<h2>{words}") for words in ("Everyone", "Could not be graded", "Who made which mistake")]
    assert order == sorted(order)


@pytest.mark.parametrize("name", [path.stem for path in sorted(SOLVED.parent.glob("[0-9]*.ipynb"))])
def test_a_report_can_be_made_of_every_lesson_with_exercises(name):
    lesson, path = grade.Lesson(grade.read(ROOT / "notebooks" / "solutions" / f"{name}.ipynb")), Path("in/Ada.ipynb")
    rows = []
    for key, exercise in class_report.exercises_of(lesson).items():
        words = next(iter(exercise.check.table))
        rows.append((key, 0, 1, f"✘ Exercise {exercise.name}: {words}. See"))
    file = Graded(path, students([path])[path], tuple(rows))
    assert [row[1:] for row in Read(class_report.pages_of([file], lesson, name)["report.html"]).counts] == [[0, 1, 0]] * len(rows)


def test_a_class_without_a_mistake_and_one_that_cannot_be_graded_have_a_page_too():
    path = Path("in/Ada.ipynb")
    for file in (Graded(path, students([path])[path], tuple(row(name, "✔ x") for name in CHECKS)),
                 Graded(path, students([path])[path], fault="the file is empty")):
        pages = class_report.pages_of([file], LESSON, "Exercises 02")
        assert "No answer is wrong" in pages["report.html"] and "Ada" in pages["names.html"]
        assert set(pages) == {"report.html", "names.html", "feedback/Ada.html"}


def test_shares_are_of_those_that_could_be_graded_and_names_are_sorted_as_people_do():
    """Who handed in an empty file has made no mistake, and has avoided none."""
    paths = [Path(f"in/{name}_02_loss.ipynb") for name in ("Zoe", "Émile", "Ada", "Fay")]
    people = students(paths)
    wrong = line("check_perplexity", lambda loss: 2**loss)
    files = [Graded(path, people[path], (row("check_perplexity", wrong),)) for path in paths[:2]]
    files += [Graded(path, people[path], fault="the file is empty") for path in paths[2:]]
    pages = class_report.pages_of(files, LESSON, "Exercises 02")
    page, everyone = pages["report.html"], pages["names.html"].partition("Everyone")[2]
    assert "parentheses of its own" in page
    assert "2 of 2 students made this mistake" in page and "the notebooks of 2 could not be" in page
    assert "2 of 2 students." in page.partition("The section in which most students were wrong")[2]
    assert sorted(("Zoe", "Émile", "Ada", "Fay"), key=everyone.index) == ["Ada", "Émile", "Fay", "Zoe"]
    assert "Your notebook could not be graded: the file is empty" in pages["feedback/Ada_02_loss.html"]


def test_the_teacher_sees_who_used_the_sheet_of_another_and_nothing_where_there_are_no_own_sheets():
    def page(*numbers):
        paths = [Path(f"in/{name}.ipynb") for name in ("Anna", "Bo", "Élodie", "Anna (1)")]
        people = students(paths)
        files = []
        for path, number in zip(paths, numbers, strict=True):
            notebook = new_notebook(cells=[new_markdown_cell("student = 5"), new_code_cell("student = 9\nstudent = 8"),
                                           new_code_cell(f"{number}\nstudents = 3")])
            files.append(Graded(path, people[path], (row("check_perplexity", "✔"),), sheet=grade.sheet_of(notebook)))
        return class_report.pages_of(files, LESSON, "Exercises 02")["names.html"]

    shared = page("student = 1", "student = 22", "student=1  # mine", "student = 1")
    assert "sheet of number 1: Anna, Élodie<" in shared and "of number 22" not in shared
    assert ">Anna, 2 files, sheet 1<" in shared and ">Bo, sheet 22<" in shared      # to be compared with the teacher's list
    assert page("student = 1", "student = 22", "student = 3", "student = 1").count("sheet of number") == 0      # Anna's two files
    assert ", sheet" not in (same := page(*["student = 1"] * 4)) and "sheet of number" not in same
    assert grade.sheet_of(new_notebook(cells=[new_code_cell("student = " + "9" * 5000)])) == ""


# Names.

PLANTED = '''
def perplexity(loss, ada_lovelace: "Ada Lovelace" = None):
    """Written by Ada Lovelace, number 20231234."""
    # Ada Lovelace was here
    adas_total = 20231234
    lovelaceFactor = open("/home/ada_lovelace/notes.txt") if False else 1
    print(f"Ada Lovelace says {loss}", end="" if loss else "Lovelace")
    try:
        import lovelace.ada as ada
    except ImportError as ada_error:
        "Ada"
    def by_ada(x): return x
    return 2**by_ada(loss) * lovelaceFactor
'''


def test_no_name_stays_in_an_example_wherever_it_was_planted():
    for people in ((), ("Ada Lovelace",)):      # whether the class's names are known or not
        code = anonymous.anonymous(PLANTED.strip(), anonymous.known(people))
        assert not re.search("ada|lovelace|20231234|home", code, re.IGNORECASE), code
        assert "2 ** " in code and "loss" in code
        compile(code, "<example>", "exec")


@pytest.mark.parametrize("source", [
    "def f(x):\n    match x:\n        case {'k': ada, **lovelace}: return ada\n        case [*lovelace]: pass",
    "class f:\n    lovelace = 1\n    def ada(self): 'Ada'", "def f(x):\n    'Ada'", "from lovelace import ada as f",
    "async def f(x, *ada, lovelace=1, **ada_kw):\n    global adas\n    await lovelace()", "f = [ada for ada in lovelace]",
    "f = lambda ada: ada.lovelace(ada=b'Ada')", "def f(x):\n    return f'{x!r:>{lovelace}} Ada'"])
def test_no_part_of_pythons_grammar_lets_a_name_through(source):
    code = anonymous.anonymous(source, anonymous.known())
    assert not re.search("ada|lovelace", code, re.IGNORECASE), code
    compile(code, "<example>", "exec")


def test_what_explains_the_mistake_stays():
    source = "def bits_per_byte(losses, text):\n    total = 0.0\n    for loss in losses:\n        total += loss / math.log(2)\n" \
             "    return total / len(text.encode('utf-16'))"
    assert anonymous.anonymous(source, anonymous.known()) == source


def test_the_names_that_an_exercise_hands_out_stay_whoever_is_in_the_class():
    """Max Power is, and max_lr is an argument of 4.5."""
    source = "def learning_rate(step, max_lr):\n    return max_lr"
    assert anonymous.anonymous(source, anonymous.known(["Max Power"])) == source
    assert "max_power" not in anonymous.anonymous("def f(max_power):\n    return max_power", anonymous.known(["Max Power"]))


@pytest.mark.parametrize(("source", "example"), [
    ("def weight_decay_for(steps, lr):\n    return -math.log(20.1 / 100) / (0.5 * steps)",
     "def weight_decay_for(steps, lr):\n    return -math.log(... / 100) / (0.5 * steps)"),
    ("weight_decay_for = lambda steps, lr, left=0.201: 1 - 0.799 ** (1 / steps)",      # as a share, and what it leaves
     "weight_decay_for = lambda steps, lr, left=...: 1 - ... ** (1 / steps)"),
    ("largest_batch = lambda n, one: (24e9 - 1.25 * 1024 ** 3 - 12 * n) // one",
     "largest_batch = lambda n, one: (... - ... * 1024 ** 3 - 12 * n) // one"),
    ("training_days = lambda n, d: 6 * n * d / (61e12 * 0.41) / 86400 + 2.5j",
     "training_days = lambda n, d: 6 * n * d / (... * ...) / 86400 + 2.5j"),
    ("perplexity = lambda x: 20.1 * x + 0.799", "perplexity = lambda x: 20.1 * x + 0.799")])
def test_a_number_of_a_students_own_sheet_stays_out_of_the_example(source, example):
    assert anonymous.anonymous(source, anonymous.known()) == example


def test_code_that_is_no_python_gives_no_example():
    assert anonymous.anonymous("def f(:", anonymous.known()) is None
    assert anonymous.anonymous("(" * 10_000, anonymous.known()) is None


def test_the_last_definition_of_a_function_is_the_answer_and_magics_do_not_matter():
    cells = [new_code_cell("def perplexity(x):\n    return 1"), new_code_cell("%time 1\nperplexity = math.exp  # mine"),
             new_code_cell("x = perplexity(1"), new_code_cell("y = perplexity(1)")]
    assert anonymous.answer_in(new_notebook(cells=cells), "perplexity") == "perplexity = math.exp"
    assert anonymous.answer_in(new_notebook(cells=cells), "cross_entropy") is None


@pytest.mark.slow
def test_the_classs_page_has_no_name_and_the_teachers_has_all():
    group, _ = class_of_200()
    pages = pages_of_200()
    visible = re.sub(r"<style>.*?</style>", "", pages["report.html"], flags=re.DOTALL)
    for student in group:
        name = simulated_class.named_as(student)
        assert not re.search(rf"\b{re.escape(name)}\b", visible, re.IGNORECASE), name
        assert name.replace("'", "&#39;") in pages["names.html"]
    assert "assignsubmission" not in visible and "LATE" not in visible


# What students write is shown, and nothing more.

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def test_nothing_that_a_student_writes_becomes_part_of_a_page():
    path = Path(f"in/{EVIL.replace('/', '')}.ipynb")
    text = f"✘ Exercise 2.1, perplexity: perplexity(1) gives '{EVIL}', of type str; need a number."
    question = guesses.Question("x", EVIL, EVIL, 1.0, ((students([path])[path], 2.0),))
    file = Graded(path, students([path])[path], (row("check_perplexity", text),), "", {IDS["check_perplexity"]: EVIL})
    other = Graded(path.with_name("b.ipynb"), students([path])[path]._replace(name=EVIL), fault=EVIL)
    pages = class_report.pages_of([file, other], LESSON, EVIL, [question])
    for page in pages.values():
        assert "<script" not in page and "<img" not in page and "&lt;script" in page
        assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


@pytest.mark.slow
def test_a_page_needs_nothing_from_outside():
    for page in pages_of_200().values():
        assert not re.search(r"https?://|src=|@import|url\(|<link|<script", page)


# Files.

def test_a_report_is_written_whole_replaces_an_earlier_one_and_nothing_else(tmp_path):
    folder = tmp_path / "new" / "report"
    class_report.write({"report.html": "one", "feedback/ada/x.html": "one"}, folder)
    class_report.require_free(folder)
    class_report.write({"report.html": "two"}, folder)
    assert [path.name for path in folder.rglob("*")] == ["report.html"] and [*folder.parent.iterdir()] == [folder]
    (tmp_path / "mine.txt").touch()
    for taken, words in ((tmp_path, "holds other files"), (tmp_path / "mine.txt", "is a file")):
        with pytest.raises(ValueError, match=words):
            class_report.require_free(taken)
    class_report.require_free(tmp_path / "new" / "nothing yet")


def test_where_a_report_cannot_be_written_the_earlier_one_stays(tmp_path, monkeypatch):
    class_report.write({"report.html": "one"}, tmp_path / "report")
    monkeypatch.setattr(Path, "write_text", lambda *args, **kwargs: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        class_report.write({"report.html": "two"}, tmp_path / "report")
    assert (tmp_path / "report" / "report.html").read_bytes() == b"one" and len([*tmp_path.iterdir()]) == 1


def test_feedback_lies_where_the_submission_lay_and_no_page_replaces_another(tmp_path):
    paths = [Path("in", name) for name in ("moodle/Ada_1_assignsubmission_file_/02_loss.ipynb", "x/a.ipynb", "x/a.IPYNB", "y")]
    Path(tmp_path, "in/y").mkdir(parents=True)
    with contextlib.chdir(tmp_path):
        people = students(paths)
        pages = class_report.pages_of([Graded(path, people[path], fault="no") for path in paths], LESSON, "02")
    assert {name.replace("\\", "/") for name in pages} - {"report.html", "names.html"} == {
        "feedback/moodle/Ada_1_assignsubmission_file_/02_loss.html", "feedback/x/a.html", "feedback/x/a_.html",
        "feedback/y/feedback.html"}


@pytest.mark.slow
def test_a_students_page_has_their_own_lines_and_how_many_share_a_mistake():
    group, files = class_of_200()
    i = next(i for i, student in enumerate(group) if student.answers["check_perplexity"].mistakes)
    page = pages_of_200()[str(Path("feedback", files[i].path.relative_to("in").with_suffix(".html")))]
    assert simulated_class.named_as(group[i]).replace("'", "&#39;") in page and "others made the same mistake" in page
    assert "a power of 2 goes with bits" in page and "points" not in page


# Processes.

@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit of memory")
def test_a_process_that_hangs_dies_or_eats_memory_costs_only_its_own_result():
    done = []
    results = [*apart.each_apart(spoilt_work.work, ["a", "hang", "die", "raise", "eat", "b"], 2, 60, done.append)]
    assert results[0] == "a" and results[-1] == "b" and done == [1, 2, 3, 4, 5, 6]
    assert [type(result).__name__ for result in results[1:5]] == ["Ended", "Ended", "ValueError", "MemoryError"]
    assert "still running after 60 seconds" in str(results[1]) and "ended before" in str(results[2])


@pytest.mark.slow
def test_results_come_in_order_and_at_most_so_many_run_at_a_time():
    assert [*apart.each_apart(spoilt_work.work, "abc", 3, 300)] == ["a", "b", "c"]
    assert [*apart.each_apart(spoilt_work.work, [], 3, 60)] == []


# nbgrader's graded notebooks.

def test_a_notebook_that_nbgrader_has_graded_is_read_and_not_run():
    notebook = grade.read(SOLVED)
    told = ["✔ Exercise 2.1, perplexity: right", "✘ Exercise 2.2, cross-entropy from logits: wrong.", "◦ Exercise 2.3, x: to do"]
    for name, text in zip(LESSON.checks, told, strict=False):
        [cell] = [cell for cell in notebook.cells if grade.marks(cell).get("grade_id") == name]
        cell.outputs = [new_output("stream", text=text) if text[0] == "✔" else
                        new_output("error", ename="NotYet", evalue=text, traceback=[text])]
    rows = [*grade.stored(notebook, LESSON)]
    assert [message for *_, message in rows[:3]] == told and [points for _, points, *_ in rows[:3]] == [1, 0, 0]
    [answer] = [cell for cell in notebook.cells if grade.marks(cell).get("grade_id") == "perplexity"]
    [check] = [cell for cell in notebook.cells if grade.marks(cell).get("grade_id") == "check-perplexity"]
    answer.source = "def perplexity(loss)\n    return loss"
    check.outputs = [new_output("error", ename="NameError", evalue="name 'perplexity' is not defined", traceback=[])]
    assert next(grade.stored(notebook, LESSON))[3] == "✘ SyntaxError: expected ':'; so perplexity is not defined"
    answer.source = "input()\ndef perplexity(loss):\n    return loss"
    answer.outputs = [new_output("error", ename="EOFError", evalue="no\ninput", traceback=[])]
    assert next(grade.stored(notebook, LESSON))[3] == "✘ EOFError: no; so perplexity is not defined"


def test_a_copy_of_nbgraders_without_checks_is_not_counted_as_wrong_answers():
    cells = [cell for cell in grade.read(SOLVED).cells if not cell.source.startswith("check_")]
    with pytest.raises(ValueError, match=r"^nbgrader's copy has no checks: grade it without --graded$"):
        list(grade.stored(new_notebook(cells=cells), LESSON))


def test_a_name_that_a_spreadsheet_would_take_for_a_formula_is_text():
    assert grade.as_text('=HYPERLINK("x")') == "'=HYPERLINK(\"x\")" and grade.as_text("Zoë") == "Zoë"


# Guesses.

def lesson(*cells):
    """A notebook of a text and a code cell each."""
    return new_notebook(cells=[part for text, code, more in cells
                               for part in (new_markdown_cell(text), new_code_cell(code, **more))])


LESSON_WITH_GUESS = lesson(
    ("## Cost\n\n> **Predict.** How `many`\n> days?\n\n<details>x</details>",
     "guess = None      # your number of days, if you like\nx = 1", {"id": "cost", "metadata": {"tags": ["truth=3.1"]}}),
    ("words", "guess = 3 * x", {"id": "other"}))


def copy_with(value, **changes):
    notebook = nbformat.from_dict(LESSON_WITH_GUESS)
    notebook = nbformat.reads(nbformat.writes(notebook), 4)
    notebook.cells[1].source = notebook.cells[1].source.replace("None", value, 1)
    notebook.cells[1].update(changes)
    return notebook


def test_a_question_is_a_cell_with_a_guess_its_text_the_cell_above_and_its_truth_declared():
    [question] = guesses.questions_in(LESSON_WITH_GUESS)
    assert question[:4] == ("cost", "number of days", "How many days?", 3.1)


@pytest.mark.parametrize(("written", "number"), [
    ("3", 3), ("-2.5", -2.5), ("1_000", 1000), ("2 * 24", 48), ("1/4", 0.25), ("None", None), ("'three'", None), ("True", None),
    ("1/0", None), ("1e999", None), ("(1, 2)", None), ("9**9**9", None), ("exit()", None), ("__import__('os').abort()", None),
    ("", None), ("3 days", None), ("1" * 400, None)])
def test_only_numbers_are_guesses_and_nothing_is_run(written, number):
    [question] = guesses.questions_in(LESSON_WITH_GUESS)
    assert guesses.guess_in(copy_with(written), question) == number


def test_a_copy_is_known_by_the_cells_id_or_where_it_is_lost_by_the_lines_comment():
    questions = guesses.questions_in(LESSON_WITH_GUESS)
    assert guesses.guess_in(copy_with("4", id="lost"), questions[0]) == 4
    assert guesses.is_copy(copy_with("None"), questions) and not guesses.is_copy(grade.read(SOLVED), questions)


@pytest.mark.parametrize(("numbers", "words"), [
    ([], "Nobody wrote down a number. The truth is 3.1."),
    ([2], "1 guess, from 2 to 2, median 2. The truth is 3.1. 1 of 1 is within a factor of two."),
    ([1, 3, 10_000], "3 guesses, from 1 to 10,000, median 3. The truth is 3.1. 1 of 3 is within a factor of two."),
    ([3, 4], "2 guesses, from 3 to 4, median 3.5. The truth is 3.1. 2 of 2 are within a factor of two.")])
def test_the_class_is_put_beside_the_truth(numbers, words):
    [question] = guesses.questions_in(LESSON_WITH_GUESS)
    question = question._replace(guesses=tuple((None, number) for number in numbers))
    assert question.summary == words
    if numbers:
        dots = question.picture["dots"]
        assert len(dots) == len(numbers) and all(0 < x < guesses.WIDTH and 0 < y < guesses.HEIGHT for x, y in dots)
        assert question.picture["logarithmic"] == (max(numbers) > 100)


def test_who_wrote_no_number_that_can_be_read_is_counted():
    people = students([Path(f"in/{name}.ipynb") for name in "abcde"])
    copies = [(student, copy_with(value))
              for student, value in zip(people.values(), ["3", "3,5", "about 7", "None", ""], strict=True)]
    copies.append((copies[0][0], copy_with("'three'")))      # who has a number as well is not counted
    [question] = guesses.collect(guesses.questions_in(LESSON_WITH_GUESS), copies)
    assert question.unread == 2 and "median 3. 2 wrote no number that can be read. The truth" in question.summary
    [question] = guesses.collect(guesses.questions_in(LESSON_WITH_GUESS), copies[1:3])
    assert question.summary == "2 wrote no number that can be read. The truth is 3.1."


LESSONS = {path.stem: guesses.questions_in(nbformat.read(path, 4)) for path in sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))}


def test_a_questions_label_says_what_is_guessed():
    for name, questions in LESSONS.items():
        for question in questions:
            assert not question.label.startswith("in "), (name, question.label)


@pytest.mark.parametrize("name", [name for name, questions in LESSONS.items() if questions])
def test_a_lessons_truth_is_declared_and_stands_in_its_output(name):
    """So a number that a run has changed is noticed."""
    cells = {cell.id: cell for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells}
    for question in LESSONS[name]:
        text = " ".join(output.get("text") or output.data.get("text/plain", "") for output in cells[question.cell].outputs)
        numbers = [float(found.replace(",", "")) for found in re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?", text)]
        assert question.truth is not None, f"cell {question.cell} needs its truth, as CONTRIBUTING.md says"
        assert question.truth in numbers, f"cell {question.cell} declares {question.truth}; its output has {numbers}"


def test_guesses_are_collected_from_a_folder_and_reported_under_no_name(tmp_path, monkeypatch, capsysbinary):
    monkeypatch.setattr(grade, "use_a_writable_home", lambda: None)
    lesson_path = tmp_path / "lesson.ipynb"
    nbformat.write(LESSON_WITH_GUESS, lesson_path)
    for name, value in {"Ada": "3", "Bob": "400", "Zoe": "None", "Max": "open('x', 'w')"}.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        nbformat.write(copy_with(value), tmp_path / "in" / name / "lesson.ipynb")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO()))
        grade.main([str(lesson_path), str(tmp_path / "in"), "--report", str(tmp_path / "report")])
        sys.stdout.flush()
        rows = sys.stdout.buffer.getvalue().decode("utf-8-sig").splitlines()
    assert rows == ["question,truth,guess,student,number", "number of days,3.1,3,Ada,", "number of days,3.1,400,Bob,"]
    page, names = ((tmp_path / "report" / name).read_text(encoding="utf-8") for name in ("report.html", "names.html"))
    assert "2 guesses, from 3 to 400" in page and "How many days?" in page and "Ada" not in page and "Ada: 3" in names


# The command.

@pytest.mark.slow
@pytest.mark.parametrize("wrong", [["--jobs", "0"], ["--seconds", "0"], ["--seconds", "nan"], ["--guesses", str(SOLVED)],
                                   ["--report", str(SOLVED)], ["--guesses", "no_such.ipynb"]])
def test_bad_options_are_told_in_one_line_before_anything_is_run(wrong, tmp_path):
    (tmp_path / "a.ipynb").touch()
    done = subprocess.run([sys.executable, ROOT / "scripts" / "grade.py", SOLVED, tmp_path / "a.ipynb", *wrong],
                          capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0 and "Traceback" not in done.stderr and done.stdout == ""
    assert len(done.stderr.splitlines()[-1]) > 20 and not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_a_class_of_24_is_graded_and_reported_as_it_was_planted(tmp_path):
    """With students whose notebooks crash, eat memory, or are no notebooks; the real thing, from files to pages."""
    group = simulated_class.draw_class(24, 3, BANK)
    nothing = {name: Answer("", "to do") for name in CHECKS}
    spoilt = [Student(name, f"moodle/{name}_9_assignsubmission_file_/x.ipynb", nothing, code) for name, code in {
        "Crash": "import os\nos._exit(1)", "Eater": "x = []\nwhile True:\n    x.append(bytearray(10**8))"}.items()]
    simulated_class.write([*group, *spoilt], tmp_path / "in", grade.read(HANDED_OUT), CHECKS)
    (tmp_path / "in" / "canvas" / "text_1_2_x.ipynb").write_text("hello")
    done = subprocess.run([sys.executable, ROOT / "scripts" / "grade.py", SOLVED, tmp_path / "in", "--jobs", "2",
                           "--report", tmp_path / "report"], capture_output=True, text=True, encoding="utf-8-sig")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "26 of 26 graded"      # the text is not even run
    marks, mistakes = simulated_class.planted(group)
    page = Read((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.mistakes == mistakes
    for number, right, wrong, _ in page.counts:      # whoever eats memory has everything still to do
        name = next(name for name, (check, _) in CHECKS.items() if check.number == number)
        assert (right, wrong) == (marks[name, "right"], marks[name, "wrong"])
    assert len([*(tmp_path / "report" / "feedback").rglob("*.html")]) == 27
    names = (tmp_path / "report" / "names.html").read_text(encoding="utf-8")
    assert all(simulated_class.named_as(student).replace("'", "&#39;") in names for student in group)
