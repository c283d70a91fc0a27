"""A real browser, and a JupyterLab of the project's own for it to open.

Without Chromium these tests are skipped; where CI is true they fail instead. Pictures of what the browser saw are left in
the folder `screenshots` beside this file.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from opened import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
QUIET = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]      # or Chromium itself asks for outside addresses
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0      # Chromium and JupyterLab then want to be told twice
SETTINGS = {
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},      # or cells out of sight are not on the page
}


def pytest_itemcollected(item):
    if Path(__file__).parent in item.path.parents:
        item.add_marker("slow")


@pytest.fixture(scope="session")
def launch():
    """Chromium without a window, as a function of more options."""
    if CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs Chromium, on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        args = QUIET + ["--no-sandbox"] * IS_ROOT
        yield lambda *more: playwright.chromium.launch(executable_path=CHROMIUM, args=[*args, *more])


@pytest.fixture(scope="session")
def chromium(launch):
    """Chromium, for all tests that want no option of their own."""
    browser = launch()
    yield browser
    browser.close()


@pytest.fixture
def page(chromium):
    """A fresh page, 1280 pixels wide. Afterwards: it asked nobody outside for anything, and its scripts raised no error."""
    with chromium.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce") as context:
        page, outside, errors = context.new_page(), [], []
        inside = ("http://127.0.0.1:", "ws://127.0.0.1:", "file:", "data:", "blob:", "about:")
        page.on("request", lambda request: None if request.url.startswith(inside) else outside.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_default_timeout(600_000)      # ten minutes: a busy machine is slow, and nothing waits longer than it must
        yield page
        assert outside == [] and errors == []


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab as the README starts it, on a copy of the project's pages, with nobody's settings: its address."""
    root, own = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("jupyter")
    for name in ("notebooks", "images", "jupyter_lab"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "my_*", "*.pt", "*.tmp"))
    (own / "config" / "labconfig").mkdir(parents=True)
    (own / "config" / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
               "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "JUPYTERLAB_SETTINGS_DIR": "settings", "IPYTHONDIR": "ipython"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = own / "log.txt"
    with open(log, "w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--config=jupyter_lab/config.json", "--no-browser", f"--port={port}",
             "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True",
             *["--allow-root"] * IS_ROOT],
            cwd=root, stdout=out, stderr=out,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | {name: str(own / folder) for name, folder in folders.items()})
    url = f"http://127.0.0.1:{port}"
    try:
        while not answers(url):
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
        yield Lab(url, root)
    finally:
        server.terminate()
        server.wait(300)


class Lab:
    """url: where JupyterLab answers. root: the folder that it shows."""

    def __init__(self, url, root):
        self.url, self.root = url, root


def answers(url):
    """Whether a server is up."""
    try:
        return urllib.request.urlopen(f"{url}/api", timeout=5).status == 200
    except OSError:
        return False
