"""`upsample`: a file in which the examples that are learned later stand more than once, and its random control."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from optbench.reweighting.choice import Judge
from optbench.reweighting.files import control_of, write_together
from optbench.reweighting.lines import check_weights, repeated, shuffled, weighted
from optbench.reweighting.request import Request, set_threads
from optbench.reweighting.sentences import report_of


def upsample(request: Request, *, weights: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Judges, chooses and writes both files; what was done as JSON data. Raises UserError before anything is written
    for bad input, a model that cannot be had, or a choice that would be no choice."""
    file, settings, target = request.checked()
    if weights:
        check_weights(file)
    set_threads(request.threads)
    choice = Judge(file, settings, say).upsampled()
    content = report_of(file, settings, choice, target)
    made = {}
    for path, which in ((request.out, choice.later), (control_of(request.out), choice.control)):
        counts = np.where(which, settings.factor, 1)
        lines = weighted(file, counts) if weights else repeated(file, counts)
        made[path] = lines if request.shuffle is None else shuffled(lines, request.shuffle)
    sizes = write_together(made, file.ending)
    said = {"how": "weights" if weights else "repeated", "shuffled": request.shuffle is not None}
    for name, path in (("written", request.out), ("control", control_of(request.out))):
        content[name] = {"path": str(path), "lines": len(made[path]), "bytes": sizes[path], **said}
    return content
