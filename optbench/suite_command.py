"""Commands about a suite as they would be typed, with the options that chose its arms."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """The options that a suite was read and narrowed with, as they were given: files of `--overrides`, patterns of
    `--only`, and the checkpoint of `--model`. Whoever follows a printed command without them would run other arms.
    None of it enters a key."""

    overrides: Sequence[str] = ()
    only: Sequence[str] = ()
    model: str = ""

    @property
    def options(self) -> list[str]:
        """The words of the options."""
        files = [word for each in self.overrides for word in ("--overrides", each)]
        arms = [word for each in self.only for word in ("--only", each)]
        return [*files, *arms, *(["--model", self.model] if self.model else [])]

    def command(self, verb: str, path: Path | str, *words: str) -> str:
        """`optbench VERB PATH` with the options and further words, quoted for a shell."""
        return shlex.join(["optbench", verb, str(path), *self.options, *words])

    def run(self, path: Path | str, results: Path | str) -> str:
        """The command that runs the suite into these results. Records in a file are read alone: whoever runs the suite
        gets a folder of their own."""
        return self.command("run", path, *([] if Path(results).is_file() else ["--results", str(results)]))

    def shown(self, text: Callable[[str], str]) -> Asked:
        """The same with every option passed through `text`, for what others read."""
        return Asked([text(each) for each in self.overrides], [text(each) for each in self.only], text(self.model))
