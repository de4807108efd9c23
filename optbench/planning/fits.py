"""Whether cells fit into the memory of a device, and what would."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from optbench.errors import UserError
from optbench.planning.devices import HERE, Device, device_of
from optbench.planning.memory import Peak, peak_of
from optbench.planning.workload import Workload, checked
from optbench.profiling.rows import Fits, fits_in

if TYPE_CHECKING:
    from optbench.arm import Arm

MOST = 12
"""Reasons that are told in full."""
CLEARLY = 1.15
"""How far an estimate has to be above the memory for a run to be refused: it may be off by as much."""


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A change of specs that saves memory, in the words of a suite file."""

    words: str
    model: Any
    optimizer: Any
    training: Any
    work: Workload


def share_of(device: Device, workers: int) -> float | None:
    """The bytes that one cell may fill: on a CPU all that run at once share its memory; a GPU holds one cell."""
    if device.memory is None or device.is_gpu:
        return device.memory
    return device.memory / workers


def fit_of(peak: Peak, device: Device, workers: int) -> Fits:
    """Whether a cell fits: `tight` above nine tenths of what is there."""
    return fits_in(peak.bytes, share_of(device, workers))


def check_fits(arms: Iterable[Arm], *, device: str = HERE, workers: int = 1) -> None:
    """Raises UserError where a cell of these arms is estimated to take far more memory than the device has, saying what
    would fit; `workers` of them run at a time. An estimate above the memory by less than `CLEARLY` lets a run try."""
    there = device_of(device)
    share = share_of(there, workers)
    if share is None:
        return
    reasons: dict[str, str] = {}
    for arm in {id(arm): arm for arm in arms}.values():
        work = checked(arm)
        peak = peak_of(arm.model_spec, arm.optimizer_spec, arm.training, work, there)
        if peak.bytes > CLEARLY * share:
            reasons[arm.name] = reason(arm, peak, work, there, workers)
    if reasons:
        override = "--no-fit-check runs them all the same, for these are estimates"
        raise UserError("\n".join([*told_once(reasons), override]))


def told_once(reasons: Mapping[str, str]) -> list[str]:
    """A line for each reason, with the first of the arms that have it and how many more there are."""
    arms: dict[str, list[str]] = {}
    for name, why in reasons.items():
        arms.setdefault(why, []).append(name)
    lines = []
    for why, names in arms.items():
        others = len(names) - 1
        more = f" (and {others} more arm{'s' * (others > 1)} like it)" if others else ""
        lines.append(f"{names[0]}{more}: {why}")
    return lines[:MOST] + ([f"... and {len(lines) - MOST} more"] if len(lines) > MOST else [])


def reason(arm: Arm, peak: Peak, work: Workload, device: Device, workers: int) -> str:
    """Why an arm cannot run on a device, and which single changes, or else which changes together, would let it."""
    share = share_of(device, workers)
    assert share is not None
    among = f" for each of {workers} workers" if workers > 1 and not device.is_gpu else ""
    said = f"does not fit: {size(peak.bytes)} at its peak ({peak.at}), and {device.name} has {size(share)}"
    found = would_fit(arm, work, device, workers)
    if not found:
        return f"{said}{among}; no change that is known here makes it fit"
    return f"{said}{among}; would fit: {'; '.join(found)}"


def would_fit(arm: Arm, work: Workload, device: Device, workers: int) -> list[str]:
    """Changes that make an arm fit, each with the peak that it leaves: single ones, else all that combine."""
    start = Proposal("", arm.model_spec, arm.optimizer_spec, arm.training, work)
    share = share_of(device, workers)
    changes = list(_changes())

    def peak(p: Proposal) -> float:
        return peak_of(p.model, p.optimizer, p.training, p.work, device).bytes

    single = [changed for change in changes if (changed := change(start)) is not None]
    fitting = [f"{p.words} ({size(peak(p))})" for p in single if share is None or peak(p) <= share]
    if fitting or share is None:
        return fitting
    together, words = start, []
    for change in changes:
        changed = change(together)
        if changed is None:
            continue
        words.append(changed.words)
        together = changed
        if peak(together) <= share:
            return [f"{', '.join(words)} together ({size(peak(together))})"]
    return []


def _changes() -> Iterator[Callable[[Proposal], Proposal | None]]:
    """What saves memory, the mildest first. Each gives None where it changes nothing."""
    yield _smaller_parts
    yield _checkpointing
    yield _bf16
    yield _shorter
    yield _another_optimizer
    yield _adapters


def _smaller_parts(p: Proposal) -> Proposal | None:
    if min(p.training.micro_batch, p.training.batch_size) <= 1:
        return None
    return dataclasses.replace(p, words="training.micro_batch: 1", training=_with(p.training, micro_batch=1))


def _checkpointing(p: Proposal) -> Proposal | None:
    if "activation_checkpointing" not in type(p.training).model_fields or p.training.activation_checkpointing:
        return None
    changed = _with(p.training, activation_checkpointing=True)
    return dataclasses.replace(p, words="training.activation_checkpointing: true", training=changed)


def _bf16(p: Proposal) -> Proposal | None:
    if p.training.precision == "bf16":
        return None
    return dataclasses.replace(p, words="training.precision: bf16", training=_with(p.training, precision="bf16"))


def _shorter(p: Proposal) -> Proposal | None:
    """Half as long: by the task's `max_length`, or its `length`."""
    if p.work.longest < 64:
        return None
    half = p.work.longest // 2
    share = half / p.work.longest
    work = dataclasses.replace(
        p.work,
        longest=half,
        supervised=max(1, round(p.work.supervised * share)),
        example=dataclasses.replace(p.work.example, supervised=p.work.example.supervised * share),
        prompts=(p.work.prompts * share).astype(int) + 1 if len(p.work.prompts) else p.work.prompts,
    )
    return dataclasses.replace(p, words=f"examples of at most {half} tokens (max_length)", work=work)


def _another_optimizer(p: Proposal) -> Proposal | None:
    from optbench.optim.specs import PRESETS, OptimizerSpec

    if p.optimizer.estimator.kind == "plain" and p.optimizer.rule.kind == "adamw":
        return None
    adamw = OptimizerSpec.model_validate(PRESETS["adamw"])
    return dataclasses.replace(p, words="the optimizer adamw", optimizer=adamw)


def _adapters(p: Proposal) -> Proposal | None:
    if "lora" not in type(p.model).model_fields or p.model.lora is not None:
        return None
    from optbench.models.adapters import Lora

    return dataclasses.replace(p, words="LoRA (model: {lora: {r: 8}})", model=_with(p.model, lora=Lora()))


def _with(spec: Any, **fields: Any) -> Any:
    return spec.model_copy(update=fields)


def size(count: float) -> str:
    """Bytes for people, in decimal units."""
    units: Mapping[str, float] = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}
    for unit, scale in units.items():
        if count >= scale:
            return f"{count / scale:.3g} {unit}" if count < 999.5 * scale else f"{count / scale:.0f} {unit}"
    return f"{count:.0f} bytes"
