"""Noise from a generator of its own, whose state is kept: nothing is wrong with it."""

import torch


class OwnNoise(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})
        self.kept = torch.Generator().manual_seed(0).get_state()

    @torch.no_grad()
    def step(self, closure=None):
        generator = torch.Generator()
        generator.set_state(self.kept)
        for group in self.param_groups:
            for p in group["params"]:
                noise = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
                p.sub_(p.grad + 0.01 * noise, alpha=group["lr"])
        self.kept = generator.get_state()
