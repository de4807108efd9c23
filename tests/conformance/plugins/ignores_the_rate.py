"""Follows the schedule, and at a rate of its own: the one that it is given changes nothing."""

import torch


class IgnoresTheRate(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})
        self.base = lr

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad.tanh(), alpha=0.01 * group["lr"] / self.base)
