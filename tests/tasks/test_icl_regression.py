"""Sequences of in-context regression follow their law, and the closed forms of the loss are right."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from optbench.errors import UserError
from optbench.models.linear_attention import LinearAttention
from optbench.suite import load_suite
from optbench.tasks.icl_data import Population, rotation
from optbench.tasks.icl_regression import IclRegressionTask

SMALL = {"train": 300, "validation": 20, "test": 40}


def population(dims=4, context=31, seed=0, turned=True):
    eigenvalues = np.arange(dims, 0.0, -1.0)
    return Population(eigenvalues / eigenvalues.sum(), rotation(dims, seed) if turned else np.eye(dims), context)


def model(dims=4, seed=0, **fields):
    return LinearAttention(dims=dims, **fields).build(seed=seed, device="cpu", precision="float32", attention="sdpa")


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (4, [1, 0.641, 0.377, 0.210, 0.136]),
        (8, [1, 0.811, 0.649, 0.513, 0.403, 0.319, 0.261, 0.226, 0.213]),
    ],
)
def test_saddle_losses_are_those_of_the_paper(dims, expected):
    found = [population(dims).saddle_loss(np.arange(dims) < m) for m in range(dims + 1)]
    np.testing.assert_allclose(found, expected, atol=6e-4)
    lam = population(dims).eigenvalues
    terms = lam / (1 + (1 + lam.sum() / lam) / 31)
    np.testing.assert_allclose(found, [lam.sum() - terms[:m].sum() for m in range(dims + 1)], rtol=1e-12)


@pytest.mark.parametrize("turned", [True, False])
def test_a_saddle_loss_is_the_population_loss_at_the_truncated_optimum(turned):
    own = population(turned=turned)
    for learned in ([0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]):
        kept = np.array(learned, dtype=bool)
        matrix = own.axes @ np.diag(np.where(kept, own.optimum, 0.0)) @ own.axes.T
        assert own.loss(matrix) == pytest.approx(own.saddle_loss(kept), rel=1e-12)
        np.testing.assert_allclose(own.aligned(matrix), learned, atol=1e-12)


def test_nothing_is_better_than_the_optimum():
    own = population()
    best = own.axes @ np.diag(own.optimum) @ own.axes.T
    rng = np.random.default_rng(0)
    assert all(own.loss(best + 0.1 * rng.normal(size=(4, 4))) > own.loss(best) for _ in range(50))


@pytest.mark.parametrize("turned", [True, False])
def test_the_population_loss_is_the_mean_over_two_hundred_thousand_raw_sequences(turned):
    own = population(context=11, turned=turned)
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(4, 4)) + 2 * np.eye(4)  # no symmetry, not aligned with anything
    errors = []
    root = np.linalg.cholesky(own.covariance)
    for _ in range(20):
        w = rng.normal(size=(10_000, 4))
        x = rng.normal(size=(10_000, 12, 4)) @ root.T
        y = np.einsum("nld,nd->nl", x, w)
        beta = np.einsum("nl,nld->nd", y[:, :-1], x[:, :-1]) / 11
        errors.append((np.einsum("nd,de,ne->n", beta, matrix, x[:, -1]) - y[:, -1]) ** 2)
    flat = np.concatenate(errors)
    assert own.loss(matrix) == pytest.approx(flat.mean(), abs=4 * flat.std() / len(flat) ** 0.5)
    assert own.loss(matrix.T) != pytest.approx(flat.mean(), abs=4 * flat.std() / len(flat) ** 0.5)


@pytest.mark.parametrize("turned", ["random", "identity"])
def test_drawn_sequences_have_the_moments_of_the_population(turned):
    task = IclRegressionTask(rotation=turned, train=200_000, validation=0, test=1).build()
    own, rows = task.population, task.train.numbers.astype(float)
    beta, query, target = rows[:, :4], rows[:, 4:8], rows[:, 8]
    gamma = own.axes @ np.diag(own.second_moments) @ own.axes.T
    np.testing.assert_allclose(query.T @ query / len(rows), own.covariance, atol=5e-3)
    np.testing.assert_allclose(beta.T @ beta / len(rows), gamma, atol=5e-3)
    cross = (beta * target[:, None]).T @ query / len(rows)
    np.testing.assert_allclose(cross, own.covariance @ own.covariance, atol=5e-3)


def test_the_test_loss_is_close_to_the_population_loss():
    task = IclRegressionTask(train=8, validation=0).build()
    assert len(task.test) == 200_000
    one = model(init=2.0)
    found = task.evaluate(task.test, one, micro_batch=4096)
    assert found.questions is None
    assert found.result["test_loss"] == pytest.approx(task.population.loss(one.effective_matrix()), rel=0.02)


def test_splits_share_nothing_and_depend_on_the_data_seed():
    task = IclRegressionTask(**SMALL).build()
    questions = [{example.question for example in split} for split in (task.train, task.validation, task.test)]
    assert [len(own) for own in questions] == [300, 20, 40]
    assert not questions[0] & questions[1] and not questions[0] & questions[2] and not questions[1] & questions[2]
    again, other = IclRegressionTask(**SMALL).build(), IclRegressionTask(**SMALL, data_seed=1).build()
    assert np.array_equal(task.train.numbers, again.train.numbers)
    assert not np.array_equal(task.train.numbers, other.train.numbers)
    # One stream for each split: the size of one moves no other, and splits of equal size are not the same.
    assert np.array_equal(IclRegressionTask(**{**SMALL, "test": 50}).build().train.numbers, task.train.numbers)
    even = IclRegressionTask(train=30, validation=30, test=30).build()
    assert not np.isin(even.train.numbers, even.test.numbers).any()
    assert not np.isin(even.train.numbers, even.validation.numbers).any()


def test_examples_written_out_come_back_as_the_same_numbers():
    task = IclRegressionTask(**SMALL).build()
    kept = task.prepare(task.train[5:25], model())
    written = task.prepare([task.train[row] for row in range(5, 25)], model())
    assert torch.equal(kept.rows, written.rows)
    assert task.train[5:25][3] == task.train[8]
    assert task.train[8].id == "train-8"


def test_a_batch_is_the_sequences_asked_for_however_it_is_cut():
    task = IclRegressionTask(**SMALL).build()
    prepared = task.prepare(task.train, model())
    rows = np.array([7, 3, 3, 250, 0])
    whole, cut = prepared.batch(rows, micro_batch=5), prepared.batch(rows, micro_batch=2)
    assert [len(part.targets) for part in cut.parts] == [2, 2, 1]
    assert (whole.num_supervised, whole.num_tokens) == (5, 5 * 32)
    np.testing.assert_array_equal(whole.parts[0].inputs["beta"].numpy(), task.train.numbers[rows, :4])
    np.testing.assert_array_equal(whole.parts[0].inputs["query"].numpy(), task.train.numbers[rows, 4:8])
    np.testing.assert_array_equal(torch.cat([part.targets for part in cut.parts]).numpy(), task.train.numbers[rows, 8])
    assert (prepared.lengths[rows] == 32).all() and (prepared.supervised[rows] == 1).all()


def test_a_spectrum_is_checked_and_enters_the_population():
    own = IclRegressionTask(dims=2, spectrum=(0.9, 0.1)).population()
    assert own.eigenvalues.tolist() == [0.9, 0.1]
    np.testing.assert_allclose(np.linalg.eigvalsh(own.covariance), [0.1, 0.9])
    with pytest.raises(ValidationError, match="3 eigenvalues for dims: 2"):
        IclRegressionTask(dims=2, spectrum=(0.5, 0.3, 0.2))
    with pytest.raises(ValidationError, match="from the largest"):
        IclRegressionTask(dims=2, spectrum=(0.1, 0.9))


def test_answers_and_new_sequences_are_refused():
    task = IclRegressionTask(**SMALL).build()
    with pytest.raises(UserError, match="not graded"):
        task.answer(task.test, model())
    with pytest.raises(UserError, match="writes no new sequences"):
        task.rewrite(task.train[:2], 0)


SUITE = """
models: [{model}]
tasks: [{task}]
strategies: [{strategy}]
optimizers: [gd]
budget: {{steps: 5}}
seeds: 1
"""


@pytest.mark.parametrize(
    ("model_entry", "task", "strategy", "message"),
    [
        (
            "linear-attention",
            "arithmetic",
            "uniform",
            r":1: .*reads regression in 4 dimensions, and the task",
        ),
        (
            "phi-nano",
            "icl-regression",
            "uniform",
            r":1: .*phi-nano reads text, and the task icl-regression is",
        ),
        ("{kind: linear_attention, dims: 3, name: m}", "icl-regression", "uniform", r":1: .*m reads regression in 3"),
        (
            "linear-attention",
            "icl-regression",
            "{preset: upsample, probe: {model: {kind: nano, family: llama}}}",
            r":3: .*the probe's model of upsample reads text",
        ),
        ("linear-attention", "icl-regression", "augment", r":3: .*augment needs new examples"),
    ],
)
def test_a_model_that_cannot_read_the_task_is_refused_when_the_suite_is_read(
    tmp_path, model_entry, task, strategy, message
):
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.format(model=model_entry, task=task, strategy=strategy).lstrip(), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_suite(path)


def test_an_optimizer_that_draws_tokens_is_refused_where_there_are_none(tmp_path):
    path = tmp_path / "suite.yaml"
    text = SUITE.format(model="linear-attention", task="icl-regression", strategy="uniform").lstrip()
    path.write_text(text.replace("[gd]", "[gd, sophia]"), encoding="utf-8")
    with pytest.raises(UserError, match=r":4: .*sophia draws targets from a distribution over tokens, so that it is"):
        load_suite(path)


def test_the_cost_of_a_step_is_known_without_data():
    from optbench.cost import mean_work

    work = mean_work(LinearAttention(), IclRegressionTask(), 10)
    assert (work.tokens, work.pairs, work.supervised) == (320, 10240, 10)
