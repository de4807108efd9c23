"""New examples, written once and kept: sampling them from a language model can cost more than training."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optbench.spec import key_of
from optbench.store import write_whole
from optbench.tasks.base import Example, Task

PROTOCOL_REVISION = 1
META, EXAMPLES = "rewrite.json", "examples.jsonl"


@dataclass
class Rewriting:
    """`Task.rewrite`, remembered in the results folder by what it depends on: task, examples asked for, and seed.

    `seconds` is what the examples took to write, when they were written.
    """

    task: Task
    task_identity: dict[str, Any]
    root: Path
    seconds: float = 0.0

    def __call__(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """A new, verified example for each one given: see `Task.rewrite`."""
        asked = [example.id for example in examples]
        content = {"rewrite": PROTOCOL_REVISION, "task": self.task_identity, "examples": asked, "seed": seed}
        key = key_of(content)
        folder = self.root / "rewrites" / key[:2] / key
        if not (folder / META).is_file():
            self._write(folder, examples, seed, key)
        self.seconds += json.loads((folder / META).read_text(encoding="utf-8"))["measured"]["seconds"]
        lines = (folder / EXAMPLES).read_text(encoding="utf-8").splitlines()
        return [Example(**json.loads(line)) for line in lines]

    def _write(self, folder: Path, examples: Sequence[Example], seed: int, key: str) -> None:
        start = time.perf_counter()
        made = self.task.rewrite(examples, seed)
        meta = {"key": key, "examples": len(made), "measured": {"seconds": time.perf_counter() - start}}

        def fill(temporary: Path) -> None:
            lines = "".join(json.dumps(asdict(example)) + "\n" for example in made)
            (temporary / EXAMPLES).write_text(lines, encoding="utf-8")
            (temporary / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")

        write_whole(folder, fill)
