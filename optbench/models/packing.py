"""Forward passes whose rows hold one sequence each, without asking the device whether they do.

Given neither a mask nor a cache, transformers looks into the position ids for several sequences packed into one row,
in every forward pass. Its `if` makes the host wait until a GPU has done all it was given so far, and the GPU then
waits for the host. Here the answer is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def nothing_packed() -> Iterator[None]:
    """Inside, transformers takes every row for one sequence, as it would find out by looking.

    The function that looks is exchanged for the whole process, so a thread beside this one must not run packed rows.
    """
    from transformers import masking_utils

    look: Any = getattr(masking_utils, LOOK, None)
    if look is None:  # A version that does not look has nothing to be spared.
        yield
        return
    setattr(masking_utils, LOOK, _none)
    try:
        yield
    finally:
        setattr(masking_utils, LOOK, look)


LOOK = "find_packed_sequence_indices"


def _none(position_ids: Any) -> None:
    """What `find_packed_sequence_indices` returns where nothing is packed."""
