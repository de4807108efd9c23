"""The shape of a suite file, before presets, sweeps and overrides are worked out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from optbench.overrides import OverrideFields
from optbench.spec import Spec
from optbench.tuning.request import Tuning
from optbench.yamlfile import Node, placed

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Entries = Annotated[list[str | dict[str, Any]], Field(min_length=1)]
"""Points of an axis: the name of a preset, or a mapping of fields with `name`, `preset` and `sweep` beside them."""


class Execution(Spec):
    """How cells are run at the same time: `workers` processes of `threads` threads each. Enters no key.

    A cell that trains for longer writes a checkpoint every `checkpoint_minutes`, from which it goes on when it was
    interrupted; 0 is never.
    """

    workers: Count = 1
    threads: Count = 1
    checkpoint_minutes: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 10.0


class Side(Spec):
    """The arms on one side of a contrast: the display names on the axes that matter."""

    model: str = ""
    task: str = ""
    strategy: str = ""
    optimizer: str = ""
    budget: str = ""


class ContrastFields(Spec):
    """A declared difference in `metric` (the suite's `ranked_by` unless named), pooled over every axis that it does not
    name. Without a name it is called by its sides."""

    name: str = ""
    of: Side
    minus: Side
    metric: str = ""

    @model_validator(mode="after")
    def _same_axes(self) -> ContrastFields:
        of, minus = self.of.model_fields_set, self.minus.model_fields_set
        if of != minus or not of:
            raise ValueError(f"`of` names {_listed(of)} and `minus` {_listed(minus)}; they name the same axes")
        if self.of == self.minus:
            raise ValueError("`of` and `minus` are the same")
        return self


class SuiteFields(Spec):
    """A suite file: one scientific question, four axes, a budget, and how to train, look and compare.

    `panels` names families of further metrics; they enter no key. `ranked_by` is the column that tables are ordered by.
    `tuned` is an overrides file that `optbench tune` wrote, relative to this file; `tuning` says how it chooses.
    """

    name: str = ""
    question: str = ""
    models: Entries
    tasks: Entries
    strategies: Entries
    optimizers: Entries
    budget: dict[str, Any] | Annotated[list[dict[str, Any]], Field(min_length=1)]
    training: dict[str, Any] = {}
    seeds: Count | Annotated[list[Seed], Field(min_length=1)] = 1
    execution: Execution = Execution()
    overrides: list[OverrideFields] = []
    contrasts: list[ContrastFields] = []
    panels: list[str | dict[str, Any]] = []
    ranked_by: str = "accuracy"
    tuning: Tuning = Tuning()
    tuned: str = ""


def _listed(axes: set[str]) -> str:
    return ", ".join(sorted(axes)) or "nothing"


def of_checkpoint(root: Node, path: str) -> Node:
    """The suite `root` with one model, the checkpoint at `path` (a directory, or an id on the hub), in place of its
    own. It is named after the last part of the path; adapters that every model of the suite has, it has, too."""
    models = root.value["models"]
    # A directory by its own name, also where it is given as `.`; what has a meaning in patterns cannot stay in a name.
    last = Path(path).expanduser().resolve().name if Path(path).exists() else Path(path).name
    name = re.sub(r"[\s,=*?\[\]]", "-", last)
    model = {"name": name, "kind": "pretrained", "path": path}
    adapters = [item.value["lora"] for item in models.value if isinstance(item.value, dict) and "lora" in item.value]
    if len(adapters) == len(models.value):
        model["lora"] = adapters[0].plain()
    given = placed([model], models.place)
    return Node({**root.value, "models": given}, root.place, root.key)
