"""When examples were learned, against counting by hand; and the panel on a real run."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cells import CELL, PANEL
from pydantic import ValidationError
from safetensors.torch import load_file

from optbench.evaluation import example_losses
from optbench.models.families import Nano
from optbench.models.generation import generate
from optbench.panels.base import Subject
from optbench.panels.lessons import deciles, first_right, forgotten, gini, right_for_good
from optbench.panels.simplicity import Lessons, Simplicity
from optbench.runner import run_cell
from optbench.store import Store
from optbench.trained import built

TIMES = np.array([0.0, 0.25, 0.5, 1.0])
RIGHT = np.array(
    [
        [0, 0, 0, 0],  # never
        [1, 1, 1, 1],  # from the start
        [0, 1, 0, 1],  # learned, forgotten, learned for good
        [0, 1, 1, 0],  # forgotten at the end
        [0, 0, 1, 1],
    ],
    dtype=bool,
)


def test_first_right_is_the_first_look_and_never_counts_one():
    assert first_right(RIGHT, TIMES).tolist() == [1.0, 0.0, 0.25, 0.25, 0.5]


def test_right_for_good_is_the_look_after_the_last_mistake():
    assert right_for_good(RIGHT, TIMES).tolist() == [1.0, 0.0, 1.0, 1.0, 0.5]


def test_learned_at_the_last_look_and_never_differ_in_never_learned_alone():
    # Both are 1 in fractions of the run: what happens after the run is not known.
    assert right_for_good(RIGHT, TIMES)[2] == right_for_good(RIGHT, TIMES)[0]


def test_forgetting_counts_every_fall():
    assert forgotten(RIGHT).tolist() == [0, 0, 1, 1, 0]


def test_gini_is_the_mean_absolute_difference_over_twice_the_mean():
    values = np.array([0.1, 0.7, 0.3, 1.0, 1.0])
    slow = np.abs(values[:, None] - values[None]).mean() / (2 * values.mean())
    assert gini(values) == pytest.approx(slow, abs=1e-12)
    assert gini(np.full(7, 0.4)) == pytest.approx(0.0, abs=1e-12)
    assert gini(np.zeros(3)) == 0.0


def test_deciles_are_tenths_by_rank():
    difficulty = np.random.default_rng(0).permutation(57).astype(float)
    found = deciles(difficulty)
    assert found[difficulty.argmin()] == 1
    assert found[difficulty.argmax()] == 10
    assert (np.diff(found[np.argsort(difficulty)]) >= 0).all()
    assert set(np.bincount(found)[1:]) <= {5, 6}


def test_a_yardstick_of_the_cells_own_model_is_refused():
    with pytest.raises(ValidationError, match="model of its own"):
        Simplicity.model_validate({"probe": {"model": "same"}})


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """A small run with the panel: its folder."""
    folder = tmp_path_factory.mktemp("looked")
    run_cell(CELL, Store(folder), [PANEL])
    return folder


def test_the_numbers_are_those_of_the_kept_tables(looked):
    (path,) = looked.glob("*/*/panels/*/panel.json")
    content = json.loads(path.read_text())
    result = content["result"]
    losses, right = (pd.read_parquet(path.parent / f"{name}.parquet") for name in ("losses", "right"))
    table = pd.read_parquet(path.parent / "examples.parquet")
    times = np.array(content["notes"]["looks"]) / 24
    assert times[0] == 0.0 and times[-1] == 1.0
    gap = losses[table.late].mean() - losses[~table.late].mean()
    assert result["late_early_gap"] == pytest.approx(gap.iloc[-1], abs=1e-5)
    slow = sum((gap.iloc[i] + gap.iloc[i + 1]) / 2 * (times[i + 1] - times[i]) for i in range(len(times) - 1))
    assert result["late_early_gap_area"] == pytest.approx(slow, abs=1e-5)
    assert result["never_learned"] == pytest.approx((~right.iloc[:, -1]).mean())
    assert result["decile_loss/10"] == pytest.approx(losses.iloc[:, -1][table.decile == 10].mean(), abs=1e-5)
    # Losses do fall over the run, so the looks saw different weights.
    assert losses.iloc[:, 0].mean() > losses.iloc[:, -1].mean() + 0.1


def test_the_last_losses_are_those_of_the_kept_weights(looked):
    (path,) = looked.glob("*/*/panels/*/losses.parquet")
    (weights,) = looked.glob("*/*/weights.safetensors")
    model, task = built(CELL, "cpu"), CELL.task.build()
    model.module.load_state_dict(load_file(weights), strict=False)
    table = pd.read_parquet(path.parent / "examples.parquet")
    by_id = {example.id: example for example in task.train}
    prepared = task.prepare([by_id[name] for name in table.id], model)
    found = example_losses(model, task, prepared)
    assert np.abs(found - pd.read_parquet(path).iloc[:, -1].to_numpy()).max() < 1e-5


def test_an_example_is_right_exactly_where_greedy_decoding_writes_the_reference():
    task = CELL.task.build()
    model = Nano(family="llama", width=16, layers=1, heads=2, kv_heads=1).build(
        seed=1, device="cpu", precision="float32", attention="sdpa"
    )
    first = task.train[0]
    said = generate(model, [task.prompt_of(first)], max_new_tokens=4)[0]
    assert said
    own = dataclasses.replace(first, solution=said)
    wrong = dataclasses.replace(first, solution=("b" if said[0] != "b" else "c") + said[1:])
    prepared = task.prepare([own, wrong], model)
    # The end of sequence after four characters is not what the model says, so it is left out of both.
    prepared = dataclasses.replace(prepared, supervised=prepared.supervised - 1, lengths=prepared.lengths - 1)
    subject = Subject(CELL, task, model, Path(), "cpu")
    lessons = Lessons(subject, Simplicity(), [own, wrong], prepared, np.array([True, False]), np.ones(2), "")
    assert lessons._look()[1].tolist() == [True, False]
