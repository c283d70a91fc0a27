"""Where the home folder cannot be written, what Jupyter, IPython and Matplotlib keep there goes elsewhere, without a warning."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import writable_home

SCRIPTS = Path(writable_home.__file__).parent
SAYS = f"""
import os, sys
sys.path.insert(0, {str(SCRIPTS)!r})
import writable_home
writable_home.use_a_writable_home()
print(*[os.environ.get(name, "-") for name in writable_home.VARIABLES], sep="\\n")
"""
USES = SAYS + """
import IPython.paths, jupyter_core.paths, matplotlib
for folder in (jupyter_core.paths.jupyter_runtime_dir(), IPython.paths.get_ipython_dir(), matplotlib.get_cachedir()):
    os.makedirs(folder, exist_ok=True)
    open(os.path.join(folder, "file"), "w").close()
"""
needs_dev_null = pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no file here that nobody can turn into a folder")


def says(program, **changes):
    """What a program prints in a process of its own, with these variables; None takes one away. It warns of nothing."""
    environment = {name: value for name, value in os.environ.items() if name not in writable_home.VARIABLES} | changes
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True,
                          env={name: value for name, value in environment.items() if value is not None})
    assert done.stderr == ""
    return done.stdout.splitlines()


@needs_dev_null
def test_without_a_home_that_can_be_written_all_goes_to_a_temporary_folder_that_is_removed():
    folders = says(USES, HOME="/dev/null/x")
    assert len(set(folders)) == 3 and all(map(os.path.isabs, folders)) and not any(map(os.path.exists, folders))


def test_without_the_variable_home_all_works():
    says(USES, HOME=None)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not look at HOME")
def test_a_home_that_can_be_written_is_used(tmp_path):
    assert says(SAYS, HOME=str(tmp_path)) == ["-"] * 3
    (tmp_path / ".config").touch(mode=0o777)      # a file where Matplotlib wants a folder
    assert "-" not in says(SAYS, HOME=str(tmp_path))


@needs_dev_null
def test_what_is_set_by_hand_stays(tmp_path):
    assert says(SAYS, HOME="/dev/null/x", MPLCONFIGDIR=str(tmp_path))[2] == str(tmp_path)


def test_a_user_without_any_home_is_not_an_error(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    assert not writable_home.home_is_writable()


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_a_folder_that_may_only_be_read_is_not_used(tmp_path):
    (tmp_path / "home").mkdir(mode=0o500)
    assert not writable_home.can_be_written(tmp_path / "home" / ".ipython")


@needs_dev_null
@pytest.mark.slow
@pytest.mark.parametrize("home", ["/dev/null/x", None])
def test_notebooks_are_compared_without_a_home_folder(home):
    """Matplotlib's warning would be an output that no stored notebook has."""
    environment = {name: value for name, value in os.environ.items() if name not in (*writable_home.VARIABLES, "HOME")}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "notebooks/01_split.ipynb"],
                          cwd=SCRIPTS.parent, env=environment | ({"HOME": home} if home else {}), capture_output=True,
                          encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
