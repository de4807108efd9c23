"""What every arm of a suite will cost: seconds by phase, peak memory, disk; and whether it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from optbench.cost import training_flops
from optbench.planning.devices import Device, workers_on
from optbench.planning.disk import checkpoint_bytes, download_bytes, record_bytes
from optbench.planning.fits import fit_of, share_of
from optbench.planning.inputs import not_at_hand
from optbench.planning.measured import Measurements, measured
from optbench.planning.memory import Peak, peak_of
from optbench.planning.nominal import nominal
from optbench.planning.panels import panel_seconds
from optbench.planning.phases import Phases, cost_signature, subject_of
from optbench.planning.recorded import Past, recorded
from optbench.planning.workload import Workload, checked
from optbench.profiling.rows import Fits

if TYPE_CHECKING:
    from optbench.arm import Arm
    from optbench.suite import Suite

Pace = Literal["auto", "measured", "nominal"]
WORTH_MEASURING = 60.0
"""Nominal seconds of what is left from which on a few seconds of measuring pay."""
LONGEST_STEP = 20.0
"""Nominal seconds of a step above which none is taken to measure it."""
BUSY = 1.25
"""How much longer than their own time steps have to take for it to be said."""
ROOM = 0.8
"""The share of the memory that a model may be estimated to take for it to be tried."""


@dataclass(frozen=True)
class ArmCost:
    """One cell of an arm: operations of a step, phases, seconds of panels (None: not known), memory, disk.

    `kept` bytes stay on the disk, `checkpoints` lie there while it runs, `download` is fetched once.
    """

    arm: Arm
    work: Workload
    flops_per_step: float
    phases: Phases
    panels: float | None
    peak: Peak
    fits: Fits
    kept: float
    checkpoints: float
    download: float

    @property
    def run_seconds(self) -> float:
        """From the first line of a cell to its record, without panels."""
        return self.phases.total(self.arm.training.steps)

    @property
    def seconds(self) -> float:
        """With panels."""
        return self.run_seconds + (self.panels or 0.0)


@dataclass
class Costs:
    """The costs of all arms, `startup` seconds of a worker, what nominal times are multiplied by (`ratio`), and what
    was assumed, in words."""

    arms: dict[int, ArmCost]
    startup: float
    ratio: float
    assumed: list[str] = field(default_factory=list)


STARTUP = 5.0
"""Seconds for a worker to import what trains. Nominal."""


def costs_of(suite: Suite, device: Device, past: Sequence[Past], left: Sequence[Arm], pace: Pace) -> Costs:
    """The costs of the suite's arms on a device. `past` are its finished cells on this machine, `left` the arms that
    have cells to run. With `auto` records come first, then measuring where it pays and can be done, then nominal
    speeds."""
    workers, threads = workers_on(device, suite), suite.execution.threads
    works = {id(arm): checked(arm) for arm in suite.arms}
    peaks = {
        id(arm): peak_of(arm.model_spec, arm.optimizer_spec, arm.training, works[id(arm)], device) for arm in suite.arms
    }
    flops = {id(arm): flops_per_step(arm, works[id(arm)]) for arm in suite.arms}
    guesses = {id(arm): nominal(arm, works[id(arm)], device, threads) for arm in suite.arms}
    known: Measurements | None = None
    if _measures(pace, left, past, guesses, works, peaks, device, workers):
        from_here = "cuda" if device.is_gpu else "cpu"
        # GPUs do not slow each other down as cores do that share their memory.
        known = measured(left, workers=1 if device.is_gpu else workers, threads=threads, device=from_here)
    ratio = _ratio(known, suite.arms, flops, guesses)
    arms: dict[int, ArmCost] = {}
    for arm in suite.arms:
        found = None if pace == "measured" or not device.at_hand else recorded(arm, flops[id(arm)], past)
        if known is not None and found is None:
            found = _from_measurements(known, arm, works[id(arm)], flops[id(arm)], guesses, suite.arms, ratio)
        arms[id(arm)] = _cost(suite, arm, works[id(arm)], flops[id(arm)], found or guesses[id(arm)], peaks, device)
    startup = STARTUP if known is None else known.startup
    assumed = _assumed(suite, works, device)
    if known is not None and known.busy > BUSY:
        assumed.append(
            f"this machine is busy: steps took {known.busy:.1f} times as long as they kept its processor; times are "
            "those of an idle one"
        )
    return Costs(arms, startup, ratio, assumed)


def flops_per_step(arm: Arm, work: Workload) -> float:
    """Operations of one step, from the mean lengths of the training set."""
    dimensions = arm.model_spec.dimensions()
    return training_flops(dimensions, arm.optimizer_spec, work.batch(arm.training.batch_size), steps=1)


def _measures(
    pace: Pace,
    left: Sequence[Arm],
    past: Sequence[Past],
    guesses: Mapping[int, Phases],
    works: Mapping[int, Workload],
    peaks: Mapping[int, Peak],
    device: Device,
    workers: int,
) -> bool:
    """Whether a few steps are taken: on the device at hand, of what is here and fits."""
    if pace == "nominal" or not left or not device.at_hand:
        return False
    if any(works[id(arm)].assumed or guesses[id(arm)].step > LONGEST_STEP for arm in left):
        return False
    if device.memory is not None and max(peaks[id(arm)].bytes for arm in left) > ROOM * (
        share_of(device, workers) or 0.0
    ):
        return False
    if pace == "measured":
        return True
    seconds = sum(guesses[id(arm)].total(arm.training.steps) for arm in left)
    return not past and seconds > WORTH_MEASURING


def _ratio(
    known: Measurements | None, arms: Sequence[Arm], flops: Mapping[int, float], guesses: Mapping[int, Phases]
) -> float:
    """How much longer steps take than nominal ones, over all that were timed."""
    if known is None:
        return 1.0
    took = expected = 0.0
    for arm in arms:
        found = known.subjects.get(subject_of(arm))
        pace = None if found is None else found.steps.get(cost_signature(arm.optimizer_spec))
        if pace is not None:
            took += pace * flops[id(arm)]
            expected += guesses[id(arm)].step
    return took / expected if expected else 1.0


def _from_measurements(
    known: Measurements,
    arm: Arm,
    work: Workload,
    flops: float,
    guesses: Mapping[int, Phases],
    arms: Sequence[Arm],
    ratio: float,
) -> Phases:
    """What was measured of the arm's subject; of one for which there was no time, nominal seconds at the `ratio`."""
    guess, subject = guesses[id(arm)], subject_of(arm)
    if subject not in known.subjects:
        return Phases(guess.setup, ratio * guess.step, ratio * guess.evaluation, "measured")
    siblings = [other for other in arms if subject_of(other) == subject]
    timed = known.subjects[subject].steps
    ratios = {}
    for other in siblings:
        signature = cost_signature(other.optimizer_spec)
        if signature in timed:
            ratios[signature] = timed[signature] * flops_per_step(other, work) / guesses[id(other)].step
    return known.phases(arm, work, flops, guess, ratios)


def _cost(
    suite: Suite, arm: Arm, work: Workload, flops: float, phases: Phases, peaks: Mapping[int, Peak], device: Device
) -> ArmCost:
    training, optimizer, model = arm.training, arm.optimizer_spec, arm.model_spec
    one_pass = phases.step / max(1e-9, float(optimizer.estimator.passes_per_step))
    looks = [panel_seconds(panel, one_pass, training.batch_size, training.steps) for panel in suite.panels]
    panels = None if any(seconds is None for seconds in looks) else sum(s for s in looks if s is not None)
    peak = peaks[id(arm)]
    missing = not_at_hand(model)
    return ArmCost(
        arm=arm,
        work=work,
        flops_per_step=flops,
        phases=phases,
        panels=panels,
        peak=peak,
        fits=fit_of(peak, device, workers_on(device, suite)),
        kept=record_bytes(model, training, suite.panels, work),
        checkpoints=checkpoint_bytes(model, optimizer),
        download=download_bytes(model) if missing else 0.0,
    )


def _assumed(suite: Suite, works: Mapping[int, Workload], device: Device) -> list[str]:
    words = []
    for said in dict.fromkeys(work.assumed for work in works.values() if work.assumed):
        names = dict.fromkeys(name for work in works.values() if work.assumed == said for name in work.missing)
        words.append(f"not at hand: {', '.join(names)}; {said}")
    if device.is_gpu:
        from optbench.planning.devices import UTILISATION

        words.append(
            f"speed and memory of {device.product_name} are nominal, from its data sheet, at an assumed utilisation of "
            f"{UTILISATION:.0%}"
        )
    if any(rewriter_of(arm.task_spec) and arm.strategy_spec.rewrites for arm in suite.arms):
        words.append("writing new examples with a language model is not included: it is done once and kept")
    return list(dict.fromkeys(words))


def rewriter_of(task: Any) -> str:
    """The language model that writes new examples of a task; empty where none does."""
    return str(task.rewriter.model) if "rewriter" in type(task).model_fields else ""
