"""GSM8K (arXiv 2110.14168): where its rows come from and how they become examples."""

from __future__ import annotations

import re
from typing import Any

from optbench.errors import UserError
from optbench.spec import Spec
from optbench.tasks.base import Example
from optbench.tasks.hub import data_identity, read_rows, texts

_ANNOTATION = re.compile(r"<<[^<>]*>>")


class Gsm8kData(Spec):
    """GSM8K on the hub at a fixed commit, or in a local file or folder of the same fields (question, answer).

    `hub_revision` should be a commit: a branch moves, and a key does not notice. `calculator` keeps the annotations
    `<<48/2=24>>` in the solutions; without, they are taken out.
    """

    path: str = "openai/gsm8k"
    hub_revision: str = "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"
    calculator: bool = False

    def identity(self) -> dict[str, Any]:
        """The data by its content or commit, wherever it lies."""
        content = Spec.identity(self)
        content.pop("hub_revision", None)
        return {**content, "path": data_identity(self.path, self.hub_revision)}

    def splits(self) -> dict[str, list[Example]]:
        """The examples of each split that is there. Raises UserError naming the row that has no `#### answer`."""
        rows = read_rows(self.path, name="main", hub_revision=self.hub_revision)
        return {
            split: [
                gsm8k_example(row, f"{self.path}: {split} row {i}", f"gsm8k-{split}-{i}", calculator=self.calculator)
                for i, row in enumerate(own)
            ]
            for split, own in rows.items()
        }


def gsm8k_example(row: dict[str, Any], where: str, name: str, *, calculator: bool) -> Example:
    """A row as published, as an example called `name`. Raises UserError, saying `where`, for one without an answer."""
    question, solution = texts(row, ("question", "answer"), where)
    steps, mark, answer = solution.rpartition("####")
    if not mark or not answer.strip():
        raise UserError(f"{where}: the field 'answer' does not end in '#### answer'")
    if not calculator:
        steps = _ANNOTATION.sub("", steps)
    answer = answer.strip().replace(",", "")
    return Example(name, question, f"{steps.rstrip()}\n#### {answer}", answer, "gsm8k")
