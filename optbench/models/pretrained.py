"""Any causal language model of transformers, from a hub id or a local directory, with its own tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from optbench.models.adapted_dimensions import adapted_dimensions
from optbench.models.adapters import Lora, with_adapters
from optbench.models.checkpoints import checkpoint_identity, load_model, load_tokenizer, read_config
from optbench.models.dimensions import Dimensions, of_config
from optbench.spec import Spec

if TYPE_CHECKING:
    from optbench.models.language_model import LanguageModel, Precision


class Pretrained(Spec):
    """The checkpoint at `path`. It enters a key by the content of its files, or by its commit on the hub.

    With `lora` its weights are frozen and adapters are trained.
    """

    kind: Literal["pretrained"] = "pretrained"
    path: str
    hub_revision: str = "main"
    lora: Lora | None = None

    @property
    def is_small(self) -> bool:
        """Whether what was trained is kept with the record: adapters are."""
        return self.lora is not None

    @property
    def is_pretrained(self) -> bool:
        """Whether it knows something before it is trained."""
        return True

    def identity(self) -> dict[str, Any]:
        """The checkpoint by its content or commit, wherever it lies."""
        adapters = {} if self.lora is None else {"lora": self.lora.identity()}
        return {"kind": self.kind, "path": checkpoint_identity(self.path, self.hub_revision), **adapters}

    def dimensions(self) -> Dimensions:
        """The sizes, from config.json."""
        config = read_config(self.path, self.hub_revision)
        found = of_config(config, where=self.path)
        return adapted_dimensions(found, self.lora, model_type=config.get("model_type", ""))

    def tokenizer(self) -> Any:
        """The checkpoint's own tokenizer."""
        return load_tokenizer(self.path, self.hub_revision)

    def build(self, *, seed: int, device: str, precision: Precision, attention: str) -> LanguageModel:
        """The model in float32; `seed` draws the adapters, and without them changes nothing."""
        from optbench.models.building import finished

        module = load_model(self.path, self.hub_revision, attention=attention)
        module = with_adapters(module, self.lora, seed=seed)
        return finished(module, self.tokenizer(), device=device, precision=precision)
