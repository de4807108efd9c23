"""AdamW at half the rate that it is given, with betas that its options do not show."""

import torch


class HalfRate(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["t"] += 1
                state["m"].lerp_(p.grad, 0.1)
                state["v"].mul_(0.95).addcmul_(p.grad, p.grad, value=0.05)
                scale = (state["v"] / (1 - 0.95 ** state["t"])).sqrt_().add_(1e-6)
                p.addcdiv_(state["m"] / (1 - 0.9 ** state["t"]), scale, value=-0.5 * group["lr"])
