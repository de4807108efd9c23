"""Kept weights: readable, finite, and as many as the record says were trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from optbench.cell import CellSpec
from optbench.errors import UserError
from optbench.verification.numbers import number


def wrong_weights(content: Mapping[str, Any], data: bytes, cell: CellSpec | None) -> Iterator[str]:
    """What is wrong with the file of weights, by itself and beside the record."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        yield f"damaged: no weights ({' '.join(str(error).split())[:120]})"
        return
    if content["outcome"] == "completed":
        bad = sorted(name for name, tensor in tensors.items() if not np.isfinite(tensor).all())
        if bad:
            yield f"is of a completed run, and {bad[0]} is not finite"
    entries, claimed = sum(tensor.size for tensor in tensors.values()), parameters_claimed(content)
    if not math.isnan(claimed) and entries != claimed:
        yield f"holds {entries} numbers, but the record says that {claimed:g} parameters were trained"
    if cell is not None:
        try:
            least = cell.model.dimensions().trained_parameters
        except (OSError, UserError):
            return
        if entries < least:
            yield f"holds {entries} numbers, but the trained matrices of the model alone have {least}"


def parameters_claimed(content: Mapping[str, Any]) -> float:
    """How many parameters the rules of the optimizer claimed together; NaN where the record does not say."""
    claims = content["optimizer"].get("claims")
    if not isinstance(claims, Mapping) or not claims:
        return math.nan
    counts = [number(own.get("parameters")) if isinstance(own, Mapping) else math.nan for own in claims.values()]
    return math.fsum(counts)
