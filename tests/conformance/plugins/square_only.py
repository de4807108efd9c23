"""Square matrices are orthogonalised; tall and wide ones silently fall back to the sign of the gradient."""

import torch


class SquareOnly(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                update = p.grad.sign()
                if p.dim() == 2 and p.shape[0] == p.shape[1]:
                    left, _, right = torch.linalg.svd(p.grad.float(), full_matrices=False)
                    update = (left @ right).to(p.dtype)
                p.sub_(update, alpha=group["lr"])
