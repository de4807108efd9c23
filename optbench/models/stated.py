"""Which checkpoint a name means where the checkpoint itself is not: what results state of themselves.

A key holds the content of a checkpoint, not its path, so that results could be read where it lies and nowhere else.
Whoever reads results enters `stated_checkpoints` with what they state, and the keys of their cells can be made without
it. A wrong statement does no harm: it makes keys that no record has. Nothing that trains enters it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

Identity = dict[str, str]
"""{content: hash of the files}, or {hub: id, commit: ...}."""
Find = Callable[[str], Identity | None]
"""What is stated of a name; None where nothing is."""


@dataclass
class Heard:
    """The identities that were asked for, by name, and the names of those that were stated and not read here."""

    identities: dict[str, Identity] = field(default_factory=dict)
    stated: set[str] = field(default_factory=set)


_find: ContextVar[Find] = ContextVar("find", default=lambda name: None)
_first: ContextVar[bool] = ContextVar("first", default=False)
_heard: ContextVar[tuple[Heard, ...]] = ContextVar("heard", default=())


@contextmanager
def stated_checkpoints(find: Find) -> Iterator[None]:
    """Inside, checkpoints that are not here are those that `find` knows, else those that a surrounding block knows."""
    outer = _find.get()
    token = _find.set(lambda name: find(name) or outer(name))
    try:
        yield
    finally:
        _find.reset(token)


@contextmanager
def statements_first() -> Iterator[None]:
    """Inside, what is stated goes before what is here: so a key says whether the statements make it."""
    token = _first.set(True)
    try:
        yield
    finally:
        _first.reset(token)


@contextmanager
def heard() -> Iterator[Heard]:
    """Collects every identity that is asked for inside."""
    found = Heard()
    token = _heard.set((*_heard.get(), found))
    try:
        yield found
    finally:
        _heard.reset(token)


def stated_as(name: str) -> Identity | None:
    """What is stated of a name; None where nothing is. Raises UserError where two things are."""
    return _find.get()(name)


def identity_of(name: str, read: Callable[[], Identity], *, is_here: bool) -> Identity:
    """The identity of what is called `name`: read where it is here, else as it is stated; where neither, `read` may ask
    the hub, or raises UserError."""
    stated = None if is_here and not _first.get() else stated_as(name)
    found = read() if stated is None else dict(stated)
    for listener in _heard.get():
        listener.identities[name] = found
        if stated is not None:
            listener.stated.add(name)
    return found


def in_words(identity: Identity) -> str:
    """The identity as people tell it from others."""
    if "hub" in identity:
        return f"commit {identity['commit'][:12]} of {identity['hub']}"
    return f"content {identity['content'][:12]}"
