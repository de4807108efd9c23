"""The checkpoints that a record states, against those that made its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from optbench.models.stated import Identity, in_words


def wrong_statements(stated: Mapping[str, Identity], entered: Mapping[str, Identity]) -> Iterator[str]:
    """What is wrong with the statements of a record whose key was made with what `entered` it, by name.

    A record that states nothing is of an earlier version, and nothing is wrong with it. Where the checkpoint is here,
    the key is made without the statement, so that only this comparison finds a wrong one.
    """
    for name in sorted({*stated, *entered}) if stated else ():
        if name not in entered:
            yield f"states {name}, which did not enter its key"
        elif name not in stated:
            yield f"does not state {name}, which entered its key"
        elif stated[name] != entered[name]:
            said, made = in_words(stated[name]), in_words(entered[name])
            yield f"states {name} as {said}, and its key was made with {made}"
