"""The update of a step is under the schedule, and its decay under the square root of it."""

import torch


class HalfScheduled(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, weight_decay=0.01):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.base = lr

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            decay = group["weight_decay"] * (group["lr"] / self.base) ** 0.5
            for p in group["params"]:
                p.mul_(1 - decay).sub_(p.grad.sign(), alpha=group["lr"])
