"""The border to code that somebody brought along: whatever it raises becomes a sentence."""

from __future__ import annotations

import random
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np

from optbench.errors import UserError

OURS = Path(__file__).resolve().parents[1]
LONGEST = 240
"""Characters of a message that are told."""


class Raised(Exception):
    """Foreign code raised something; the text says where, of which type and with which message."""


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Foreign code runs inside, and `what` names the call. Raises `Raised` for anything that it raises.

    What it prints goes to the error stream, for the output is a table or JSON; its warnings are not shown.
    """
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError as error:
        raise Raised(f"{what}: {_short(str(error))}") from error
    # Foreign code may raise anything, also an exit, and the other properties are still to be looked at.
    except (Exception, SystemExit) as error:
        text = _short(str(error)) or "without a message"
        raise Raised(f"{what} raised {type(error).__name__}{_where(error)}: {text}") from error


@contextmanager
def generators_kept() -> Iterator[None]:
    """The global generators of numpy and of Python are afterwards as they were: foreign code may draw or seed them."""
    of_numpy, of_python = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        np.random.set_state(of_numpy)
        random.setstate(of_python)


def _where(error: BaseException) -> str:
    """The file and line that whoever brought the code can mend: the last that is neither installed nor ours."""
    installed = {Path(path).resolve() for path in (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"))}
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        path = Path(frame.filename).resolve()
        if path.is_file() and not {*installed, OURS} & set(path.parents):
            return f" at {path.name}:{frame.lineno}"
    return ""


def _short(message: str) -> str:
    """The first line that says something."""
    line = next((line.strip() for line in message.splitlines() if line.strip()), "")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
