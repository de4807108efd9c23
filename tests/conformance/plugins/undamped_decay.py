"""The weight decay is not under the schedule: at a rate of zero it goes on."""

import torch


class UndampedDecay(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, weight_decay=1e-4):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(1 - group["weight_decay"]).sub_(p.grad, alpha=group["lr"])
