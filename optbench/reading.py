"""Reading results on a machine that lacks the checkpoints they were made with: each results folder, archive or bundle
says which these were."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from optbench.errors import UserError
from optbench.models.stated import Heard, Identity, heard, in_words, stated_checkpoints
from optbench.reports.escape import plain

Verb = TypeVar("Verb", bound=Callable[..., Any])
Items = frozenset[tuple[str, str]]
"""An identity that can be counted."""
Stated = Mapping[str, Counter[Items]]
"""How many records state an identity, by name."""


@contextmanager
def stated_at(*results: Path) -> Iterator[None]:
    """Inside, checkpoints that are not here are those that the records at these places state.

    Records are read for it only where a checkpoint takes part. In the end, unless it was interrupted, the error stream
    is told of checkpoints that are here and that no record was made with. Raises UserError where a checkpoint is asked
    for that is not here, and two are stated.
    """
    said = _Said(results)
    with heard() as names, stated_checkpoints(said.identity):
        try:
            yield
        except Exception:
            said.tell_others(names)
            raise
        said.tell_others(names)


def reads(*options: str) -> Callable[[Verb], Verb]:
    """For a verb that reads the results which these options name: the whole of it runs inside `stated_at`."""

    def inside(verb: Verb) -> Verb:
        @wraps(verb)
        def run(**given: Any) -> Any:
            with stated_at(*(Path(given[option]) for option in options if given.get(option))):
                return verb(**given)

        return cast(Verb, run)

    return inside


class _Said:
    """What the records at some places state."""

    def __init__(self, results: Sequence[Path]) -> None:
        self._results = results

    @cached_property
    def _stated(self) -> Stated:
        found: dict[str, Counter[Items]] = {}
        for name, identity in self._statements():
            found.setdefault(name, Counter())[identity] += 1
        return found

    def _statements(self) -> Iterator[tuple[str, Items]]:
        from optbench.archive import open_store

        for place in self._results:
            try:
                store = open_store(place)
            except UserError:
                continue  # Who reads records there is told.
            for record in store.stating():
                for name, identity in record.checkpoints.items():
                    yield name, frozenset(identity.items())

    def identity(self, name: str) -> Identity | None:
        """The identity that is stated of a name. Raises UserError where two are."""
        found = [dict(own) for own in self._stated.get(name, ())]
        if len(found) > 1:
            raise UserError(
                plain(
                    f"{name}: is not here, and the records in {self._places} state {len(found)} of this name: "
                    f"{self._listed(name)}; read records of one of them alone, or put the one that is meant here"
                )
            )
        return found[0] if found else None

    def tell_others(self, names: Heard) -> None:
        """One line on the error stream for each name that is another checkpoint here than in all records that state
        it."""
        left = {(name, frozenset(own.items())) for name, own in names.identities.items() if name not in names.stated}
        statements, said = self._statements(), set()
        # Mostly the first records state all of it, and the others need not be read.
        while left and (statement := next(statements, None)) is not None:
            left.discard(statement)
            said.add(statement[0])
        for name, identity in sorted(left):
            if name in said:
                line = (
                    f"{name}: here it is {in_words(dict(identity))}, and the records in {self._places} were made with "
                    f"{self._listed(name)}: they are of other cells"
                )
                print(plain(line), file=sys.stderr)

    @property
    def _places(self) -> str:
        return " and ".join(str(place) for place in self._results)

    def _listed(self, name: str) -> str:
        counts = self._stated[name].items()
        return ", ".join(f"{in_words(dict(own))} ({n} record{'' if n == 1 else 's'})" for own, n in counts)
