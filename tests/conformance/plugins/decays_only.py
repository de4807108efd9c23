"""One-dimensional parameters move, though by their decay alone: their gradient is never looked at."""

import torch


class DecaysOnly(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad if p.dim() > 1 else p, alpha=group["lr"])
