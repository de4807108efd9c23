"""Which form of Newton-Schulz runs for which shape, in which arithmetic, on how many matrices at a time; and its cost.

The choice is a function of shape, count, device type and what the device can do, never of a timing: two runs on one
machine choose alike. What is chosen unasked is never less exact than the standard form in bfloat16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Form = Literal["standard", "gram"]
Precision = Literal["bfloat16", "float16", "float32", "float64"]
BYTES: dict[Precision, int] = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}

GRAM_SHARE = 0.9
"""The Gram form has to come down to this share of the operations: it makes more calls, of smaller products."""
GRAM_SIDE = 256
"""Rows, or columns, of the smallest matrix whose standard form in bfloat16 may be replaced by the Gram form in float16:
of smaller ones with two levels of singular values, its error was seen above the other's (1.1 times)."""
GRAM_WORK = {"cpu": 1e8, "cuda": 2e10}
"""Operations of the standard form over all matrices of a shape, from which the Gram form is thought of: below, calls
cost more than products. A GPU does a hundred times more in the time of a call."""
STACK = {"cpu": 2**21, "cuda": 2**28}
"""Bytes that the iteration may hold for a stack. CPU: a level-2 cache. Products of several small matrices in one call
are up to seven times as fast as one after the other; where few fit, the products alone are as fast, and a stack that
leaves the cache is slower than no stack."""
TURNED = 2**18
"""Bytes of a tall matrix that is transposed by a copy, before and after the iteration, instead of being read across its
rows by the first product and by the update."""


@dataclass(frozen=True)
class Capabilities:
    """What a device has of its own for products of matrices; what it lacks is emulated, slowly.

    `even_halves`: float16 is as fast as bfloat16, as on GPUs and on few CPUs.
    """

    bfloat16: bool
    float16: bool
    even_halves: bool


USUAL = Capabilities(bfloat16=True, float16=False, even_halves=False)
"""bfloat16 and nothing else: what operations are counted for where no device is named."""


@dataclass(frozen=True)
class Plan:
    """How matrices of one shape are orthogonalised: the form, the arithmetic, how many at a time."""

    form: Form
    precision: Precision
    stack: int


@lru_cache
def capabilities(device: str) -> Capabilities:
    """What a device type ("cpu", "cuda"; of others nothing is known) can do on this machine by its own account: CPU
    flags, or the compute capability of the current GPU."""
    import torch

    if device == "cuda" and torch.cuda.is_available():
        # Tensor cores take float16 from 7.0 on; AMD's matrix cores take both.
        half = torch.cuda.get_device_capability() >= (7, 0)
        return Capabilities(torch.cuda.is_bf16_supported(including_emulation=False), half, even_halves=half)
    if device == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        has = _cpu_features()
        return Capabilities(
            bfloat16=not has.isdisjoint({"amx_bf16", "avx512_bf16", "bf16"}),
            float16=not has.isdisjoint({"amx_fp16", "avx512_fp16"}),
            # avx512_fp16 is widened to float32, at its pace; only tiles run both halves alike.
            even_halves="amx_fp16" in has,
        )
    return Capabilities(bfloat16=False, float16=False, even_halves=False)


def _cpu_features() -> set[str]:
    import torch

    if hasattr(torch.cpu, "get_capabilities"):
        return {name for name, value in torch.cpu.get_capabilities().items() if value}
    # Older versions tell of x86 alone, one feature at a time.
    asked = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_fp16": "_is_amx_fp16_supported"}
    return {name for name, function in asked.items() if getattr(torch.cpu, function, bool)()}


@lru_cache(maxsize=4096)
def plan(
    shape: tuple[int, int],
    count: int,
    *,
    device: str,
    precision: Precision,
    form: Literal["auto", "standard", "gram"],
    steps: int,
    can: Capabilities,
) -> Plan:
    """The plan for `count` matrices of `shape`.

    A 16-bit precision is a bound: as exact as the standard form in it. A type that the device lacks is replaced by one
    that is more exact: bfloat16 by float16 or else float32, float16 by float32. `auto` takes the Gram form where it
    saves operations and is exact enough, which for bfloat16 means float16 at the same speed.
    """
    chosen: Form = "gram" if form == "gram" else "standard"
    arithmetic = _arithmetic(precision, can)
    if form == "auto" and _gram_pays(shape, count, device, steps):
        if arithmetic != "bfloat16":
            chosen = "gram"
        elif can.even_halves and min(shape) >= GRAM_SIDE:
            chosen, arithmetic = "gram", "float16"
    n, m = min(shape), max(shape)
    held = 2 * (n * m + n * n) * BYTES[arithmetic]
    stack = min(count, STACK.get(device, STACK["cpu"]) // max(held, 1))
    return Plan(chosen, arithmetic, max(stack, 1))


def flops(shape: tuple[int, int], form: Form, steps: int) -> int:
    """Operations of the matrix products for one matrix, n x m with n <= m.

    standard: in each step a product (n, m, n), one (n, n, n), one (n, n, m); five steps: 20 n^2 m + 10 n^3.
    gram: in each segment of k steps (n, m, n), (n, n, m) and 4 k - 3 times (n, n, n); five steps: 12 n^2 m + 22 n^3.
    """
    n, m = min(shape), max(shape)
    if form == "standard":
        return steps * (4 * n * n * m + 2 * n * n * n)
    return sum(4 * n * n * m + (4 * k - 3) * 2 * n * n * n for k in gram_segments(steps))


def gram_segments(steps: int) -> list[int]:
    """Steps between the moments at which R is computed from X: 2 each, and what is left. Longer ones cost less (2 and
    3: 8 n^2 m + 28 n^3) and leave singular values up to twice as far off as the standard form in bfloat16 does."""
    return [2] * (steps // 2) + [1] * (steps % 2)


def _gram_pays(shape: tuple[int, int], count: int, device: str, steps: int) -> bool:
    before = flops(shape, "standard", steps)
    enough = before * count >= GRAM_WORK.get(device, math.inf)
    return enough and flops(shape, "gram", steps) <= GRAM_SHARE * before


def _arithmetic(precision: Precision, can: Capabilities) -> Precision:
    if precision == "bfloat16" and not can.bfloat16:
        return "float16" if can.float16 and can.even_halves else "float32"
    if precision == "float16" and not can.float16:
        return "float32"
    return precision
