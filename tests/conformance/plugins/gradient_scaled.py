"""The gradient is normalised in place, and whoever reads it afterwards finds another one."""

import torch


class GradientScaled(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad.div_(p.grad.norm().clamp(min=1e-12)), alpha=group["lr"])
