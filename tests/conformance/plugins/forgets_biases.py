"""Only what has two dimensions is updated; biases and gains stay as they were drawn."""

import torch


class ForgetsBiases(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.dim() > 1:
                    p.sub_(p.grad, alpha=group["lr"])
