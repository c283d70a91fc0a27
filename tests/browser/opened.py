"""A notebook open in JupyterLab, as its reader has it: run it, type into it, look at it."""
import functools
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent.parent
SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"


class Opened:
    """A notebook of `lab.root`, open in a page, its kernel ready."""

    def __init__(self, page, lab, name):
        self.page, self.lab, self.name = page, lab, name
        self.stored = nbformat.read(lab.root / name, as_version=4)
        page.goto(f"{lab.url}/lab/workspaces/{Path(name).stem}-{id(page)}/tree/{name}?reset", wait_until="domcontentloaded")
        self.notebook = page.locator(".jp-NotebookPanel:visible .jp-Notebook")
        self.notebook.wait_for()
        self.wait_for_kernel()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Close the notebook and stop its kernel, in this order: an open page would start another."""
        self.page.goto("about:blank")
        [token] = [cookie["value"] for cookie in self.page.context.cookies(self.lab.url) if cookie["name"] == "_xsrf"]
        for session in self.sessions():
            answer = self.page.request.delete(f"{self.lab.url}/api/sessions/{session['id']}", headers={"X-XSRFToken": token})
            assert answer.ok, answer.text()

    def sessions(self):
        """What the server says of the kernels of this notebook."""
        return [session for session in self.page.request.get(f"{self.lab.url}/api/sessions").json()
                if session["path"] == self.name]

    def wait_for_kernel(self):
        """Until the kernel is idle and this page is connected to it: what is run before, JupyterLab asks back about."""
        while not any(session["kernel"]["execution_state"] == "idle" and session["kernel"]["connections"] > 0
                      for session in self.sessions()):
            self.page.wait_for_timeout(200)

    def command(self, words):
        """Run a command from JupyterLab's palette, with the keyboard."""
        self.page.keyboard.press("Control+Shift+C")
        self.page.locator(".lm-CommandPalette-input:focus, .lm-CommandPalette input:focus").wait_for()
        self.page.keyboard.insert_text(words)
        self.page.locator(".lm-CommandPalette-item.lm-mod-active").filter(has_text=words).first.wait_for()
        self.page.keyboard.press("Enter")

    def index(self, cell_id):
        """The number of a cell, from 0."""
        return [cell.id for cell in self.stored.cells].index(cell_id)

    def cell(self, cell_id):
        """The place of a cell on the page."""
        return self.notebook.locator(".jp-Cell").nth(self.index(cell_id))

    def run_all(self, restart=False):
        """Run all cells, with the keyboard alone."""
        if restart:
            self.command("Restart Kernel and Run All Cells")
            self.page.locator(".jp-Dialog").wait_for()
            self.page.keyboard.press("Enter")
            self.page.locator(".jp-Dialog").wait_for(state="detached")
            self.notebook.locator(".jp-CodeCell .jp-InputPrompt").last.filter(has_text=re.compile(r"\[[ *]\]")).wait_for()
        else:
            self.page.keyboard.press("Escape")
            self.command("Run All Cells")

    def wait_until_run(self, seconds=1800):
        """Until the last cell has run."""
        cells = [cell for cell in self.stored.cells if cell.cell_type == "code"]
        last = self.notebook.locator(".jp-CodeCell .jp-InputPrompt").last
        last.filter(has_text=f"[{len(cells)}]:").wait_for(timeout=1000 * seconds)
        self.notebook.locator(".jp-CodeCell .jp-InputPrompt", has_text="[*]").first.wait_for(state="detached")

    def unfold(self):
        """Show the folded answers, as a reader does by a click."""
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:show-all-cell-outputs')")

    def faults(self):
        """What a reader should not meet, after all has run or is unfolded."""
        outputs = [output for cell in self.stored.cells for output in cell.get("outputs", [])]
        pictures = sum("image/png" in output.get("data", {}) for output in outputs)
        pictures += sum(len(re.findall(r"!\[", cell.source)) for cell in self.stored.cells if cell.cell_type == "markdown")
        texts = [cell.source for cell in self.stored.cells if cell.cell_type == "markdown"]
        texts += [output.data["text/markdown"] for output in outputs if "text/markdown" in output.get("data", {})]
        tables = sum(len(re.findall(r"^\|[-|: ]+\|$", text, flags=re.MULTILINE)) for text in texts)
        tables += sum("<table" in output.get("data", {}).get("text/html", "") for output in outputs)
        formulas = sum(len(re.findall(r"\$\$.+?\$\$|\$[^$]+\$", text, flags=re.DOTALL)) for text in texts)
        for what, selector, wanted in (
                ("error outputs", "[data-mime-type='application/vnd.jupyter.error']", 0),
                ("outputs on stderr", "[data-mime-type='application/vnd.jupyter.stderr']", 0),
                ("pictures", ".jp-OutputArea-output img, .jp-MarkdownOutput img", pictures),
                ("tables", ".jp-OutputArea-output table, .jp-MarkdownOutput table", tables),
                ("formulas", "mjx-container", formulas),
                ("formulas with a mistake", "mjx-container :is(mjx-merror, [data-mml-node='merror'])", 0)):
            if (found := self.in_the_end(self.notebook.locator(selector).count, wanted)) != wanted:
                yield f"{found} {what}, expected {wanted}"
        for what, selector, broken in (
                ("pictures are not drawn", "img", "i => !(i.complete && i.naturalWidth > 50)"),
                ("drawings have no alt text", ".jp-MarkdownCell img", "i => i.alt.split(' ').length < 3"),
                # JupyterLab does not give a figure the alt text that is stored with it, so the words below must be there.
                ("figures have no description under them", ".jp-RenderedImage", """i => !i.closest('.jp-OutputArea-child')
                    .nextElementSibling?.querySelector("[data-mime-type='text/markdown']")""")):
            look = functools.partial(self.notebook.locator(selector).evaluate_all, f"all => all.filter({broken}).length")
            if n := self.in_the_end(look, 0):
                yield f"{n} {what}"

    def in_the_end(self, look, wanted):
        """What look() gives; a page may be drawn a while after its cells have run, so what is wanted has a minute to appear."""
        for _ in range(300):
            if (found := look()) == wanted:
                break
            self.page.wait_for_timeout(200)
        return found

    def texts(self):
        """The words of every output, cell by cell."""
        return [cell.inner_text() for cell in self.notebook.locator(".jp-CodeCell .jp-OutputArea").all()]

    def take_pictures(self):
        """The whole notebook at two widths in both themes; yields what does not fit its width."""
        SCREENSHOTS.mkdir(exist_ok=True)
        name = "_".join(Path(self.name).with_suffix("").parts[1:])
        self.page.evaluate("window.jupyterapp.shell.collapseLeft()")
        for theme in ("Light", "Dark"):
            self.page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})",
                               f"JupyterLab {theme}")
            self.page.locator(f"body[data-jp-theme-name='JupyterLab {theme}']").wait_for(state="attached")
            for width in (1280, 800):
                self.page.set_viewport_size({"width": width, "height": 1000})
                height = self.notebook.locator(".jp-WindowedPanel-viewport").evaluate("node => node.scrollHeight")
                self.page.set_viewport_size({"width": width, "height": min(height + 150, 16_000)})
                self.page.wait_for_timeout(300)      # JupyterLab scrolls to the active cell
                self.notebook.locator(".jp-WindowedPanel-outer").evaluate("node => { node.scrollTop = 0; }")
                self.page.screenshot(path=SCREENSHOTS / f"{name}_{width}_{theme.lower()}.png")
                wide = """nodes => nodes.filter(n => n.getBoundingClientRect().right > window.innerWidth
                                                   || n.scrollWidth > n.clientWidth + 1).map(n => n.tagName + ' ' + n.alt)"""
                for found in self.notebook.locator("img, table").evaluate_all(wide):
                    yield f"{found} is too wide at {width}"
        self.page.set_viewport_size({"width": 1280, "height": 1000})
