"""How a table of plug-ins becomes a field of a spec, and how other packages add to it."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated, Any, Union

from pydantic import Discriminator, Tag

from optbench.spec import Spec


def with_entry_points(group: str, table: dict[str, type[Spec]]) -> dict[str, type[Spec]]:
    """The table, and after it the spec classes that installed packages declare under `optbench.<group>`.

    A name of the table is never replaced: ValueError, since a record would no longer say what ran.
    """
    merged = dict(table)
    for point in entry_points(group=f"optbench.{group}"):
        if point.name in merged:
            raise ValueError(f"an installed package declares the {group} {point.name!r}, which optbench has already")
        merged[point.name] = point.load()
    return merged


def one_of(table: dict[str, type[Spec]]) -> Any:
    """The type of a field that holds any spec of the table, told apart by `kind`."""
    members: Any = tuple(Annotated[spec, Tag(kind)] for kind, spec in table.items())
    return Annotated[Union[members], Discriminator(_kind_of)]  # noqa: UP007 - built from a tuple


def _kind_of(value: Any) -> Any:
    if isinstance(value, dict):
        return value.get("kind")
    return value.dump()["kind"] if isinstance(value, Spec) else None
