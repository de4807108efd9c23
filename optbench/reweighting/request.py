"""What was asked for on the command line, checked before anything is trained."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optbench.errors import UserError, suggestion
from optbench.reweighting.choice import Settings
from optbench.reweighting.files import check_targets
from optbench.reweighting.lines import OwnFile, read_file
from optbench.reweighting.proxies import Proxy, proxy_of
from optbench.strategies.clusters import LaterLearned
from optbench.tasks.layouts import Fields

_NAMES = [name for name in Fields.model_fields if name != "source"]


@dataclass(frozen=True)
class Request:
    """The options that `upsample` and `augment` share; an empty text or None is what nobody asked for."""

    data: Path
    out: Path
    model: str
    target: str
    fields: str
    source: str
    epochs: int | None
    batch_size: int
    lr: float | None
    max_length: int | None
    factor: int
    trajectory: Literal["raw", "ratio"]
    clusters: int
    min_source: int
    seed: int
    limit: int
    shuffle: int | None
    threads: int | None
    results: Path
    force: bool

    def checked(self) -> tuple[OwnFile, Settings, Proxy]:
        """The file, how it is judged, and the model that the price is compared with.

        Raises UserError for what cannot be read or written, and for options that cannot mean anything together.
        """
        if not self.data.is_file():
            raise UserError(f"{self.data}: there is no such file (looked from {Path.cwd()})")
        check_targets(self.data, self.out, force=self.force)
        _check_results(self.results)
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise UserError(f"--lr {self.lr}: must be above 0 and finite")
        if self.trajectory == "ratio" and self.epochs == 1:
            raise UserError("--trajectory ratio compares successive epochs: it takes --epochs 2 at least")
        proxy = proxy_of(self.model, max_length=self.max_length)
        target = proxy_of(self.target, max_length=self.max_length) if self.target else proxy
        file = read_file(str(self.data), _fields(self.fields), source=self.source, limit=self.limit)
        select = LaterLearned(
            trajectory=self.trajectory,
            scope="source" if self.source else "all",
            clusters=self.clusters,
            min_source=self.min_source,
        )
        _check_sizes(file, select)
        lr = proxy.lr if self.lr is None else self.lr
        epochs = proxy.epochs(len(file.sources), self.batch_size) if self.epochs is None else self.epochs
        settings = Settings(proxy, epochs, self.batch_size, lr, self.factor, select, self.seed, self.results)
        return file, settings, target


def set_threads(threads: int | None) -> None:
    """Has torch compute with so many threads; None leaves it as it is."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _check_results(results: Path) -> None:
    folder = results
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"--results {results}: probes cannot be kept in {folder}")


def _check_sizes(file: OwnFile, select: LaterLearned) -> None:
    sizes = Counter(file.sources)
    if select.scope == "all":
        if select.clusters > len(file.sources) // 2:
            raise UserError(f"--clusters {select.clusters}: too many for {len(file.sources)} examples")
        return
    if max(sizes.values()) < select.min_source:
        raise UserError(
            f"{file.path}: the largest of {len(sizes)} sources has {max(sizes.values())} examples, and a source of "
            f"fewer than {select.min_source} is taken whole, so that nothing is left to choose: lower --min-source, or "
            "leave --source out to cluster all examples together"
        )
    smallest = min(size for size in sizes.values() if size >= select.min_source)
    if select.clusters > smallest // 2:
        raise UserError(f"--clusters {select.clusters}: too many for a source of {smallest} examples")


def _fields(text: str) -> Fields:
    """From `question=problem,solution=answer_text`."""
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, equals, field = pair.partition("=")
        if not equals or not field:
            raise UserError(f"--fields {pair}: must be NAME=FIELD; names: {', '.join(_NAMES)}")
        if name not in _NAMES:
            raise UserError(f"--fields {pair}: {name!r} is no part of an example; {suggestion(name, _NAMES)}")
        found[name] = field
    return Fields(**found)
