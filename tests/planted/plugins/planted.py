"""A planted improvement: AdamW that ends its run with a falling rate, where the suite keeps the rate constant."""

import torch


class Planted(torch.optim.AdamW):
    """torch.optim.AdamW whose rate falls linearly to zero over the last part `decay` of the `steps` of a run.

    It is told how long the run is; everything else is AdamW, to the bit.
    """

    search_space = {"lr": {"low": 0.001, "high": 0.03}}

    def __init__(self, params, lr, steps, decay=0.4):
        super().__init__(params, lr=lr, weight_decay=0.0, fused=True)
        for group in self.param_groups:
            group.update(steps=steps, decay=decay, done=0)

    @torch.no_grad()
    def step(self, closure=None):
        rates = [group["lr"] for group in self.param_groups]
        for group, rate in zip(self.param_groups, rates, strict=True):
            progress = min((group["done"] + 0.5) / group["steps"], 1.0)
            group["lr"] = rate * min(1.0, (1 - progress) / group["decay"])
            group["done"] += 1
        loss = super().step(closure)
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate
        return loss
