"""The models by kind, and the presets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optbench.models.decoder import Decoder
from optbench.models.families import Full, Nano
from optbench.models.linear_attention import LinearAttention
from optbench.models.pretrained import Pretrained
from optbench.plugins import one_of, with_entry_points
from optbench.spec import Spec

MODELS: dict[str, type[Spec]] = with_entry_points(
    "models",
    {"nano": Nano, "decoder": Decoder, "full": Full, "pretrained": Pretrained, "linear_attention": LinearAttention},
)

if TYPE_CHECKING:
    ModelSpec = Any
else:
    ModelSpec = one_of(MODELS)

DECODER = {
    "kind": "decoder",
    "family": "llama",
    # The 32,000 sentencepiece tokens of T5 and its 100 further ones, in as many rows as T5 has.
    "tokenizer_path": "google-t5/t5-base",
    "tokenizer_revision": "a9723ea7f1b39c1eae772870f3b547bf6ef7e6c1",
    "vocabulary": 32128,
}

PRESETS: dict[str, dict[str, Any]] = {
    "phi-nano": {"kind": "nano", "family": "phi"},
    "llama-nano": {"kind": "nano", "family": "llama"},
    "gemma-nano": {"kind": "nano", "family": "gemma3"},
    "qwen-nano": {"kind": "nano", "family": "qwen3"},
    "linear-attention": {"kind": "linear_attention"},
    # 12 layers width^2 entries outside the embedding: 23.9, 42.5, 117.9 and 1,208 million.
    "decoder-24m": {**DECODER, "width": 576, "heads": 9, "kv_heads": 9},
    "decoder-42m": {**DECODER, "width": 768, "heads": 12, "kv_heads": 12},
    "decoder-118m": {**DECODER, "width": 1280, "heads": 20, "kv_heads": 20},
    "decoder-1.2b": {**DECODER, "width": 4096, "heads": 64, "kv_heads": 64},
    "phi-2": {"kind": "full", "family": "phi"},
    "llama-3.2-1b": {"kind": "full", "family": "llama"},
    "gemma-3-1b-pt": {"kind": "full", "family": "gemma3"},
    "qwen3-0.6b-base": {"kind": "full", "family": "qwen3"},
}
"""Models by name."""
