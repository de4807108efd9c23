"""A planted placebo: AdamW under another name, which can be no better and no worse."""

import torch


class Placebo(torch.optim.Optimizer):
    """AdamW without weight decay, computed in another order.

    It is equal in exact arithmetic, and not to the bit: were it so, all differences would be 0, and nothing tested.
    """

    search_space = {"lr": {"low": 0.001, "high": 0.03}}

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
                state["step"] += 1
                state["mean"].mul_(0.9).add_(p.grad, alpha=0.1)
                state["square"].mul_(0.999).add_(p.grad.square(), alpha=0.001)
                mean = state["mean"] / (1 - 0.9 ** state["step"])
                scale = (state["square"] / (1 - 0.999 ** state["step"])).sqrt() + 1e-8
                p.sub_(mean / scale * group["lr"])
