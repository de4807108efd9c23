"""Programs that a model wrote, run to see what they print: each in a process of its own, with limits.

See `confined` for what a program may do, and docs/evaluation.md for what these limits are worth: they stop accidents,
not attackers.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optbench.errors import UserError

SECONDS = 5
"""CPU seconds that a program has: those do not depend on what else runs."""
WAIT = 120.0
"""Seconds after which a program that sleeps is ended."""
LONGEST_OUTPUT = 2000
"""Characters of what is printed that are kept."""
WORKERS = 2
"""Programs that run at the same time."""

End = Literal["printed", "printed nothing", "failed", "ran out of time"]
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL | re.IGNORECASE)
_WANTED = ("sympy", "numpy")
"""What programs for mathematics import beside the standard library; present wherever this package is."""


@dataclass(frozen=True)
class Ran:
    """What became of a program: what it printed (empty unless it ended well), and how it ended."""

    output: str
    end: End


def program_in(text: str) -> str:
    """The program in a generated text: what stands in its first fence, or else all of it; empty without a `print(`."""
    fenced = _FENCE.search(text)
    code = fenced[1] if fenced else text
    return code.strip("\n") if "print(" in code else ""


def run_programs(programs: Sequence[str], *, seconds: int = SECONDS, wait: float = WAIT) -> list[Ran]:
    """What each program prints, in the order of the programs.

    A program has `seconds` of CPU time, and is ended after `wait` seconds in any case. One that ends with an error or
    an exit code has printed nothing. Raises UserError on systems without limits for processes (Windows).
    """
    if importlib.util.find_spec("resource") is None:
        raise UserError("programs: on needs limits for processes, which this system does not have; set programs: off")
    if not programs:
        return []
    with ThreadPoolExecutor(min(WORKERS, len(programs))) as pool:
        return list(pool.map(lambda program: _run(program, seconds, wait), programs))


def _run(program: str, seconds: int, wait: float) -> Ran:
    # The output goes to a file and not through a pipe: the limit of file sizes bounds it, whatever is printed.
    with tempfile.TemporaryDirectory(prefix="program-", ignore_cleanup_errors=True) as folder:
        path, inside = Path(folder) / "program.py", Path(folder) / "files"
        inside.mkdir()
        path = inside / "program.py"
        path.write_text(program, encoding="utf-8", errors="replace")
        printed = Path(folder) / "printed"
        with printed.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-S", "-B", "-s", "-P", str(_CONFINED), str(path), str(seconds), *_libraries()],
                cwd=inside,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            in_time = _ended(process.pid, wait)
            # The group lives on as long as its leader is not reaped, so this can only be the program's own.
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        if not in_time or code in (-signal.SIGXCPU, -signal.SIGKILL):
            return Ran("", "ran out of time")
        if code != 0:
            return Ran("", "failed")
        with printed.open("rb") as file:
            output = file.read(4 * LONGEST_OUTPUT).decode("utf-8", errors="replace").strip()[:LONGEST_OUTPUT]
        return Ran(output, "printed") if output else Ran("", "printed nothing")


def _ended(process: int, wait: float) -> bool:
    """Whether the process ends within `wait` seconds; it is not reaped."""
    end, pause = time.monotonic() + wait, 0.002
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(0.05, 1.5 * pause)
    return True


def _libraries() -> list[str]:
    """The folders that a program may read: the standard library, and those that hold what it may import."""
    standard = sysconfig.get_paths()["stdlib"]
    places = (importlib.util.find_spec(name) for name in _WANTED)
    found = [str(Path(place.origin).parent.parent) for place in places if place is not None and place.origin]
    return [standard, *dict.fromkeys(found)]


_CONFINED = Path(__file__).with_name("confined.py")
# Nothing of the surroundings: no tokens, no home. Sets of text are printed in the same order every time.
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
