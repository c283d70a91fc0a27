"""Stops on a Python that the series is not made for, in one line and within seconds; all else is in pyproject.toml.

pip prepares this folder before it looks for any other package, wherever `-e .` stands in requirements.txt.
`requires-python` alone would speak too late: on an old Python, pip first fetches gigabytes of one old PyTorch after the other.
"""
import re
import sys
from pathlib import Path

from setuptools import setup


def require_python(version, pyproject):
    """SystemExit when the version, (3, 10), is outside the bounds that pyproject, the text of pyproject.toml, gives."""
    bounds = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', pyproject, flags=re.MULTILINE)
    first, end = map(int, bounds.groups())
    if not (3, first) <= tuple(version) < (3, end):
        raise SystemExit("This is Python {}.{}, and the series needs 3.{} to 3.{}: delete the folder .venv, and make it anew "
                         "with one of these (python3.{} -m venv .venv).".format(*version, first, end - 1, end - 2))


if __name__ == "__main__":
    require_python(sys.version_info[:2], (Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8"))
    setup()
