"""A small cell and a small panel that tests share."""

from optbench.cell import CellSpec, Training
from optbench.panels.simplicity import Simplicity

CELL = CellSpec(
    model={"kind": "nano", "family": "llama", "width": 16, "layers": 1, "heads": 2, "kv_heads": 1},
    task={"kind": "arithmetic", "train": 120, "validation": 12, "test": 12, "kinds": ["add1", "add2"]},
    strategy={"kind": "uniform"},
    optimizer={"rule": {"kind": "adamw", "lr": 0.01}},
    training=Training(steps=24, batch_size=16),
    seed=0,
)
PROXY = {"kind": "nano", "family": "llama", "width": 8, "layers": 1, "heads": 1, "kv_heads": 1}
PANEL = Simplicity.model_validate(
    {"looks": 4, "examples": 60, "probe": {"model": PROXY, "batch_size": 16}, "select": {"min_source": 20}}
)
