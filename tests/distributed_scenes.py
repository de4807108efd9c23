"""What is asked of oracles and loops, by one process and by several: see test_distributed.py.

Run as a script under the variables of torchrun, it plays all scenes in a group and has the first rank write them.
"""

import shutil
import sys
from pathlib import Path
from unittest import mock

import families
import numpy as np
import torch
from cells import CELL
from safetensors.torch import save_file
from torch import nn

import optbench.distributed.group
from optbench.checkpoint import folder_of
from optbench.checkpointing import Checkpoints, circumstances
from optbench.distributed.launch import joined
from optbench.distributed.oracle import SharedOracle
from optbench.distributed.sharing import SharedBatch
from optbench.errors import UserError
from optbench.models.language_model import cross_entropy
from optbench.models.roles import parameters_of
from optbench.optim.schedules import schedule_of
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.oracle import shifted
from optbench.strategies.base import Plan
from optbench.tasks.grouping import PartCost
from optbench.train import History, train
from optbench.trained import Batches, trained

OPTIMIZERS = ["adamw", "muon", "sam", "functional_sam", "preconditioned_functional_sam"]
BATCHES = {
    "uneven": ([4, 0, 7, 2, 9], None, 2),
    "one example": ([3], None, 64),
    "by length": ([8, 1, 6, 3, 5, 0, 2], PartCost(per_token=1.0, per_pair=0.0, per_part=12.0), 3),
}
PER_RANK = [4, 0, 7, 2, 9, 5, 1]
RHO = 0.5
STEPS, BATCH = 5, 7


def per_rank():
    """A cell whose shift is made by each of two ranks."""
    training = CELL.training.model_copy(update={"shift": "per_rank", "ranks": 2})
    return CELL.model_copy(update={"training": training})


def sharpness_aware(**fields):
    spec = OptimizerSpec.model_validate({**PRESETS["sam"]})
    return type(spec.estimator)(rho=RHO, **fields)


def asked(ranks, cell=CELL):
    """Every question to the oracle of every batch, in float64: tensors by name."""
    model, task = families.model("llama"), families.task()
    prepared = task.prepare(task.train, model)
    parameters = list(model.module.parameters())
    found = {}

    def note(name, *values):
        found.update({f"{name}/{i}": torch.as_tensor(v).detach().clone() for i, v in enumerate(values)})

    def note_gradient(name, *values):
        note(name, *values, *[p.grad for p in parameters])

    for name, (rows, cost, micro_batch) in BATCHES.items():
        batch = ranks.cut(prepared, np.array(rows), cost, micro_batch=micro_batch)
        oracle = ranks.oracle_for(cell, History())(model, task.losses, batch)
        base = oracle.gradient(keep="kept")
        note_gradient(f"{name}/gradient", base.loss)
        with shifted(parameters, [0.1 * p.grad for p in parameters]):
            oracle.gradient(cotangent=base.cotangent)
            note_gradient(f"{name}/pull-back")
            rebuilt = oracle.cotangent("rebuilt")
            oracle.gradient(cotangent=rebuilt.cotangent)
            note_gradient(f"{name}/rebuilt", rebuilt.loss)
        note(f"{name}/loss", oracle.loss())
        part = oracle.of_fraction(0.4)
        note_gradient(f"{name}/fraction", part.gradient().loss)
        note(f"{name}/counts", oracle.passes, part.passes, batch.num_tokens, batch.num_supervised)
        note(f"{name}/fraction counts", part.batch.num_tokens, part.batch.num_supervised)
    return found


def trainings(ranks):
    """A few steps of each optimizer in float32, on batches of 7: losses, gradient norms, notes and final weights."""
    found = {}
    for name in OPTIMIZERS:
        model, task = families.model("llama", dtype=torch.float32), families.task()
        model.module.train()
        optimizer = OptimizerSpec.model_validate(PRESETS[name]).build(parameters_of(model.module))
        prepared = task.prepare(task.train, model)
        plan = Plan(task.train, np.ones(len(task.train), dtype=int))
        batches = Batches(prepared, plan, BATCH, 2, 0, None, ranks.cut)
        history = History()
        train(
            model,
            task.losses,
            optimizer,
            iter(batches),
            oracle_of=ranks.oracle_for(CELL, history),
            steps=STEPS,
            schedule=schedule_of("constant", warmup=0.05, final=0.0, steps=STEPS),
            observe_at=frozenset({2}),
            history=history,
        )
        ranks.agree(model.module)
        numbers = [history.losses, history.gradient_norms, history.tokens, history.passes]
        numbers.append([value for _, notes in history.notes for value in notes.values() if isinstance(value, float)])
        found |= {f"{name}/{i}": torch.tensor(n, dtype=torch.float64) for i, n in enumerate(numbers)}
        found |= {f"{name}/{n}": p.detach().clone() for n, p in model.module.named_parameters()}
    return found


def shifts_per_rank(ranks):
    """The gradients of SAM and Functional-SAM where each rank makes a shift of its own."""
    found = {}
    for functional in (False, True):
        model, task = families.model("llama"), families.task()
        prepared = task.prepare(task.train, model)
        batch = ranks.cut(prepared, np.array(PER_RANK), None, micro_batch=2)
        oracle = ranks.oracle_for(per_rank(), History())(model, task.losses, batch)
        estimate = sharpness_aware(functional=functional).estimate(
            oracle, parameters_of(model.module), None, observe=False
        )
        found[f"{functional}/loss"], found[f"{functional}/passes"] = estimate.loss, torch.tensor(oracle.passes)
        found |= {f"{functional}/{name}": p.grad for name, p in model.module.named_parameters()}
    return found


class Summands(nn.Module):
    """Two parameters that autograd may give one and the same gradient."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.zeros(3, dtype=torch.float64)) for _ in range(2))


def summands(group):
    """Gradients that share memory, added up once."""
    module = Summands()
    batch = SharedBatch([], num_tokens=1, num_supervised=1, places=np.zeros(0), supervised=np.ones(1))
    oracle = SharedOracle(
        families.model("llama").__class__(module, None), cross_entropy, batch, group, own_ascents=False
    )
    module.a.grad = module.b.grad = torch.full((3,), 1.0 + group.rank, dtype=torch.float64)
    # Each is summed up on its own, as large ones are.
    with mock.patch.object(optbench.distributed.group, "BUCKET", 1):
        oracle._complete()
    return {"a": module.a.grad, "b": module.b.grad}


def resumed(group, root):
    """A run, and the same again from the checkpoint before its last step: weights and losses, and the steps taken."""
    cell = CELL.model_copy(update={"training": CELL.training.model_copy(update={"steps": 4})})
    found = {}
    for name in ("whole", "resumed"):
        made = {**circumstances("cpu", 1), **group.provenance()}
        checkpoints = Checkpoints(root, cell.key, 4, 1e-9 if group.rank == 0 else 0.0, made, "cpu")
        seen = []
        run = trained(
            cell,
            (),
            root,
            device="cpu",
            progress=lambda done, total, seen=seen: seen.append(done),
            checkpoints=checkpoints,
            ranks=group,
        )
        found |= {f"{name}/{n}": p.detach().clone() for n, p in run.model.module.named_parameters()}
        found[f"{name}/losses"] = torch.tensor(run.history.losses)
        found[f"{name}/steps"] = torch.tensor([len(seen)])
        if group.rank == 0:
            shutil.rmtree(folder_of(root, cell.key) / "4")
        group.meet()
    return found


def differences(group):
    """Whether ranks that are not alike are told so."""
    said = {}
    module = nn.Linear(2, 2, dtype=torch.float64)
    with torch.no_grad():
        for p in module.parameters():
            p.fill_(1.0)
    group.compare(module, np.arange(3))
    group.agree(module)
    with torch.no_grad():
        module.weight[0, 0] += 1e-9 * group.rank
    group.agree(module)
    drifted = nn.Linear(2, 2, dtype=torch.float64)
    with torch.no_grad():
        for p in drifted.parameters():
            p.fill_(1.0 + 1e-3 * group.rank)
    checks = {
        "bits": lambda: group.compare(module),
        "data": lambda: group.compare(nn.Module(), np.arange(2 + group.rank)),
        "drift": lambda: group.agree(drifted),
    }
    for name, check in checks.items():
        try:
            check()
        except UserError as error:
            said[name] = torch.tensor(list(str(error).encode()), dtype=torch.uint8)
    return said


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as (group, device):
        assert device == "cpu"
        scenes = {
            "asked": asked(group),
            "trainings": trainings(group),
            "per_rank": shifts_per_rank(group),
            "summands": summands(group),
            "differences": differences(group),
            "resumed": resumed(group, Path(sys.argv[2])),
        }
        flat = {f"{scene}/{name}": t.contiguous() for scene, found in scenes.items() for name, t in found.items()}
        digests = group.gathered([float(value.double().sum()) for value in flat.values()])
        assert digests[0] == digests[1], "the ranks differ"
        if group.rank == 0:
            save_file(flat, sys.argv[1])
