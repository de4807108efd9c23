"""What a forward pass saves for its backward, measured: the yardstick of whether graphs can be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from optbench.oracle import Oracle


def saved_bytes(oracle: Oracle) -> int:
    """Bytes that a forward through all parts, with attention as plain mathematics, saves beside the parameters."""
    known = {p.untyped_storage().data_ptr() for p in oracle.model.module.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with sdpa_kernel([SDPBackend.MATH]), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = [oracle.model.outputs(part) for part in oracle.batch.parts]
    del kept
    return sum(found.values())
