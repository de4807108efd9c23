"""Verdicts, effects and plans in words."""

from __future__ import annotations

import math

from optbench.claims.claim import Comparison
from optbench.claims.evaluation import Finding, Judgement
from optbench.claims.verdicts import Verdict
from optbench.metrics.columns import column, worst
from optbench.reports.sentences import difference_text, minutes_text

SCOPE = (
    "A verdict speaks of the scale in its row and of no other: a model of 0.1M parameters says nothing about one of "
    "2.7B."
)


def unit_of(test: Comparison) -> str:
    """The unit of the number of a test, as JSON has it."""
    return "ratio" if test.form == "ratio" else column(test.metric).unit


def number_text(test: Comparison, value: float) -> str:
    """A value of the number of a test, without its unit: differences with their sign, and in points of a fraction."""
    if test.form == "difference":
        return difference_text(value, test.metric)
    return f"{value:.3g}"


def interval_of(finding: Finding) -> tuple[float, float] | None:
    """The 95% interval in the unit of the number; None where there is none."""
    ends = finding.effect.low, finding.effect.high
    if not all(math.isfinite(end) for end in ends):
        return None
    low, high = sorted(finding.test.shown(end) for end in ends)
    return low, high


def effect_text(finding: Finding) -> str:
    """`+1.2 points [-0.3, +2.7]`; a dash where nothing is known."""
    test, effect = finding.test, finding.effect
    if not math.isfinite(effect.estimate):
        return "-"
    text = _with_unit(test, number_text(test, test.shown(effect.estimate)))
    interval = interval_of(finding)
    if interval is None:
        return text
    return f"{text} [{number_text(test, interval[0])}, {number_text(test, interval[1])}]"


def _with_unit(test: Comparison, number: str) -> str:
    """A number and its unit; differences of fractions are in points, levels of fractions and ratios have none."""
    unit = unit_of(test)
    if unit == "fraction":
        unit = "points" if test.form == "difference" else ""
    return number if unit in ("", "ratio") else f"{number} {unit}"


def question_text(test: Comparison) -> str:
    """What a test asks: `accuracy of upsample adamw minus uniform adamw above 0 by more than 1 point`."""
    joint = {"difference": " minus ", "ratio": " over ", "level": ""}[test.form]
    sides = " ".join(test.of.values()) + joint + " ".join(test.against.values())
    where = "above" if test.sign > 0 else "below"
    return f"{test.metric} of {sides} {where} {test.threshold:g} by more than {_margin(test)}"


def deciding_text(judgement: Judgement) -> str:
    """Which test the figures of a claim are of, in a few words: `test_nll vs adamw`; in full where its other tests
    would be called the same."""
    test = judgement.shown.test
    brief = _brief(test)
    if sum(_brief(finding.test) == brief for finding in judgement.tests) == 1:
        return brief
    against = _JOINTS[test.form] + " ".join(test.against.values()) if test.against else ""
    return f"{test.metric} of {' '.join(test.of.values())}{against}"


_JOINTS = {"difference": " vs ", "ratio": " over ", "level": " of "}


def _brief(test: Comparison) -> str:
    """The metric and what differs between the sides; of a level, whose it is."""
    names = (
        test.of.values()
        if test.form == "level"
        else (name for axis, name in test.against.items() if name != test.of[axis])
    )
    return f"{test.metric}{_JOINTS[test.form]}{' '.join(names)}"


def _margin(test: Comparison) -> str:
    return _with_unit(test, number_text(test, test.margin).removeprefix("+"))


def coverage_text(finding: Finding) -> str:
    """How much of what was declared the number rests on: `n = 12 of 12 seeds, 4 of 4 pairs`."""
    effect = finding.effect
    what = "arms" if finding.test.form == "level" else "pairs"
    text = f"n = {effect.n} of {effect.seeds_declared} seeds, {effect.pairs} of {effect.pairs_declared} {what}"
    if effect.diverged and not math.isnan(worst(finding.test.metric)):
        text += f", {effect.diverged} diverged"
    return text


def reason_of(finding: Finding) -> str:
    """Why the verdict of a test is what it is."""
    test, effect = finding.test, finding.effect
    if effect.obstacle:
        return effect.obstacle
    # The bare number would be taken for the threshold.
    bound = number_text(test, test.claimed)
    claimed = f"{bound} (the {'threshold and the ' if test.threshold else ''}margin)"
    side, other = ("above", "below") if test.sign > 0 else ("below", "above")
    match finding.verdict:
        case Verdict.HOLDS:
            return f"all of the interval is {side} {claimed}"
        case Verdict.NO_EFFECT:
            text = f"all of the interval is within {_margin(test)} of {test.threshold:g}"
            return text if test.is_against_nothing else f"at the threshold, within the margin: {text}"
        case Verdict.FAILS:
            text = f"all of the interval is {other} {claimed}"
            if finding.is_opposite:
                return f"{text}, and {other} {test.threshold:g}: the effect goes the other way"
            return text
    if effect.low > test.oriented(test.claimed):
        text = f"{side} {claimed} on its own, but not beside the other {finding.family - 1} tests (p = {finding.p:.2g})"
    elif effect.low > test.oriented(test.threshold):
        text = f"{side} {test.threshold:g}, but perhaps not by more than the margin: the interval holds {bound}"
    else:
        text = f"the interval reaches to both sides of {claimed}"
    return f"{text}; {_plan(finding)}"


def _plan(finding: Finding) -> str:
    needed = finding.seeds_needed
    if not math.isfinite(needed):
        return "no practical number of seeds would decide"
    time = "" if math.isnan(finding.minutes_needed) else f": {minutes_text(finding.minutes_needed)}"
    return (
        f"{needed:.0f} seeds would decide if the effect is what it looks like ({finding.seeds_missing:.0f} more{time})"
    )


def claim_reason(judgement: Judgement) -> str:
    """Why the verdict of a claim is what it is."""
    if judgement.verdict is Verdict.UNDERDETERMINED:
        held, refuted = judgement.contradicting
        return f"holds for {', '.join(held)}; contradicted for {', '.join(refuted)}"
    return reason_of(judgement.shown)
