"""Everything that a challenge needs, read and checked before anything is run or written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.cell import CellSpec
from optbench.challenge.entrant import Entrant, entrant_of
from optbench.challenge.panels import panels_for
from optbench.challenge.request import Request, folder_below, margin_of
from optbench.challenge.starts import starts_of
from optbench.challenge.suite_of import arena, fresh_seeds, strategies_left_out, suites_rate
from optbench.errors import UserError
from optbench.spec import key_of

if TYPE_CHECKING:
    from optbench.optim.specs import OptimizerSpec
    from optbench.suite import Suite

_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class Challenge:
    """A challenge that can begin. `suite` has the challenger first, with fresh seeds and before tuning; `of` identifies
    what is compared with what; `said` are choices that nobody asked for, and `starts` where the first trial of each arm
    comes from, in words."""

    request: Request
    entrant: Entrant
    suite: Suite
    margin: float
    folder: Path
    panels: Sequence[Any]
    of: str
    said: Sequence[str]
    starts: Sequence[str]

    @property
    def spec(self) -> OptimizerSpec:
        """The challenger, as the suite has it."""
        found: OptimizerSpec = self.suite.arms[0].optimizer_spec
        return found

    @property
    def code(self) -> str:
        """The text of its file; empty where it has none."""
        return "" if self.entrant.source is None else self.entrant.source.read_text(encoding="utf-8")


def read(request: Request) -> Challenge:
    """Raises UserError for whatever is wrong with the request, before anything is run or written."""
    folder = folder_below(request.to, "--to")
    for part in folder.parts:
        if not _FILE.fullmatch(part):
            raise UserError(
                f"--to {request.to}: {part!r}: letters, digits, _ . - alone, for the bundle names this folder"
            )
    if request.results.exists() and not request.results.is_dir():
        raise UserError(f"--results {request.results}: is a file; records need a folder")
    entrant = entrant_of(
        request.target,
        request.name,
        request.against,
        lr=request.lr,
        options=request.options,
        suites_lr=suites_rate(request.suite, request.model),
    )
    suite = _suite(request, entrant)
    budgets = list(dict.fromkeys(arm.axes()["budget"] for arm in suite.arms))
    if len(budgets) > 1:
        raise UserError(
            f"{request.suite}: has {len(budgets)} budgets, and an optimizer is tuned for one; choose: "
            + " or ".join(f'--only "budget={budget}"' for budget in budgets)
        )
    margin = margin_of(request.margin, suite.ranked_by)
    panels = panels_for(suite)
    said = [strategies_left_out(request.suite, suite)] if not request.model else []
    if entrant.lr_from and suite.arms[0].optimizer_spec.rule.lr == entrant.entry["rule"]["lr"]:
        said.append(f"{entrant.name} starts at the rate {entrant.entry['rule']['lr']:g} ({entrant.lr_from}).")
    return Challenge(
        request,
        entrant,
        suite,
        margin,
        folder,
        panels,
        identity_of(suite),
        [each for each in said if each],
        starts_of(suite, entrant, request.against),
    )


def moved(challenge: Challenge, to: Path) -> Challenge:
    """The same challenge, with the challenger's code at another place."""
    entrant = challenge.entrant.moved(to)
    return replace(challenge, entrant=entrant, suite=_suite(challenge.request, entrant))


def _suite(request: Request, entrant: Entrant) -> Suite:
    suite = arena(request.suite, request.model, entrant, request.against, request.only)
    return replace(suite, seeds=fresh_seeds(suite, request.seeds_from), contrasts=[])


def identity_of(suite: Suite) -> str:
    """A key of what is compared: all arms by their content, the seeds, and how is tuned. Neither budget nor margin nor
    the number of trials is in it: with more of one, or another of the others, what was spent stays spent."""
    cells = [CellSpec(**arm.specs(), training=arm.training, seed=suite.seeds[0]).key for arm in suite.arms]
    tuning = {name: value for name, value in suite.tuning.dump().items() if name != "trials"}
    return key_of({"arms": cells, "seeds": suite.seeds, "ranked_by": suite.ranked_by, "tuning": tuning})
