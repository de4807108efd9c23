"""Our side of a comparison: each optimizer of a suite, and its gain over the reference, paired over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optbench.boards.names import normalised
from optbench.errors import UserError, suggestion
from optbench.metrics.columns import column
from optbench.reports.frame import MISSING, by_arm_and_seed, cells_table, metrics_of, refuse_mixed, scored
from optbench.reports.pairs import complete_block, largest_of, pairs_of, per_seed, spread_of
from optbench.reports.standings import by_model
from optbench.reports.stats import ALPHA, Array, half_width, holm, t_p_value

if TYPE_CHECKING:
    from optbench.store import Store
    from optbench.suite import Suite


@dataclass(frozen=True)
class Gain:
    """How much better than the reference, positive where better, over the seeds that both have.

    `absolute` is in the unit of the metric, `relative` the mean over seeds of the difference over the reference's
    value; each with the half-width of its 95% interval (infinite where it is not known). Infinite where one of the two
    diverged and its metric has no worst value to count as. `p_holm` is adjusted over all optimizers compared. `models`
    of the `models_declared` are in it: those for which the same seeds are there.
    """

    absolute: float
    absolute_half_width: float
    relative: float
    relative_half_width: float
    p: float
    p_holm: float
    n: int
    models: int
    models_declared: int
    resolved: bool
    contended: bool


@dataclass(frozen=True)
class OurSide:
    """One optimizer of the suite: its mean (over models, then over seeds) and its gain, which the reference lacks.

    `diverged` counts cells of the `cells` that have a record.
    """

    optimizer: str
    name: str
    mean: float
    half_width: float
    n: int
    cells: int
    diverged: int
    gain: Gain | None


@dataclass(frozen=True)
class Ours:
    """All optimizers of the suite under one strategy, by their normalised names, in the order of the suite."""

    metric: str
    strategy: str
    task: str
    budget: str
    models: tuple[str, ...]
    reference: str
    sides: Mapping[str, OurSide]
    cells: pd.DataFrame

    @property
    def higher(self) -> bool:
        """Whether more of the metric is better."""
        return column(self.metric).direction == "higher"


def ours_of(suite: Suite, store: Store, *, metric: str, strategy: str, model: str, reference: str) -> Ours:
    """The side of a suite. Empty texts: what the suite is ranked by, `uniform` data, all models.

    `reference` is a normalised name; where the suite has no such optimizer, nobody has a gain. Raises UserError for
    names that the suite does not have, several tasks or budgets (which do not pool), two optimizers of one normalised
    name, a metric without a better direction or without a figure, and for records that must not be pooled.
    """
    axes = [arm.axes() for arm in suite.arms]
    strategy = _chosen("--strategy", strategy or _usual_strategy(axes), [names["strategy"] for names in axes], suite)
    if model:
        _chosen("--model", model, [names["model"] for names in axes], suite)
    for axis in ("task", "budget"):
        found = list(dict.fromkeys(names[axis] for names in axes))
        if len(found) > 1:
            example = f"--only {axis}={found[0]!r}" if " " in found[0] else f"--only {axis}={found[0]}"
            raise UserError(
                f"{suite.path} has {len(found)} {axis}s ({', '.join(found)}), which are not averaged: choose one, "
                f"as in {example}"
            )
    cells = cells_table(suite, store)
    refuse_mixed(cells)
    pooled = scored(cells)
    metric = metric or suite.ranked_by
    _check_metric(metric, pooled, store, suite)
    mine = [names["strategy"] == strategy and (not model or names["model"] == model) for names in axes]
    arms = pd.DataFrame(axes)[mine]
    levels = _levels(suite, pooled, arms, metric)
    used = cells[cells["arm"].isin(arms.index)]
    sides = _sides(used, levels)
    ours = Ours(
        metric=metric,
        strategy=strategy,
        task=axes[0]["task"],
        budget=axes[0]["budget"],
        models=tuple(dict.fromkeys(arms["model"])),
        reference=reference,
        sides=sides,
        cells=used,
    )
    return _with_gains(ours, suite, pooled, {"strategy": strategy, **({"model": model} if model else {})})


def _usual_strategy(axes: list[dict[str, str]]) -> str:
    found = list(dict.fromkeys(names["strategy"] for names in axes))
    if "uniform" in found:
        return "uniform"
    if len(found) > 1:
        raise UserError(f"the suite has no strategy `uniform`; choose one with --strategy: {', '.join(found)}")
    return found[0]


def _chosen(option: str, given: str, allowed: list[str], suite: Suite) -> str:
    if given not in allowed:
        raise UserError(f"{option} {given}: {suite.path} has none of that name; {suggestion(given, set(allowed))}")
    return given


def _check_metric(metric: str, cells: pd.DataFrame, store: Store, suite: Suite) -> None:
    if (cells["outcome"] == MISSING).all():
        raise UserError(
            f"no records of the suite {suite.name} in {store.root}: run it with "
            + suite.asked.run(suite.path, store.root)
        )
    known = [name for name in metrics_of(cells) if cells[name].notna().any() and column(name).direction != "neither"]
    if metric not in known:
        raise UserError(
            f"--metric {metric}: no record has it, or no value of it is better than another; "
            f"{suggestion(metric, known)}"
        )


def _levels(suite: Suite, pooled: pd.DataFrame, arms: pd.DataFrame, metric: str) -> dict[str, Array]:
    """For each optimizer its values per seed, averaged over models; NaN at a seed that lacks a model."""
    rows = pd.MultiIndex.from_frame(arms[["optimizer", "strategy"]].drop_duplicates())
    values = by_arm_and_seed(pooled, pooled[metric], arms=len(suite.arms), empty=math.nan)
    overall = next(iter(by_model(arms, rows, values, math.nan).values()))
    return {optimizer: overall[place] for place, (optimizer, _) in enumerate(rows)}


def _sides(cells: pd.DataFrame, levels: Mapping[str, Array]) -> dict[str, OurSide]:
    sides: dict[str, OurSide] = {}
    for optimizer, by_seed in levels.items():
        name = normalised(optimizer)
        if name in sides:
            raise UserError(
                f"{sides[name].optimizer} and {optimizer} of the suite are both {name!r} on a board: choose one with "
                "--only optimizer=NAME"
            )
        numbers = by_seed[~np.isnan(by_seed)]
        mean, sd = spread_of(numbers, counted=False)
        if len(numbers) and not np.isfinite(numbers).all():
            mean = float(numbers.mean())
        own = cells[(cells["optimizer"] == optimizer) & (cells["outcome"] != MISSING)]
        sides[name] = OurSide(
            optimizer=optimizer,
            name=name,
            mean=mean,
            half_width=float(half_width(sd, len(numbers))),
            n=len(numbers),
            cells=len(own),
            diverged=int((own["outcome"] == "diverged").sum()),
            gain=None,
        )
    return sides


def _with_gains(ours: Ours, suite: Suite, pooled: pd.DataFrame, shared: Mapping[str, str]) -> Ours:
    if ours.reference not in ours.sides:
        return ours
    anchor = ours.sides[ours.reference].optimizer
    gains = {}
    for name, side in ours.sides.items():
        if name != ours.reference:
            pairs = pairs_of(suite, {"optimizer": side.optimizer, **shared}, {"optimizer": anchor, **shared})
            block = complete_block(pooled, pairs, ours.metric, arms=len(suite.arms))
            known = column(ours.metric)
            contended = known.measured and bool((block.used & pooled["contended"]).any())
            gain = _gain(block.of, block.minus, higher=ours.higher, counted=known.counted)
            gains[name] = replace(gain, models_declared=len(pairs.of), contended=contended)
    adjusted = holm([gain.p for gain in gains.values()])
    sides = dict(ours.sides)
    for (name, gain), p in zip(gains.items(), adjusted, strict=True):
        resolved = bool(p < ALPHA) and not gain.contended
        sides[name] = replace(sides[name], gain=replace(gain, p_holm=float(p), resolved=resolved))
    return replace(ours, sides=sides)


def _gain(of: Array, minus: Array, *, higher: bool, counted: bool) -> Gain:
    """The gain from values [pairs, seeds] of an optimizer and of the reference."""
    sign = 1.0 if higher else -1.0
    own, anchor = per_seed(of), per_seed(minus)
    with np.errstate(invalid="ignore", divide="ignore"):
        absolute = sign * (own - anchor)
        relative = absolute / np.abs(anchor)
        # A difference from 1.
        ratio = float(np.abs(own / anchor).max(initial=1.0))
    mean, sd = spread_of(absolute, counted=counted, largest=largest_of(of, minus))
    share, share_sd = spread_of(relative, counted=counted, largest=ratio)
    n = len(absolute)
    if n and not np.isfinite(absolute).all():
        # Any infinite value makes an infinite mean; both sides infinite is no comparison.
        mean = float(absolute.sum())
        share = mean
    return Gain(
        absolute=mean,
        absolute_half_width=float(half_width(sd, n)),
        relative=share,
        relative_half_width=float(half_width(share_sd, n)),
        p=float(t_p_value(mean, sd, n, counted=counted)),
        p_holm=math.nan,
        n=n,
        models=len(of),
        models_declared=len(of),
        resolved=False,
        contended=False,
    )
