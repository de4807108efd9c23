"""The models that can be profiled: by their published shapes, with random weights, at any number of layers."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.errors import UserError, suggestion
from optbench.models.dimensions import Dimensions, of_config
from optbench.models.families import FAMILIES, Nano
from optbench.models.specs import PRESETS

if TYPE_CHECKING:
    from optbench.models.language_model import LanguageModel

NANO = [name for name, fields in PRESETS.items() if fields["kind"] == "nano"]
FULL = [name for name, fields in PRESETS.items() if fields["kind"] == "full"]
GROUPS = {"nano": NANO, "all": FULL}
"""Words that stand for several models: the four small ones, and the four real ones."""


@dataclass(frozen=True)
class Shape:
    """A causal language model without its weights: a configuration of transformers, of one of the families or any."""

    name: str
    config: dict[str, Any]
    dimensions: Dimensions
    family: str | None = None

    @property
    def model_type(self) -> str:
        """The architecture, in transformers' words."""
        return str(self.config["model_type"])

    @property
    def max_length(self) -> int:
        """Tokens that the model reads at most."""
        return int(self.config.get("max_position_embeddings") or 2048)

    def with_layers(self, layers: int) -> Shape:
        """The same model with so many of its layers."""
        config = {**self.config, "num_hidden_layers": layers}
        if isinstance(config.get("layer_types"), list):
            config["layer_types"] = config["layer_types"][:layers]
        return dataclasses.replace(self, config=config, dimensions=dataclasses.replace(self.dimensions, layers=layers))

    def build(self, *, seed: int, device: str, precision: Any) -> LanguageModel:
        """The model with random float32 weights, and attention that keeps no matrix of scores where torch can.

        Raises UserError where transformers has no such model.
        """
        from optbench.models.building import finished
        from optbench.models.tokenizers import CharTokenizer

        return finished(self._module(seed), CharTokenizer(), device=device, precision=precision)

    def _module(self, seed: int) -> Any:
        from optbench.models.building import from_config

        if self.family is None:
            return _other_module(self.name, self.config, seed)
        return from_config(FAMILIES[self.family], self.config, seed=seed, attention="sdpa", pad_id=0)


def shapes_of(text: str) -> list[Shape]:
    """Presets by name, `nano`, `all`, or directories with a config.json; separated by commas, each once.

    Raises UserError for anything else.
    """
    names: list[str] = []
    for word in (word.strip() for word in text.split(",")):
        names += GROUPS.get(word, [word] if word else [])
    if not names:
        raise UserError(f"--models is empty; {suggestion('', [*GROUPS, *NANO, *FULL])}")
    return [_shape(name) for name in dict.fromkeys(names)]


def _shape(name: str) -> Shape:
    fields = PRESETS.get(name, {})
    if fields.get("kind") == "full":
        family = FAMILIES[fields["family"]]
        config = {**family.published, "model_type": fields["family"], "tie_word_embeddings": family.tied}
        return Shape(name, config, of_config(config, where=name), fields["family"])
    if fields.get("kind") == "nano":
        spec = Nano(family=fields["family"])
        return Shape(name, spec._config(), spec.dimensions(), fields["family"])
    known = [*GROUPS, *NANO, *FULL]
    if fields:
        raise UserError(f"--models: {name} is no language model; allowed: {', '.join(known)}")
    path = Path(name).expanduser()
    if path.is_dir():
        return _of_directory(name, path)
    raise UserError(
        f"--models: no model is named {name!r}, and there is no such directory with a config.json; "
        f"{suggestion(name, known)}"
    )


def _of_directory(name: str, path: Path) -> Shape:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--models: {name}: config.json cannot be read: {error}") from error
    if isinstance(config, dict):
        config = config.get("text_config", config)
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(f"--models: {name}: config.json names no model_type")
    return Shape(path.resolve().name, config, of_config(config, where=f"--models: {name}"))


_NOT_SHAPE = {"model_type", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version"}
"""Of a config.json, what does not describe the architecture, or says where to find code: none is run."""


def _other_module(name: str, config: dict[str, Any], seed: int) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    from optbench.rng import seeded_torch

    fields = {key: value for key, value in config.items() if key not in _NOT_SHAPE}
    # As in the families: no token is treated as padding inside the model.
    fields.update(pad_token_id=None, bos_token_id=None, eos_token_id=None)
    try:
        built = AutoConfig.for_model(config["model_type"], **fields)
        with seeded_torch(seed):
            return AutoModelForCausalLM.from_config(built, attn_implementation="sdpa").float()
    except (ValueError, KeyError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--models: {name}: transformers builds no causal model of its config.json: {reason}"
        ) from error
