"""Files written atomically: a file is either all new, or all as it was before."""
import contextlib
import csv
import errno
import glob
import io
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ABANDONED = 600      # seconds: a temporary file that nobody has written to for so long was left by a process that died


def write_atomically(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Call write(temporary) with a path beside `path`; once that file is complete and on disk, it replaces `path`.

    Several processes may write the same path at once: the last one wins, and a reader always finds a complete file.
    Raises OSError with the reason; an existing file is then untouched.
    """
    name, path = Path(path).name, Path(os.path.realpath(path))      # a link stays a link, and its target is written
    try:
        if path.is_char_device() or path.is_block_device():      # a link to /dev/null, say: the device must not become a file
            raise OSError(errno.EINVAL, "it is a device, not a file")
        with temporary_beside(path) as temporary:
            write(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            replace(temporary, path)
    except Exception as error:      # torch and safetensors each raise their own for a full disk
        raise OSError(f"{name} could not be written ({reason(error, path.parent)}). "
                      "What was there before is untouched") from None


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, with "\\n" at line ends everywhere, all or nothing. Raises as `write_atomically`."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


def write_table(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, dicts with the same keys, as CSV, all or nothing. Raises as `write_atomically`."""
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


def read_table(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV file, dicts of text. Raises FileNotFoundError: a lesson's table lies beside it."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no table {str(path)!r} in {str(Path.cwd())!r}: a lesson's tables lie beside it, so "
                                "run it in its own folder, or name the folder, too")
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A new empty file with a unique name in the folder of `path`, removed afterwards; abandoned ones are removed, too."""
    for old in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > ABANDONED:
                old.unlink()
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Lock this folder while the body runs; a process that dies releases it. Raises OSError when another holds it.

    On Windows, and on a disk without locks, nothing is locked.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise OSError(f"another program is training in {folder}: wait until it has ended, or name another folder") from None
    except OSError:
        pass                                         # a disk without locks
    try:
        yield
    finally:
        os.close(handle)


def replace(temporary: Path, path: Path) -> None:
    """Put a file in the place of another. Windows refuses while that one is open anywhere, so there it retries for a second."""
    for _ in range(20 if os.name == "nt" else 0):
        with contextlib.suppress(PermissionError):
            return os.replace(temporary, path)
        time.sleep(0.05)
    return os.replace(temporary, path)


def reason(error: BaseException | None, folder: Path) -> str:
    """Why a file could not be written, in the system's own few words, wherever in the chain of errors they are."""
    first = error
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__cause__ or error.__context__
    with contextlib.suppress(OSError):
        if shutil.disk_usage(folder).free < 2**20:
            return "the disk is full"
    return next(iter(str(first).strip().splitlines()), "") or type(first).__name__


def save_or_say(save: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    """Call save(*args, **kwargs); when its file cannot be written, say so in one line, so that training goes on without it."""
    try:
        save(*args, **kwargs)
    except (OSError, ValueError) as error:
        print(f"Not saved: {error}")


def writable_folder() -> Path:
    """Where a lesson saves its files: this folder or, when it cannot be written to, a temporary one, which it then prints."""
    try:
        with tempfile.TemporaryFile(dir="."):
            return Path()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="gpt_helpers_"))
        print(f"This folder cannot be written to, so files go to {folder}")
        return folder
