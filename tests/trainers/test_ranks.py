"""Two processes of a trainer, each with its examples, take the steps of one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from trainer_cases import arguments, llama, logged, rows, same, weights

from optbench.trainers import OptbenchTrainer

SCRIPT = """
import json, sys
import torch
from trainer_cases import arguments, llama, logged, rows, weights
from optbench.trainers import OptbenchTrainer

torch.set_num_threads(1)
trainer = OptbenchTrainer(
    llama(),
    arguments(sys.argv[1], train_sampling_strategy="sequential", gradient_accumulation_steps=2, ddp_backend="gloo"),
    train_dataset=rows(16),
    optimizer_spec={"estimator": {"kind": "sharpness_aware", "functional": True}, "rule": {"kind": "gd"}},
)
trainer.train()
if trainer.args.process_index == 0:
    found = {
        "ranks": trainer.args.world_size,
        "losses": logged(trainer, "loss"),
        "norms": logged(trainer, "grad_norm"),
        "tokens": trainer.tokens,
        "passes": trainer.passes,
        "weights": [p.tolist() for p in weights(trainer.model)],
    }
    open(sys.argv[2], "w").write(json.dumps(found))
"""


class Twins:
    """A group of two ranks with the same examples: what they add up is twice what one has."""

    def __init__(self):
        self.sums = 0

    def add_up(self, tensors):
        self.sums += 1
        for tensor in tensors:
            tensor.mul_(2)


@pytest.mark.parametrize("spec", ["adamw", "functional_sam"])
def test_counts_losses_and_gradients_are_sums_over_the_ranks(spec, tmp_path, monkeypatch):
    """Each example twice is the same mean, to the bit: of twice the sum over twice the positions."""
    twins = Twins()
    runs = [OptbenchTrainer(llama(), arguments(tmp_path), train_dataset=rows(), optimizer_spec=spec) for _ in "ab"]
    monkeypatch.setattr(runs[0], "_group", twins)
    for trainer in runs:
        trainer.train()
    shared, alone = runs
    assert logged(shared, "loss") == logged(alone, "loss")
    assert logged(shared, "grad_norm") == logged(alone, "grad_norm")
    assert same(weights(shared.model), weights(alone.model))
    assert shared.tokens == 2 * alone.tokens
    assert twins.sums == 6 * (2 + shared.passes / shared.steps), "counts, loss, and the gradient of each pass"


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    """Their micro-batches differ in supervised positions, so that a mean of two means would be another number."""
    script, said = tmp_path / "train.py", tmp_path / "said.json"
    script.write_text(f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n{SCRIPT}")
    words = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), str(tmp_path), str(said)]
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    two = json.loads(said.read_text())
    one = OptbenchTrainer(
        llama(),
        arguments(tmp_path, train_sampling_strategy="sequential"),
        train_dataset=rows(16),
        optimizer_spec={"estimator": {"kind": "sharpness_aware", "functional": True}, "rule": {"kind": "gd"}},
    )
    one.train()
    assert two["ranks"] == 2 and two["passes"] == one.passes == 2 * one.steps and two["tokens"] == one.tokens
    assert two["losses"] == pytest.approx(logged(one, "loss"), rel=1e-6)
    assert two["norms"] == pytest.approx(logged(one, "grad_norm"), rel=1e-6)
    for ours, theirs in zip(two["weights"], weights(one.model), strict=True):
        assert theirs.flatten().tolist() == pytest.approx(_flat(ours), abs=1e-7)


def _flat(nested):
    return [leaf for row in nested for leaf in row] if isinstance(nested[0], list) else nested
