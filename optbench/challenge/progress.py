"""How far a challenge has come: what is kept in its folder between two calls of the same command.

Everything that was trained is a record. What is kept here is what could not be read from records: the number of trials,
which must not change because the second call finds the machine faster; the seconds that were spent; and which versions
were tried under this name (of the code, the baselines, the seeds, the number of trials, the margin), for the best of
several is flattered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optbench.errors import UserError
from optbench.profiling.documents import write_whole
from optbench.spec import key_of

FILE = "progress.json"
SCHEMA = 1


@dataclass(frozen=True)
class Progress:
    """`of` identifies what is compared with what; `versions` has an entry for every challenge in this folder, this one
    last, and `margins` those that were stated, the last one last. `trials` is 0 until their number is fixed, `tuned`
    says that all of them were run. `plan` is what was said of the budget beforehand, in sentences."""

    of: str
    versions: tuple[str, ...]
    trials: int = 0
    tuned: bool = False
    spent: Mapping[str, float] | None = None
    margins: tuple[float, ...] = ()
    plan: tuple[str, ...] = ()

    @property
    def seconds(self) -> Mapping[str, float]:
        """The seconds spent by stage."""
        return self.spent or {}

    @property
    def has_begun(self) -> bool:
        """Whether the number of trials is fixed, and some were run in an earlier call."""
        return self.trials > 0 and "tuning" in self.seconds

    def entered(self, margin: float) -> Progress:
        """The same with this margin as the last one stated, and this challenge, by its margin and number of trials,
        as the last version. One whose number of trials was still open is taken for this one."""
        mine, still_open = (_version(self.of, trials, margin) for trials in (self.trials, 0))
        versions = (*(each for each in self.versions if each not in (mine, still_open)), mine)
        return replace(self, versions=versions, margins=(*(each for each in self.margins if each != margin), margin))

    def known(self) -> Progress:
        """The same after its number of trials has become another than it was entered with: still one version."""
        mine = _version(self.of, self.trials, self.margins[-1])
        return replace(self, versions=(*(each for each in self.versions[:-1] if each != mine), mine))

    def but(self, **changes: Any) -> Progress:
        """The same with changes."""
        return replace(self, **changes)

    def save(self, folder: Path) -> None:
        """Writes it, whole or not at all. Raises UserError where it cannot be written."""
        content = {
            "schema": SCHEMA,
            "of": self.of,
            "versions": list(self.versions),
            "trials": self.trials,
            "tuned": self.tuned,
            "spent": dict(self.seconds),
            "margins": list(self.margins),
            "plan": list(self.plan),
        }
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write_whole(folder / FILE, lambda path: _write(path, text))


def progress_in(folder: Path, of: str) -> Progress:
    """What the folder holds of the challenge `of`; a new one where it holds none, or that of something else.

    Raises UserError, naming the file, for a damaged one.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = Progress(
            str(content["of"]),
            tuple(map(str, content["versions"])),
            int(content["trials"]),
            content["tuned"] is True,
            {str(name): float(seconds) for name, seconds in content["spent"].items()},
            tuple(map(float, content.get("margins", ()))),
            tuple(map(str, content.get("plan", ()))),
        )
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']}")
    except FileNotFoundError:
        return Progress(of, ())
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error}): delete it to begin anew; the records stay") from error
    if found.of == of:
        return found
    return Progress(of, found.versions, margins=found.margins)


def _version(of: str, trials: int, margin: float) -> str:
    return key_of({"of": of, "trials": trials, "margin": margin})


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
