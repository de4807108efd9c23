"""The time that a challenge may take: what each stage has spent, and what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from optbench.commands.tables import duration

Clock = Callable[[], float]
Tell = Callable[[str], None]


class Allowance:
    """Seconds of a budget, spent by stages one after the other.

    `spent` are the seconds of earlier attempts by stage: an interruption costs no time twice, and gives none back.
    """

    def __init__(
        self, budget: float, tell: Tell, *, spent: Mapping[str, float] | None = None, clock: Clock = time.monotonic
    ) -> None:
        self.budget = budget
        self.tell = tell
        self.spent: dict[str, float] = dict(spent or {})
        self._clock = clock
        self._since: tuple[str, float] | None = None

    @property
    def used(self) -> float:
        """Seconds spent so far, those of the running stage included."""
        running = 0.0 if self._since is None else self._clock() - self._since[1]
        return sum(self.spent.values()) + running

    @property
    def left(self) -> float:
        """Seconds that are left; below 0 where the budget is over."""
        return self.budget - self.used

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Announces a stage and counts its seconds, also where it ends by an error."""
        left = f"{duration(self.left)} left" if self.left > 0 else "nothing left"
        self.tell(f"[{name}] {what} ({duration(self.used)} used, {left})")
        self._since = (name, self._clock())
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + self._clock() - self._since[1]
            self._since = None
