"""Which values are tried: the suite's own, then a quasi-random sequence, then what a model of the trials proposes.

The values of a trial are a function of the study, its place and the results before it: nothing is kept between two
calls, so that it does not matter how many workers there were, or where a run was interrupted.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from optbench.errors import UserError
from optbench.optim.search import Choice, Dimension
from optbench.tuning.record import Sampler, Trial
from optbench.tuning.study import Planned, is_inside

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Direction = Literal["higher", "lower"]
Proposed = tuple[dict[str, Any], Sampler]
TOGETHER = 2
"""Trials that a model proposes at a time: two workers have something to do, and hardly anything is lost by not waiting
for the first. Not the number of workers, on which values must not depend."""
DIGITS = 4
"""Significant digits of a proposed value: no result depends on more, and a reader would have to copy them."""


def rounds_of(trials: int) -> list[range]:
    """The places of the trials that are run together, in order: the suite's own values first, then two at a time."""
    first = [range(0, 1)]
    for start, end in ((1, quasi_random_until(trials)), (quasi_random_until(trials), trials)):
        first += [range(place, min(place + TOGETHER, end)) for place in range(start, end, TOGETHER)]
    return first


def quasi_random_until(trials: int) -> int:
    """The place where the quasi-random half ends: a model of fewer trials than that would be one of noise."""
    return min(trials, max(2, math.ceil(trials / 2)))


def proposed(
    planned: Planned, places: range, trials: int, done: Sequence[Trial], direction: Direction
) -> list[Proposed]:
    """The values of the trials at `places`, of `trials` in all, and where they come from. `done` are those before."""
    if places.start == 0:
        return [(planned.incumbent, "suite")]
    if not planned.space:
        return [(planned.incumbent, "quasi-random") for _ in places]
    with _quiet_optuna():
        if places.start < quasi_random_until(trials):
            return [(values, "quasi-random") for values in _quasi_random(planned, places)]
        return [(values, "tpe") for values in _modelled(planned, places, done, direction)]


def check_installed() -> None:
    """Raises UserError where Optuna is not there."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UserError(f"tuning needs Optuna ({error}): pip install 'optbench[tune]'") from error


def _quasi_random(planned: Planned, places: range) -> list[dict[str, Any]]:
    """The points of a scrambled Sobol sequence over the unit cube, taken to the space: place 1 has its first."""
    import optuna
    from optuna.distributions import FloatDistribution

    unit: dict[str, BaseDistribution] = {path: FloatDistribution(0.0, 1.0) for path in planned.space}
    sampler = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=planned.stream("sequence"))
    study = optuna.create_study(sampler=sampler)
    # The sampler takes the axes of its cube from a trial that is there, and would draw the first one at random.
    study.add_trial(optuna.create_trial(params=dict.fromkeys(unit, 0.5), distributions=unit, value=0.0))
    points = [study.ask(unit).params for _ in range(1, places.stop)]
    return [
        {path: _at(dimension, point[path], whole=path in planned.whole) for path, dimension in planned.space.items()}
        for point in points[places.start - 1 :]
    ]


def _modelled(planned: Planned, places: range, done: Sequence[Trial], direction: Direction) -> list[dict[str, Any]]:
    """What the tree-structured Parzen estimator (Bergstra et al. 2011; over all dimensions together) proposes.

    A trial that diverged or ran out of memory is as bad as the worst that did not. The suite's own values are left out
    where they are not in the space. While several are proposed the ones before count as bad ("constant liar").
    """
    import optuna

    scores = [trial.score for trial in done if trial.score is not None]
    worst = (max if direction == "lower" else min)(scores, default=0.0)
    sampler = optuna.samplers.TPESampler(
        seed=planned.stream("model", places.start), multivariate=True, constant_liar=True, n_startup_trials=1
    )
    study = optuna.create_study(sampler=sampler, direction="minimize" if direction == "lower" else "maximize")
    axes = {path: _distribution(dimension, path in planned.whole) for path, dimension in planned.space.items()}
    for trial in done:
        if is_inside(planned, trial.values):
            params = {path: _told(dimension, trial.values[path]) for path, dimension in planned.space.items()}
            value = worst if trial.score is None else trial.score
            study.add_trial(optuna.create_trial(params=params, distributions=axes, value=value))
    found = [study.ask(axes).params for _ in places]
    return [
        {
            path: dimension.values[params[path]]
            if isinstance(dimension, Choice)
            else _rounded(params[path], dimension.low, dimension.high, whole=path in planned.whole)
            for path, dimension in planned.space.items()
        }
        for params in found
    ]


def _distribution(dimension: Dimension, whole: bool) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(range(len(dimension.values)))  # by place: a value may be a list
    if whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _told(dimension: Dimension, value: Any) -> Any:
    return dimension.values.index(value) if isinstance(dimension, Choice) else value


def _at(dimension: Dimension, share: float, *, whole: bool) -> Any:
    """The value at a share in [0, 1] of the way through a dimension, on its scale."""
    if isinstance(dimension, Choice):
        return dimension.values[min(int(share * len(dimension.values)), len(dimension.values) - 1)]
    low, high = dimension.low, dimension.high
    if whole:
        # Every whole number has a stretch of its own, those at the ends as well.
        low, high = low - 0.5, high + 0.5
    value = low * (high / low) ** share if dimension.log else low + (high - low) * share
    return _rounded(value, dimension.low, dimension.high, whole=whole)


def _rounded(value: float, low: float, high: float, *, whole: bool) -> float:
    if whole:
        return int(min(max(round(value), low), high))
    return min(max(float(f"{value:.{DIGITS}g}"), low), high)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Optuna without its log lines, and without warnings that parts of it are young: both are ours to know."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
