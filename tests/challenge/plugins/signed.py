"""An optimizer of twenty lines, to challenge with: the direction of Adam where average and gradient agree in sign."""

import torch


class Signed(torch.optim.Optimizer):
    search_space = {"lr": {"low": 1e-3, "high": 3e-2}, "beta": {"values": [0.8, 0.9, 0.95]}}

    def __init__(self, params, lr=0.01, beta=0.9, eps=1e-8):
        super().__init__(params, {"lr": lr, "beta": beta, "eps": eps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                if not state:
                    state.update(step=0, first=torch.zeros_like(p), second=torch.zeros_like(p))
                state["step"] += 1
                state["first"].lerp_(p.grad, 1 - group["beta"])
                state["second"].mul_(0.99).addcmul_(p.grad, p.grad, value=0.01)
                scale = (state["second"] / (1 - 0.99 ** state["step"])).sqrt_().add_(group["eps"])
                first = state["first"] / (1 - group["beta"] ** state["step"])
                p.sub_(group["lr"] * first * (first * p.grad > 0) / scale)
