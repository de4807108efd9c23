"""Two processes that share every batch, over gloo on a CPU: the numbers are those of one."""

import os
import random
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import distributed_scenes as scenes
import families
import numpy as np
import pytest
import torch
from cells import CELL
from safetensors.torch import load_file

from optbench.distributed.launch import is_launched
from optbench.distributed.oracle import SharedOracle
from optbench.distributed.ranks import ALONE, check_ranks
from optbench.distributed.sharing import share, shared_cut
from optbench.errors import UserError
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.oracle import shifted
from optbench.tasks.grouping import cut

HERE = Path(__file__).parent
SECONDS = 500


def free_port():
    """A port that nobody listens at, and that no connection gets by itself: the kernel takes those from a higher range.
    Seconds go by before the ranks listen there, and other tests open connections all the time."""
    for port in random.SystemRandom().sample(range(20_000, 29_000), 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("every port is taken")


def together(script, *arguments, ranks=2):
    """The script in so many processes, as torchrun would start it: exit code, stdout and stderr of each."""
    common = {**os.environ, "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    # Warnings of the machine, such as that its name has no address, are none of ours.
    common["TORCH_CPP_LOG_LEVEL"] = "ERROR"
    common["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent)])
    started = [
        subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        ended = [process.communicate(timeout=SECONDS) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, out, err) for process, (out, err) in zip(started, ended, strict=True)]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """All scenes, played by two ranks; by scene."""
    path = tmp_path_factory.mktemp("ranks") / "scenes.safetensors"
    ended = together(HERE / "distributed_scenes.py", path, tmp_path_factory.mktemp("records"))
    assert [code for code, _, _ in ended] == [0, 0], ended
    tensors = load_file(path)
    return {scene: _below(tensors, scene) for scene in {name.split("/")[0] for name in tensors}}


def _below(tensors, scene):
    return {name.removeprefix(f"{scene}/"): value for name, value in tensors.items() if name.startswith(f"{scene}/")}


def distances(found, expected):
    assert set(found) == set(expected)
    pairs = {name: (found[name].double(), value.double()) for name, value in expected.items()}
    return {name: float((f - e).norm()) / (float(e.norm()) or 1.0) for name, (f, e) in pairs.items()}


def test_every_answer_of_the_oracle_is_that_of_one_process(found):
    far = {n: d for n, d in distances(found["asked"], scenes.asked(ALONE)).items() if not d <= 1e-12}
    assert not far


def test_training_in_two_processes_ends_where_one_does(found):
    expected = scenes.trainings(ALONE)
    for name in scenes.OPTIMIZERS:
        assert len(expected[f"{name}/0"]) == scenes.STEPS
    assert len(expected["sam/4"]) > 0, "no note to compare"
    far = {n: d for n, d in distances(found["trainings"], expected).items() if not d <= 1e-6}
    assert not far


def test_a_shift_per_rank_is_that_of_each_share(found):
    """Spelled out: the gradient of a rank's own mean loss, a shift along it, and the sum of what each finds there."""
    for functional in (False, True):
        model, task = families.model("llama"), families.task()
        prepared = task.prepare(task.train, model)
        parameters = list(model.module.parameters())
        rows = np.array(scenes.PER_RANK)
        total = int(prepared.supervised[rows].sum())
        sums = [torch.zeros_like(p) for p in parameters]
        for rank in range(2):
            own = rows[share(prepared.lengths[rows], rank, 2)]
            (part,) = prepared.batch(own, micro_batch=64).parts
            outputs = model.outputs(part)
            (cotangent,) = torch.autograd.grad(task.losses(outputs, part.targets).sum() / total, outputs)
            mean = task.losses(model.outputs(part), part.targets).mean()
            ascent = torch.autograd.grad(mean, parameters)
            norm = torch.cat([g.flatten() for g in ascent]).norm()
            with shifted(parameters, [scenes.RHO * g / norm for g in ascent]):
                there = model.outputs(part)
                scalar = (there * cotangent).sum() if functional else task.losses(there, part.targets).sum() / total
                for s, g in zip(sums, torch.autograd.grad(scalar, parameters), strict=True):
                    s += g
        names = [name for name, _ in model.module.named_parameters()]
        expected = {f"{functional}/{name}": s for name, s in zip(names, sums, strict=True)}
        mine = {name: found["per_rank"][name] for name in expected}
        # The model normalises in float32, which sees whether the ascent's gradient is of a mean or of a summand.
        assert max(distances(mine, expected).values()) <= 1e-6
        assert found["per_rank"][f"{functional}/passes"] == 2.0

        whole = cut(prepared, rows, None, micro_batch=64)
        oracle = ALONE.oracle_for(CELL, None)(model, task.losses, whole)
        estimate = scenes.sharpness_aware(functional=functional).estimate(
            oracle, scenes.parameters_of(model.module), None, observe=False
        )
        assert float(found["per_rank"][f"{functional}/loss"]) == pytest.approx(float(estimate.loss), rel=1e-12)
        shared = {f"{functional}/{name}": p.grad for name, p in model.module.named_parameters()}
        assert max(distances(mine, shared).values()) > 1e-3, "as if all had made one shift"


def test_a_resumed_run_goes_on_bit_for_bit(found):
    of_whole, of_resumed = (_below(found["resumed"], part) for part in ("whole", "resumed"))
    assert of_resumed.pop("steps").tolist() == [1]
    assert of_whole.pop("steps").tolist() == [4]
    assert set(of_whole) == set(of_resumed)
    assert all(torch.equal(of_whole[name], of_resumed[name]) for name in of_whole)


def test_gradients_that_share_memory_are_added_up_once(found):
    assert found["summands"]["a"].tolist() == found["summands"]["b"].tolist() == [3.0, 3.0, 3.0]


def test_ranks_that_are_not_alike_are_refused(found):
    said = {name: bytes(text.tolist()).decode() for name, text in found["differences"].items()}
    assert said["bits"].startswith("the weights or data of rank 1 are not those of rank 0")
    assert said["data"].startswith("the weights or data of rank 1 are not those of rank 0")
    assert said["drift"].startswith("the weights of rank 1 have drifted away")


@pytest.mark.parametrize("examples", [1, 2, 5, 12])
def test_shares_are_a_partition_of_like_sizes(examples):
    lengths = np.random.Generator(np.random.PCG64(0)).integers(1, 50, examples)
    shares = [share(lengths, rank, 3) for rank in range(3)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(examples))
    sizes = [len(own) for own in shares]
    assert max(sizes) - min(sizes) <= 1


def test_shares_have_as_many_tokens_as_the_others():
    lengths = np.arange(1, 61)
    assert {int(lengths[share(lengths, rank, 3)].sum()) for rank in range(3)} == {610}


def test_a_fraction_is_of_the_whole_batch_whoever_has_it():
    model, task = families.model("llama"), families.task()
    prepared = task.prepare(task.train, model)
    rows, cost, micro_batch = scenes.BATCHES["by length"]
    whole = cut(prepared, np.array(rows), cost, micro_batch=micro_batch)
    oracle = ALONE.oracle_for(CELL, None)(model, task.losses, whole).of_fraction(0.4)
    shares = [
        shared_cut(prepared, np.array(rows), cost, micro_batch=micro_batch, rank=rank, ranks=3).fraction(0.4)
        for rank in range(3)
    ]
    targets = sorted(t for batch in shares for part in batch.parts for t in part.targets.tolist())
    assert targets == sorted(t for part in oracle.batch.parts for t in part.targets.tolist())
    assert {batch.num_supervised for batch in shares} == {oracle.batch.num_supervised}


class Lone:
    """A group of one."""

    def add_up(self, tensors):
        pass


def test_an_ascent_of_its_own_sees_the_masks_of_the_step():
    model, task = families.model("phi"), families.task()
    for part in model.module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.5
    model.module.train()
    prepared = task.prepare(task.train, model)
    batch = shared_cut(prepared, np.arange(4), None, micro_batch=2, rank=0, ranks=1)
    oracle = SharedOracle(model, task.losses, batch, Lone(), own_ascents=True)
    seen = []
    for asked in (oracle.for_ascent(), oracle, oracle.for_ascent()):
        asked.gradient()
        seen.append(torch.cat([p.grad.flatten() for p in oracle.parameters]))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2])
    assert oracle.passes == 3.0


def test_what_goes_with_a_shift_per_rank():
    cell = scenes.per_rank()
    with pytest.raises(UserError, match=r"ranks: 2, and this run has 1: start it as torchrun --nproc-per-node 2"):
        ALONE.check(cell)
    for name, value in {"ascent_fraction": 0.5, "refresh_every": 2}.items():
        estimator = {**PRESETS["sam"]["estimator"], name: value}
        spec = OptimizerSpec.model_validate({"estimator": estimator, "rule": {"kind": "gd", "lr": 0.1}})
        with pytest.raises(UserError, match=f"{name}: 1 only"):
            check_ranks(cell.model_copy(update={"optimizer": spec}), 2)
    check_ranks(cell, 2)


def test_what_torchrun_says_is_understood():
    given = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "here", "MASTER_PORT": "1"}
    assert is_launched(given)
    assert not is_launched({**given, "WORLD_SIZE": "1"})
    assert not is_launched({"RANK": "0"})


FAILING = """
import os, time
from optbench.distributed.launch import joined
from optbench.errors import UserError

with joined() as (group, device):
    print("from rank", group.rank)
    group.meet()
    if group.rank == 1:
        {does}
    import torch
    group.add_up([torch.ones(3)])  # Waits for a rank that will never come.
    time.sleep(1000)
"""


@pytest.mark.parametrize(
    ("does", "codes", "said", "traces"),
    [
        ('raise UserError("no such file")', [2, 2], "rank 1: no such file\n", 0),
        ('raise ValueError("broken")', [1, 1], "ValueError: broken\n", 1),
        ("os.kill(os.getpid(), 9)", [1, -9], "Traceback", 1),
    ],
)
def test_a_rank_that_fails_ends_all_with_one_message(does, codes, said, traces, tmp_path):
    script = tmp_path / "failing.py"
    script.write_text(FAILING.format(does=does))
    ended = together(script)
    assert [code for code, _, _ in ended] == codes, ended
    assert [out for _, out, _ in ended] == ["from rank 0\n", ""]
    everything = "".join(err for _, _, err in ended)
    assert everything.count(said) == 1
    assert everything.count("Traceback") == traces, everything


LATE = """
import time
import optbench.distributed.launch as launch
from optbench.errors import UserError

group_of = launch.Group

def late():
    group = group_of()
    time.sleep({seconds} * group.rank)
    return group

launch.Group = late
with launch.joined() as (group, device):
    raise UserError("no such file")
"""


@pytest.mark.parametrize("seconds", [0.25, 2])
def test_the_rank_with_the_store_leaves_last(seconds, tmp_path):
    script = tmp_path / "late.py"
    script.write_text(LATE.format(seconds=seconds))
    ended = together(script, ranks=3)
    assert [code for code, _, _ in ended] == [2, 2, 2], ended
    assert "".join(err for _, _, err in ended) == "no such file\n"
