"""The four families at two scales: `nano` (the same classes, about 0.1M parameters) and `full` (real checkpoints)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from optbench.models.adapted_dimensions import adapted_dimensions
from optbench.models.adapters import Lora, with_adapters
from optbench.models.dimensions import Dimensions, of_config
from optbench.spec import Spec

if TYPE_CHECKING:
    from optbench.models.language_model import LanguageModel, Precision

FamilyName = Literal["phi", "llama", "gemma3", "qwen3"]


@dataclass(frozen=True)
class Family:
    """A family of models: its checkpoint, the classes of transformers, and the published configuration."""

    hub_id: str
    config_class: str
    model_class: str
    gated: bool
    tied: bool
    published: dict[str, Any]
    nano_extra: dict[str, Any]


FAMILIES: dict[str, Family] = {
    "phi": Family(
        hub_id="microsoft/phi-2",
        config_class="PhiConfig",
        model_class="PhiForCausalLM",
        gated=False,
        tied=False,
        published={
            "hidden_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "intermediate_size": 10240,
            "vocab_size": 51200,
            "partial_rotary_factor": 0.4,
            "max_position_embeddings": 2048,
        },
        nano_extra={"partial_rotary_factor": 0.5},
    ),
    "llama": Family(
        hub_id="meta-llama/Llama-3.2-1B",
        config_class="LlamaConfig",
        model_class="LlamaForCausalLM",
        gated=True,
        tied=True,
        published={
            "hidden_size": 2048,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "intermediate_size": 8192,
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
        },
        nano_extra={},
    ),
    "gemma3": Family(
        hub_id="google/gemma-3-1b-pt",
        config_class="Gemma3TextConfig",
        model_class="Gemma3ForCausalLM",
        gated=True,
        tied=True,
        published={
            "hidden_size": 1152,
            "num_hidden_layers": 26,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "intermediate_size": 6912,
            "vocab_size": 262144,
            "max_position_embeddings": 32768,
            "sliding_window": 512,
        },
        nano_extra={"sliding_window": 128, "layer_types": "alternating", "query_pre_attn_scalar": "head_dim"},
    ),
    "qwen3": Family(
        hub_id="Qwen/Qwen3-0.6B-Base",
        config_class="Qwen3Config",
        model_class="Qwen3ForCausalLM",
        gated=True,
        tied=True,
        published={
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 3072,
            "vocab_size": 151936,
            "max_position_embeddings": 32768,
        },
        nano_extra={},
    ),
}


class Nano(Spec):
    """A small model of the family with random weights and a character tokenizer.

    `expansion` is the width of the feed-forward layer over the model's in a layer of two matrices; gated layers have
    three, each 2/3 as wide, so that all families are of one size. With `lora` these random weights are frozen and
    adapters are trained.
    """

    kind: Literal["nano"] = "nano"
    family: FamilyName
    width: Annotated[int, Field(ge=8, le=4096)] = 64
    layers: Annotated[int, Field(ge=1, le=64)] = 2
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    kv_heads: Annotated[int, Field(ge=1, le=64)] = 2
    expansion: Annotated[float, Field(gt=0.0, le=16.0)] = 4.0
    max_length: Annotated[int, Field(ge=16, le=8192)] = 256
    init_std: Annotated[float, Field(gt=0.0, le=1.0)] = 0.06
    """Of the random weights. The 0.02 of transformers suits widths near 768; scaled by 1/sqrt(width) that is 0.07 here,
    and with 0.02 nano models spend most of a short run on growing their weights."""
    lora: Lora | None = None

    @model_validator(mode="after")
    def _sizes_divide(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width ({self.width}) is not an even multiple of heads ({self.heads})")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) is not a multiple of kv_heads ({self.kv_heads})")
        return self

    @property
    def is_small(self) -> bool:
        """Whether final weights are kept with the record."""
        return True

    @property
    def is_pretrained(self) -> bool:
        """Whether it knows something before it is trained."""
        return False

    def dimensions(self) -> Dimensions:
        """The sizes, without building the model."""
        found = of_config(self._config(), where=f"{self.kind} {self.family}")
        return adapted_dimensions(found, self.lora, model_type=self.family)

    def tokenizer(self) -> Any:
        """One token per character of printable ASCII."""
        from optbench.models.tokenizers import CharTokenizer

        return CharTokenizer()

    def build(self, *, seed: int, device: str, precision: Precision, attention: str) -> LanguageModel:
        """The model with weights drawn from `seed` alone."""
        from optbench.models.building import from_config

        tokenizer = self.tokenizer()
        family = FAMILIES[self.family]
        module = from_config(family, self._config(), seed=seed, attention=attention, pad_id=tokenizer.pad_id)
        module = with_adapters(module, self.lora, seed=seed)
        return _finished(module, tokenizer, device=device, precision=precision)

    def _vocabulary(self) -> int:
        return int(self.tokenizer().vocabulary)

    def _config(self) -> dict[str, Any]:
        family = FAMILIES[self.family]
        inner = self.expansion * self.width * (2 / 3 if family.gated else 1.0)
        head_dim = self.width // self.heads
        config = {
            "model_type": self.family,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": head_dim,
            "intermediate_size": 4 * round(inner / 4),
            "vocab_size": self._vocabulary(),
            "max_position_embeddings": self.max_length,
            "initializer_range": self.init_std,
            "tie_word_embeddings": family.tied,
            **family.nano_extra,
        }
        if "layer_types" in config:
            kinds = ("sliding_attention", "full_attention")
            config["layer_types"] = [kinds[layer % 2] for layer in range(self.layers)]
        if "query_pre_attn_scalar" in config:
            config["query_pre_attn_scalar"] = head_dim
        return config


class Full(Spec):
    """The family's real size: the pretrained checkpoint, from the hub or a local directory, or random weights.

    An empty `path` is the family's own checkpoint on the hub. Random weights need no download at all: the published
    configuration is built in, with the character tokenizer (for measuring cost, not quality). With `lora` all weights
    are frozen and adapters are trained.
    """

    kind: Literal["full"] = "full"
    family: FamilyName
    path: str = ""
    hub_revision: str = "main"
    weights: Literal["pretrained", "random"] = "pretrained"
    lora: Lora | None = None

    @property
    def is_small(self) -> bool:
        """Whether what was trained is kept with the record: adapters are."""
        return self.lora is not None

    @property
    def is_pretrained(self) -> bool:
        """Whether it knows something before it is trained."""
        return self.weights == "pretrained"

    def identity(self) -> dict[str, Any]:
        """The fields, with the checkpoint by its content or commit."""
        from optbench.models.checkpoints import checkpoint_identity

        content = super().identity()
        if self.weights == "pretrained":
            content.pop("hub_revision", None)
            content["path"] = checkpoint_identity(self._path, self.hub_revision)
        return content

    def dimensions(self) -> Dimensions:
        """The published sizes, or those of the checkpoint at `path`."""
        if self.path and self.weights == "pretrained":
            from optbench.models.checkpoints import read_config

            found = of_config(read_config(self.path, self.hub_revision), where=self.path)
        else:
            found = of_config(self._published(), where=self._path)
        return adapted_dimensions(found, self.lora, model_type=self.family)

    def tokenizer(self) -> Any:
        """The checkpoint's own tokenizer; the character tokenizer for random weights."""
        from optbench.models.checkpoints import load_tokenizer
        from optbench.models.tokenizers import CharTokenizer

        return CharTokenizer() if self.weights == "random" else load_tokenizer(self._path, self.hub_revision)

    def build(self, *, seed: int, device: str, precision: Precision, attention: str) -> LanguageModel:
        """The model; `seed` draws the weights where they are random. Raises UserError for a missing checkpoint."""
        from optbench.models.building import from_config
        from optbench.models.checkpoints import load_model

        tokenizer = self.tokenizer()
        if self.weights == "random":
            family = FAMILIES[self.family]
            module = from_config(family, self._published(), seed=seed, attention=attention, pad_id=tokenizer.pad_id)
        else:
            module = load_model(self._path, self.hub_revision, attention=attention)
        module = with_adapters(module, self.lora, seed=seed)
        return _finished(module, tokenizer, device=device, precision=precision)

    @property
    def _path(self) -> str:
        return self.path or FAMILIES[self.family].hub_id

    def _published(self) -> dict[str, Any]:
        family = FAMILIES[self.family]
        return {**family.published, "model_type": self.family, "tie_word_embeddings": family.tied}


def _finished(module: Any, tokenizer: Any, *, device: str, precision: Precision) -> LanguageModel:
    from optbench.models.building import finished

    return finished(module, tokenizer, device=device, precision=precision)
