"""The factor of each step multiplies the rate of the step before."""

import torch


class Compounding(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})
        self.base = self.rate = lr

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            self.rate *= group["lr"] / self.base
            for p in group["params"]:
                p.sub_(p.grad, alpha=self.rate)
