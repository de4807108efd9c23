"""Which seeds were added to a suite, and for which margin: part of what was done, kept beside the records.

    results/added/<suite>-<id>.json

`id` is a hash of the suite's name, its arms (name, and key at the first seed) and its contrasts. A suite whose arms or
contrasts were edited is another question and starts anew; one with more seeds of its own goes on, and seeds that became
its own are no longer added ones.

A journal is written before its seeds are run, so that reports know that they were meant; whatever happens, seeds are
never taken out of it. Several runs into one folder write one after another, each the union of what is there and what it
knows. Intervals that are valid at any look hold for every margin at once: a later call may state another one, and the
last one stated is that of the verdicts.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.added import Added
from optbench.errors import UserError
from optbench.executors.locks import Locks
from optbench.planning.inputs import not_at_hand
from optbench.profiling.documents import write_whole
from optbench.spec import key_of
from optbench.store import ADDED, Store

if TYPE_CHECKING:
    from optbench.suite import Suite

SCHEMA = 1
WAIT_SECONDS = 0.05
REMEDY = "restore it, or delete it: the records stay, and seeds that are added again are found by their keys"


def first_keys(suite: Suite) -> dict[str, str]:
    """The key of each arm, by its name, at the first seed of the suite: arms with one key are one run."""
    return {cell.arm.name: cell.key for cell in suite.cells() if cell.seed == suite.seeds[0]}


def with_added(suite: Suite, store: Store) -> Suite:
    """The suite with the seeds that were added to it in this store; the suite itself where none were.

    Give the whole suite and narrow it afterwards. Raises UserError, naming the file, for a damaged journal.
    """
    journals = store.journals()
    if not any(name.startswith(_beginning(suite.name)) for name in journals):
        return suite  # Keys may need data; most suites have no journal.
    if any(not_at_hand(spec) for arm in suite.arms for spec in arm.specs().values()):
        return suite
    journal = Journal.of(suite, store.root)
    if journal.name not in journals:
        return suite
    return replace(suite, added=journal.parsed(journals[journal.name]).added)


@dataclass(frozen=True)
class Entries:
    """What a journal says: the margins that were stated, the last one last, and the seeds by the name of the arm."""

    margins: Sequence[float]
    seeds: Mapping[str, Sequence[int]]

    @property
    def added(self) -> Added:
        """The seeds for the margin that was stated last."""
        return Added(self.margins[-1], self.seeds)

    def joined(self, other: Entries) -> Entries:
        """The union of both, with the margins of `other` as the later ones."""
        margins = [margin for margin in self.margins if margin not in other.margins] + list(other.margins)
        names = sorted({*self.seeds, *other.seeds})
        return Entries(
            margins, {name: sorted({*self.seeds.get(name, ()), *other.seeds.get(name, ())}) for name in names}
        )


@dataclass(frozen=True)
class Journal:
    """The journal of one suite in one results folder."""

    root: Path
    name: str
    identity: Mapping[str, Any]

    @classmethod
    def of(cls, suite: Suite, root: Path) -> Journal:
        """That of the whole suite, not narrowed. Nothing is read or written. Raises UserError as `Cell.key` does."""
        identity = {
            "suite": suite.name,
            "arms": dict(sorted(first_keys(suite).items())),
            "contrasts": [
                {"name": own.name, "metric": own.metric, "of": dict(own.of), "minus": dict(own.minus)}
                for own in suite.contrasts
            ],
        }
        return cls(Path(root), f"{_beginning(suite.name)}{key_of(identity)}.json", identity)

    @property
    def path(self) -> Path:
        """The file."""
        return self.root / ADDED / self.name

    def read(self) -> Entries | None:
        """What it says; None where it is not there. Raises UserError, naming the file, for a damaged one."""
        try:
            return self.parsed(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from error

    def add(self, margin: float, seeds: Mapping[str, Sequence[int]]) -> Added:
        """Adds seeds for a margin, and returns all that are there now, with those of other runs into this folder.

        Raises UserError, naming the file, for a damaged one and where it cannot be written.
        """
        return self.join(Entries([margin], seeds)).added

    def join(self, entries: Entries) -> Entries:
        """Writes the union of what is there and `entries`, and returns it."""
        with _alone(self.root, self.name):
            there = self.read()
            joined = Entries([], {}).joined(entries) if there is None else there.joined(entries)
            if joined != there:
                content = {"schema": SCHEMA, **self.identity, "margins": joined.margins, "seeds": joined.seeds}
                write_whole(self.path, lambda path: _write(path, content))
        return joined

    def parsed(self, text: bytes) -> Entries:
        """What a journal with this text says. Raises UserError, naming the file, for one that is damaged."""
        try:
            content = json.loads(text)
            if content["schema"] != SCHEMA:
                raise UserError(f"{self.path}: journal of schema {content['schema']}; this version reads {SCHEMA}")
            if {name: content[name] for name in self.identity} != self.identity:
                raise ValueError("it is that of another suite")
            margins, seeds = content["margins"], content["seeds"]
            if not isinstance(margins, list) or not margins or not all(_is_margin(margin) for margin in margins):
                raise ValueError(f"margins {margins!r}")
            if not isinstance(seeds, dict) or not all(_are_seeds(own) for own in seeds.values()):
                raise ValueError(f"seeds {seeds!r}")
            if unknown := sorted(seeds.keys() - self.identity["arms"].keys()):
                raise ValueError(f"no arm of the suite is named {unknown[0]!r}")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.path}: damaged journal of added seeds ({error}); {REMEDY}") from error
        return Entries(margins, seeds)


def stated_in(name: str, text: bytes, root: Path) -> tuple[Journal, Entries]:
    """A journal with the entries that a file of this name and text holds, to be kept below `root`. Raises UserError for
    one that is damaged, or whose name is not that of its content: it comes from elsewhere."""
    try:
        content = json.loads(text)
        identity = {word: content[word] for word in ("suite", "arms", "contrasts")}
        own = f"{_beginning(str(identity['suite']))}{key_of(identity)}.json"
        if own != name or not all(isinstance(key, str) for key in identity["arms"].values()):
            raise ValueError(f"its content is that of {own}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{name}: damaged journal of added seeds ({error})") from error
    journal = Journal(root, name, identity)
    return journal, journal.parsed(text)


def _beginning(suite: str) -> str:
    """What the names of a suite's journals begin with: letters, digits and dashes of its own name."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', suite).strip('-')[:60] or 'suite'}-"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _is_margin(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _are_seeds(value: Any) -> bool:
    return isinstance(value, list) and all(type(seed) is int and seed >= 0 for seed in value)


@contextmanager
def _alone(root: Path, name: str) -> Iterator[None]:
    """While no other run writes this journal. A file system without locks lets everybody through."""
    locks, key = Locks(root), f"added-{name.removesuffix('.json')}"
    while not locks.take(key):
        time.sleep(WAIT_SECONDS)
    try:
        yield
    finally:
        locks.close()
