"""Later-learned examples from recorded losses: what the strategies select, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import optbench
from optbench.strategies.base import Trajectories
from optbench.strategies.later_learned import Upsample
from optbench.tasks.base import Example


def losses(seed: int = 0, *, early: int = 160, late: int = 90) -> np.ndarray:
    """Early examples fall fast, late ones slowly."""
    rng = np.random.default_rng(seed)
    steps = np.arange(4)
    fast, slow = np.exp(-0.9 * steps), np.exp(-0.1 * steps)
    return np.concatenate([np.tile(fast, (early, 1)), np.tile(slow, (late, 1))]) + 0.05 * rng.random((early + late, 4))


@pytest.mark.parametrize("trajectory", ["raw", "ratio"])
def test_those_whose_loss_falls_slowly_are_found(trajectory: str) -> None:
    found = optbench.later_learned(losses(), trajectory=trajectory)
    assert found.dtype == bool
    assert np.flatnonzero(found).tolist() == list(range(160, 250))


def test_few_examples_are_told_apart_too_unless_they_are_a_source_of_their_own() -> None:
    few = losses(early=20, late=10)
    assert np.flatnonzero(optbench.later_learned(few)).tolist() == list(range(20, 30))
    assert optbench.later_learned(few, sources=["a"] * 30).all()
    assert np.flatnonzero(optbench.later_learned(few, sources=["a"] * 30, min_source=30)).tolist() == list(
        range(20, 30)
    )


@pytest.mark.parametrize("trajectory", ["raw", "ratio"])
@pytest.mark.parametrize("scope", ["source", "all"])
@pytest.mark.parametrize("clusters", [2, 3])
def test_they_are_those_that_the_strategies_repeat(trajectory: str, scope: str, clusters: int) -> None:
    values = losses() * np.random.default_rng(1).uniform(0.5, 2.0, size=(250, 1))
    sources = [("a", "b")[i % 2] for i in range(200)] + ["few"] * 50

    class Task:
        train = [Example(str(i), "q", "s", "", source) for i, source in enumerate(sources)]

    probe = Trajectories(values, np.arange(4), "key", 0.0, 0.0)
    select = {"trajectory": trajectory, "scope": scope, "clusters": clusters}
    plan = Upsample(select=select).plan(Task(), lambda: probe, None, seed=5)  # type: ignore[arg-type]
    given = sources if scope == "source" else None
    found = optbench.later_learned(values, sources=given, trajectory=trajectory, clusters=clusters)
    assert found.tolist() == (plan.repeats == 2).tolist()
    assert 0 < found.sum() < 250
    if scope == "source":
        assert found[200:].all()


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([1.0, 2.0], {}, r"an array \[examples, looks\], not one of shape \(2,\)"),
        ([[1.0, 2.0]], {}, r"1 example\(s\); telling early from late takes two"),
        (np.zeros((3, 0)), {}, r"0 look\(s\)"),
        ([[1.0], [2.0]], {"trajectory": "ratio"}, r"1 look\(s\); trajectory 'ratio' takes 2"),
        ([[1.0, 2.0], [np.nan, 1.0]], {}, r"losses\[1, 0\] is nan; 1 of 4 are not finite"),
        ([[1.0, np.inf], [1.0, 1.0]], {}, r"losses\[0, 1\] is inf"),
        ([["a", "b"]], {}, "losses must be numbers"),
        ([[1.0, 2.0], [1.0]], {}, "losses must be numbers"),
        ([[1.0, 2.0], [1.0, 2.0]], {}, "the losses of all examples are the same"),
        ([[1.0], [2.0]], {"sources": ["a"]}, "losses are of 2 examples, and sources of 1"),
        ([[1.0], [2.0]], {"trajectory": "row"}, "trajectory is 'row'; did you mean raw"),
        ([[1.0], [2.0]], {"clusters": 1}, "clusters must be a whole number from 2 to 2, not 1"),
        ([[1.0], [2.0]], {"clusters": 3}, "from 2 to 2, not 3"),
        ([[1.0], [2.0]], {"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ([[1.0], [2.0]], {"min_source": 0}, "min_source must be a whole number of at least 1"),
    ],
)
def test_what_means_nothing_is_refused(given: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(optbench.UserError, match=message):
        optbench.later_learned(given, **options)
    assert issubclass(optbench.UserError, ValueError)


@pytest.mark.parametrize("seed", range(20))
def test_ratios_without_a_square_tell_nothing(seed: int) -> None:
    """Such as 1e190: a distance to it is infinite, and k-means left labels unwritten, or ended the process."""
    values = np.array([[1e-100, 1e90, 1.0], [1e-100, -1e95, 3.0], [1.0, 2.0, 3.0]] * 3)
    found = optbench.later_learned(values, trajectory="ratio", seed=seed)
    assert found.tolist() == [False, False, True] * 3


@settings(max_examples=60, deadline=None)
@given(
    values=arrays.arrays(np.float64, st.tuples(st.integers(0, 9), st.integers(0, 4)), elements=st.floats()),
    trajectory=st.sampled_from(["raw", "ratio"]),
)
def test_any_array_has_an_answer_or_a_reason(values: np.ndarray, trajectory: str) -> None:
    try:
        found = optbench.later_learned(values, trajectory=trajectory)
    except optbench.UserError as error:
        assert str(error)
    else:
        assert found.shape == (len(values),) and found.any()
