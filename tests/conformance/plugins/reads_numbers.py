"""Clips by a norm that it reads as a number, and so makes the host wait for the device."""

import torch


class ReadsNumbers(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad, alpha=group["lr"] / max(1.0, p.grad.norm().item()))
