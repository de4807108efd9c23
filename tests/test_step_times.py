"""What is said of the time of a step, also where steps are not all alike."""

import numpy as np
import pytest

from optbench.metrics.cost import WARM_UP, timed
from optbench.train import History


def history(seconds, passes):
    found = History()
    found.seconds[:], found.passes[:] = list(seconds), list(passes)
    found.tokens[:], found.losses[:] = [100] * len(found.seconds), [1.0] * len(found.seconds)
    return found


def test_steps_of_one_kind_have_their_median():
    seconds = np.random.default_rng(0).gamma(4.0, 0.1, size=101)
    found = timed(history(seconds, [1.0] * 101), peak_bytes=5)
    assert found["step_seconds"] == pytest.approx(np.median(seconds[WARM_UP:]))
    assert found["step_seconds_p95"] == pytest.approx(np.percentile(seconds[WARM_UP:], 95))
    assert found["train_seconds"] == pytest.approx(101 * found["step_seconds"])


def test_every_tenth_step_that_takes_twice_as_long_is_seen():
    """The median of all is that of the short ones, with or without the long ones."""
    passes = [2.0 if step % 10 == 0 else 1.0 for step in range(300)]
    found = timed(history([0.5 * own for own in passes], passes), peak_bytes=5)
    assert found["step_seconds"] == pytest.approx(0.55)
    assert found["train_seconds"] == pytest.approx(300 * 0.55)


def test_a_rare_long_step_leaves_the_percentile_no_smaller_than_the_typical_one():
    passes = [50.0 if step % 100 == 99 else 1.0 for step in range(400)]
    found = timed(history(passes, passes), peak_bytes=5)
    assert found["step_seconds"] == pytest.approx(1 + 49 / 100)
    assert found["step_seconds_p95"] >= found["step_seconds"]


def test_a_kind_that_was_never_timed_leaves_the_median():
    passes = [2.0, *[1.0] * 7]
    assert timed(history([9.0, *[1.0] * 7], passes), peak_bytes=5)["step_seconds"] == 1.0
