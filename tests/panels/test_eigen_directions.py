"""Learning times and plateaus of simulated curves are found, and real runs follow the theory."""

import math

import numpy as np
import pytest
from cells import CELL

from optbench.cell import CellSpec
from optbench.errors import UserError
from optbench.panels.base import Subject
from optbench.panels.eigen_directions import (
    EigenDirections,
    delay_free_ratio,
    last_first_ratio,
    learned_for_good,
    plateaus_of,
)
from optbench.runner import run_cell
from optbench.store import Store
from optbench.tasks.icl_regression import IclRegressionTask
from optbench.trained import built


def cell(*, steps=1500, seed=0, task=None, model=None, **optimizer):
    return CellSpec.model_validate(
        {
            "model": {"kind": "linear_attention", **(model or {})},
            "task": {"kind": "icl_regression", "train": 65_536, "validation": 0, "test": 1000, **(task or {})},
            "strategy": {"kind": "uniform"},
            "optimizer": {"rule": {"kind": "gd", "lr": 0.5}, **optimizer},
            "training": {
                "steps": steps,
                "batch_size": 2048,
                "schedule": {"kind": "constant", "warmup": 0.0},
            },
            "seed": seed,
        }
    )


def start(one, panel=None, task=None):
    task = task or one.task.build()
    return (panel or EigenDirections()).start(Subject(one, task, built(one, "cpu"), None, "cpu"))


def findings(one, tmp_path):
    """What the panel left beside the record of a real run."""
    import json

    import pandas as pd

    store = Store(tmp_path)
    run_cell(one, store, [EigenDirections(looks=200)])
    (folder,) = [path.parent for path in store.folder(one.key).rglob("panel.json")]
    found = json.loads((folder / "panel.json").read_text(encoding="utf-8"))
    return found, {path.stem: pd.read_parquet(path) for path in folder.glob("*.parquet")}


def test_learning_is_interpolated_and_for_good():
    steps = np.array([0.0, 10, 20, 30, 40])
    assert learned_for_good(steps, np.array([0, 0.1, 0.9, 0.9, 0.9]), 0.5) == pytest.approx(15.0)
    assert learned_for_good(steps, np.array([0.7, 0.6, 0.2, 0.3, 0.8]), 0.5) == pytest.approx(34.0)
    assert learned_for_good(steps, np.full(5, 0.5), 0.5) == 0.0
    assert math.isnan(learned_for_good(steps, np.array([0, 0.1, 0.9, 0.9, 0.4]), 0.5))


def test_the_ratio_is_last_over_first_or_says_what_is_missing():
    assert last_first_ratio(np.array([10.0, 15, 40]), 100) == (4.0, "")
    ratio, why = last_first_ratio(np.array([10.0, 15, math.nan]), 100)
    assert math.isnan(ratio) and "above 10" in why
    assert "first direction was never" in last_first_ratio(np.array([math.nan, math.nan]), 100)[1]
    assert "before training" in last_first_ratio(np.array([0.0, 5]), 100)[1]


def simulated(times, looks=400, total=10_000, width=8.0):
    """Alignments that go from 0 to 1 around `times`, and the loss of the diagonal matrix that they make up."""
    own = IclRegressionTask(dims=len(times)).population()
    steps = np.unique(np.concatenate([[0], np.geomspace(1, total, looks).round()]))
    aligned = 1 / (1 + (np.maximum(steps, 1e-9)[:, None] / np.array(times)) ** -width)
    losses = [own.loss(own.axes @ np.diag(a * own.optimum) @ own.axes.T) for a in aligned]
    return own, steps, aligned, np.array(losses)


def test_plateaus_are_found_at_the_saddles_and_only_where_the_loss_waits():
    own, steps, aligned, losses = simulated([20.0, 200.0, 230.0, 3000.0])
    times = np.array([learned_for_good(steps, a, 0.5) for a in aligned.T])
    np.testing.assert_allclose(times, [20, 200, 230, 3000], rtol=0.01)
    table = plateaus_of(steps, losses, times, own).set_index("learned")
    assert table["plateau"].to_dict() == {0: True, 1: True, 2: False, 3: True, 4: True}
    assert table["error"][table["plateau"]].max() < 0.01
    assert table["error"][2] > 0.03
    np.testing.assert_allclose(table["closed_form"], [1, 0.641, 0.377, 0.210, 0.136], atol=6e-4)


def test_a_plateau_in_another_order_is_held_against_what_was_learned():
    own, steps, aligned, losses = simulated([200.0, 20.0, 1000.0, 5000.0])
    times = np.array([learned_for_good(steps, a, 0.5) for a in aligned.T])
    table = plateaus_of(steps, losses, times, own).set_index("learned")
    assert table["closed_form"][1] == pytest.approx(own.saddle_loss(np.array([False, True, False, False])))
    assert table["error"][table["plateau"]].max() < 0.01


@pytest.mark.parametrize("rotation", ["random", "identity"])
def test_gradient_descent_learns_the_largest_eigenvalue_first_and_waits_at_the_saddles(rotation, tmp_path):
    # Two directions, far apart: short, and with plateaus in between.
    one = cell(task={"dims": 2, "spectrum": (0.45, 0.15), "rotation": rotation}, model={"dims": 2, "heads": 8})
    found, tables = findings(one, tmp_path)
    result = found["result"]
    assert found["notes"]["order"] == [1, 2]
    assert result["never_learned_directions"] == 0
    assert result["last_first_ratio"] == pytest.approx(result["learned_at/2"] / result["learned_at/1"])
    assert result["last_first_ratio"] > 2
    assert {1, 2} <= set(found["notes"]["plateaus"])
    assert result["plateau_error"] < 0.03
    assert result["population_loss"] == pytest.approx(found["notes"]["closed_form"][-1], rel=0.03)
    assert list(tables["alignments"]) == ["step", "population_loss", "alignment/1", "alignment/2"]
    assert tables["alignments"]["step"].iloc[[0, -1]].tolist() == [0, 1500]
    assert all(np.isfinite(list(result.values())))


def test_a_sharpness_penalty_delays_the_first_direction_more_than_the_last(tmp_path):
    fields = {"task": {"dims": 2, "spectrum": (0.45, 0.15)}, "model": {"dims": 2, "heads": 8}}
    sam = {"estimator": {"kind": "sharpness_aware", "rho": 0.05}}
    plain, shifted = (findings(cell(**fields, **extra), tmp_path)[0]["result"] for extra in ({}, sam))
    assert shifted["learned_at/1"] > 1.1 * plain["learned_at/1"]
    assert shifted["last_first_ratio"] < 0.95 * plain["last_first_ratio"]


def test_runs_follow_gradient_descent_on_the_whole_training_set_and_on_the_population(tmp_path):
    """The same weights, trained in float64 on the moments of all sequences, learn at the same steps."""
    one = cell(task={"dims": 2, "spectrum": (0.45, 0.15)}, model={"dims": 2, "heads": 8})
    task, own = one.task.build(), one.task.population()
    result = findings(one, tmp_path)[0]["result"]
    rows = task.train.numbers.astype(float)
    z = np.einsum("nd,ne->nde", rows[:, :2], rows[:, 2:4]).reshape(len(rows), 4)
    moments, cross = z.T @ z / len(z), z.T @ rows[:, 4] / len(z)
    gamma = own.axes @ np.diag(own.second_moments) @ own.axes.T

    def on_training_set(matrix):
        return 2 * (moments @ matrix.flatten() - cross).reshape(2, 2)

    def on_population(matrix):
        return 2 * (gamma @ matrix - own.covariance) @ own.covariance

    for slope_at, tolerance in ((on_training_set, 0.02), (on_population, 0.1)):
        weights = {name: p.detach().double().numpy() for name, p in built(one, "cpu").module.named_parameters()}
        v, k, q = (weights[name] for name in ("value", "key", "query"))
        aligned = []
        for _ in range(1501):
            matrix = (k * v[:, None]).T @ q
            aligned.append(own.aligned(matrix))
            slope = slope_at(matrix)
            steps = ((k @ slope) * q).sum(axis=1), v[:, None] * (q @ slope.T), v[:, None] * (k @ slope)
            v, k, q = (w - 0.5 * s for w, s in zip((v, k, q), steps, strict=True))
        expected = [learned_for_good(np.arange(1501.0), a, 0.5) for a in np.array(aligned).T]
        np.testing.assert_allclose([result["learned_at/1"], result["learned_at/2"]], expected, rtol=tolerance)


def test_looking_changes_nothing_and_starts_before_training():
    looking = start(cell())
    before = [p.detach().clone() for p in looking.model.module.parameters()]
    looking.observe(0)
    assert all((a == b).all() for a, b in zip(before, looking.model.module.parameters(), strict=True))
    assert {0, 1, 2} <= looking.observe_at and 1500 not in looking.observe_at


def test_a_run_that_ends_early_says_what_was_not_learned():
    looking = start(cell(steps=20))
    looking.observe(0)
    found = looking.finish()
    assert found.result["never_learned_directions"] == 4
    assert "last_first_ratio" not in found.result and "never learned" in found.notes["last_first_ratio"]


def test_other_tasks_and_equal_eigenvalues_are_refused():
    with pytest.raises(UserError, match="needs a model linear_attention and a task icl_regression"):
        start(CELL)
    with pytest.raises(UserError, match="some of the task are equal"):
        start(cell(task={"dims": 2, "spectrum": (0.5, 0.5)}, model={"dims": 2}))


def test_the_delay_free_ratio_does_not_change_where_all_directions_wait_alike():
    times = np.array([500.0, 900.0, 2000.0, 8100.0])
    assert delay_free_ratio(times) == pytest.approx((8100 - 900) / (900 - 500))
    assert delay_free_ratio(times + 1000) == delay_free_ratio(times)
    assert last_first_ratio(times + 1000, 9999)[0] < 0.5 * last_first_ratio(times, 9999)[0]
    assert np.isnan(delay_free_ratio(np.array([500.0, np.nan, 2000.0])))
    assert np.isnan(delay_free_ratio(np.array([500.0, 400.0, 2000.0])))
    assert np.isnan(delay_free_ratio(np.array([500.0, 900.0])))
