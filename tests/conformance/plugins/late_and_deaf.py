"""Gathers statistics first, as one may, and then moves at a rate that was read when it was built."""

import torch


class LateAndDeaf(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, looks=10):
        super().__init__(params, {"lr": lr, "looks": looks, "count": 0})
        self.rate = lr

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["count"] += 1
            for p in group["params"]:
                if group["count"] > group["looks"]:
                    p.sub_(p.grad.tanh(), alpha=self.rate)
