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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: on a CPU torch says so by a RuntimeError without a type of its own."""
    # By name, for this module loads without torch.
    named = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    on_cpu = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return named or isinstance(error, MemoryError) or on_cpu
