"""The panels of one run at work: called along training and at its end, and kept from disturbing it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from optbench.errors import is_out_of_memory
from optbench.metrics import cost
from optbench.panels.base import Findings, Looking, Subject, panel_key
from optbench.rng import seeded_torch
from optbench.store import PANEL, write_whole

SCHEMA = 1


@dataclass
class Watch:
    """Panels looking at one subject.

    `evaluating` puts the weights in place that the model is judged by (averages, for rules that average). `seconds` is
    what the looks took; `peak_bytes` is the highest peak of memory between them, which theirs would hide.
    """

    subject: Subject
    evaluating: Callable[[], AbstractContextManager[Any]]
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    _looking: dict[str, tuple[Any, Looking]] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)

    def start(self, panels: Sequence[Any]) -> None:
        """Begins, before the first step. Raises UserError where a panel does not apply."""
        for spec in panels:
            key = panel_key(spec)
            begun = time.perf_counter()
            with seeded_torch(0):
                self._looking[key] = spec, spec.start(self.subject)
            self.seconds[key] = time.perf_counter() - begun

    def observe(self, step: int) -> None:
        """Lets the panels look that want to after `step` steps; none looks at weights that are not finite."""
        due = [key for key in self._able() if step in self._looking[key][1].observe_at]
        if due and self._finite():
            self._look(due, lambda key: self._looking[key][1].observe(step))

    def finish(self) -> dict[str, tuple[Any, Findings]]:
        """The last look: specs and findings by key."""
        found: dict[str, tuple[Any, Findings]] = {}

        def last(key: str) -> None:
            spec, looking = self._looking[key]
            found[key] = spec, looking.finish()

        self._look(self._able(), last)
        return {**found, **self._nothing(self._failed, "a look ran out of memory")}

    def state_dict(self) -> dict[str, Any]:
        """What each panel saw so far, what the looks took, and the highest peak of memory until now."""
        self.peak_bytes = max(self.peak_bytes, cost.peak_bytes(self.subject.device))
        return {
            "looking": {key: looking.state_dict() for key, (_, looking) in self._looking.items()},
            "seconds": dict(self.seconds),
            "failed": sorted(self._failed),
            "peak_bytes": self.peak_bytes,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where the watch that gave `state` was. A panel that it did not have begins here; one that is no
        longer asked for is left."""
        for key in self._looking.keys() & state["looking"].keys():
            self._looking[key][1].load_state_dict(state["looking"][key])
            self.seconds[key] += state["seconds"][key]
        self._failed = set(state["failed"]) & self._looking.keys()
        self.peak_bytes = state["peak_bytes"]

    def nothing(self, why: str) -> dict[str, tuple[Any, Findings]]:
        """Empty findings, for a run that has no final weights worth a look."""
        return self._nothing(self._looking, why)

    def _nothing(self, keys: Iterable[str], why: str) -> dict[str, tuple[Any, Findings]]:
        return {key: (self._looking[key][0], Findings({}, {"nothing": why})) for key in keys}

    def _able(self) -> list[str]:
        return [key for key in self._looking if key not in self._failed]

    def _look(self, keys: Sequence[str], look: Callable[[str], None]) -> None:
        device = self.subject.device
        self.peak_bytes = max(self.peak_bytes, cost.peak_bytes(device))
        for p in self.subject.model.module.parameters():
            p.grad = None
        with self.evaluating():
            for key in keys:
                begun = time.perf_counter()
                try:
                    with seeded_torch(0):
                        look(key)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    # What a panel cannot afford costs the panel, never the run.
                    self._failed.add(key)
                self.seconds[key] += time.perf_counter() - begun
        for p in self.subject.model.module.parameters():
            p.grad = None
        cost.reset_peak(device)

    def _finite(self) -> bool:
        return all(bool(torch.isfinite(p).all()) for p in self.subject.model.module.parameters())


def written(
    folder: Path, cell: str, found: Mapping[str, tuple[Any, Findings]], seconds: Mapping[str, float], made: Any
) -> None:
    """Writes the findings of each panel to a folder of its own below `folder`, whole; what is there already stays.

    `made` is the provenance of the look.
    """
    for key, (spec, findings) in found.items():
        content = {
            "schema": SCHEMA,
            "cell": cell,
            "key": key,
            "panel": spec.dump(),
            "result": dict(findings.result),
            "notes": dict(findings.notes),
            "measured": {"seconds": seconds.get(key, 0.0), "provenance": made},
        }

        def fill(target: Path, content: dict[str, Any] = content, findings: Findings = findings) -> None:
            for name, table in findings.tables.items():
                table.to_parquet(target / f"{name}.parquet", index=False)
            text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
            (target / PANEL).write_text(text + "\n", encoding="utf-8")

        write_whole(folder / key, fill)
