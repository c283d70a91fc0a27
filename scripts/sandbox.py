"""A process in which a student's code can do no harm: walls by bubblewrap where it is installed, and limits everywhere."""
import contextlib
import functools
import inspect
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import wire

ROOT = Path(__file__).parent.parent
PLACE = "/grading"        # where the sandbox finds what it runs
DISK = 128 * 2**20        # bytes that can be written
MEMORY = 3 * 2**30        # bytes of all processes of a sandbox together
PROCESSES = 80            # of a sandbox; a little more than it may have, so that what is over the limit has escaped it
START = 120               # seconds by the clock for Python and PyTorch to be there
LOOK = 0.2                # seconds between two looks at what a sandbox takes
CHECK = '''"""Checks are made by whoever grades."""


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *args, **kwargs: ""
'''


class Ended(Exception):
    """The process of a sandbox is gone; why, in words."""


class Sandbox:
    """A process that runs a notebook: ask() it. end: of its time, by time.monotonic(). OSError where it does not even start."""

    def __init__(self, end):
        self.folder = tempfile.TemporaryDirectory(prefix="grading_", ignore_cleanup_errors=True)
        folder = Path(self.folder.name)
        folder.chmod(0o755)      # for the user that the process becomes
        furnish(folder / "inside")
        (folder / "home").mkdir()
        self.ended, self.end = "", end
        with tempfile.TemporaryFile() as errors:
            self.process = subprocess.Popen(
                command(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=folder / "home",
                env=environment(folder / "home"), start_new_session=os.name == "posix")
            try:
                self.ask(START, do="about", name="")
            except Ended as error:
                errors.seek(0)
                said = " ".join(errors.read().decode(errors="replace").split())[-300:]
                raise OSError(f"the process for a student's code does not start: {said or error}") from None
        self.own = len(family(self.process.pid))

    def ask(self, seconds, do, **message):
        """Have something done, and wait for the reply. Ended when the process ends, or has to be ended."""
        if self.ended:
            raise Ended(self.ended)
        late, replies = min(self.end, time.monotonic() + seconds), queue.SimpleQueue()
        threading.Thread(target=self.exchange, args=(do, message, replies), daemon=True).start()
        while True:
            try:
                reply, why = replies.get(timeout=LOOK)
            except queue.Empty:
                why = self.too_much(late)
            else:
                if not why:
                    return reply
            if why:
                self.close(why)
                raise Ended(why)

    def exchange(self, do, message, replies):
        """Put (reply, why there is none, in words)."""
        number = secrets.randbits(60)      # what comes unasked does not have it
        try:
            self.process.stdin.write(wire.frame([number, do, message]))
            self.process.stdin.flush()
            got, reply = wire.read(self.process.stdout.read)
            replies.put((reply, "" if got == number else "it sent what nobody had asked for"))
        except (EOFError, OSError):
            replies.put((None, "its process ended, as by os._exit or a crash"))
        except Exception as error:      # forged by whoever found the pipe
            replies.put((None, f"it sent what is no message ({type(error).__name__})"))

    def too_much(self, late):
        """What is too much, in words: its time, its memory or its processes; nothing while all is well."""
        if time.monotonic() > late:
            return "it took too long"
        memory, running = 0, family(self.process.pid)
        for process in running:
            with contextlib.suppress(psutil.Error):
                memory += process.memory_info().rss
        if memory > MEMORY:
            return f"it took more than {MEMORY / 2**30:g} GB of memory"
        return "it started too many processes" if len(running) > PROCESSES else ""

    def end_if_crowded(self):
        """End it when what it started is still there, and would leave no room for what is asked next."""
        if len(family(self.process.pid)) > self.own:
            self.close("it left processes behind")

    def close(self, why="it is over"):
        """End the process, and all that it started."""
        if self.ended:
            return
        self.ended, running = why, family(self.process.pid)      # behind walls, all of them end with the first
        with contextlib.suppress(AttributeError, OSError):         # Windows has no groups of processes
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in running:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()
        self.folder.cleanup()


def family(pid):
    """A process and all that come from it."""
    with contextlib.suppress(psutil.Error):
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    return []


def furnish(folder):
    """What a sandbox needs of the project: the helpers, and no check, but a module with the name of each."""
    shutil.copytree(ROOT / "gpt_helpers", folder / "gpt_helpers", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "gpt_checks").mkdir()
    for path in (ROOT / "gpt_checks").glob("*.py"):
        if path.stem in ("__init__", "core"):
            shutil.copy(path, folder / "gpt_checks")
        else:
            (folder / "gpt_checks" / path.name).write_text(CHECK, encoding="utf-8")
    if numbers := sys.modules.get("gpt_checks.numbers"):      # of each student's own, which answers may ask for
        (folder / "gpt_checks" / "numbers.py").write_text(
            f"{inspect.getsource(numbers)}\n\nVALUES.update({dict(numbers.VALUES)!r})\n", encoding="utf-8")
    for name in ("sandboxed.py", "wire.py"):
        shutil.copy(Path(__file__).parent / name, folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def environment(home):
    """What a sandbox knows of the machine that it runs on."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT", "PATHEXT") if name in os.environ}      # Windows needs them
    path = os.pathsep.join([str(Path(sys.executable).parent), *(["/usr/bin", "/bin"] if os.name == "posix" else [])])
    return kept | {name: str(home) for name in ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "IPYTHONDIR", "MPLCONFIGDIR")} | {
        "PATH": path, "USER": "student", "LANG": "C.UTF-8", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}


# The walls.

def command(folder):
    """The command of a sandbox, with walls if they can be built here."""
    way, _ = walls()
    code = f"import sandboxed; sandboxed.main({whom(way)})  # {folder.name}"      # a list of processes tells whose each is
    return [*bwrap(way, folder / "inside"), *python(way, code, folder / "inside")]


def python(way, code, folder):
    """Python, alone: without user's settings, without the current folder, and with our modules before all others."""
    return [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {PLACE if way else str(folder)!r}); {code}"]


def whom(way):
    """How a sandbox gives up its rights, as arguments in Python: as a user whom nobody else is, if root may decide."""
    return f"uid={2**30 + secrets.randbelow(2**30)}, processes=True" if way == "root" else f"processes={way == 'user'}"


@functools.cache
def walls():
    """(the way in which bubblewrap builds walls here, or None; why it cannot, in words)."""
    if not shutil.which("bwrap"):
        return None, "bubblewrap (bwrap) is not installed"
    for way in (["root"] if os.name == "posix" and os.geteuid() == 0 else []) + ["user"]:
        drop = "import os; os.setgid(2**30); os.setuid(2**30); import json" if way == "root" else "import json"
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            tried = subprocess.run([*bwrap(way, Path(folder)), *python(way, drop, folder)], capture_output=True, text=True,
                                   stdin=subprocess.DEVNULL, env={}, check=False)
        if tried.returncode == 0:
            return way, ""
    return None, f"bubblewrap cannot work here ({' '.join(tried.stderr.split())[-200:]})"


def not_isolated():
    """One line about what is not isolated on this machine; nothing where all is."""
    way, why = walls()
    return "" if way else (f"{why}: students' code runs with limits of time and memory, in an empty home folder, but it can read "
                           "your files, write to them and reach the network")


def bwrap(way, folder):
    """The beginning of a command that runs the rest behind walls: nothing but Python can be read, and only /tmp be written."""
    if not way:
        return []
    options = [shutil.which("bwrap"), "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
               "--die-with-parent", "--new-session"]
    if way == "user":
        options += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    shown = []
    for path in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", sys.base_prefix):
        if os.path.islink(path) and Path(path).parent == Path("/"):
            options += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path) and not within(path, shown):
            options += [*above(path), "--ro-bind", path, path]
            shown.append(path)
    hidden = [str(ROOT), *(str(Path(entry, "gpt_checks")) for entry in sys.path if Path(entry, "gpt_checks").is_dir())]
    options += [part for path in hidden if within(path, shown) for part in ("--tmpfs", path)]
    if not within(sys.prefix, shown) or within(sys.prefix, [ROOT]):
        options += [*above(sys.prefix), "--ro-bind", sys.prefix, sys.prefix]
        options += [part for path in hidden if within(path, [sys.prefix]) for part in ("--tmpfs", path)]
    options += ["--proc", "/proc", "--dev", "/dev"]
    for path, size in (("/dev/shm", DISK), ("/tmp", DISK)):
        options += ["--perms", "1777", "--size", str(size), "--tmpfs", path]
    options += ["--ro-bind", str(folder), PLACE, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]
    for name, value in environment("/tmp").items():
        options += ["--setenv", name, value]
    return options


def within(path, folders):
    """Whether a path is one of some folders, or lies in one."""
    return any(Path(path).is_relative_to(folder) for folder in folders)


def above(path):
    """Options that make the folders above a path, which everyone may pass through."""
    return [part for folder in reversed(Path(path).parents[:-1]) for part in ("--perms", "0755", "--dir", str(folder))]
