"""The package as a whole: small modules, no circle, nothing that runs on import, the names that lessons rely on."""
import ast
import graphlib
import importlib
import inspect
import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
MODULES = {".".join(path.relative_to(ROOT / "gpt_helpers").with_suffix("").parts): path
           for path in sorted((ROOT / "gpt_helpers").rglob("*.py")) if path.stem != "__init__"}

SIGNATURES = {
    "text.load_text": "path=None",
    "text.get_tokenizer": "",
    "text.text_to_token_ids": "text, tokenizer",
    "text.token_ids_to_text": "ids, tokenizer",
    "data.split_tokens": "ids, train=0.8, val=0.1",
    "data.TokenWindows": "ids, context_length, stride=None",
    "data.create_dataloader": "ids, batch_size, context_length, stride=None, *, shuffle=False, drop_last=False, "
                              "num_workers=0",
    "model.GPTModel": "cfg",
    "loss.calc_loss_batch": "input_batch, target_batch, model, device",
    "loss.calc_loss_loader": "data_loader, model, device, num_batches=None",
    "generate.generate_text_simple": "model, idx, max_new_tokens, context_size",
    "evaluate.History": "train_losses, val_losses, tokens_seen",
    "evaluate.evaluate_model": "model, train_loader, val_loader, device, eval_iter",
    "evaluate.generate_and_print_sample": "model, tokenizer, device, start_context",
    "train.train_model_simple": "model, train_loader, val_loader, optimizer, device, num_epochs, eval_freq, eval_iter, "
                                "start_context, tokenizer",
    "plot.plot_losses": "history",
    "device.pick_device": "device=None",
}


def imports(source):
    """Top-level names of what a piece of Python imports, with gpt_helpers' modules in full."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            yield name if name.startswith("gpt_helpers.") else name.split(".")[0]


@pytest.mark.parametrize("name", SIGNATURES)
def test_names_and_signatures_are_as_the_lessons_use_them(name):
    module, attribute = name.split(".")
    signature = inspect.signature(getattr(importlib.import_module(f"gpt_helpers.{module}"), attribute))
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    told = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    assert told[1:].startswith(SIGNATURES[name]), told


@pytest.mark.parametrize("name", MODULES)
def test_a_module_only_defines_things_when_imported(name):
    harmless = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    for node in ast.parse(MODULES[name].read_text(encoding="utf-8")).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert docstring or isinstance(node, harmless), f"line {node.lineno} runs on import"


def functions(tree):
    """The functions and methods of a module, nested ones aside."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from (part for part in node.body if isinstance(part, ast.FunctionDef))


@pytest.mark.parametrize("name", MODULES)
def test_every_function_has_type_hints(name):
    for node in functions(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        given = [arg for arg in [*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg] if arg]
        assert [arg.arg for arg in given if not arg.annotation and arg.arg != "self"] == [], node.name
        assert node.returns or node.name == "__init__", f"{node.name} does not say what it returns"


def sources():
    """(path, Python) of all modules, scripts, tests and notebooks of the project."""
    for folder in ("gpt_helpers", "gpt_checks", "scripts", "tests", "notebooks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix == ".py":
                yield path, path.read_text(encoding="utf-8")
            if path.suffix == ".ipynb" and ".ipynb_checkpoints" not in path.parts:
                yield path, "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")


def test_a_name_is_imported_from_the_module_that_defines_it():
    """So an import says where a thing lives."""
    homes = {"lessons": {path.stem for path in (ROOT / "gpt_helpers/lessons").glob("*.py")}}
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [target for part in getattr(node, "targets", []) for target in ast.walk(part) if isinstance(target, ast.Name)]
            homes.setdefault(name, set()).update([getattr(node, "name", None), *(target.id for target in names)])
    strangers = [(path.name, node.module, alias.name) for path, source in sources() for node in ast.walk(ast.parse(source))
                 if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gpt_helpers.")
                 for alias in node.names if alias.name not in homes[node.module.removeprefix("gpt_helpers.")]]
    assert strangers == []


def test_no_import_circle():
    graph = {name: {module.removeprefix("gpt_helpers.") for module in imports(path.read_text(encoding="utf-8"))
                    if module.startswith("gpt_helpers.")} for name, path in MODULES.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_the_package_does_not_need_what_is_made_for_single_lessons():
    users = [name for name, path in MODULES.items() if not name.startswith("lessons.")
             and any(module.startswith("gpt_helpers.lessons") for module in imports(path.read_text(encoding="utf-8")))]
    assert users == []


def test_importing_the_model_imports_torch_and_nothing_slower():
    """By what it imports, itself and through its neighbours; a stopwatch would measure the machine."""
    seen, queue = set(), ["gpt_helpers.model"]
    while queue:
        for name in imports(MODULES[queue.pop().removeprefix("gpt_helpers.")].read_text(encoding="utf-8")):
            if name not in seen:
                seen.add(name)
                queue += [name] if name.startswith("gpt_helpers.") else []
    assert {name for name in seen if not name.startswith("gpt_helpers")} - sys.stdlib_module_names == {"torch"}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short_and_says_what_it_does(name):
    source = MODULES[name].read_text(encoding="utf-8")
    assert source.count("\n") <= (440 if name == "validate" else 220)      # a list of checks is looked up, not read
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def requirements(name="requirements.txt"):
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line]


def names(lines):
    """The distributions of a list of requirements."""
    return {re.match(r"[\w-]+", line).group().lower() for line in lines}


BENCHMARKS = ROOT / "tests" / "benchmarks"


def used(*folders):
    """The distributions that are imported below these folders, in .py files and notebooks; benchmarks only when named."""
    found = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*")):
        if BENCHMARKS in path.parents and BENCHMARKS not in map(ROOT.joinpath, folders):
            continue
        if path.suffix == ".py":
            found.update(imports(path.read_text(encoding="utf-8")))
        elif path.suffix == ".ipynb" and ".ipynb_checkpoints" not in path.parts:
            code = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
            found.update(imports(code))
    own = {path.stem for folder in ("tests", "scripts") for path in (ROOT / folder).rglob("*")} | sys.stdlib_module_names
    distribution = {"IPython": "ipython", "tiktoken_ext": "tiktoken", "llms_from_scratch": "llms-from-scratch",
                    "axe_playwright_python": "axe-playwright-python"}
    ours = ("gpt_helpers", "gpt_checks")
    return {distribution.get(name, name) for name in found if name not in own and not name.startswith(ours)}


def test_the_requirements_are_what_is_imported_and_nothing_else():
    *listed, last = requirements()
    first, *more = requirements("requirements-test.txt")
    assert (last, first) == ("-e .", "-r requirements.txt")
    assert used("gpt_helpers", "gpt_checks", "notebooks") <= names(listed)
    commands = {"jupyterlab", "pytest-xdist", "ruff"}       # run, not imported
    assert used("gpt_helpers", "gpt_checks", "notebooks", "scripts", "tests") | commands == names(listed) | names(more)
    assert names(listed).isdisjoint(names(more))


def test_the_benchmarks_have_requirements_of_their_own():
    first, *more = requirements("tests/benchmarks/requirements.txt")
    assert first == "-r ../../requirements.txt"
    alone = "pip install --no-deps llms-from-scratch=="      # it asks for much that is not used
    assert all(alone in (BENCHMARKS / name).read_text(encoding="utf-8") for name in ("requirements.txt", "run.py"))
    assert used("tests/benchmarks") - names(requirements()[:-1]) == names(more) | {"llms-from-scratch"}


def test_the_requirements_pin_torch_and_cap_the_rest():
    torch, *listed, _ = requirements()
    *more, ruff = requirements("requirements-test.txt")[1:]
    assert torch == "torch==2.13.0"
    assert re.fullmatch(r"ruff==[\d.]+", ruff)
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", line) for line in listed + more)


def test_the_package_asks_for_no_more_than_the_requirements_and_takes_the_pytorch_that_is_there():
    torch, *others = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert re.fullmatch(r"torch>=2\.\d+,<3", torch)
    assert set(others) <= set(requirements())


def test_what_the_package_asks_for_is_what_it_imports():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert names(dependencies) == used("gpt_helpers", "gpt_checks")


def test_every_folder_of_python_that_a_lesson_imports_is_installed():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = [path.parent.relative_to(ROOT) for path in ROOT.glob("gpt_*/**/__init__.py")]
    assert sorted(setuptools["packages"]) == sorted(".".join(folder.parts) for folder in folders)
    assert (ROOT / "gpt_helpers" / "py.typed").exists() and "py.typed" in setuptools["package-data"]["gpt_helpers"]


def install_with(version, monkeypatch):
    """Run setup.py as pip does, on a Python that says it is this version; returns whether the installation went on."""
    went_on = []
    monkeypatch.setitem(sys.modules, "setuptools", SimpleNamespace(setup=lambda: went_on.append(True)))
    monkeypatch.setattr("sys.version_info", version)
    runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")
    return went_on == [True]


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 1), (3, 13, 9), (3, 14, 8)])
def test_a_python_that_is_tested_installs(version, monkeypatch):
    assert install_with(version, monkeypatch)


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 15), (3, 9, 18), (3, 10, 13), (3, 15, 0), (4, 0, 0)])
def test_another_python_is_told_so_in_one_line_before_anything_is_downloaded(version, monkeypatch):
    line = rf"This is Python {version[0]}\.{version[1]}, and the series needs 3\.11 to 3\.14: .*\.venv.*"
    with pytest.raises(SystemExit) as stop:
        install_with(version, monkeypatch)
    assert re.fullmatch(line, str(stop.value))


def test_setup_runs_on_an_old_python_far_enough_to_speak():
    """Its syntax; the oldest one that pip for the series' packages still meets."""
    assert ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_the_readme_names_the_pythons_that_are_accepted():
    first, end = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", tomllib.loads(
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]).groups()
    assert f"3.{first} to 3.{int(end) - 1}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_passes_ruff():
    """`ruff check .`, as set up in pyproject.toml. `ruff check . --fix` repairs most of what it finds."""
    found = subprocess.run([sys.executable, "-m", "ruff", "check", ".", "--no-cache", "--output-format=concise"],
                           cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, f"`ruff check .` finds this; with --fix it repairs most of it:\n{found.stdout}{found.stderr}"


def test_the_readme_has_the_two_commands_for_every_system():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"```(?:bash|powershell)\n(.*?)\n```", readme, flags=re.DOTALL)
    for python, end in (("python3 -m venv", ""), ('cmd /c "py -m venv', '"')):
        for file, program in (("requirements", "jupyter lab --config=jupyter_lab/config.json"),
                              ("requirements-test", "pytest -n 2 --dist loadfile")):
            assert any(re.fullmatch(f"{python} .venv && .* install -r {file}.txt && .*{program}{end}", command)
                       for command in commands)


def test_the_readme_names_every_module():
    files = (ROOT / "README.md").read_text(encoding="utf-8").partition("    gpt_helpers/ ")[2].partition("\n    gpt_checks/")[0]
    folders = ROOT / "gpt_helpers", ROOT / "gpt_helpers/lessons"
    there = [path.name for folder in folders for path in folder.iterdir() if not path.name.startswith(("__", "py.typed"))]
    assert sorted(re.findall(r"\w+\.py|[a-z]+(?=/)", files)) == sorted(there)


def test_each_lesson_says_how_long_it_takes_as_the_readme_does():
    row = re.compile(r"\]\(notebooks/(\w+\.ipynb)\)[^|]*\| (\d+) minutes \| (?:(\d+|a) minutes?)?")
    words = {"one": "1", "two": "2", "three": "3", "four": "4", "a": "1"}
    told = row.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(told) >= 11
    for name, reading, running in told:
        opening = nbformat.read(ROOT / "notebooks" / name, 4).cells[0].source.replace("\n", " ")
        assert f"{reading} minutes" in opening, name
        if says := re.search(r"minutes to read, (\w+) to run", opening):
            assert words[says[1]] == words.get(running, running), name


def test_jupyterlab_asks_nobody_for_news_or_updates():
    lab = json.loads((ROOT / "jupyter_lab/config.json").read_text(encoding="utf-8"))["LabApp"]
    assert lab["news_url"] is None and lab["check_for_updates_class"] == "jupyterlab.NeverCheckForUpdate"


def test_the_start_page_and_the_readme_tell_the_same_of_each_lesson():
    row = re.compile(r"\| (\d\d\w?) \| \[(.+?)\]\((?:notebooks/)?(\w+\.ipynb)\)[^|]*\| ([^|]+) \| ([^|]+) \|")
    told = [row.findall(text) for text in ((ROOT / "README.md").read_text(encoding="utf-8"), "\n".join(
        cell.source for cell in nbformat.read(ROOT / "notebooks" / "00_start_here.ipynb", 4).cells))]
    assert told[0] == told[1]
    assert [name for _, _, name, *_ in told[0]] == sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")
                                                    if not path.name.startswith("00"))


def test_jupyterlab_opens_on_a_page_that_is_there_with_settings_that_are_there():
    lab = json.loads((ROOT / "jupyter_lab/config.json").read_text(encoding="utf-8"))["LabApp"]
    assert (ROOT / lab["default_url"].removeprefix("/lab/tree/")).is_file()
    assert json.loads((ROOT / lab["app_settings_dir"] / "overrides.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda page: page.name)
def test_what_a_page_of_the_project_shows_or_links_to_is_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("http")]
    for file, _, heading in (target.partition("#") for target in targets):
        assert (page.parent / file).exists(), file
        headings = re.findall(r"^#+ (.+)$", (page.parent / file).read_text(encoding="utf-8"), flags=re.M) if heading else []
        assert not heading or heading in [re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings], heading


@pytest.mark.parametrize("folder", ["content/gpt", "content", "input/gpt/gpt-main", "input/datasets/me/gpt/gpt-main"])
def test_the_cell_for_colab_and_kaggle_finds_the_project(folder, tmp_path, monkeypatch):
    if folder == "content/gpt":                                   # uploaded as a zip file, which the cell unpacks
        (tmp_path / "zip/gpt/gpt_helpers").mkdir(parents=True)
        (tmp_path / "zip/gpt/gpt_helpers/text.py").touch()
        shutil.make_archive(str(tmp_path / "content/gpt"), "zip", tmp_path / "zip")
    else:
        (tmp_path / folder / "gpt_helpers").mkdir(parents=True)
        (tmp_path / folder / "gpt_helpers/text.py").touch()
    monkeypatch.setattr("sys.path", [*sys.path])
    exec(colab_cell(tmp_path), {})
    assert sys.path[0] == str(tmp_path / folder)


def test_the_cell_for_colab_and_kaggle_says_what_to_do_when_the_project_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^gpt_helpers is not here: upload .*, then run this cell again$"):
        exec(colab_cell(tmp_path), {})


def colab_cell(root):
    """The README's cell, with other folders in place of Colab's and Kaggle's. It installs what they lack, and no PyTorch."""
    [cell] = re.findall(r"```python\n(%pip .*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    pip, code = cell.split("\n", 1)
    assert set(re.findall(r'"(.+?)"', pip)) == {line for line in requirements() if line.startswith(("tiktoken", "safetensors"))}
    assert "/content" in code and "/kaggle/input" in code
    return code.replace("/content", f"{root}/content").replace("/kaggle/input", f"{root}/input")
