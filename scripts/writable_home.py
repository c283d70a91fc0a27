"""Jupyter, IPython and Matplotlib keep small files in the home folder; if it is not writable, they get another place."""
import os
import tempfile
from pathlib import Path

VARIABLES = ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")
THEIRS = (".ipython", ".local/share/jupyter/runtime", ".config/matplotlib", ".cache/matplotlib", ".matplotlib",
          "Library/Jupyter/runtime")      # what they create there, on Linux, macOS and Windows
temporary = None      # the folder, which is removed when Python ends


def use_a_writable_home():
    """Give them a temporary folder when the home folder is not writable; what is already set by hand stays."""
    global temporary
    if temporary or home_is_writable():
        return
    temporary = tempfile.TemporaryDirectory(prefix="jupyter_", ignore_cleanup_errors=True)
    for name in VARIABLES:
        folder = Path(temporary.name, name.lower())
        folder.mkdir()
        os.environ.setdefault(name, str(folder))


def home_is_writable():
    """Whether they can write everything that they keep in the home folder."""
    try:
        home = Path.home()
    except RuntimeError:      # there is none
        return False
    return home.is_absolute() and all(can_be_written(home / name) for name in THEIRS)


def can_be_written(folder):
    """Whether a folder can be written to, or created when it does not exist yet."""
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
