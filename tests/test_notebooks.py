"""The notebooks: each opens with its question, runs in a fresh kernel, trains nothing, and says what is stored."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
NAMES = ("cost", "matrix", "sharpness", "simplicity")

LOADED = 'import sys\nprint(sorted({"torch", "transformers", "optbench.runner", "optbench.train"} & set(sys.modules)))'
TRAINS = {"run", "make_optimizer", "Oracle"}
TRAINING = ("torch", "transformers", "optbench.executors", "optbench.runner", "optbench.train", "optbench.commands.run")
A_RESULT = re.compile(r"\d\.\d|\d ?%|\d points")
NO_RESULT = re.compile(r"arXiv \d{4}\.\d{5}|95% interval")
A_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|usr|var|work|mnt|opt|Users)/|[A-Z]:\\\\|file://|0x[0-9a-f]{6,}")


@pytest.fixture(scope="module")
def execute():
    spec = importlib.util.spec_from_file_location("notebooks_execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def said(cell):
    """What a cell says in words: every output but pictures, of which only the number counts, and what libraries tell of
    the machine on stderr (fonts that it lacks), which is kept out of the files below."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            if output.name == "stdout":
                texts.append((output.name, output.text))
        elif "image/png" in output.data:
            texts.append(("picture", ""))
        else:
            texts.append(("value", dict(output.data)))
    return texts


def test_these_are_all_notebooks():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        heading = read(name).cells[0].source.splitlines()[0].removeprefix("# ")
        assert f"[{name}.ipynb]({name}.ipynb) | {heading} |" in readme


@pytest.mark.parametrize("name", NAMES)
def test_opens_with_a_question_and_its_answer(name):
    notebook = read(name)
    assert notebook.cells[0].cell_type == "markdown"
    heading = notebook.cells[0].source.splitlines()[0]
    assert heading.startswith("# ") and heading.endswith("?")
    first = next(place for place, cell in enumerate(notebook.cells) if cell.get("outputs"))
    assert first == 2, "the setting up, then the answer"
    (answer,) = notebook.cells[first].outputs
    assert re.search(r"\d", answer.data["text/markdown"]) and "**" in answer.data["text/markdown"]
    assert not re.search(r"\b(nan|inf|None)\b", answer.data["text/markdown"])
    assert 8 <= len(notebook.cells) <= 18


@pytest.mark.parametrize("name", NAMES)
def test_no_result_is_typed_in(name):
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            assert not A_RESULT.search(NO_RESULT.sub("", cell.source)), cell.source


@pytest.mark.parametrize("name", NAMES)
def test_calls_nothing_that_trains(name):
    for cell in code(read(name)):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "optbench":
                assert node.attr not in TRAINS
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [module for module in modules if module.startswith(TRAINING)]
            if isinstance(node, ast.ImportFrom) and node.module == "optbench":
                assert not TRAINS & {alias.name for alias in node.names}


@pytest.mark.parametrize("name", NAMES)
def test_the_file_holds_nothing_of_a_machine(name, execute):
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    pictures = re.compile(r'"image/png": "[^"]*"')
    assert not A_MACHINE.search(pictures.sub("", text))
    assert str(ROOT) not in text and sys.prefix not in text
    notebook = nbformat.reads(text, as_version=4)
    assert nbformat.writes(execute.stored(notebook)) + "\n" == text, "written by notebooks/execute.py"


@pytest.mark.parametrize("name", NAMES)
def test_says_what_is_stored(name, execute):
    kept = read(name)
    asked = nbformat.from_dict(kept)
    asked.cells.append(nbformat.v4.new_code_cell(LOADED))
    fresh = execute.executed(asked)
    loaded = fresh.cells.pop()
    assert said(loaded) == [("stdout", "[]\n")]
    for old, new in zip(code(kept), code(fresh), strict=True):
        assert old.execution_count == new.execution_count
        assert said(new) == said(old), "python notebooks/execute.py stores what it says now"
        assert not [output for output in old.outputs if output.get("name") == "stderr"]


def test_a_cell_that_fails_is_told(execute):
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute.executed(notebook)


def test_what_depends_on_the_moment_is_not_stored(execute):
    cell = nbformat.v4.new_code_cell("1 + 1", metadata={"execution": {"iopub.status.busy": "2026-01-01"}})
    notebook = nbformat.v4.new_notebook(
        cells=[cell], metadata={"language_info": {"name": "python", "version": "3.11.7"}}
    )
    kept = execute.stored(notebook)
    assert kept.cells[0].metadata == {} and kept.cells[0].id == "cell-0"
    assert kept.metadata.language_info == {"name": "python"}
    assert cell.metadata, "the notebook that is given stays as it is"
