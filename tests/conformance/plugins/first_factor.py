"""The rate is read at the first step, and stays what it was then."""

import torch


class FirstFactor(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})
        self.rate = None

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            self.rate = group["lr"] if self.rate is None else self.rate
            for p in group["params"]:
                p.sub_(p.grad, alpha=self.rate)
