"""What is wrong with a record: where, what, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from optbench.reports.escape import plain

RUN_AGAIN = "delete its folder and run the cell again"
LOOK_AGAIN = "delete the panel's folder and run the suite again: the panel looks again"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the file (or a place in one), what is wrong with it, and what to do."""

    path: str
    what: str
    then: str

    def line(self) -> str:
        """The problem in one line, without control characters."""
        return plain(f"{self.path}: {self.what}; {self.then}")


@dataclass
class Findings:
    """What a check of one or many records found: problems; by its words how often something could not be checked here,
    which is no problem; and how many keys were made with a checkpoint as it is stated, by what is stated."""

    problems: list[Problem] = field(default_factory=list)
    unchecked: dict[str, int] = field(default_factory=dict)
    stated: dict[str, int] = field(default_factory=dict)

    def add(self, path: str, what: str, then: str) -> None:
        """Notes a problem."""
        self.problems.append(Problem(path, what, then))

    def skip(self, why: str) -> None:
        """Notes that something could not be checked here."""
        self.unchecked[why] = self.unchecked.get(why, 0) + 1

    def trust(self, checkpoint: str) -> None:
        """Notes that a key was made with this checkpoint, which was not read here."""
        self.stated[checkpoint] = self.stated.get(checkpoint, 0) + 1

    def join(self, other: Findings) -> None:
        """Adds what another check found."""
        self.problems += other.problems
        for checkpoint, count in other.stated.items():
            self.stated[checkpoint] = self.stated.get(checkpoint, 0) + count
        for why, count in other.unchecked.items():
            self.unchecked[why] = self.unchecked.get(why, 0) + count

    def lines(self) -> Iterator[str]:
        """One line for each problem."""
        return (problem.line() for problem in self.problems)
