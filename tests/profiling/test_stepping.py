"""Blocks in turn, ratios and extrapolation, and what happens when memory runs out."""

import pytest
import torch
from profiles import settings, shape

from optbench.profiling import profiler, stepping
from optbench.profiling.batches import synthetic_batch
from optbench.profiling.depths import Stack, on_the_line, two_depths
from optbench.profiling.rows import break_even
from optbench.profiling.settings import optimizers_of
from optbench.profiling.stepping import Block, Series, groups, in_turn, timed_block


def test_the_baseline_stands_beside_everybody_and_order_alternates():
    names = ["adamw", "sam", "gd", "muon"]
    forwards = groups(names, "adamw", backwards=False)
    assert forwards == [["sam", "adamw", "gd"], ["muon", "adamw"]]
    assert groups(names, "adamw", backwards=True) == [["adamw", "muon"], ["gd", "adamw", "sam"]]
    assert groups(["adamw"], "adamw", backwards=False) == [["adamw"]]
    assert groups(["sam", "gd"], "adamw", backwards=False) == [["sam"], ["gd"]]


def test_ratios_are_of_neighbours_and_lie_on_the_line():
    """Costs 3 + 2 d against 1 + d: at ten layers 23 / 11, with a second round of twice the cost on both sides."""
    series = Series()
    for depth in (1, 4):
        series.ours[depth] = [Block(k * (3 + 2 * depth), (k * (3.0 + 2 * depth),)) for k in (1, 2)]
        series.theirs[depth] = [Block(k * (1 + depth), (k * (1.0 + depth),)) for k in (1, 2)]
    assert series.ratios(10) == pytest.approx([23 / 11, 23 / 11])
    assert series.walls(10, 0.0) == pytest.approx(23)
    assert series.walls(10, 1.0) == pytest.approx(46)
    assert series.steps == 2


def test_a_deeper_model_that_is_no_slower_is_noise():
    def series(shallow, deep):
        found = Series()
        for depth, cost in ((1, shallow), (4, deep)):
            found.ours[depth] = [Block(cost, (cost,))] * 3
            found.theirs[depth] = [Block(float(depth), (float(depth),))] * 3
        return found

    assert not series(1.0, 2.0).is_noise
    assert series(2.0, 1.9).is_noise
    assert series(2.0, 2.0).is_noise


def test_noise_is_not_extrapolated(monkeypatch):
    def block(stack, depth, spec, batch, steps):
        return Block(1 / depth, (1 / depth,) * steps)

    monkeypatch.setattr(stepping, "timed_block", block)
    for row in rows_of(None, layers=4).values():
        assert row.status == "extrapolated" and "too noisy" in row.why
        assert all(x != x for x in (row.ratio, row.step_seconds, row.tokens_per_second, row.split["first_pass"]))
        assert row.flops_counted > 0.99 and row.state_bytes >= 0


def test_a_line_and_depths():
    assert on_the_line([2, 4], [5.0, 9.0], 10) == 21.0
    assert on_the_line([7], [5.0], 7) == 5.0
    assert two_depths(28, 4) == (1, 4) and two_depths(28, 8) == (2, 8) and two_depths(28, 2) == (1, 2)
    assert two_depths(2, 4) == (2,) and two_depths(4, 4) == (4,)


@pytest.mark.parametrize(("ratio", "percent"), [(2.0, 50.0), (1.0, 0.0), (1.25, 20.0), (0.8, -25.0)])
def test_break_even(ratio, percent):
    assert break_even(ratio) == pytest.approx(percent)


@pytest.mark.parametrize("family", ["llama", "gemma3", "phi", "qwen3"])
def test_a_stack_at_a_depth_is_the_shallow_model(family):
    deep, shallow = shape(family, layers=4), shape(family, layers=2)
    whole = deep.build(seed=0, device="cpu", precision="float32")
    other = shallow.build(seed=1, device="cpu", precision="float32")
    names = other.module.state_dict().keys()
    other.module.load_state_dict({k: v for k, v in whole.module.state_dict().items() if k in names})
    (part,) = synthetic_batch(settings(), 96).parts
    before = whole.outputs(part)
    with Stack(whole, 4).at(2) as parameters:
        assert torch.equal(whole.outputs(part), other.outputs(part))
        assert sum(p.tensor.numel() for p in parameters) == sum(p.numel() for p in other.module.parameters())
    assert torch.equal(whole.outputs(part), before)


def small_stack(layers=2):
    return Stack(shape(layers=layers).build(seed=0, device="cpu", precision="float32"), layers)


def test_a_block_times_its_steps_and_leaves_the_model_as_it_was():
    stack, batch = small_stack(), synthetic_batch(settings(), 96)
    weights = [p.detach().clone() for p in stack.model.module.parameters()]
    found = timed_block(stack, 2, optimizers_of("sam")["sam"], batch, 3)
    assert len(found.walls) == 3 and min(found.walls) > 0 and found.cost > 0
    for p, before in zip(stack.model.module.parameters(), weights, strict=True):
        assert torch.allclose(p, before, atol=1e-5, rtol=0) and p.grad is None


def test_a_block_does_not_time_the_first_step(monkeypatch):
    seen = []
    step = stepping.one_step
    monkeypatch.setattr(stepping, "one_step", lambda *args, **kwargs: (seen.append(1), step(*args, **kwargs))[1])
    found = timed_block(small_stack(), 2, optimizers_of("adamw")["adamw"], synthetic_batch(settings(), 96), 2)
    assert (len(seen), len(found.walls)) == (3, 2)


def blocks_that_fail(monkeypatch, failing, error):
    def block(stack, depth, spec, batch, steps):
        if spec.estimator.kind == failing:
            raise error
        return Block(float(depth), (float(depth),) * steps)

    monkeypatch.setattr(stepping, "timed_block", block)


CPU_ERROR = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), CPU_ERROR])
def test_out_of_memory_costs_one_case(monkeypatch, error):
    blocks_that_fail(monkeypatch, "sharpness_aware", error)
    specs = optimizers_of("sam,gd")
    found = in_turn(None, (1, 2), specs, "adamw", None, rounds=2, steps=1, tell=lambda what: None)
    assert {name: series.failed for name, series in found.items()} == {"adamw": False, "sam": True, "gd": False}
    assert found["gd"].ratios(2) == [1.0, 1.0]


def test_another_error_is_not_taken_for_memory(monkeypatch):
    blocks_that_fail(monkeypatch, "sharpness_aware", RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        in_turn(None, (1,), optimizers_of("sam"), "adamw", None, rounds=1, steps=1, tell=lambda what: None)


def test_without_a_baseline_times_are_kept_and_ratios_are_unknown(monkeypatch):
    blocks_that_fail(monkeypatch, "plain", MemoryError())
    found = in_turn(None, (1,), optimizers_of("sam"), "adamw", None, rounds=2, steps=1, tell=lambda what: None)
    assert found["adamw"].failed and found["sam"].walls(1, 0.5) == 1.0 and not found["sam"].theirs


def rows_of(usable, **fields):
    chosen = settings(steps=1, rounds=2, **fields)
    of, specs = shape(layers=6, vocabulary=2048), optimizers_of("gd,sam")
    return {row.optimizer: row for row in profiler.profiled(of, specs, chosen, usable, lambda what: None)}


def test_a_case_that_runs_out_of_memory_says_so_and_the_others_are_there(monkeypatch):
    original = profiler.in_turn

    def turns(*args, **kwargs):
        found = original(*args, **kwargs)
        found["sam"].failed = True
        return found

    monkeypatch.setattr(profiler, "in_turn", turns)
    rows = rows_of(None, step_limit=1e9)
    assert {name: row.status for name, row in rows.items()} == {
        "adamw": "measured",
        "gd": "measured",
        "sam": "out of memory",
    }


def test_a_model_that_cannot_be_built_is_out_of_memory(monkeypatch):
    def build(self, **kwargs):
        raise MemoryError

    monkeypatch.setattr("optbench.profiling.shapes.Shape.build", build)
    assert {row.status for row in rows_of(None, layers=4).values()} == {"out of memory"}


def steady(monkeypatch):
    """Blocks run as ever, but take what their layers and passes say: no noise of this machine decides a test."""
    original = stepping.timed_block

    def block(stack, depth, spec, batch, steps):
        done = original(stack, depth, spec, batch, steps)
        cost = (1.0 + depth) * (2.0 if spec.estimator.kind == "sharpness_aware" else 1.0)
        return Block(cost, (cost,) * len(done.walls))

    monkeypatch.setattr(stepping, "timed_block", block)


def test_what_fits_is_measured_whole_and_the_rest_is_extrapolated(monkeypatch):
    steady(monkeypatch)
    chosen = settings(steps=1, rounds=2)
    peaks = {
        name: profiler.estimated(shape(layers=6, vocabulary=2048), spec, chosen).peak
        for name, spec in optimizers_of("gd,sam").items()
    }
    rows = rows_of((peaks["adamw"] / 0.9 + peaks["sam"] / 0.9) / 2, step_limit=1e9)
    assert {name: (row.status, row.measured_layers) for name, row in rows.items()} == {
        "adamw": ("measured", (6,)),
        "gd": ("measured", (6,)),
        "sam": ("extrapolated", (1, 4)),
    }
    assert rows["sam"].ratio == pytest.approx(2.0) and "does not fit" in rows["sam"].why


def test_a_slow_model_is_measured_shallow_and_the_reason_is_given(monkeypatch):
    steady(monkeypatch)
    rows = rows_of(None, step_limit=0.0)
    assert {row.status for row in rows.values()} == {"extrapolated"}
    assert "a whole step of AdamW would take about" in rows["adamw"].why


def test_what_fits_at_no_depth_is_not_measured():
    rows = rows_of(1000)
    assert {(row.status, row.fits) for row in rows.values()} == {("not measured", "no")}
    assert rows["sam"].memory_peak > 0 and rows["sam"].step_seconds != rows["sam"].step_seconds


def test_layers_by_hand():
    rows = rows_of(None, layers=2)
    assert {row.measured_layers for row in rows.values()} == {(1, 2)}
    assert {row.status for row in rows_of(None, layers=6).values()} == {"measured"}
