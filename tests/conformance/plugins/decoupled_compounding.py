"""A fully decoupled decay whose factor compounds, beside an update that follows the schedule."""

import torch


class DecoupledCompounding(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, weight_decay=0.01):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.base, self.factor = lr, 1.0

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            self.factor *= group["lr"] / self.base
            for p in group["params"]:
                p.mul_(1 - self.factor * group["weight_decay"]).sub_(p.grad, alpha=group["lr"])
