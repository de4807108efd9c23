"""The momentum is kept in an attribute by the identity of the parameter, which is another one in a new process."""

import torch


class StateBeside(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})
        self.momenta = {}

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.momenta.setdefault(id(p), torch.zeros_like(p))
                m.lerp_(p.grad, 0.1)
                p.sub_(m, alpha=group["lr"])
