"""What the loop, the oracle and the optimizer cost beside a hand-written loop that does the same mathematics."""

import itertools
import statistics
import time

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from optbench.models.roles import parameters_of
from optbench.models.specs import PRESETS, ModelSpec
from optbench.optim.specs import PRESETS as OPTIMIZERS
from optbench.optim.specs import OptimizerSpec
from optbench.oracle import shifted
from optbench.tasks.specs import PRESETS as TASKS
from optbench.tasks.specs import TaskSpec
from optbench.train import train

pytestmark = pytest.mark.benchmark
BLOCK, ROUNDS = 8, 40


def built(model_name):
    model = (
        TypeAdapter(ModelSpec)
        .validate_python(PRESETS[model_name])
        .build(seed=0, device="cpu", precision="float32", attention="sdpa")
    )
    task = TypeAdapter(TaskSpec).validate_python(TASKS["arithmetic"]).build()
    prepared = task.prepare(task.train, model)
    rng = np.random.default_rng(0)
    batches = [prepared.batch(rng.choice(len(prepared), 64, replace=False), micro_batch=64) for _ in range(BLOCK)]
    return model, task, batches


def ours(model_name, optimizer_name):
    model, task, batches = built(model_name)
    optimizer = OptimizerSpec.model_validate(OPTIMIZERS[optimizer_name]).build(parameters_of(model.module))

    def block():
        train(model, task.losses, optimizer, itertools.cycle(batches), steps=BLOCK, schedule=lambda progress: 1.0)

    return block


def by_hand(model_name, optimizer_name):
    """The same mathematics as anybody would write it down, without a word of this package in it."""
    model, _, batches = built(model_name)
    backbone, head, params = model.head.backbone, model.head.linear, list(model.module.parameters())
    adam = torch.optim.AdamW(params, lr=1e-3, weight_decay=0.0, fused=True)

    def loss_of(part, n):
        hidden = (
            backbone(**part.inputs, use_cache=False).last_hidden_state.flatten(0, 1).index_select(0, part.positions)
        )
        return nn.functional.cross_entropy(head(hidden), part.targets, reduction="sum") / n

    def block():
        losses = []
        for batch in batches:
            (part,) = batch.parts
            adam.zero_grad(set_to_none=True)
            loss = loss_of(part, batch.num_supervised)
            loss.backward()
            losses.append(loss.detach())
            if optimizer_name == "sam":
                with torch.no_grad():
                    norm = nn.utils.get_total_norm([p.grad for p in params])
                    shift = torch._foreach_mul([p.grad for p in params], 0.05 / norm)
                with shifted(params, shift):
                    adam.zero_grad(set_to_none=True)
                    loss_of(part, batch.num_supervised).backward()
            nn.utils.get_total_norm([p.grad for p in params])
            adam.step()
        assert torch.isfinite(torch.stack(losses)).all()

    return block


@pytest.mark.parametrize("optimizer_name", ["adamw", "sam"])
@pytest.mark.parametrize("model_name", ["phi-nano", "llama-nano", "gemma-nano", "qwen-nano"])
def test_the_loop_costs_at_most_three_percent(benchmark, model_name, optimizer_name):
    a, b = ours(model_name, optimizer_name), by_hand(model_name, optimizer_name)

    def timed(block):
        start = time.process_time()
        block()
        return time.process_time() - start

    a(), b()
    # In turn, each order as often: the machine drifts, and who comes second finds warm caches. What disturbs a shared
    # machine only adds time, in many blocks half as much again, so the quickest quarter of each side is compared.
    times = {a: [], b: []}
    for turn in range(ROUNDS):
        for block in (a, b) if turn % 2 else (b, a):
            times[block].append(timed(block))
    quick = {block: statistics.median(sorted(found)[: ROUNDS // 4]) for block, found in times.items()}
    ratio = quick[a] / quick[b]
    ratios = [x / y for x, y in zip(times[a], times[b], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    benchmark.extra_info |= {"ratio": ratio, "quartiles of pairs": [low, high]}
    print(f"\n{model_name} {optimizer_name}: loop / by hand {ratio:.3f} (pairs, quartiles: {low:.3f} to {high:.3f})")
    benchmark.pedantic(a, rounds=3)
    assert ratio <= 1.03
