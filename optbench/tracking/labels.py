"""What a run of W&B is called: id, name, group, tags. All of it follows from the suite and the cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optbench.suite import Cell, Suite

NAME_LIMIT, TAG_LIMIT = 128, 64
"""Characters that W&B allows in a name or a group, and in a tag."""


@dataclass(frozen=True)
class Labels:
    """How one run is found again.

    `id` is the same in every push, so that none makes a second run. `job_type` is `cell` or `summary`; `tags` are the
    axes, such as `optimizer:sam`.
    """

    id: str
    name: str
    group: str
    job_type: str
    tags: Sequence[str] = ()


def runs_of(suite: Suite) -> dict[str, Cell]:
    """The runs of a suite by their keys, in order: of two cells that are one run the first gives the name."""
    found: dict[str, Cell] = {}
    for cell in suite.cells():
        found.setdefault(cell.key, cell)
    return found


def labels_of(suite: Suite, cell: Cell) -> Labels:
    """The labels of a cell: its key and the suite make the id, for a cell of two suites is a run of both groups."""
    seed = f" seed {cell.seed}"
    name = _cut(cell.arm.name, NAME_LIMIT - len(seed)) + seed
    tags = [_cut(f"{axis}:{name}", TAG_LIMIT) for axis, name in cell.arm.axes().items()]
    return Labels(f"{cell.key}-{_mark(suite.name)}", name, _cut(suite.name, NAME_LIMIT), "cell", tags)


def summary_labels(suite: Suite) -> Labels:
    """The labels of the one run that holds the report of a suite."""
    name = _cut(suite.name, NAME_LIMIT - len(": summary")) + ": summary"
    return Labels(f"summary-{_mark(suite.name)}", name, _cut(suite.name, NAME_LIMIT), "summary")


def _mark(suite: str) -> str:
    # Names of suites are free text, ids are not.
    return sha256(suite.encode()).hexdigest()[:8]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
