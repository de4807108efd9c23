"""The one error that users are meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: says what was wrong, where, and what is allowed. The command line prints it and exits with 2."""


def suggestion(given: str, allowed: Iterable[str]) -> str:
    """The end of a message about an unknown word: the closest allowed word, or all of them."""
    words = sorted(allowed)
    close = difflib.get_close_matches(given, words, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"allowed: {', '.join(words) or 'none'}"
