"""The shape of a suite file, before presets, sweeps and overrides are worked out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

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

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str = ""
    """What it is called in reports; without one, its file's name."""
    question: str = ""
    """What it asks, for the head of a report."""
    models: Entries
    """Presets by name, or mappings of fields; a mapping may have `preset`, `name` and `sweep` beside them. So for all
    four axes."""
    tasks: Entries
    """What is learned and how it is graded."""
    strategies: Entries
    """What one epoch is made of."""
    optimizers: Entries
    """Estimator and rule."""
    budget: dict[str, Any] | Annotated[list[dict[str, Any]], Field(min_length=1)]
    """How long a cell trains, in one unit of steps, epochs, tokens, passes or flops; each budget of a list makes arms
    of its own."""
    training: dict[str, Any] = {}
    """How all cells train; `optbench show training` has its keys and defaults."""
    seeds: Count | Annotated[list[Seed], Field(min_length=1)] = 1
    """How many, counted from 0, or a list of them."""
    execution: Execution = Execution()
    """How many cells run at a time, threads of each, minutes between checkpoints; no result depends on it but for the
    rounding of another number of threads."""
    overrides: list[OverrideFields] = []
    """Other values (`set`) for the arms that `where` names."""
    contrasts: list[ContrastFields] = []
    """Differences between arms that are tested: `of` less `minus`, in `metric`."""
    panels: list[str | dict[str, Any]] = []
    """Families of further metrics; they change no run."""
    ranked_by: str = "accuracy"
    """The column that tables are ordered by and contrasts are taken in."""
    tuning: Tuning = Tuning()
    """How `optbench tune` chooses values."""
    tuned: str = ""
    """The overrides file that `optbench tune` wrote, relative to this file."""


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
