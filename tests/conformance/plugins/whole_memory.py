"""The decay goes over the whole memory that a parameter lies in, and with it over a frozen neighbour."""

import torch


class WholeMemory(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, weight_decay=0.1):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                flat = torch.empty(0, dtype=p.dtype).set_(p.untyped_storage())
                flat.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(p.grad, alpha=group["lr"])
