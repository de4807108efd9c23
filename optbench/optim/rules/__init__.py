"""The rules by kind. A new rule is one file beside this one and one line in this table."""

from optbench.optim.rules.adamw import AdamW
from optbench.optim.rules.gd import GD
from optbench.optim.rules.muon import Muon
from optbench.optim.rules.sophia import Sophia
from optbench.optim.rules.torch_optimizer import TorchOptimizer
from optbench.plugins import with_entry_points
from optbench.spec import Spec

RULES: dict[str, type[Spec]] = with_entry_points(
    "rules",
    {"gd": GD, "adamw": AdamW, "muon": Muon, "sophia": Sophia, "torch": TorchOptimizer},
)
