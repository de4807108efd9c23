"""Prints what nobody asked for, and ends the process when it is built."""

import sys

import torch


class Exits(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3):
        print("hello")
        sys.exit(0)
