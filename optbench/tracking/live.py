"""A cell that is tracked while it trains: curves as they grow, the rest when its record is there.

Losses lie on the device until the loop reads them, once in sixteen steps. To read them here as well would make the host
wait once more; so they are sent on their way to the host just after the loop has waited, and are looked at when it has
waited again, sixteen steps later. The last rows come from the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optbench.tracking.boundary import Boundary
from optbench.tracking.content import content_of, settings_of
from optbench.tracking.ledger import Ledger

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.cell import CellSpec
    from optbench.optim.base import StepInfo
    from optbench.store import Store
    from optbench.tracking.labels import Labels
    from optbench.tracking.session import Session
    from optbench.tracking.target import Target
    from optbench.train import History


@dataclass(frozen=True)
class Tracked:
    """A cell that is to be tracked: where it goes and what it is called."""

    target: Target
    labels: Labels


class Live:
    """The run of W&B beside a cell. It raises nothing, whatever happens: `say` is told the first failure."""

    def __init__(self, tracked: Tracked, cell: CellSpec, say: Callable[[str], None]) -> None:
        self._tracked, self._cell = tracked, cell
        self._ledger = Ledger(tracked.target)
        self._boundary = Boundary(say)
        self._session: Session | None = None
        self._rows = Rows()
        self._logged = 0
        self._uploaded = False

    def begin(self) -> None:
        """Begins the run, before the clock of the cell starts."""
        self._boundary.attempt(self._begin)

    def step(self, info: StepInfo, *, lr_scale: float, tokens: int, passes: float) -> None:
        """See `noted.Notes.step`."""
        self._boundary.attempt(lambda: self._rows.add(info, lr_scale=lr_scale, tokens=tokens, passes=passes))

    def resume(self, history: History) -> None:
        """See `noted.Notes.resume`: the run of W&B is a new one, so it is told what the loop knows already."""
        self._boundary.attempt(lambda: self._resume(history))

    def observe(self, done: int) -> None:
        """See `noted.Notes.observe`."""
        self._boundary.attempt(lambda: self._observe(done))

    def complete(self, store: Store, panels: Sequence[Any]) -> None:
        """Ends the run with what the record in the store says."""
        self._boundary.attempt(lambda: self._complete(store, panels))
        self.close()

    def close(self) -> None:
        """Ends what is still open, as a run that failed, and the process of wandb."""
        from optbench.tracking.session import close_service

        session, self._session = self._session, None
        if session is not None:
            self._boundary.cleanup(session.drop)
        self._boundary.cleanup(close_service)

    def _begin(self) -> None:
        from optbench.tracking.session import Session

        target, labels = self._tracked.target, self._tracked.labels
        self._uploaded = self._ledger.clear(labels)
        self._session = Session(target, labels, settings_of(self._cell.dump(), self._cell.key, labels))
        self._ledger.note(labels, folder=self._session.folder, uploaded=self._uploaded)

    def _resume(self, history: History) -> None:
        if self._uploaded:
            return
        assert self._session is not None, "a run whose beginning failed is left alone"
        for row in self._rows.of(history):
            self._session.log(row, self._logged)
            self._logged += 1

    def _observe(self, done: int) -> None:
        from optbench.train import CHECK_EVERY

        if done % CHECK_EVERY or self._uploaded:
            return
        assert self._session is not None, "a run whose beginning failed is left alone"
        for row in self._rows.arrived():
            self._session.log(row, self._logged)
            self._logged += 1
        self._rows.send()

    def _complete(self, store: Store, panels: Sequence[Any]) -> None:
        record = store.record(self._cell.key)
        assert record is not None and self._session is not None, "a cell that ended has a record"
        labels = self._tracked.labels
        content = content_of(record, store, panels, labels)
        logged = len(content.curve) if self._uploaded else self._logged
        self._session.complete(content, logged=logged)
        mark = content.fingerprint(labels)
        self._ledger.note(labels, folder=self._session.folder, uploaded=self._uploaded, content=mark)
        self._session = None


class Rows:
    """Rows of the curves on their way from the device."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._plain: list[tuple[float, int, float]] = []
        self._passes = 0.0
        self._sent: list[tuple[float, int, float]] = []
        self._buffer: Tensor | None = None

    def add(self, info: StepInfo, *, lr_scale: float, tokens: int, passes: float) -> None:
        """A step was taken; its numbers stay where they are."""
        self._passes += passes
        self._losses.append(info.loss)
        self._norms.append(info.gradient_norm)
        self._plain.append((lr_scale, tokens, self._passes))

    def of(self, history: History) -> Iterator[dict[str, float]]:
        """The rows of steps that were taken in earlier sessions; passes count on from there."""
        steps = zip(history.losses, history.gradient_norms, history.lr_scales, history.tokens, strict=True)
        for (loss, norm, scale, tokens), passes in zip(steps, history.passes, strict=True):
            self._passes += passes
            yield {"loss": loss, "gradient_norm": norm, "lr_scale": scale, "tokens": tokens, "passes": self._passes}

    def send(self) -> None:
        """Sends the rows since the last time on their way; on a GPU the host goes on at once."""
        import torch

        values = torch.stack([torch.stack(self._losses).double(), torch.stack(self._norms).double()]).detach()
        # Only to memory that cannot be paged out does a device write by itself.
        self._buffer = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
        self._buffer.copy_(values, non_blocking=True)
        self._sent, self._plain = self._plain, []
        self._losses.clear()
        self._norms.clear()

    def arrived(self) -> list[dict[str, float]]:
        """The rows that were sent the last time. The device must have been waited for since."""
        if self._buffer is None:
            return []
        losses, norms = self._buffer.tolist()
        self._buffer = None
        return [
            {"loss": loss, "gradient_norm": norm, "lr_scale": scale, "tokens": tokens, "passes": passes}
            for loss, norm, (scale, tokens, passes) in zip(losses, norms, self._sent, strict=True)
        ]
