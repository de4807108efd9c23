"""A part of a suite, chosen by names: `--only model=*-nano,optimizer=sam`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from optbench.arm import Arm
from optbench.axes import AXES, matches
from optbench.errors import UserError, suggestion
from optbench.suite import Suite


def narrowed(suite: Suite, only: Sequence[str]) -> Suite:
    """The suite with those arms alone whose names match.

    Each of `only` holds axis=pattern, several with commas between; * and ? stand for any text. Patterns for one axis
    add up, axes narrow each other. A contrast stays where arms of both of its sides do; the others are
    counted (`Suite.family`). Raises UserError for an
    unknown axis, a pattern that matches nothing, and where nothing is left.
    """
    chosen = _patterns(only)
    for axis, patterns in chosen.items():
        names = list(dict.fromkeys(arm.axes()[axis] for arm in suite.arms))
        for pattern in patterns:
            if not any(matches(pattern, name) for name in names):
                allowed = suggestion(pattern, names)
                raise UserError(f"--only {axis}={pattern}: no {axis} of {suite.path} is named so; {allowed}")
    arms = [arm for arm in suite.arms if all(_meets(arm, axis, patterns) for axis, patterns in chosen.items())]
    if not arms:
        raise UserError(f"--only {','.join(only)}: no arm of {suite.path} meets all of it")
    contrasts = [each for each in suite.contrasts if _some(arms, each.of) and _some(arms, each.minus)]
    asked = replace(suite.asked, only=[*suite.asked.only, *only])
    left_out = suite.family - len(contrasts)
    return replace(suite, arms=arms, contrasts=contrasts, left_out=left_out, asked=asked)


def _patterns(only: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in only:
        # Names of swept arms have commas in brackets, and budgets between digits.
        for part in re.split(r",(?![^\[]*\])(?!\d{3}\b)", text):
            axis, equals, pattern = part.strip().partition("=")
            allowed = [*AXES, "budget"]
            if axis not in allowed:
                raise UserError(f"--only {part.strip()}: {axis!r} is no axis; {suggestion(axis, allowed)}")
            if not equals or not pattern:
                raise UserError(f"--only {part.strip()}: needs a name, as in --only {axis}=NAME")
            found.setdefault(axis, []).append(pattern)
    return found


def _meets(arm: Arm, axis: str, patterns: Sequence[str]) -> bool:
    return any(matches(pattern, arm.axes()[axis]) for pattern in patterns)


def _some(arms: Sequence[Arm], side: Mapping[str, str]) -> bool:
    return any(side.items() <= arm.axes().items() for arm in arms)
