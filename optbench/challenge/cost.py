"""What the challenger costs: a profile of the largest model of the suite, alone on the machine, in bounded time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from optbench.errors import UserError
from optbench.models.families import FAMILIES
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.planning.workload import checked
from optbench.profiling.rows import Profile, Row
from optbench.profiling.settings import BASELINE, Settings, check_fractions
from optbench.profiling.shapes import Shape, shapes_of

if TYPE_CHECKING:
    from optbench.arm import Arm
    from optbench.store import Store
    from optbench.suite import Suite

ROUNDS, FEWEST_ROUNDS, MOST_STEPS = 5, 3, 20
SPLIT_STEPS = 8
"""Steps of each optimizer beside the timed ones: where a step goes, and its operations."""
BUILDING = 3.0
PLANNED = 0.6
"""The share of its time that a profile is planned to take: what steps take is known from cells that ran beside others,
and what is not timed (allocating, counting operations) is not known at all."""
Tell = Callable[[str], None]


class NotProfiled(Exception):
    """Nothing was measured, and the words say why."""


def profile_of(suite: Suite, store: Store, order: Sequence[str], *, seconds: float, tell: Tell) -> Profile:
    """The cost of a step of each optimizer in `order` on the largest model, with batches as long as the suite's, and
    about `seconds` of time. Raises NotProfiled for a model that cannot be profiled, and where the time is too short."""
    arm, shape = _largest(suite)
    arms = {each.optimizer: each for each in suite.arms if each.model == arm.model and each.task == arm.task}
    specs: dict[str, OptimizerSpec] = {}
    if BASELINE not in order or arms[BASELINE].optimizer_spec.rule.kind != BASELINE:
        specs[BASELINE] = OptimizerSpec.model_validate(PRESETS[BASELINE])
    for name in sorted(order, key=lambda name: name != BASELINE):
        specs[name] = arms[name].optimizer_spec
    work = checked(arm)
    length = max(2, min(round(work.example.tokens), shape.max_length))
    batch = arm.training.batch_size
    try:
        check_fractions(specs, batch)
    except UserError as error:
        raise NotProfiled(str(error)) from error
    step = _step_seconds(suite, store, arm.model)
    rounds, steps = rounds_and_steps(PLANNED * seconds, step, len(specs))
    settings = {
        "batch": batch,
        "length": length,
        "supervised": max(0.0, min(1.0, work.example.supervised / max(1.0, work.example.tokens))),
        "precision": arm.training.precision,
        "threads": suite.execution.threads,
        "rounds": rounds,
        "steps": steps,
    }
    return _measured(shape, specs, settings, tell)


def rounds_and_steps(seconds: float, step: float, optimizers: int) -> tuple[int, int]:
    """Rounds, and timed steps of a block, that so many seconds hold: in each round every optimizer's block stands next
    to one of AdamW, and each block begins with a step that is not timed. Raises NotProfiled where they hold none."""
    left = seconds - BUILDING - SPLIT_STEPS * optimizers * step
    for rounds in (ROUNDS, FEWEST_ROUNDS):
        steps = math.floor(left / (rounds * 2 * optimizers * max(step, 1e-6))) - 1
        if steps >= 1:
            return rounds, min(MOST_STEPS, steps)
    raise NotProfiled(f"a step takes {step:.3g} s, and {max(0.0, seconds):.0f} s were left to measure costs in")


def _measured(shape: Shape, specs: dict[str, OptimizerSpec], settings: dict[str, Any], tell: Tell) -> Profile:
    from optbench.profiling.devices import chosen_device, conditions_of, usable_memory
    from optbench.profiling.profiler import profiled, threads_set

    device = chosen_device("auto")
    chosen = Settings(device=device, **settings)
    threads, usable = threads_set(chosen.threads), usable_memory(device)
    rows = profiled(shape, specs, chosen, usable, tell)
    conditions = conditions_of(chosen, specs, threads=threads, usable=usable)
    return Profile(conditions, rows)


def _largest(suite: Suite) -> tuple[Arm, Shape]:
    """The largest model that can be profiled, by the first arm that has it."""
    found, why = [], ""
    for arm in {arm.model: arm for arm in reversed(suite.arms)}.values():
        try:
            found.append((arm, _shape(arm)))
        except NotProfiled as reason:
            why = str(reason)
    if not found:
        raise NotProfiled(why)
    return max(found, key=lambda pair: pair[1].dimensions.matrix_parameters)


def _shape(arm: Arm) -> Shape:
    """The shape of the arm's model, under its name."""
    spec = arm.model_spec
    if spec.kind == "nano":
        return Shape(arm.model, spec._config(), spec.dimensions(), spec.family)
    if spec.kind == "full":
        family = FAMILIES[spec.family]
        config = {**family.published, "model_type": spec.family, "tie_word_embeddings": family.tied}
        return Shape(arm.model, config, spec.dimensions(), spec.family)
    if spec.kind == "pretrained" and Path(spec.path).is_dir():
        return replace(shapes_of(spec.path)[0], name=arm.model)
    raise NotProfiled(f"the model {arm.model} is no language model that the profiler knows")


def _step_seconds(suite: Suite, store: Store, model: str) -> float:
    """The median time of a step of the model's recorded cells."""
    records = [store.record(cell.key) for cell in suite.cells() if cell.arm.model == model]
    found = [
        float(record.measured["step_seconds"])
        for record in records
        if record is not None and record.measured.get("step_seconds")
    ]
    return median(found) if found else 0.0


def profile_text(profile: Profile) -> str:
    """A profile as JSON, from which it can be read again."""
    return json.dumps(profile.plain(), indent=1, allow_nan=False) + "\n"


def read_profile(path: Path) -> Profile | None:
    """The profile in a file; None where there is none. Raises UserError for a damaged one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        numbers = {own.name for own in fields(Row) if own.type == "float"}
        rows = []
        for own in content["rows"]:
            known: dict[str, Any] = {
                n: math.nan if value is None and n in numbers else value for n, value in own.items()
            }
            known["split"] = {part: math.nan if value is None else value for part, value in own["split"].items()}
            known["measured_layers"] = tuple(own["measured_layers"])
            rows.append(Row(**known))
        return Profile(content["conditions"], rows)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({error}): delete it to measure again") from error
