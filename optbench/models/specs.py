"""The models by kind, and the presets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optbench.models.families import Full, Nano
from optbench.models.linear_attention import LinearAttention
from optbench.models.pretrained import Pretrained
from optbench.plugins import one_of, with_entry_points
from optbench.spec import Spec

MODELS: dict[str, type[Spec]] = with_entry_points(
    "models", {"nano": Nano, "full": Full, "pretrained": Pretrained, "linear_attention": LinearAttention}
)

if TYPE_CHECKING:
    ModelSpec = Any
else:
    ModelSpec = one_of(MODELS)

PRESETS: dict[str, dict[str, Any]] = {
    "phi-nano": {"kind": "nano", "family": "phi"},
    "llama-nano": {"kind": "nano", "family": "llama"},
    "gemma-nano": {"kind": "nano", "family": "gemma3"},
    "qwen-nano": {"kind": "nano", "family": "qwen3"},
    "linear-attention": {"kind": "linear_attention"},
    "phi-2": {"kind": "full", "family": "phi"},
    "llama-3.2-1b": {"kind": "full", "family": "llama"},
    "gemma-3-1b-pt": {"kind": "full", "family": "gemma3"},
    "qwen3-0.6b-base": {"kind": "full", "family": "qwen3"},
}
"""Models by name."""
