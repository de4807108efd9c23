"""What is normalised in place is a copy of the momentum in one type, and the momentum itself in another."""

import torch


class BufferOverwritten(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                m.lerp_(p.grad, 0.05)
                update = m.bfloat16()  # No copy where it is bfloat16 already.
                update.div_(update.norm().clamp(min=1e-7))
                p.sub_(update.to(p.dtype), alpha=group["lr"])
