"""A rate that grows with the place of a parameter in the list."""

import torch


class ByPosition(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for place, p in enumerate(group["params"], start=1):
                p.sub_(p.grad, alpha=group["lr"] * place)
