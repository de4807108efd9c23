"""`augment`: a file whose later-learned examples are joined by new solutions, and its random control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from optbench.errors import UserError
from optbench.reweighting.choice import Judge
from optbench.reweighting.files import control_of, write_together
from optbench.reweighting.lines import OwnFile, joined, shuffled
from optbench.reweighting.request import Request, set_threads
from optbench.reweighting.sentences import report_of
from optbench.tasks.base import Example
from optbench.tasks.rewriter import Rewriter


def augment(request: Request, *, rewriter: Rewriter, grading: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Judges, chooses, has new solutions written and writes both files; what was done as JSON data.

    Raises UserError before anything is written for bad input, models that cannot be had, lines without an answer that
    could be checked, or a choice that would be no choice.
    """
    if not rewriter.model:
        raise UserError(
            "augment writes new solutions with an instruct model: name one with --rewriter (a folder or a hub id); "
            "`optbench upsample` needs none, nor any answers"
        )
    file, settings, target = request.checked()
    _check_answers(file)
    set_threads(request.threads)
    choice = Judge(file, settings, say).augmented(rewriter, grading)
    content = report_of(file, settings, choice, target)
    made = {}
    pairs = ((request.out, choice.later, choice.added), (control_of(request.out), choice.control, choice.control_added))
    for path, which, added in pairs:
        rows = np.repeat(np.flatnonzero(which), settings.factor - 1).tolist()
        lines = joined(file, rows, added)
        made[path] = lines if request.shuffle is None else shuffled(lines, request.shuffle)
    sizes = write_together(made, file.ending)
    for name, (path, _, added) in zip(("written", "control"), pairs, strict=True):
        content[name] = {
            "path": str(path),
            "lines": len(made[path]),
            "bytes": sizes[path],
            "how": "new",
            "shuffled": request.shuffle is not None,
            **_counts(added),
        }
    return content


def _check_answers(file: OwnFile) -> None:
    for example, line in zip(file.own.examples, file.own.lines, strict=True):
        if not example.answer:
            raise UserError(
                f"{line.where}: no answer that a new solution could be checked by: augment needs the field "
                f"{file.fields.answer!r} or a solution with '#### answer' in every line; upsample needs none"
            )


def _counts(added: Sequence[Example]) -> dict[str, int]:
    repeated = sum(example.id.endswith("-repeated") for example in added)
    return {"new": len(added) - repeated, "repeated": repeated}
