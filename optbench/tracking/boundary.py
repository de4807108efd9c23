"""The one place where errors of tracking end. A run is worth more than its pictures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Boundary:
    """Lets nothing through that goes wrong in tracking: says it once, and from then on does nothing.

    wandb raises its own errors, those of the network, of its service and of the disk, and any other kind where it has a
    bug; hence everything is caught here, and only here.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` is told the first failure, in a line."""
        self._say = say
        self.failed = False

    def attempt(self, act: Callable[[], T]) -> T | None:
        """What `act` returns; None where it fails, and after any failure."""
        if self.failed:
            return None
        try:
            return act()
        except Exception as error:  # noqa: BLE001
            self.failed = True
            self._say(_reason(error))
            return None

    def cleanup(self, act: Callable[[], None]) -> None:
        """Tries `act` after a failure too; that it fails as well is no news."""
        with suppress(Exception):
            act()


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
