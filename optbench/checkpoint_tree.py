"""A state of nested lists, mappings and tensors, taken apart into JSON data and tensors, and put together again.

What comes back is what was there, bit for bit and in the same layout: the strides of a matrix decide which kernel
multiplies it, and kernels round differently. What cannot come back so is refused: objects of a class of their own, and
tensors that share memory, for an update of one would no longer be seen in the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = frozenset(
    "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool complex64".split()
)
"""The types of numbers that safetensors keeps."""


class Unsupported(Exception):
    """A state that would not come back as it was; the text says where and why."""


def taken_apart(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """JSON data, and the tensors by the names that stand in their place.

    The tensors are views of those in `tree`, contiguous and on their devices. The tree may hold numbers, strings, None,
    lists, tuples, mappings (their keys too), tensors and arrays. Raises `Unsupported` for anything else.
    """
    apart = _Apart()
    return apart.form(tree, ""), apart.tensors


class _Apart:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._memory: dict[int, str] = {}

    def form(self, value: Any, where: str) -> Any:
        import torch

        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if type(value) is list:
            return [self.form(inner, f"{where}[{index}]") for index, inner in enumerate(value)]
        if type(value) is tuple:
            return {"tuple": [self.form(inner, f"{where}[{index}]") for index, inner in enumerate(value)]}
        if type(value) is dict:
            pairs = [[self.form(key, where), self.form(inner, f"{where}.{key}")] for key, inner in value.items()]
            return {"dict": pairs}
        if isinstance(value, torch.Tensor):
            return self._tensor(value, where)
        if type(value) is np.ndarray or isinstance(value, np.generic):
            if value.dtype.name not in DTYPES:
                raise Unsupported(f"{where[1:]} holds an array of {value.dtype}")
            kind = "array" if type(value) is np.ndarray else "scalar"
            # A copy: arrays are small beside tensors, and may not be written to, which torch would warn of.
            return self._kept(kind, torch.from_numpy(np.array(value, order="K")), where)
        raise Unsupported(f"{where[1:]} is {_article(type(value).__name__)}")

    def _tensor(self, value: Tensor, where: str) -> dict[str, Any]:
        import torch

        found = value.detach()
        name = str(found.dtype).removeprefix("torch.")
        if type(found) not in (torch.Tensor, torch.nn.Parameter) or found.layout != torch.strided or name not in DTYPES:
            raise Unsupported(f"{where[1:]} is {_article(type(found).__name__)} of {name}, {found.layout}")
        if found.numel():
            memory = found.untyped_storage().data_ptr()
            if memory in self._memory:
                raise Unsupported(f"{where[1:]} shares memory with {self._memory[memory]}")
            self._memory[memory] = where[1:]
        return self._kept("tensor", found, where) | ({} if found.device.type == "cpu" else {"accelerator": True})

    def _kept(self, kind: str, tensor: Tensor, where: str) -> dict[str, Any]:
        """The tensor as it lies in memory, under a name; and what stands in its place: name and order of dimensions."""
        name = f"{len(self.tensors):06}"
        form: dict[str, Any] = {kind: name}
        if not tensor.is_contiguous():
            strides = tensor.stride()
            form["order"] = sorted(range(tensor.dim()), key=lambda dim: -strides[dim])
            tensor = tensor.permute(form["order"])
            if not tensor.is_contiguous():
                raise Unsupported(f"{where[1:]} has gaps in its memory")
        self.tensors[name] = tensor
        return form


def put_together(form: Any, tensors: Mapping[str, Tensor], device: str) -> Any:
    """The tree that was taken apart; tensors that were on an accelerator are on `device`, all are copies."""
    if isinstance(form, list):
        return [put_together(inner, tensors, device) for inner in form]
    if not isinstance(form, dict):
        return form
    if "float" in form:
        return float(form["float"])
    if "tuple" in form:
        return tuple(put_together(inner, tensors, device) for inner in form["tuple"])
    if "dict" in form:
        pairs = form["dict"]
        return {put_together(key, tensors, device): put_together(inner, tensors, device) for key, inner in pairs}
    kind = next(kind for kind in ("tensor", "array", "scalar") if kind in form)
    found = tensors[form[kind]]
    if "order" in form:
        found = found.permute(sorted(range(found.dim()), key=lambda dim: form["order"][dim]))
    if kind == "array":
        return found.numpy().copy(order="K")
    if kind == "scalar":
        return found.numpy()[()].copy()
    # What was read lies in one piece of memory for the whole file; each tensor gets its own.
    return found.to(device) if form.get("accelerator") else found.clone()


def _article(word: str) -> str:
    return f"{'an' if word[0].lower() in 'aeiou' else 'a'} {word}"
