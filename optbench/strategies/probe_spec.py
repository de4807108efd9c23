"""The spec of a probe: a short training whose per-example losses tell early from late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from optbench.models.specs import ModelSpec
from optbench.optim.specs import OptimizerSpec
from optbench.spec import Spec


class SameModel(Spec):
    """The model of the cell itself."""

    kind: Literal["same"] = "same"


def _which(value: Any) -> str:
    is_same = isinstance(value, SameModel) or (isinstance(value, dict) and value.get("kind") == "same")
    return "same" if is_same else "other"


def _named(value: Any) -> Any:
    return {"kind": "same"} if value == "same" else value


if TYPE_CHECKING:
    ProbeModel = Any
else:
    ProbeModel = Annotated[
        Annotated[SameModel, Tag("same")] | Annotated[ModelSpec, Tag("other")],
        Discriminator(_which),
        BeforeValidator(_named),
    ]


class ProbeSpec(Spec):
    """A training of `epochs` epochs with `optimizer`, of the cell's own model or of a cheaper proxy.

    Each example's loss is noted when it passes by (`online`, which costs nothing), over the mean loss of its batch; or
    by a forward pass over the training set after each epoch, over the mean of that look (`looks`) or as it is
    (`losses`). Over the mean, every epoch counts alike: where a proxy learns all of a small set, late looks are noise
    of its own size, and the losses themselves are what tells examples apart. The seed is the probe's own, so that all
    cells share one probe.
    """

    model: ProbeModel = SameModel()
    optimizer: OptimizerSpec = OptimizerSpec.model_validate({"rule": {"kind": "adamw", "lr": 3e-3}})
    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    batch_size: Annotated[int, Field(ge=1)] = 64
    micro_batch: Annotated[int, Field(ge=1)] = 4096
    record: Literal["online", "looks", "losses"] = "online"
    seed: Annotated[int, Field(ge=0)] = 0
