"""Which inputs of an arm lie on the hub and are not here: a plan works with assumptions instead of waiting for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from optbench.models.families import FAMILIES
from optbench.spec import Spec


def not_at_hand(spec: Any, *, without: str = "") -> list[str]:
    """Hub ids inside a spec, at any depth, whose files the local caches do not hold, the field `without` left out.

    A path that is written like a local one is never among them: if it is missing, that is an error and no question of
    network. Neither is a checkpoint that results state (`optbench.models.stated`): reading them takes no more.
    """
    found = _hub_ids(spec, without)
    return list(dict.fromkeys(name for name, revision, data in found if not _cached(name, revision, data=data)))


def _hub_ids(spec: Any, without: str = "") -> list[tuple[str, str, bool]]:
    """Id, revision, and whether it is a data set, of everything that a spec takes from the hub."""
    if not isinstance(spec, Spec):
        return []
    fields = {name: getattr(spec, name) for name in type(spec).model_fields if name != without}
    if fields.get("evaluate_on"):
        fields.pop("test", None)  # Where sets are asked, the task's own test split is not.
    found: list[tuple[str, str, bool]] = []
    if "hub_revision" in fields and fields.get("weights") != "random":
        path = str(fields.get("path") or fields.get("model") or "")
        family = fields.get("family")
        name = path or (FAMILIES[family].hub_id if family in FAMILIES else "")
        # What says how to read a model (`family`), or is a model by its kind, is none of the data sets.
        is_data = "family" not in fields and "model" not in fields and fields.get("kind") != "pretrained"
        if name and not _is_local(name):
            found.append((name, str(fields["hub_revision"]), is_data))
    for value in fields.values():
        for inner in value if isinstance(value, list | tuple) else (value,):
            found += _hub_ids(inner)
    return found


def _is_local(path: str) -> bool:
    return Path(path).expanduser().exists() or path.startswith((".", "/", "~"))


def _cached(name: str, revision: str, *, data: bool) -> bool:
    from huggingface_hub.constants import HF_HOME, HF_HUB_CACHE

    from optbench.models.checkpoints import cached_commit, name_of_checkpoint
    from optbench.models.stated import stated_as

    if not data:
        return cached_commit(name, revision) is not None or stated_as(name_of_checkpoint(name, revision)) is not None
    if Path(HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}").is_dir():
        return True
    # The library of data sets keeps what it made of the files, below a name in another spelling. It is not asked for
    # its folder, for it takes seconds to import.
    made = Path(os.environ.get("HF_DATASETS_CACHE") or Path(HF_HOME, "datasets"))
    return made.is_dir() and any(_letters(folder.name) == _letters(name) for folder in made.iterdir())


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
