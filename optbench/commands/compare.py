"""`compare`: a suite beside a published board, or beside the same suite in another folder; and the list of boards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.archive import open_store
from optbench.boards.comparison import compare
from optbench.boards.listing import listing_text
from optbench.boards.rendering import Format, rendered
from optbench.boards.repetition import repeated
from optbench.boards.repetition_text import repetition_text
from optbench.boards.shelf import boards, find_board
from optbench.errors import UserError

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite


def listed(format: Format, *, width: int) -> str:
    """All boards as text. Raises UserError where there are none, and for one that cannot be read."""
    return listing_text(list(boards()), format, width=width)


def beside_board(
    suite: Suite,
    board: str,
    results: Path,
    format: Format,
    *,
    metric: str,
    column: str,
    strategy: str,
    model: str,
    reference: str,
    pairs: Sequence[str],
    width: int,
) -> str:
    """The suite beside a board as text. Raises UserError for names that are not there and records that do not pool."""
    found = compare(
        suite,
        _store(results, "--results"),
        find_board(board),
        metric=metric,
        column=column,
        strategy=strategy,
        model=model,
        reference=reference,
        pairs=_pairs(pairs),
    )
    return rendered(found, format, width=width)


def beside_repetition(suite: Suite, results: Path, other: Path, format: Format, *, metric: str, width: int) -> str:
    """The suite in two places as text. Raises UserError as `repeated` does, and where both are one place."""
    stores = _store(results, "--results"), _store(other, "--with")
    if os.path.samefile(results, other):
        raise UserError(f"--with {other}: is what --results names too; a repetition is in another place")
    return repetition_text(repeated(suite, *stores, metric=metric), format, width=width)


def _store(path: Path, option: str) -> Store:
    if not os.path.lexists(path):
        raise UserError(f"{option} {path}: is not there; it is a folder of records, or archives of them")
    return open_store(path)


def _pairs(given: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        own, equals, other = text.partition("=")
        if not (own.strip() and equals and other.strip()):
            raise UserError(f"--pair {text}: needs two names, as in --pair muon_tuned=D-Muon")
        if own.strip() in pairs:
            raise UserError(f"--pair {text}: {own.strip()} is paired already, with {pairs[own.strip()]}")
        pairs[own.strip()] = other.strip()
    return pairs
