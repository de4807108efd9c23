"""Raises while it is read."""

import torch

FACTOR = 1 / 0


class FailsToImport(torch.optim.SGD):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, lr * torch.tensor(FACTOR))
