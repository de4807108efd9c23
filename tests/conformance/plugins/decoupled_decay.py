"""AdamW as it was first written: the decay is under the schedule, and not under the rate. Nothing is wrong with it."""

import torch


class DecoupledDecay(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), weight_decay=5e-4):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})
        self.base = lr

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["t"] += 1
                state["m"].lerp_(p.grad, 1 - b1)
                state["v"].mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
                p.mul_(1 - group["lr"] / self.base * group["weight_decay"])
                scale = (state["v"] / (1 - b2 ** state["t"])).sqrt_().add_(1e-8)
                p.addcdiv_(state["m"] / (1 - b1 ** state["t"]), scale, value=-group["lr"])
