"""Takes nothing but matrices, and says so only when it steps."""

import torch


class MatricesOnly(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() != 2:
                    raise RuntimeError(f"expected a matrix, got {tuple(p.shape)}\nsee the manual")
                p.sub_(p.grad, alpha=group["lr"])
