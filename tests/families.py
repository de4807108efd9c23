"""The four families made tiny, in float64, and batches of the arithmetic task for them."""

import numpy as np
import torch
from pydantic import TypeAdapter

from optbench.models.families import Nano
from optbench.oracle import Oracle
from optbench.tasks.specs import TaskSpec

NAMES = ["phi", "llama", "gemma3", "qwen3"]


def task():
    return (
        TypeAdapter(TaskSpec).validate_python({"kind": "arithmetic", "train": 96, "validation": 8, "test": 8}).build()
    )


def model(family, *, dtype=torch.float64, attention="sdpa", **fields):
    small = {"width": 8, "layers": 1, "heads": 2, "kv_heads": 1, "init_std": 0.3, "max_length": 64, **fields}
    built = Nano(family=family, **small).build(seed=0, device="cpu", precision="float32", attention=attention)
    built.module.to(dtype).eval()
    return built


def oracle(built, *, examples=6, micro_batch=64):
    of = task()
    prepared = of.prepare(of.train, built)
    return Oracle(built, of.losses, prepared.batch(np.arange(examples), micro_batch=micro_batch))


def dense(products, size):
    """The matrix behind a product, column by column."""
    return torch.stack(products(list(torch.eye(size, dtype=torch.float64)))).T
