"""Executes the notebooks of this folder and stores what they print and draw: `python notebooks/execute.py [NAME ...]`.

They read the committed records and are committed with their outputs, so that they can be read where nothing runs. What
depends on the machine or on the moment (times of execution, versions, ids) is left out of the files.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from traitlets.config import Config

FOLDER = Path(__file__).resolve().parent
SECONDS = 300
"""The longest that a single cell may take."""

_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class ThisPython(AsyncKernelManager):
    """A kernel of the Python that runs this program, whatever kernels the user has installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """How the kernel is started."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def executed(notebook: Any, folder: Path = FOLDER) -> Any:
    """A copy of the notebook with fresh outputs, run from top to bottom in a new kernel that works in `folder`.

    The kernel reads no settings of the user. Raises nbclient's CellExecutionError, with the traceback, where one fails.
    """
    fresh = nbformat.from_dict(notebook)
    with tempfile.TemporaryDirectory() as home:
        settings = {name: home for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR")}
        client = NotebookClient(
            fresh,
            kernel_manager_class=ThisPython,
            config=Config(ThisPython={"transport": "ipc", "connection_file": str(Path(home) / "kernel.json")}),
            timeout=SECONDS,
            # A busy machine may need as long for a kernel to start, and for the outputs of a cell that has ended.
            startup_timeout=SECONDS,
            iopub_timeout=SECONDS,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute(env={**os.environ, **settings})
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return fresh


def joined(outputs: list[Any]) -> list[Any]:
    """The outputs of a cell with what was printed in a row as one: its pieces are a matter of timing."""
    kept: list[Any] = []
    for output in outputs:
        last = kept[-1] if kept else None
        if last is not None and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            kept.append(output)
    return kept


def stored(notebook: Any) -> Any:
    """The notebook as it is committed: the same text from the same cells and outputs, wherever and whenever it ran."""
    kept = nbformat.from_dict(notebook)
    kept.metadata = nbformat.from_dict(_METADATA)
    for place, cell in enumerate(kept.cells):
        cell.id = f"cell-{place}"
        cell.metadata = {}
        if "outputs" in cell:
            # Warnings of fonts and the like are of the machine.
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = {}
    return kept


def main(names: list[str]) -> None:
    """Executes the named notebooks, or all, each written whole when it is through."""
    for path in [FOLDER / name for name in names] or sorted(FOLDER.glob("*.ipynb")):
        text = nbformat.writes(stored(executed(nbformat.read(path, as_version=4))))
        temporary = path.with_name(f".{path.name}-{os.getpid()}.tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
        print(path.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Executes the notebooks and stores their outputs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as cost.ipynb; all where none is given")
    main(parser.parse_args().names)
