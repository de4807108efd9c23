"""`challenge`: one optimizer against others, with the parts that do it bound together."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.challenge.finished import Finished
from optbench.challenge.reading import read
from optbench.challenge.request import Request
from optbench.challenge.stages import run
from optbench.challenge.tools import Tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from optbench.sequential.engine import Resolved
    from optbench.suite import Suite


def challenge(request: Request, *, began: float) -> Finished:
    """Reads the request, then runs it, telling on the error stream how far it is. The budget is counted from `began`
    on, a time of `time.monotonic`. Raises UserError for bad input before anything is run or written, and
    KeyboardInterrupt."""
    asked, bound = read(request), tools()
    return run(asked, bound, tell=_tell, reading=time.monotonic() - began)


def tools() -> Tools:
    """The real ones."""
    from optbench.challenge.cost import profile_of
    from optbench.challenge.page import write_page
    from optbench.challenge.panels import look
    from optbench.challenge.prices import prices_of
    from optbench.challenge.row import latex_row
    from optbench.conformance.examination import examine
    from optbench.tuning.engine import tune
    from optbench.tuning.sampling import check_installed

    return Tools(
        check=check_installed,
        examine=examine,
        prices=prices_of,
        tune=tune,
        resolve=resolve,
        look=look,
        profile=profile_of,
        write_page=write_page,
        latex_row=latex_row,
    )


def resolve(
    suite: Suite,
    results: Path,
    *,
    margin: float,
    seconds: float,
    workers: int | None,
    tell: Callable[[str], None],
    cell_seconds: float,
) -> Resolved:
    """`sequential.engine.resolve`, with the time of a cell known from the trials, so that nothing is measured again."""
    from optbench.sequential.engine import local_bench, pursue
    from optbench.sequential.journal import Journal

    bench = local_bench(suite, results, workers=workers)
    priced = _Priced(bench, cell_seconds)
    return pursue(suite, Journal.of(suite, results), priced, margin=margin, seconds=seconds, tell=tell)


class _Priced:
    """A bench that knows what a cell takes."""

    def __init__(self, bench: Any, cell_seconds: float) -> None:
        self._cell_seconds = cell_seconds
        self.workers = bench.workers
        self.now, self.left, self.run = bench.now, bench.left, bench.run
        self.seconds, self.look = bench.seconds, bench.look

    def planned(self, suite: Suite, cells: Any) -> float:
        """The seconds of so many cells; `cell_seconds` are those of the wall, with all workers."""
        return self._cell_seconds * len(cells)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
