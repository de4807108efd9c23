"""Checkpoints of one run: when they are written, what is in them, and how a run goes on from one.

A run is handed over as parts by name, each with `state_dict` and `load_state_dict`: weights, optimizer, history, random
state, whatever looks along. The loop knows nothing of it: the writer is an observer, called between two steps.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from optbench import checkpoint, seal
from optbench.checkpoint import Damaged, Statement
from optbench.checkpoint_tree import Unsupported, put_together, taken_apart
from optbench.errors import UserError
from optbench.provenance import version_of
from optbench.store import write_whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from optbench.train import History

PACKAGES = ("optbench", "torch", "transformers", "numpy")
SHARD_BYTES = 256 << 20
"""Tensors are written in files of about this size, so that no second copy of the whole state is made on the way."""


class Part(Protocol):
    """Something that changes along a run."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that its future depends on, as `checkpoint_tree` can keep it."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continues as the part that gave `state` would have, bit for bit."""
        ...


@dataclass(frozen=True)
class Weights:
    """The trainable parameters of a module, and its buffers; what is frozen is as it was built."""

    module: nn.Module

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name."""
        return {
            "parameters": {name: p for name, p in self.module.named_parameters() if p.requires_grad},
            "buffers": dict(self.module.named_buffers()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copied in place: optimizers hold these very tensors."""
        import torch

        own = self.state_dict()
        with torch.no_grad():
            for kind, tensors in own.items():
                for name, tensor in tensors.items():
                    tensor.copy_(state[kind][name])


def circumstances(device: str, protocol: int) -> dict[str, Any]:
    """What two sessions have to share so that one can go on with what the other did: versions, type of device, and on a
    CPU the number of threads, which splits sums."""
    import torch

    kind = device.partition(":")[0]
    made = {**_versions(), "protocol": protocol, "device type": kind}
    return made | ({"threads": torch.get_num_threads()} if kind == "cpu" else {})


@lru_cache(maxsize=1)
def _versions() -> Mapping[str, Any]:
    return {name: version_of(name) for name in PACKAGES}


def to_stderr(line: str) -> None:
    """Says something that does not end the run."""
    print(line, file=sys.stderr, flush=True)


@dataclass
class Checkpoints:
    """The checkpoints of the run `key` of `steps` steps, below the results folder `root`.

    One is written after every `minutes` of work, 0 for never, and one more at the last step of a run that has any:
    evaluation may take long as well. `made` are the `circumstances`. What cannot be written costs the checkpoint and
    never the run, and is said once.
    """

    root: Path
    key: str
    steps: int
    minutes: float
    made: Mapping[str, Any]
    device: str
    say: Callable[[str], None] = to_stderr
    seconds_before: float = 0.0
    """Work of earlier sessions up to the checkpoint that this one goes on from."""
    resumed: int = 0
    _history: History = field(init=False)
    _parts: Mapping[str, Part] = field(default_factory=dict)
    _panels: list[str] = field(default_factory=list)
    _passed_over: list[Path] = field(default_factory=list)
    _any: bool = False
    _said: bool = False
    _able: bool = True

    def __post_init__(self) -> None:
        self._begun = self._last = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Work so far, of all sessions."""
        return self.seconds_before + time.perf_counter() - self._begun

    def resume(
        self,
        history: History,
        parts: Mapping[str, Part],
        *,
        panels: Collection[str] = (),
        needed: Collection[str] = (),
    ) -> int:
        """Brings history and parts to where the newest checkpoint that can be used left them, and returns the steps
        done; 0 where there is none, and all is as it was.

        `panels` are the keys of those that look at the run; a checkpoint without what the `needed` among them saw is of
        no use, for they look along training. Further checkpoints are made of these parts.
        """
        self._history, self._parts, self._panels = history, {"history": history, **parts}, sorted(panels)
        for folder in checkpoint.newest_first(self.root, self.key):
            try:
                statement = checkpoint.statement_of(folder)
                reason = self._unfit(statement, needed)
                if not reason:
                    self._load(folder, checkpoint.check(folder))
            except (Damaged, OSError) as error:
                reason = f"it is damaged: {error}"
            if not reason:
                self.seconds_before, self.resumed, self._any = statement.seconds, statement.resumed + 1, True
                return statement.step
            self._passed_over.append(folder)
            self.say(f"{self.key}: the checkpoint at step {int(folder.name)} is not used; {reason}")
        return 0

    def observe(self, done: int) -> None:
        """An observer of the loop: writes a checkpoint where one is due and all is well."""
        if not self._due(done):
            return
        self._history.read()
        if not self._history.is_finite:
            return  # The loop is about to find out.
        try:
            form, tensors = taken_apart({name: part.state_dict() for name, part in self._parts.items()})
            self._write(done, form, tensors)
            self._any = True
        except Unsupported as error:
            self._able = False
            self.say(f"{self.key}: this run cannot be checkpointed, and starts anew if it is interrupted: {error}")
        except OSError as error:
            if not self._said:
                self._said = True
                why = error.strerror or error
                self.say(f"{self.key}: no checkpoint could be written ({why}); the run goes on without")
        self._last = time.perf_counter()
        self._forget_peak()

    def remove(self) -> None:
        """Deletes them all: the run has ended, and what it made is kept."""
        checkpoint.remove(self.root, self.key)

    def _due(self, done: int) -> bool:
        if not self.minutes or not self._able:
            return False
        return time.perf_counter() - self._last >= 60 * self.minutes or (done == self.steps and self._any)

    def _unfit(self, statement: Statement, needed: Collection[str]) -> str:
        """Why a checkpoint of another time is of no use here; empty where it is."""
        if (statement.key, statement.steps) != (self.key, self.steps):
            return f"it is of another run, {statement.key} of {statement.steps} steps"
        for name in sorted({*self.made, *statement.made}):
            then, now = statement.made.get(name, "none"), self.made.get(name, "none")
            if then != now:
                return f"it was made with {name} {then}, and here is {now}"
        if not set(needed) <= set(statement.panels):
            return "a panel that looks along training was not there to look"
        return ""

    def _load(self, folder: Path, files: list[Path]) -> None:
        """Raises UserError where the parts cannot take up what is there: other code wrote it under the same version,
        and some of them may have changed already."""
        try:
            self._take_up(folder, files)
        except Damaged:
            raise
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(
                f"{folder}: the checkpoint is whole, but this run cannot go on from it ({reason}); "
                f"delete {folder.parent} to start the run anew"
            ) from error

    def _take_up(self, folder: Path, files: list[Path]) -> None:
        from safetensors.torch import load_file

        form = json.loads((folder / checkpoint.STATE).read_bytes())
        tensors: dict[str, Tensor] = {}
        for file in files:
            tensors |= load_file(file)
        state = put_together(form, tensors, self.device)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        del state, tensors
        self._forget_peak()

    def _write(self, done: int, form: Any, tensors: Mapping[str, Tensor]) -> None:
        target = checkpoint.folder_of(self.root, self.key) / str(done)
        statement = Statement(self.key, done, self.steps, self.made, self._panels, self.seconds, self.resumed)

        def fill(folder: Path) -> None:
            from safetensors.torch import save

            for index, shard in enumerate(_shards(tensors)):
                # Its own way to a file raises an error that is no OSError when the disk is full.
                content = save({name: tensor.cpu() for name, tensor in shard.items()})
                (folder / checkpoint.TENSORS.format(index)).write_bytes(content)
            text = json.dumps(form, allow_nan=False)
            (folder / checkpoint.STATE).write_text(text + "\n", encoding="utf-8")
            (folder / checkpoint.STATEMENT).write_text(statement.text(), encoding="utf-8")
            seal.seal(folder)
            for useless in self._passed_over:
                shutil.rmtree(useless, ignore_errors=True)
            self._passed_over.clear()

        write_whole(target, fill)
        checkpoint.prune(self.root, self.key)

    def _forget_peak(self) -> None:
        from optbench.metrics import cost

        # What reading and writing took is not the run's; the watch has noted its peak with its state.
        cost.reset_peak(self.device)


def _shards(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        shard[name] = tensor
        size += tensor.numel() * tensor.element_size()
        if size >= SHARD_BYTES:
            yield shard
            shard, size = {}, 0
    if shard:
        yield shard
