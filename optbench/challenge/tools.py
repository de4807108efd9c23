"""What a challenge has others do: examine, tune, add seeds, look, measure, write. Tests give it others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optbench.challenge.budget import Prices
    from optbench.challenge.content import Content
    from optbench.challenge.panels import Looked
    from optbench.conformance.finding import Finding
    from optbench.optim.specs import OptimizerSpec
    from optbench.profiling.rows import Profile
    from optbench.sequential.engine import Resolved
    from optbench.tuning.record import Tuned


@dataclass(frozen=True)
class Tools:
    """The parts of a challenge; `check` raises UserError where a package is missing that one of them needs.

    `prices` as `optbench.challenge.prices.prices_of`, `tune` as `optbench.tuning.engine.tune`, `resolve` as
    `optbench.sequential.engine.resolve` with `cell_seconds`, what a cell is known to take; `look` as
    `optbench.challenge.panels.look`, `profile` as `optbench.challenge.cost.profile_of`.
    """

    check: Callable[[], None]
    examine: Callable[[OptimizerSpec], list[Finding]]
    prices: Callable[..., Prices]
    tune: Callable[..., Tuned]
    resolve: Callable[..., Resolved]
    look: Callable[..., Looked]
    profile: Callable[..., Profile]
    write_page: Callable[[Content, Path], Path]
    latex_row: Callable[[Content], str]
