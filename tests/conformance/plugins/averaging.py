"""Averages of the weights are evaluated; `train` and `eval` exchange the two."""

import torch


class Averaging(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})
        self.training = True

    def train(self):
        self._exchange(True)

    def eval(self):
        self._exchange(False)

    @torch.no_grad()
    def _exchange(self, training):
        if training != self.training:
            for p, state in self.state.items():
                kept = p.clone()
                p.copy_(state["other"])
                state["other"].copy_(kept)
            self.training = training

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("other", p.clone())
                p.sub_(p.grad, alpha=group["lr"])
                mean.lerp_(p, 0.5)
