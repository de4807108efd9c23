"""Which rows of a table are best, tied with the best or resolved from each other, by paired differences over seeds."""

from __future__ import annotations

import math

import numpy as np

from optbench.reports.inference import Inference
from optbench.reports.stats import ALPHA, Array


def not_resolved_from_best(values: Array, *, higher: bool, inference: Inference) -> Array:
    """Which rows of `values` [rows, seeds] are the best or not resolved from it, by paired differences over seeds.

    NaN marks a seed that a row does not have. Rows without any number, or with an infinite one, are never in the
    group. Each row is tested against the one with the best mean, on the seeds that both have, two-sided at
    5% / (rows - 1). Bonferroni and not Holm, because the best row is chosen by the same data: the group then holds the
    truly best row with a chance of at least 97.5%, whichever was chosen. A row that cannot be tested (fewer than two
    common seeds) is not resolved.
    """
    scores, group = _comparable(values, higher=higher)
    if group.sum() > 1:
        best = scores[best_row(values, higher=higher)]
        beaten = _better(best[None], scores[group], level=ALPHA / (group.sum() - 1), inference=inference)[0]
        group[group] = ~beaten
    return group


def best_row(values: Array, *, higher: bool) -> int:
    """The place of the row with the best mean, the first of equal ones; -1 where no row can be compared.

    This is the row that `not_resolved_from_best` tests the others against.
    """
    scores, comparable = _comparable(values, higher=higher)
    if not comparable.any():
        return -1
    return int(np.flatnonzero(comparable)[np.nanmean(scores[comparable], axis=1).argmax()])


def resolved_pairs(values: Array, *, higher: bool, inference: Inference) -> Array:
    """Whether row i of `values` [rows, seeds] is resolved as better than row j, as a boolean matrix [i, j].

    The data choose which pairs are looked at, so the level is 5% / (k (k - 1) / 2) for k comparable rows, two-sided:
    the chance that any pair without a difference is resolved is at most 5%. Rows without any number, or with an
    infinite one, are resolved from none.
    """
    scores, comparable = _comparable(values, higher=higher)
    found = np.zeros((len(scores), len(scores)), dtype=bool)
    if comparable.sum() > 1:
        rows = scores[comparable]
        level = ALPHA / math.comb(len(rows), 2)
        found[np.ix_(comparable, comparable)] = _better(rows, rows, level=level, inference=inference)
    return found


def supported_as_best(values: Array, *, higher: bool, inference: Inference) -> Array:
    """Which rows may be set in bold, a stronger claim than a tie with the best.

    Such a row is not resolved from the best, has a better mean than every row that is, and is itself resolved from one
    of those: so nothing is bold for want of data alone. With one seed there is no such row.

    Here two rows are compared that both were chosen by the data, which may be any two of the k: the level is
    5% / (k (k - 1) / 2), two-sided. Where no row differs from any other, something is bold with a chance of at most
    5%, and of 3% in simulations of 7 rows at 5 seeds and of 21 rows at 12; with 5% / (k - 1) it was 10% and 21%.
    """
    scores, comparable = _comparable(values, higher=higher)
    tied = not_resolved_from_best(values, higher=higher, inference=inference)
    beaten: Array = comparable & ~tied
    if not beaten.any():
        return beaten
    level = ALPHA / math.comb(int(comparable.sum()), 2)
    better = _better(scores[tied], scores[beaten], level=level, inference=inference)
    above = np.nanmean(scores[tied], axis=1) > np.nanmean(scores[beaten], axis=1).max()
    tied[tied] = np.any(better, axis=1) & above
    return tied


def _comparable(values: Array, *, higher: bool) -> tuple[Array, Array]:
    """The values with higher as better, and which rows hold numbers, all of them finite."""
    scores = values if higher else -values
    comparable: Array = ~np.all(np.isnan(scores), axis=1) & ~np.any(np.isinf(scores), axis=1)
    return scores, comparable


def _better(rows: Array, others: Array, *, level: float, inference: Inference) -> Array:
    """Whether each of `rows` is resolved as higher than each of `others`, as a matrix [rows, others]."""
    differences = rows[:, None] - others[None]
    n = (~np.isnan(differences)).sum(axis=2)
    mean = np.nansum(differences, axis=2) / np.maximum(n, 1)
    deviations = np.nan_to_num(differences - mean[..., None])
    sd = np.sqrt((deviations**2).sum(axis=2) / np.maximum(n - 1, 1))
    sizes = (np.nanmax(np.abs(side), axis=1) for side in (rows, others))
    sd = inference.spread(sd, np.maximum.outer(*sizes))
    better: Array = (inference.p_value(mean, sd, n) < level) & (mean > 0)
    return better
