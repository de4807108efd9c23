"""`conform`: whether an optimizer is fit to be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from optbench.conformance.rendering import json_text, table_text
from optbench.conformance.target import targets_of

if TYPE_CHECKING:
    from optbench.conformance.finding import Finding

Found = dict[str, "list[Finding]"]


def conform(words: Sequence[str], lr: float | None) -> Found:
    """The findings by optimizer. Raises UserError for targets that are not there or not valid, before any is tried."""
    specs = targets_of(words, lr)

    import torch

    from optbench.conformance.examination import examine

    # On matrices this small more threads only wait for each other.
    torch.set_num_threads(1)
    return {name: examine(spec) for name, spec in specs.items()}


def rendered(found: Mapping[str, Sequence[Finding]], format: Literal["table", "json"], *, width: int) -> str:
    """The findings as text."""
    return json_text(found) if format == "json" else table_text(found, width=width)


def all_fit(found: Mapping[str, Sequence[Finding]]) -> bool:
    """Whether every optimizer passed what is required."""
    return all(finding.passed for findings in found.values() for finding in findings if finding.required)
