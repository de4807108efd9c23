"""What `suites/quick.yaml` costs, without its panels, beside the bare forward and backward passes that its cells need.

As a benchmark: a sample of its cells, each between measurements of its floor, by process time on one thread; the rest
of the suite follows from them, weighted by number of cells. The whole suite by the clock, workers and all:

    python tests/benchmarks/test_quick.py [SUITE]
"""

import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from optbench.runner import run_cell
from optbench.store import Store
from optbench.suite import load_suite
from optbench.trained import probe_of

pytestmark = pytest.mark.benchmark
QUICK = Path(__file__).parents[2] / "suites" / "quick.yaml"
TARGET = 1.3
SAMPLE = [
    ("phi-nano", "uniform", "adamw"),
    ("phi-nano", "augment", "functional_sam"),
    ("llama-nano", "upsample", "gd"),
    ("llama-nano", "uniform", "muon"),
    ("llama-nano", "augment", "preconditioned_sam"),
    ("gemma-nano", "upsample", "adamw"),
    ("gemma-nano", "augment", "muon"),
    ("gemma-nano", "uniform", "sam"),
    ("qwen-nano", "augment", "gd"),
    ("qwen-nano", "upsample", "preconditioned_functional_sam"),
]
"""Every model, strategy and optimizer at least once; Muon twice, for its own products are no pass."""
BATCHES, BLOCKS = 8, 5
START = """
import time
from optbench.executors.jobs import cell_of, jobs_for
from optbench.executors.worker import work
from optbench.runner import run_cell
from optbench.store import Store
from optbench.suite import load_suite
import tempfile, torch

torch.set_num_threads(1)
cells = load_suite({suite!r}).cells()
first = {{cell.arm.model: cell.spec for cell in cells if cell.arm.strategy == "uniform"}}
jobs_for(cells, Store(tempfile.gettempdir()))
loaded = time.process_time()

def one_step_each(seed):
    with tempfile.TemporaryDirectory() as folder:
        for spec in first.values():
            training = spec.training.model_copy(update={{"steps": 1}})
            run_cell(spec.model_copy(update={{"training": training, "seed": seed}}), Store(folder))
    return time.process_time()

cold = one_step_each(0)
warm = one_step_each(1)
print(loaded, cold - (warm - cold))
"""
"""Seconds until the main process hands out work, and those that a worker takes until it works at its usual pace."""


def bare(spec):
    """The forward and backward passes of eight batches of a cell's model, as anybody would write them: seconds each."""
    training = spec.training
    model = spec.model.build(seed=0, device="cpu", precision=training.precision, attention=training.attention)
    task, rng = spec.task.build(), np.random.default_rng(0)
    prepared = task.prepare(task.train, model)
    rows = [rng.choice(len(prepared), training.batch_size, replace=False) for _ in range(BATCHES)]
    parts = [prepared.batch(chosen, micro_batch=len(chosen)).parts[0] for chosen in rows]
    backbone, head, weights = model.head.backbone, model.head.linear, list(model.module.parameters())

    def passes(clock=time.process_time):
        start = clock()
        for part in parts:
            for weight in weights:
                weight.grad = None
            hidden_BTD = backbone(**part.inputs, use_cache=False).last_hidden_state
            logits_NV = head(hidden_BTD.flatten(0, 1).index_select(0, part.positions))
            nn.functional.cross_entropy(logits_NV, part.targets).backward()
        return (clock() - start) / BATCHES

    passes()
    return passes


def passes_of(spec):
    """Forward + backward passes that the cell takes."""
    return spec.training.steps * float(spec.optimizer.estimator.passes_per_step)


def kind_of(spec):
    """What the cost of a cell beside its passes depends on."""
    return spec.optimizer.rule.kind == "muon", spec.optimizer.estimator.passes_per_step


def test_the_quick_suite_takes_little_more_than_its_passes(row, tmp_path):
    torch.set_num_threads(1)
    suite = load_suite(QUICK)
    cells, workers, store = suite.cells(), suite.execution.workers, Store(tmp_path)
    by_name = {(c.arm.model, c.arm.strategy, c.arm.optimizer): c.spec for c in cells}
    floors = {c.arm.model: bare(c.spec) for c in cells}
    probes = {probe.key: (probe, c.spec) for c in cells if (probe := probe_of(c.spec)) is not None}
    run_cell(_of_one_step(by_name[SAMPLE[0]]), store)  # What is imported here is counted below, as the workers' start.
    start = time.process_time()
    for probe, spec in probes.values():
        probe.run(spec.task.build(), tmp_path, device="cpu")
    probe_seconds = time.process_time() - start

    over, seconds = defaultdict(list), defaultdict(list)
    for name in SAMPLE:
        spec, passes = by_name[name], floors[name[0]]
        before = [passes() for _ in range(BLOCKS)]
        start = time.process_time()
        run_cell(spec, store)
        took = time.process_time() - start
        each = statistics.median(before + [passes() for _ in range(BLOCKS)])
        alone = each * passes_of(spec)
        over[kind_of(spec)].append(took / alone)
        seconds[name[0]].append(each)
        print(f"{'/'.join(name)}: {took:.2f} s, passes alone {alone:.2f} s, {took / alone:.3f}")

    floor = {c.key: statistics.median(seconds[c.arm.model]) * passes_of(c.spec) for c in cells}
    whole = sum(floor[c.key] * statistics.mean(over[kind_of(c.spec)]) for c in cells) + probe_seconds
    loaded, start = map(float, _output(START.format(suite=str(QUICK))))
    wall, least = loaded + start + whole / workers, sum(floor.values()) / workers
    for (muon, passes), found in sorted(over.items()):
        words = f"{'muon' if muon else 'other rules'}, {passes} passes"
        row(f"one cell of quick: {words}", "its passes", "", f"{statistics.mean(found):.3f}")
    row(
        f"quick, {len(cells)} cells, no panels: {wall:.0f} s ({loaded:.1f} s until work is handed out, {start:.1f} s "
        f"until a worker is warm, {probe_seconds:.1f} s of probe)",
        f"forward + backward passes by hand: {least:.0f} s",
        f"<= {TARGET}",
        f"{wall / least:.3f}",
    )
    assert wall / least <= TARGET


def _of_one_step(spec):
    return spec.model_copy(update={"training": spec.training.model_copy(update={"steps": 1})})


def _output(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def _median_pass(spec):
    torch.set_num_threads(1)
    passes = bare(spec)
    return statistics.median(passes(time.perf_counter) for _ in range(4 * BLOCKS))


def whole_suite(path):
    """By the clock: `optbench run` of the suite without its panels, and its floor with all workers at their passes at
    once, measured before and after: cores that share a cache or a clock are slower together than alone."""
    suite = load_suite(path)
    cells, workers = suite.cells(), suite.execution.workers
    specs = {c.arm.model: c.spec for c in cells}

    def floors():
        # Every model as often as there are workers, so that none of them measures beside an idle one.
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            found = pool.map(_median_pass, [spec for spec in specs.values() for _ in range(workers)], chunksize=1)
        return {name: statistics.mean(found[i * workers : (i + 1) * workers]) for i, name in enumerate(specs)}

    before = floors()
    with tempfile.TemporaryDirectory() as folder:
        bare_suite = Path(folder) / "suite.yaml"
        bare_suite.write_text(re.sub(r"(?m)^panels:.*\n", "", Path(path).read_text(encoding="utf-8")), encoding="utf-8")
        command = [sys.executable, "-m", "optbench", "run", str(bare_suite), "--results", f"{folder}/runs"]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        wall = time.perf_counter() - start
    after = floors()
    each = {name: (before[name] + after[name]) / 2 for name in specs}
    least = sum(each[c.arm.model] * passes_of(c.spec) for c in cells) / workers
    drift = {name: round(after[name] / before[name], 2) for name in specs}
    print(f"{len(cells)} cells in {wall:.1f} s; passes alone {least:.1f} s; {wall / least:.3f} (target {TARGET})")
    print(f"passes in ms: { {name: round(1e3 * s, 2) for name, s in each.items()} }, after / before: {drift}")


if __name__ == "__main__":
    whole_suite(sys.argv[1] if len(sys.argv) > 1 else QUICK)
