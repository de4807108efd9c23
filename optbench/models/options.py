"""What a suite may ask of a model's training beside its numbers: less memory, other kernels, the same bits every time.

Activation checkpointing and compilation work in training mode alone. Evaluation, generation and panels, which put the
model into evaluation mode, see it as it was built: their shapes change with every token, and their second derivatives
go through no compiled code.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from optbench.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from optbench.cell import Training
    from optbench.oracle import Part

WORKSPACE, WORKSPACES = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
"""What cuBLAS reads when it is first used, and the values with which it gives the same bits every time."""


def with_options(model: Any, training: Training) -> Any:
    """The model as `training` wants it run. Raises UserError where it, or this machine, cannot."""
    if training.activation_checkpointing:
        checkpoint_activations(model)
    return compiled(model) if training.compile else model


def checkpoint_activations(model: Any) -> None:
    """Has each layer keep its inputs alone, and run forward again in the backward, with the same dropout masks.

    Both happen inside one pass of the oracle, at the same weights, shifted or not. Raises UserError for a model that
    cannot.
    """
    with warnings.catch_warnings():
        # The name of all versions 5 of transformers; later ones want it called activation_checkpointing_enable.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            model.module.gradient_checkpointing_enable({"use_reentrant": False})
        except (AttributeError, ValueError) as error:
            raise UserError(
                f"activation_checkpointing: {type(model.module).__name__} does not support it; leave it out, or take a "
                "smaller micro_batch"
            ) from error


def compiled(model: Any, backend: str | Callable[..., Any] = "inductor") -> Any:
    """The language model with its network below the output layer compiled, or all of it where the output layer is not
    told apart. Raises UserError for other models, and where nothing can be compiled.

    The weights are arguments of what is compiled, so that updates and shifts in place are seen. Sizes of batches are
    symbols from the start: which code runs a batch then depends on its shape alone, never on those before it.
    """
    import torch

    from optbench.models.language_model import LanguageModel

    if not isinstance(model, LanguageModel):
        raise UserError("compile: only language models can be compiled; leave it out")
    options: dict[str, Any] = {}
    if backend == "inductor":
        _check_compiler(model.device.type)
        options = {"fallback_random": True}  # Dropout draws the masks that it draws without.
    # What other cells of this process left behind counts against the number of versions of one function.
    torch._dynamo.reset()
    module = model.module if model.head is None else model.head.backbone
    run = Compiled(module, model.run, torch.compile(module, dynamic=True, backend=backend, options=options or None))
    return dataclasses.replace(model, run=run)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Runs `module` compiled in training mode, and as it is in evaluation mode: see `LanguageModel.run`."""

    module: nn.Module
    plainly: Callable[[Any, Part], Any]
    code: Any

    def __call__(self, module: nn.Module, part: Part) -> Any:
        """A forward pass of the part."""
        return self.plainly(self.code if module is self.module and module.training else module, part)


@lru_cache(maxsize=2)
def _check_compiler(kind: str) -> None:
    """Compiles a few operations. Raises UserError where that fails: no compiler, no headers, no triton."""
    import torch
    from torch._dynamo.exc import BackendCompilerFailed

    try:
        torch.compile(_trial)(torch.ones(8, device=kind))
    except BackendCompilerFailed as error:
        wanted = "triton and a C compiler" if kind == "cuda" else "a C++ compiler and the headers of Python"
        first = str(error.inner_exception).strip().splitlines()[0]
        raise UserError(
            f"compile: nothing can be compiled here ({first}); it needs {wanted}. Install them, or leave it out"
        ) from error


def _trial(x: Any) -> Any:
    return (x * 2 + 1).sum()


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """With `wanted`, torch takes only kernels that give the same bits every time inside the block, and raises
    RuntimeError for an operation that has none; afterwards it is as before. cuBLAS is told by the environment, which it
    reads once per process: where it was used before, it stays with its own choice."""
    if not wanted:
        yield
        return
    import torch

    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get(WORKSPACE)
    if workspace not in WORKSPACES:
        os.environ[WORKSPACE] = WORKSPACES[0]
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            del os.environ[WORKSPACE]
        else:
            os.environ[WORKSPACE] = workspace
