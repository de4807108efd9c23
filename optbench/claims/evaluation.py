"""Claims against records: the verdict of every test, of every choice, and of the claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optbench.claims.claim import Choice, Claim, Comparison
from optbench.claims.effects import Effect, Evidence, effect_of
from optbench.claims.scale import Rerun, rerun_of, scale_of
from optbench.claims.verdicts import REFUTED, Verdict, deciding, of_conjunction, of_interval, over_choices, seeds_more
from optbench.reports.plans import minutes_needed
from optbench.reports.stats import ALPHA, holm, seeds_needed

if TYPE_CHECKING:
    from optbench.store import Store


@dataclass(frozen=True)
class Finding:
    """One test and what came of it.

    `p` is adjusted by Holm over the `family` primary tests; of a choice it stands as it is, and `family` is 1.
    `seeds_needed`: how many seeds would decide with a chance of 80% if the effect is as large as it looks; NaN where
    it is decided or unknown. `minutes_needed`: the time of those that are missing.
    """

    test: Comparison
    effect: Effect
    p: float
    family: int
    verdict: Verdict
    seeds_needed: float
    minutes_needed: float

    @property
    def is_opposite(self) -> bool:
        """Whether the claimed effect fails, and the whole interval is on the other side of no effect."""
        wrong = self.verdict is Verdict.FAILS and self.test.is_against_nothing
        return wrong and self.effect.high < self.test.oriented(self.test.threshold)

    @property
    def seeds_missing(self) -> float:
        """How many more seeds are needed; NaN where that is not known."""
        return seeds_more(self.seeds_needed, self.effect.n)


@dataclass(frozen=True)
class ChoiceFindings:
    """A choice and what came of its tests."""

    choice: Choice
    verdict: Verdict
    tests: Sequence[Finding]
    rerun: Rerun


@dataclass(frozen=True)
class Judgement:
    """A claim and what came of it. `shown` is the test whose figures stand for the claim."""

    claim: Claim
    verdict: Verdict
    tests: Sequence[Finding]
    choices: Sequence[ChoiceFindings]
    scale: str
    rerun: Rerun

    @property
    def shown(self) -> Finding:
        """The first test with the verdict of the claim, else the first."""
        return self.tests[deciding([finding.verdict for finding in self.tests], self.verdict)]

    @property
    def is_opposite(self) -> bool:
        """Whether the claim fails, and its figures show an effect in the other direction."""
        return self.verdict is Verdict.FAILS and self.shown.is_opposite

    @property
    def is_run(self) -> bool:
        """Whether there is any record behind the primary tests; else the scale is what is declared."""
        return any(finding.effect.recorded for finding in self.tests)

    @property
    def is_complete(self) -> bool:
        """Whether the primary tests rest on every seed and pair that their suites declare."""
        return all(
            effect.n == effect.seeds_declared and effect.pairs == effect.pairs_declared
            for effect in (finding.effect for finding in self.tests)
        )

    @property
    def contradicting(self) -> tuple[list[str], list[str]]:
        """The names of what holds and of what is contradicted, where the claim is underdetermined."""
        primary = of_conjunction([finding.verdict for finding in self.tests])
        named = [("the criterion", primary), *((choice.choice.name, choice.verdict) for choice in self.choices)]
        held = [name for name, verdict in named if verdict is Verdict.HOLDS]
        return held, [name for name, verdict in named if verdict in REFUTED]


def judge(claims: Sequence[Claim], store: Store) -> list[Judgement]:
    """The verdict of every claim, from the records of its suites.

    Holm runs over all primary tests of all these claims, so that a claim that holds does so beside the others. Raises
    UserError where the records of a suite must not be pooled.
    """
    evidence = Evidence(store)
    primary = [(test, effect_of(test, evidence)) for claim in claims for test in claim.tests]
    adjusted = holm(np.array([effect.p for _, effect in primary]))
    findings = iter(
        [_finding(test, effect, float(p), len(primary)) for (test, effect), p in zip(primary, adjusted, strict=True)]
    )
    return [_judgement(claim, [next(findings) for _ in claim.tests], evidence) for claim in claims]


def _judgement(claim: Claim, tests: list[Finding], evidence: Evidence) -> Judgement:
    choices = []
    for choice in claim.choices:
        own = [_alone(test, evidence) for test in choice.tests]
        verdict = of_conjunction([finding.verdict for finding in own])
        choices.append(ChoiceFindings(choice, verdict, own, rerun_of(choice.tests, evidence)))
    primary = of_conjunction([finding.verdict for finding in tests])
    return Judgement(
        claim=claim,
        verdict=over_choices(primary, [choice.verdict for choice in choices]),
        tests=tests,
        choices=choices,
        scale=scale_of(claim.tests, [finding.effect for finding in tests]),
        rerun=rerun_of(claim.tests, evidence),
    )


def _alone(test: Comparison, evidence: Evidence) -> Finding:
    effect = effect_of(test, evidence)
    return _finding(test, effect, effect.p, 1)


def _finding(test: Comparison, effect: Effect, p: float, family: int) -> Finding:
    claimed, opposite = test.oriented(test.claimed), test.oriented(test.opposite)
    verdict = Verdict.UNDECIDED
    if not effect.obstacle:
        verdict = of_interval(effect.low, effect.high, claimed=claimed, opposite=opposite, p=p)
    needed = math.nan
    if verdict is Verdict.UNDECIDED and not effect.obstacle:
        beyond = effect.estimate - claimed
        # Only a claim that holds answers for the other tests.
        needed = seeds_needed(effect.sd, beyond, level=ALPHA / family if beyond > 0 else ALPHA)
        needed = effect.n + seeds_more(needed, effect.n)
    minutes = minutes_needed(needed, effect.n, effect.minutes_per_seed)
    return Finding(test, effect, p, family, verdict, needed, minutes)
