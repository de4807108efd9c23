"""The scale of a comparison in words, so that nobody takes a small model's result for a large one's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from optbench.errors import UserError

if TYPE_CHECKING:
    from optbench.arm import Arm


@runtime_checkable
class _Sized(Protocol):
    """A model whose sizes are known without building it; a plug-in's need not be."""

    def dimensions(self) -> object: ...


@runtime_checkable
class _Counted(Protocol):
    """Dimensions that count the entries of all matrices."""

    @property
    def matrix_parameters(self) -> int: ...


def models_text(arms: Sequence[Arm]) -> str:
    """How many models the arms have and how large they are: `4 models of 0.10M parameters`; their names where a size
    is not known."""
    specs = {arm.model: arm.model_spec for arm in arms}
    counts = {model: parameters_of(spec) for model, spec in specs.items()}
    known = [count for count in counts.values() if count]
    number = f"{len(counts)} models" if len(counts) > 1 else "1 model"
    if len(known) < len(counts):
        return f"{number} ({', '.join(counts)})"
    sizes = list(dict.fromkeys((size_text(min(known)), size_text(max(known)))))
    return f"{number} of {' to '.join(sizes)} parameters"


def parameters_of(spec: object) -> int | None:
    """The parameters in the matrices of a model; None for a model that has no such count, or no configuration here."""
    if not isinstance(spec, _Sized):
        return None
    try:
        dimensions = spec.dimensions()
    except (OSError, UserError):
        return None
    return int(dimensions.matrix_parameters) if isinstance(dimensions, _Counted) else None


def size_text(count: int) -> str:
    """A number of parameters: `0.10M`, `2.78B`; below ten thousand as it is."""
    if count >= 1e9:
        return f"{count / 1e9:.2f}B"
    return f"{count / 1e6:.2f}M" if count >= 1e4 else str(count)
