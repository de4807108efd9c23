"""Why a chart is not drawn."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optbench.store import Store


class LeftOut(Exception):
    """The records do not allow a chart; the message is the reason, a sentence without its full stop."""


def reason_of(error: Exception, store: Store) -> str:
    """What reading failed with, without the folder of this machine that the records are in."""
    root = str(store.root)
    return str(error).replace(f"{root}: ", "").replace(f"{root}{os.sep}", "").replace(root, "the records")
