"""A list that all instances share: each steps the parameters of every one before it, too."""

import torch


class SharedList(torch.optim.Optimizer):
    known = []

    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})
        self.known.extend(p for group in self.param_groups for p in group["params"])

    @torch.no_grad()
    def step(self, closure=None):
        for p in self.known:
            if p.grad is not None:
                p.sub_(p.grad, alpha=self.param_groups[0]["lr"])
            else:
                p.mul_(1 - self.param_groups[0]["lr"])
