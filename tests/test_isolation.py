"""Isolated grading: what a student's code cannot get and cannot harm, and that checks say the same as without walls."""
import base64
import contextlib
import copy
import functools
import importlib
import re
import socket
import tempfile
import threading
from pathlib import Path

import cloudpickle
import grade
import judge
import named
import nbformat
import psutil
import pytest
import sandbox
import torch
import wire
from mistakes import RIGHT, WRONG
from mistakes.cheats import BESIDE, CHEATS

from gpt_checks import core, observe
from gpt_checks.spec import Facts, spec

ROOT = Path(__file__).parent.parent
SOLUTIONS = ROOT / "notebooks" / "solutions"
for path in sorted((ROOT / "tests" / "mistakes").glob("[a-z]*.py")):
    cloudpickle.register_pickle_by_value(importlib.import_module(f"mistakes.{path.stem}"))      # as in a student's notebook
cloudpickle.register_pickle_by_value(importlib.import_module("mistakes"))
CHECKS = {check.number: check for check in named.checks().values()}
needs_walls = pytest.mark.skipif(not sandbox.walls()[0], reason=f"nothing is isolated here: {sandbox.walls()[1]}")


# Values on their way: what is read is data, and no more.

@pytest.mark.parametrize("value", [
    None, True, 3, -2**80, 1.5, float("inf"), "é\udceb", b"\0", 1j, [1, (2, "x")], {"a": [1], 2: None}, {1, 2}, range(0, 9, 2),
    torch.float16, torch.tensor(2.5), torch.ones(2, 0, 3), torch.arange(6).view(2, 3).T, torch.tensor([True, False]),
    torch.tensor([1j]).conj(), torch.ones(3, dtype=torch.bfloat16)], ids=repr)
def test_a_plain_value_arrives_as_it_was(value):
    got = wire.unpack(sent(wire.pack(value)))
    assert type(got) is type(value)
    assert torch.equal(got, value) and got.dtype == value.dtype if isinstance(value, torch.Tensor) else got == value


def sent(data):
    """Plain data on the other side."""
    stream = memoryview(wire.frame(data)).tobytes()
    parts = iter([stream[:8], stream[8:]])
    return wire.read(lambda size: next(parts))


def test_a_tensor_keeps_its_graph_in_name_only():
    got = wire.unpack(wire.pack(torch.ones(2, requires_grad=True) * 2))
    assert got.requires_grad and got.is_leaf


@pytest.mark.parametrize("value", [object(), print, int, torch, Exception("no"), lambda: 1, Path("/")],
                         ids=lambda value: type(value).__name__)
def test_any_other_object_becomes_a_thing_with_the_name_of_its_type(value):
    got = wire.unpack(sent(wire.pack(value)))
    assert isinstance(got, wire.Thing) and type(got).__name__ == type(value).__name__ and not callable(got)


@pytest.mark.parametrize("data", [
    ["os.system", "true"], ["thing"], ["known", 99], ["tensor", "object", [1], "AAAA", False],
    ["array", "|O", [1], False, "AAAA"], ["tensor", "torch.float32", [10**12], "AAAA", False], ["dtype", "__class__"], [[]],
    ["int", "x"], ["dict", [[["list", []], 1]]]])
def test_forged_data_are_an_error_and_nothing_else(data):
    with pytest.raises((KeyError, TypeError, ValueError, IndexError, RuntimeError)):
        wire.unpack(data)


def test_what_a_function_changed_in_its_arguments_is_changed_here():
    layer, more = torch.nn.Linear(2, 2), {"list": [1], "set": {1}, "tensor": torch.zeros(2)}
    things = list(wire.changeable((layer, more)).values())
    known = wire.numbered(dict(enumerate(things)))
    before = [wire.state(thing, known) for thing in things]
    layer.eval()
    layer.weight.data += 1
    layer.bias.grad = torch.ones(2)
    more["list"].append("x")
    more["tensor"] += 1
    more["new"] = more["list"]
    after = [wire.state(thing, known) for thing in things]
    assert before != after
    for thing, became in zip(things, before, strict=True):
        wire.put(thing, became, things)
    assert layer.training and layer.bias.grad is None and "new" not in more and more["list"] == [1] and not more["tensor"].any()
    for thing, became in zip(things, after, strict=True):
        wire.put(thing, became, things)
    assert not layer.training and torch.equal(layer.bias.grad, torch.ones(2)) and more["new"] is more["list"] == [1, "x"]


@pytest.mark.parametrize("number", CHECKS)
def test_no_right_answer_and_no_mistake_leaves_the_judge(number):
    """Arguments travel with the functions and classes that they need; a right answer must not be among these."""
    check, pickled = CHECKS[number], []

    class Answer:
        """The right one, which keeps what would travel."""

        def __call__(self, *args, **kwargs):
            return self.kept(args, kwargs) or check.right(*args, **kwargs)

        def observed(self, use, args):
            return self.kept(args, {}, use) or use(core.Answer(check.right), *args)

        def kept(self, args, kwargs, use=None):
            pickled.append(bytes(wire.bytes_of(judge.shipped(args, kwargs, use)[0]["pickled"])))

    assert check.verdict(Answer())[0] == "✔" and pickled
    right = getattr(check.right, "func", check.right)      # of a partial
    right = getattr(right, "source", "").encode() or right.__code__.co_code
    secrets = [right, observe.replay.__code__.co_code, *(words.encode() for words in check.table)]
    assert not [secret for secret in secrets for data in pickled if secret in data]


def test_what_shares_its_numbers_with_an_argument_still_does():
    weight, other = torch.zeros(2, 2, requires_grad=True), torch.zeros(2, 2)
    known = wire.numbered({0: weight, 1: other})
    same, copied, view = (wire.unpack(sent(wire.pack(value, known)), [weight, other])
                          for value in (weight.detach(), weight.detach().clone(), other[0]))
    with torch.no_grad():
        weight += 1
        other += 1
    assert same.all() and not copied.any() and not view.any()
    assert wire.unpack(sent(wire.pack([weight], known)), [weight, other])[0] is weight


# Cheats.

@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A teacher's machine with a home, a secret in the environment, files beside the submissions, and a friend on the network."""
    home, handed_in = tmp_path / "home", tmp_path / "handed in"
    for name, text in {**BESIDE, "other/02_loss.ipynb": "other"}.items():
        (handed_in / name).parent.mkdir(parents=True, exist_ok=True)
        (handed_in / name).write_text(text, encoding="utf-8")
    home.mkdir()
    (home / "secret").write_text("secret", encoding="utf-8")
    monkeypatch.setattr(core, "WAITING", 20.0)
    command, started = sandbox.command, []
    monkeypatch.setattr(sandbox, "command", lambda folder: started.append(command(folder)) or started[-1])
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SECRET_ANSWER", "__import__('math').exp")
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = []

        def friend():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    asked.append(connection.recv(100))
                    connection.sendall(b"1")
                    connection.close()

        threading.Thread(target=friend, daemon=True).start()
        first = f"ROOT, HOME, HANDED_IN, PORT = {str(ROOT)!r}, {str(home)!r}, {str(handed_in)!r}, {server.getsockname()[1]}"
        before = files(tmp_path)
        yield first
        assert files(tmp_path) == before, "files of the teacher were changed"
        assert asked == [], "the network was reached"
        left = {line[-1] for line in all_processes()} & {line[-1] for line in started}
        assert started and not left, "processes were left behind"


def all_processes():
    """The command line of each process on this machine."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            yield process.cmdline() or [""]


def files(folder):
    """{path: text} of all files in a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@functools.cache
def small_lesson(function):
    """The teacher's notebook with the exercise that a cheat is about, and one more, which is answered rightly."""
    path = next(path for path in sorted(SOLUTIONS.glob("*.ipynb")) if f"def {function}(" in path.read_text(encoding="utf-8"))
    notebook = grade.read(path)
    imports = next(cell for cell in notebook.cells if cell.cell_type == "code")
    at = next(i for i, cell in enumerate(notebook.cells) if cell.source.startswith(f"def {function}("))
    others = [i for i, cell in enumerate(notebook.cells) if cell.source.startswith("check_") and i != at + 1]
    notebook.cells = [imports, *notebook.cells[at : at + 2], *notebook.cells[others[0] - 1 : others[0] + 1]]
    return notebook


@needs_walls
@pytest.mark.slow
@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_gets_no_point_and_harms_nobody(name, machine, tmp_path):
    hand_in(CHEATS[name], machine, tmp_path / "handed in")


def hand_in(cheat, machine, folder):
    """Grade a cheat; what must be true of what comes of it."""
    notebook = small_lesson(cheat.function)
    handed_in = copy.deepcopy(notebook)
    handed_in.cells[1].source = cheat.source
    handed_in.cells.insert(1, nbformat.v4.new_code_cell(machine))
    (_, points, _, told), (_, other, out_of, _) = grade.grade(handed_in, grade.Lesson(notebook), folder)
    assert points == 0 and not told.startswith("✔") and "\n" not in told and len(told) < 700, told
    assert cheat.spoils or other == out_of, "another exercise of the same notebook has lost its points"


def test_there_are_many_cheats_and_none_computes_what_is_asked():
    assert len(CHEATS) >= 25
    assert not [name for name, cheat in CHEATS.items() if re.search(r"math\.exp\(|math\.e\b", cheat.source)]


# Where walls are missing.

@pytest.fixture
def no_walls(monkeypatch):
    """A machine without bubblewrap."""
    monkeypatch.setattr(sandbox, "walls", lambda: (None, "bubblewrap (bwrap) is not installed"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "patches the check", "patches comparisons of torch and math", "is a tensor that is equal to everything", "exits with 0",
    "imports the right answer", "finds the right answer on the stack", "finds the right answer in memory", "eats memory",
    "sends marks to the judge", "never ends"])
def test_without_walls_the_judge_is_still_outside(name, no_walls, machine, tmp_path):
    assert not CHEATS[name].walls
    hand_in(CHEATS[name], machine, tmp_path / "handed in")


def test_without_walls_one_line_says_what_is_not_isolated(no_walls):
    line = sandbox.not_isolated()
    assert "\n" not in line and all(words in line for words in ("bwrap", "read your files", "network", "time and memory"))


def test_where_bubblewrap_cannot_work_its_own_words_are_told(monkeypatch, tmp_path):
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho no permission >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    way, why = sandbox.walls.__wrapped__()
    assert way is None and "no permission" in why


@needs_walls
def test_with_walls_nothing_is_said():
    assert sandbox.not_isolated() == ""


@needs_walls
@pytest.mark.slow
def test_behind_walls_there_is_python_and_nothing_of_the_teachers():
    with judge.Notebook() as notebook:
        notebook.run("import os, socket\nfrom gpt_helpers.text import load_text")
        seen = value_of(notebook, f"""(
            sorted(os.listdir('/')), os.path.exists({str(ROOT / 'gpt_checks')!r}), os.path.exists({str(ROOT / 'notebooks')!r}),
            os.path.exists({str(Path(sandbox.__file__))!r}), os.getuid(), len(load_text()) > 1000, sorted(os.environ),
            [name for _, name in socket.if_nameindex()], len([pid for pid in os.listdir('/proc') if pid.isdigit()]) < 5)""")
    folders, checks, notebooks, scripts, uid, helpers, names, networks, alone = seen
    assert not {"home", "mnt", "srv", "media"} & set(folders) and not (checks or notebooks or scripts)
    assert uid and helpers and alone and networks == ["lo"]
    assert not {"SECRET_ANSWER", "SSH_AUTH_SOCK", "VIRTUAL_ENV", "PYTHONPATH"} & set(names)


def value_of(notebook, expression):
    """What an expression gives in a sandbox."""
    notebook.run(f"def value():\n    return {expression}")
    return judge.Remote(notebook.running(), "value", "value")()


def a_file(answer, text):
    """What an answer(path) writes; the path is one of the process in which it is called."""
    with tempfile.TemporaryDirectory() as folder:
        answer(Path(folder, "here"))
        return Facts({"the file": Path(folder, "here").read_text().replace("TEXT", text)})


@pytest.mark.slow
def test_a_use_that_has_to_run_beside_the_answer_does():
    cloudpickle.register_pickle_by_value(importlib.import_module(__name__))
    check = spec("0.1", "a file", see=("00", "Nowhere"), doc="", right=lambda path: path.write_text("TEXT"), use=a_file,
                 beside=True, cases=lambda draw: [(None, (str(draw.random()),))], mistakes={})
    with judge.Notebook() as notebook:
        notebook.run("right = lambda path: path.write_text('TEXT')\nwrong = lambda path: path.write_text('text')")
        assert notebook.verdict(check, "right")[0] == "✔"
        assert "'text'" in notebook.verdict(check, "wrong")[1]


@pytest.mark.slow
def test_a_sandbox_that_does_not_start_is_the_teachers_affair(no_walls, monkeypatch):
    monkeypatch.setattr(sandbox, "python", lambda way, code, folder: [sandbox.sys.executable, "-c", "import no_such_module"])
    with pytest.raises(OSError, match=r"does not start: .*no_such_module"):
        judge.Notebook().running()


# Notebooks as students write them.

@pytest.mark.slow
def test_cells_run_as_in_a_notebook_and_an_error_in_one_costs_no_other():
    lesson = small_lesson("perplexity")
    handed_in = copy.deepcopy(lesson)
    handed_in.cells[1:1] = [nbformat.v4.new_code_cell(source) for source in (
        "%matplotlib inline\n!ls\n%timeit -n 1 -r 1 1 + 1", "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
        "name = input('Who are you? ')", "1 / 0", "def broken(", "%no_such_magic", "help(print)\ndisplay(1)\nawait_me = 1",
        "import asyncio\nawait asyncio.sleep(0)", "import math\nBASE = math.e", "from gpt_checks.diagnosis import patient\n"
        "print(patient('9.1', 1))", "%%writefile mine.py\nHALF = 0.5", "from mine import HALF")]
    at = next(i for i, cell in enumerate(handed_in.cells) if cell.source.startswith("def perplexity"))
    handed_in.cells[at].source = "def perplexity(loss):\n    return BASE ** (loss * HALF * 2)"
    assert [row[1:3] for row in grade.grade(handed_in, grade.Lesson(lesson), None)] == [(1, 1), (2, 2)]


@pytest.mark.slow
def test_a_name_that_is_not_defined_and_a_stub_are_told_as_in_a_notebook():
    lesson = small_lesson("perplexity")
    handed_in = copy.deepcopy(lesson)
    handed_in.cells[1].source = "def perplexity(loss"
    handed_in.cells[3].source = "def cross_entropy(x, y):\n    raise NotImplementedError"
    assert [row[3] for row in grade.grade(handed_in, grade.Lesson(lesson), None)] == [
        "✘ SyntaxError: '(' was never closed; so perplexity is not defined", "◦ Exercise 2.2, cross-entropy from logits: to do"]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "why"), [
    ("name = input('Who are you? ')", "EOFError: EOF when reading a line"),
    ("from google.colab import drive", "ModuleNotFoundError: No module named 'google"),
    ("raise ValueError('one\\ntwo')", "ValueError: one"),
    ("while True: pass", "still running after 1 seconds"),
    ("import os; os._exit(0)", "its process ended, as by os._exit or a crash")])
def test_the_error_in_a_cell_that_was_to_define_a_function_is_told(before, why):
    with judge.Notebook() as notebook:
        notebook.run("from gpt_checks import core\ncore.WAITING = 1.0")      # in the process of the cells, to wait for less
        notebook.run(f"{before}\ndef perplexity(loss):\n    return loss")
        mark, line = notebook.verdict(CHECKS["2.1"], "perplexity", seed=1)
    assert mark == "✘" and line.startswith(f"✘ {why}") and line.endswith("; so perplexity is not defined")


@pytest.mark.parametrize(("cells", "line"), [
    ([], "NameError: name 'f' is not defined"),
    (["g = 1", "def f(x)\n    return x"], "SyntaxError: expected ':'; so f is not defined"),
    (["f = (1"], "SyntaxError: '(' was never closed; so f is not defined"),
    (["def f(x)", "%time\n!ls\ndef f(x):\n    return x\ndel f"], "NameError: name 'f' is not defined"),
    (["def f(x):\nreturn x"], "IndentationError: expected an indented block after function definition on line 1; "
     "so f is not defined")])
def test_what_kept_a_function_from_being_defined_is_told(cells, line):
    assert judge.why_missing("f", dict.fromkeys(cells)) == line


# Honest answers get the same words as in a student's own notebook.

def in_a_cell(name, function):
    """A cell that defines a function of the bank."""
    data = base64.b64encode(cloudpickle.dumps(function)).decode()
    return f"import base64, pickle\n{name} = pickle.loads(base64.b64decode({data!r}))"


def words(verdict):
    """A verdict without what depends on the file in which the answer stands."""
    mark, line = verdict
    return mark, re.sub(r"line \d+ of your cell.* stopped with [^;]*", "stopped", line)


@pytest.mark.slow
@pytest.mark.parametrize("number", CHECKS)
def test_the_judge_says_what_the_check_says(number):
    check = CHECKS[number]
    with judge.Notebook() as notebook:
        for answer in [*RIGHT[check][:2], *(entry.answer for entry in WRONG[check][:5])]:
            notebook.run("answer = None")      # else one that could not be read would leave the one before it there
            notebook.run(in_a_cell("answer", answer))
            assert words(notebook.verdict(check, "answer", seed=1)) == words(check.verdict(answer, seed=1))
