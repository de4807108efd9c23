"""How often the rule alarms falsely, what it finds and after how many seeds: the figures of docs/sequential.md.

    python -m optbench.sequential.simulation [SUITE RESULTS]

prints them as Markdown tables, within a minute on one core. With a suite and the place of its records, false alarms are
counted among its own per-seed differences, too. A sequence is what a contrast sees: one number per seed, in the order
of the seeds. Everything is in units of the standard deviation of these numbers, and repeats exactly (`optbench.rng`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr, stdtrit

from optbench.errors import UserError
from optbench.reports.sequential import critical_t
from optbench.reports.stats import ALPHA, Array, half_width, seeds_needed
from optbench.rng import stream

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
"""Numbers of mean 0 in a given shape."""
Rule = Callable[[Array, float], Array]
"""The |t| at and above which a look at so many seeds is an alarm, at a level."""


def _losses(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return 10.0 * (rng.random(shape) < 0.1)


SHAPES: dict[str, Draw] = {
    "Gaussian": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails (t with 3 degrees of freedom)": lambda rng, shape: rng.standard_t(3, shape),
    "skewed (exponential)": lambda rng, shape: rng.standard_exponential(shape) - 1,
    "Gaussian, but 1 in 10 lower by 10 sd": lambda rng, shape: rng.standard_normal(shape) + 1 - _losses(rng, shape),
}
NOTHING = 1e-9
"""A standard deviation below this, relative to the numbers, is the rounding of equal ones."""


def anytime(n: Array, level: float) -> Array:
    """The rule of optbench."""
    return critical_t(n, level=level)


def repeated_t(n: Array, level: float) -> Array:
    """A t test after every seed, as if it were the only one."""
    return half_width(1.0, n, level=level) * np.sqrt(n)


def t_values(draws: Array) -> Array:
    """t of the first k of the numbers [..., seeds], for each k; 0 where they have no spread."""
    k = np.arange(1, draws.shape[-1] + 1)
    mean = np.cumsum(draws, axis=-1) / k
    scale = np.abs(draws).max(axis=-1, keepdims=True)
    variance = (np.cumsum(draws**2, axis=-1) - k * mean**2) / np.maximum(k - 1, 1)
    sd = np.sqrt(np.maximum(variance, 0))
    spread = sd > math.sqrt(NOTHING) * scale
    t: Array = np.where(spread, np.sqrt(k) * mean / np.where(spread, sd, 1.0), 0.0)
    return t


def alarms(draws: Array, rule: Rule, level: float = ALPHA) -> Array:
    """The number of seeds at the first alarm of each sequence [..., seeds]; infinite where there is none."""
    n = np.arange(1, draws.shape[-1] + 1)
    raised = np.abs(t_values(draws)) >= rule(n, level)
    return np.where(raised.any(axis=-1), n[raised.argmax(axis=-1)].astype(float), math.inf)


def against_one_baseline(rng: np.random.Generator, sequences: int, arms: int, seeds: int) -> Array:
    """Differences [sequences, arms, seeds] of arms from one baseline that is as good: they are correlated by a half."""
    own = rng.standard_normal((sequences, arms, seeds))
    return (own - rng.standard_normal((sequences, 1, seeds))) / math.sqrt(2)


def called_equal(draws: Array, margin: float, level: float = ALPHA) -> Array:
    """Whether any look at each sequence [..., seeds] finds the interval within [-margin, margin]."""
    n = np.arange(1, draws.shape[-1] + 1)
    mean = np.cumsum(draws, axis=-1) / n
    t = t_values(draws)
    # sd / sqrt(n) is mean / t.
    error = np.abs(np.divide(mean, t, out=np.full(t.shape, math.inf), where=t != 0))
    with np.errstate(invalid="ignore"):
        found: Array = (np.abs(mean) + anytime(n, level) * error <= margin).any(axis=-1)
    return found


def recorded(suite: Suite, store: Store, metrics: Sequence[str] = ("accuracy", "test_nll")) -> Iterator[Array]:
    """The centred per-seed differences of every two arms of a suite that differ in their optimizer alone, where there
    are six seeds or more."""
    from optbench.reports.frame import cells_table, scored
    from optbench.reports.pairs import Pairs, complete_block

    cells = scored(cells_table(suite, store))
    for one, other in combinations(range(len(suite.arms)), 2):
        left, right = suite.arms[one].axes(), suite.arms[other].axes()
        if {axis for axis in left if left[axis] != right[axis]} != {"optimizer"}:
            continue
        pair = Pairs(np.array([one]), np.array([other]), {})
        for metric in metrics:
            block = complete_block(cells, pair, metric, arms=len(suite.arms))
            numbers = (block.of - block.minus).ravel()
            if len(numbers) >= 6 and np.isfinite(numbers).all() and np.ptp(numbers) > 0:
                yield numbers - numbers.mean()


def resampled(numbers: Array) -> Draw:
    """Draws from the numbers, with replacement."""
    return lambda rng, shape: numbers[rng.integers(len(numbers), size=shape)]


def share(found: Any) -> str:
    """A share with its Monte Carlo standard error."""
    mean = float(np.mean(found))
    return f"{mean:.3f} ± {math.sqrt(mean * (1 - mean) / np.size(found)):.3f}"


def false_alarms(sequences: int = 10_000, seeds: int = 60) -> Iterator[Sequence[str]]:
    """The rows of the table of false alarms, the header first."""
    yield (
        "differences per seed",
        "sequential t test",
        "t test after every seed",
        "one t test, after seed 5",
        "after seed 13",
    )
    worlds = {name: draw(stream(0, name), (sequences, 1, seeds)) for name, draw in SHAPES.items()}
    worlds["any of 3 contrasts with one baseline"] = against_one_baseline(stream(0, "baseline"), sequences, 3, seeds)
    for name, draws in worlds.items():
        level = ALPHA / draws.shape[1]
        cells = [share(np.isfinite(alarms(draws, rule, level)).any(axis=1)) for rule in (anytime, repeated_t)]
        t = np.abs(t_values(draws))
        once = [share((t[..., n - 1] >= repeated_t(np.array(n), level)).any(axis=1)) for n in (5, 13)]
        yield name, *cells, *once


def effects(sequences: int = 4_000, seeds: int = 800) -> Iterator[Sequence[str]]:
    """The rows of the table of effects, the header first."""
    yield (
        *("effect (sd)", "found by 60 seeds", "half found by", "80% found by", "mean"),
        *("one t test planned for this effect", "its five looks: mean", "found"),
    )
    for effect in (0.25, 0.5, 1.0, 2.0):
        draws = stream(0, "effect").standard_normal((sequences, seeds)) + effect
        found = alarms(draws, anytime)
        half, most = (f"{np.quantile(found, chance, method='higher'):.0f}" for chance in (0.5, 0.8))
        mean = f"{found.mean():.1f}" if np.isfinite(found).all() else f"above {np.minimum(found, seeds).mean():.0f}"
        planned = int(seeds_needed(1.0, effect))
        spent = five_looks(draws, planned) if planned >= 10 else ("-", "-")
        yield f"{effect:g}", share(found <= 60), half, most, mean, f"{planned}", *spent


def five_looks(draws: Array, planned: int) -> tuple[str, str]:
    """Seeds on average, and the share found, of a plan of five equally spaced looks that ends for certain.

    O'Brien and Fleming, Biometrics 35 (1979) 549-556: |z| >= 2.040 sqrt(5 / k) at look k, on z of the same p as t, with
    1.028 times the seeds of one test for the same power (Jennison and Turnbull, Group Sequential Methods, 1999).
    """
    looks = np.ceil(1.028 * planned * np.arange(1, 6) / 5).astype(int)
    levels = 2 * ndtr(-2.040 * np.sqrt(5 / np.arange(1, 6)))
    raised = np.abs(t_values(draws)[:, looks - 1]) >= stdtrit(looks - 1, 1 - levels / 2)
    seeds = np.where(raised.any(axis=1), looks[raised.argmax(axis=1)], looks[-1])
    return f"{seeds.mean():.1f}", f"{raised.any(axis=1).mean():.2f}"


def table(rows: Iterator[Sequence[str]]) -> str:
    """Markdown; the first row is the header."""
    header, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rest))


def of_records(suite: Suite, store: Store, sequences: int = 2_000, seeds: int = 60) -> Iterator[Sequence[str]]:
    """The rows of the table of false alarms among the recorded differences of a suite, the header first.

    A handful of numbers drawn again and again has ties and lucky shapes of its own, whatever they were drawn from. So
    as many numbers from a Gaussian are treated alike beside them.
    """
    yield "numbers, drawn with replacement", "false alarms, mean", "largest"
    found = list(recorded(suite, store))
    if not found:
        raise UserError(f"{suite.name}: no two arms that differ in their optimizer alone have six seeds or more")
    ideal = [stream(place, "ideal").standard_normal(len(numbers)) for place, numbers in enumerate(found)]
    ideal = [numbers - numbers.mean() for numbers in ideal]
    for name, families in ((f"{suite.name}: {len(found)} pairs of arms", found), ("as many Gaussian ones", ideal)):
        sets = (resampled(own)(stream(place, "drawn"), (sequences, seeds)) for place, own in enumerate(families))
        rates = [float(np.isfinite(alarms(own, anytime)).mean()) for own in sets]
        yield name, f"{np.mean(rates):.3f} ± {np.std(rates) / math.sqrt(len(rates)):.3f}", f"{max(rates):.3f}"
    pooled = np.concatenate([numbers / numbers.std() for numbers in found])
    draws = resampled(pooled)(stream(0, "pooled"), (5 * sequences, seeds))
    yield "all pairs pooled, each in its own sd", share(np.isfinite(alarms(draws, anytime))), ""


def main(arguments: Sequence[str]) -> None:
    """Prints the tables."""
    print(table(false_alarms()), table(effects()), sep="\n\n")
    if arguments:
        from optbench.api import open_results
        from optbench.suite import load_suite

        suite, results = arguments
        print("", table(of_records(load_suite(suite), open_results(results))), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
