"""Cells of one arm beside each other: what no seed moves is equal in all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from optbench.metrics.columns import column
from optbench.spec import canonical
from optbench.verification.problem import Findings

THEN = "one of them was edited, or made by other code: replay both"


def compare_seeds(records: Sequence[tuple[str, dict[str, Any]]], found: Findings) -> None:
    """Notes counted numbers (steps, passes, bytes of state, questions) in which completed records that differ in their
    seed alone are not alike. `records` are the places of records with their content."""
    arms: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for where, content in records:
        if content["outcome"] == "completed":
            rest = {name: value for name, value in content["cell"].items() if name != "seed"}
            arms.setdefault(canonical(rest), []).append((where, content))
    for own in arms.values():
        names = sorted({name for _, content in own for name in content["result"] if column(name).counted})
        for name in names if len(own) > 1 else []:
            values = Counter(str(content["result"].get(name)) for _, content in own)
            if len(values) > 1:
                for where, content in own:
                    value = str(content["result"].get(name))
                    # Which one is wrong is known only where most agree.
                    if 2 * values[value] <= len(own):
                        usual = next(other for other, _ in values.most_common() if other != value)
                        found.add(where, f"result.{name} is {value}, but {usual} at other seeds of its arm", THEN)
