import itertools
from dataclasses import replace

import cells
import families
import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from optbench.cell import Training
from optbench.models.dimensions import Dimensions
from optbench.models.specs import PRESETS, ModelSpec
from optbench.oracle import Oracle
from optbench.strategies.base import Plan
from optbench.tasks.grouping import PartCost, grouped, groups, part_cost
from optbench.trained import Batches, trained

CHEAP = PartCost(per_token=1.0, per_pair=0.0, per_part=0.5)
MILLIONS = Dimensions(
    layers=6,
    width=256,
    heads=4,
    kv_heads=4,
    head_dim=64,
    intermediate=688,
    vocabulary=8192,
    gated=True,
    untied=False,
)


def partitions(items):
    """Every way to put the items into groups."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            left = [item for item in rest if item not in others]
            for found in partitions(left):
                yield [[first, *others], *found]


def price(parts, lengths, cost):
    longest = [max(lengths[i] for i in part) for part in parts]
    return sum(
        cost.per_part + len(part) * (cost.per_token * t + cost.per_pair * t**2)
        for part, t in zip(parts, longest, strict=True)
    )


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(6))
def test_no_way_to_cut_a_batch_is_cheaper(seed, micro_batch):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, size=6)
    for per_pair, per_part in itertools.product([0.0, 0.2], [0.0, 3.0, 30.0, 1e4]):
        cost = PartCost(1.0, per_pair, per_part)
        found = groups(lengths, cost, micro_batch=micro_batch)
        allowed = [p for p in partitions(list(range(6))) if max(map(len, p)) <= micro_batch]
        assert price(found, lengths, cost) == pytest.approx(min(price(p, lengths, cost) for p in allowed))


@pytest.mark.parametrize("micro_batch", [1, 7, 64])
def test_every_example_is_in_one_part_in_the_order_given_and_the_largest_part_is_first(micro_batch):
    lengths = np.random.default_rng(0).integers(5, 200, size=64)
    found = groups(lengths, PartCost(1.0, 0.0, 40.0), micro_batch=micro_batch)
    assert sorted(np.concatenate(found).tolist()) == list(range(64))
    assert all(len(part) <= micro_batch and (np.diff(part) > 0).all() for part in found)
    assert len(found) > 1
    padded = [len(part) * lengths[part].max() for part in found]
    assert padded == sorted(padded, reverse=True)
    assert found[0].tolist() != sorted(found[0], key=lambda i: lengths[i]) or micro_batch == 1


def test_a_batch_is_left_alone_where_parts_cost_more_than_padding():
    lengths = np.array([3, 50, 7])
    (whole,) = groups(lengths, PartCost(1.0, 0.0, 1e3), micro_batch=64)
    assert whole.tolist() == [0, 1, 2]


def test_costs_are_those_of_a_forward_and_two_backwards():
    cost = part_cost(MILLIONS, "cpu")
    assert cost.per_token == 6 * MILLIONS.hidden_parameters
    assert cost.per_pair == 12 * 6 * 4 * 64
    assert cost.per_part == 1e8 * 6 + 40 * MILLIONS.matrix_parameters
    assert part_cost(MILLIONS, "cuda:0").per_part == 1000 * cost.per_part


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", sorted(name for name in PRESETS if name.endswith("-nano")))
def test_nano_models_are_never_regrouped(name, device):
    assert part_cost(TypeAdapter(ModelSpec).validate_python(PRESETS[name]).dimensions(), device) is None


def test_lengths_with_a_tail_are_padded_a_fifth_less_at_millions_of_parameters():
    lengths = np.random.default_rng(0).lognormal(np.log(200), 0.35, size=32).astype(int)
    found = groups(lengths, part_cost(MILLIONS, "cpu"), micro_batch=4096)
    padded = sum(len(part) * lengths[part].max() for part in found)
    assert 2 <= len(found) <= 16
    assert padded < 1.2 * lengths.sum() < 0.8 * 32 * lengths.max()


@pytest.mark.parametrize("family", families.NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_loss_and_gradient_are_those_of_the_padded_batch(family, dtype, tolerance):
    model, task = families.model(family, dtype=dtype), families.task()
    prepared, rows = task.prepare(task.train, model), np.random.default_rng(0).permutation(96)[:40]

    def gradient(batch):
        loss = Oracle(model, task.losses, batch).gradient().loss
        return loss, [p.grad.clone() for p in model.module.parameters()]

    whole = prepared.batch(rows, micro_batch=40)
    cut = grouped(prepared, rows, CHEAP, micro_batch=16)
    assert len(cut.parts) > 3
    assert (cut.num_tokens, cut.num_supervised) == (whole.num_tokens, whole.num_supervised)
    (expected, slow), (found, fast) = gradient(whole), gradient(cut)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)
    if family == "gemma3":
        tolerance = 1e-5  # Its norms add up the gradient of their weights in float32, whatever the model is in.
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


def test_parts_are_as_wide_as_the_longest_of_the_rows_asked_for():
    model, task = families.model("llama"), families.task()
    prepared = task.prepare(task.train, model)
    rows = np.argsort(-prepared.lengths, kind="stable")[:30][::-1].copy()
    cut = grouped(prepared, rows, CHEAP, micro_batch=30)
    expected = [prepared.lengths[rows[g]] for g in groups(prepared.lengths[rows], CHEAP, micro_batch=30)]
    assert len(expected) > 2
    assert [tuple(p.inputs["input_ids"].shape) for p in cut.parts] == [(len(own), own.max()) for own in expected]
    # Parts are nearly free here, so nothing is padded.
    assert sum(p.inputs["input_ids"].numel() for p in cut.parts) == cut.num_tokens


def test_a_single_part_is_the_batch_as_it_was_bit_for_bit():
    model, task = families.model("llama"), families.task()
    prepared, rows = task.prepare(task.train, model), np.array([7, 3, 50, 3])
    (a,) = prepared.batch(rows, micro_batch=64).parts
    (b,) = grouped(prepared, rows, replace(CHEAP, per_part=1e9), micro_batch=64).parts
    assert torch.equal(a.inputs["input_ids"], b.inputs["input_ids"])
    assert torch.equal(a.positions, b.positions)
    assert torch.equal(a.targets, b.targets)


def test_a_step_sees_the_same_examples_however_it_is_cut():
    model, task = families.model("llama"), families.task()
    prepared = task.prepare(task.train, model)
    plan = Plan(list(task.train), np.ones(96, dtype=int))
    in_order, by_length = (Batches(prepared, plan, 20, 4096, 5, cost) for cost in (None, CHEAP))

    def sentences(batch):
        found = [row for part in batch.parts for row in part.inputs["input_ids"].tolist()]
        return sorted([token for token in row if token != model.tokenizer.pad_id] for row in found)

    for a, b in itertools.islice(zip(in_order, by_length, strict=True), 6):
        assert sentences(a) == sentences(b)
        assert len(b.parts) > len(a.parts) == 1
    assert np.array_equal(in_order.rows_seen(), by_length.rows_seen())


def test_a_cell_of_a_larger_model_is_trained_by_length_and_ends_where_it_would_in_order(tmp_path):
    large = TypeAdapter(ModelSpec).validate_python({"kind": "nano", "family": "llama", "width": 224, "layers": 2})
    assert large.dimensions().hidden_parameters > 1e6
    runs = [
        trained(
            cells.CELL.model_copy(update={"model": large, "training": Training(steps=3, batch_size=64, parts=parts)}),
            [],
            tmp_path,
            device="cpu",
            progress=None,
        )
        for parts in ("by_length", "in_order")
    ]
    assert [len(next(iter(run.batches)).parts) > 1 for run in runs] == [True, False]
    assert runs[0].history.losses == pytest.approx(runs[1].history.losses, rel=1e-5)
    assert runs[0].history.tokens == runs[1].history.tokens
    assert runs[0].history.passes == [1.0] * 3


def test_the_default_leaves_keys_as_they_are():
    assert "parts" not in Training(steps=1).identity()
    assert Training(steps=1, parts="in_order").identity()["parts"] == "in_order"
