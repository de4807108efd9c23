import torch


class Cautious(torch.optim.Optimizer):
    """AdamW that leaves out the coordinates whose update and gradient disagree in sign (arXiv:2411.16085)."""

    search_space = {"lr": {"low": 1e-4, "high": 3e-2}}

    def __init__(self, params, lr, betas=(0.9, 0.999), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            (b1, b2), lr = group["betas"], group["lr"]
            for p in group["params"]:
                if not self.state[p]:
                    self.state[p].update(step=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state, g = self.state[p], p.grad
                state["step"] += 1
                m = state["m"].lerp_(g, 1 - b1) / (1 - b1 ** state["step"])
                v = state["v"].lerp_(g.square(), 1 - b2) / (1 - b2 ** state["step"])
                agree = (m * g > 0).to(g)
                update = agree * m / (v.sqrt() + 1e-8) / agree.mean().clamp(min=1e-3)
                p.mul_(1 - lr * group["weight_decay"]).sub_(update, alpha=lr)
