"""Paces measured on this machine: processes that take a few steps of what is to run, as many at once as `run` has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optbench.errors import UserError
from optbench.planning.answers import Decoding, generation_seconds
from optbench.planning.phases import Phases, cost_signature, subject_of
from optbench.planning.workload import Workload

WRITING = 0.3
"""Seconds to write a record and flush it to the disk."""
BUDGET = 25.0
"""Seconds of a process after which it begins nothing further."""


@dataclass(frozen=True)
class Measurement:
    """What was found of one subject: seconds of setup, seconds per operation by the cost signature of an optimizer,
    seconds of the loss of the test examples, and of answers."""

    setup: float
    steps: Mapping[str, float]
    loss: float
    decoding: Decoding | None


@dataclass(frozen=True)
class Measurements:
    """Measurements by subject, the seconds that a worker takes before its first cell, and how much longer work took
    than its own time because the machine was `busy` with something else."""

    startup: float
    busy: float
    subjects: Mapping[str, Measurement]

    def phases(self, arm: Any, work: Workload, flops: float, nominal: Phases, ratio: Mapping[str, float]) -> Phases:
        """The phases of an arm whose step has `flops` operations. An optimizer that was not timed is scaled from those
        that were, by its nominal time: `ratio` holds what nominal steps of the subject's optimizers take by signature.
        """
        found = self.subjects[subject_of(arm)]
        own = cost_signature(arm.optimizer_spec)
        if own in found.steps:
            step = found.steps[own] * flops
        else:
            known = [signature for signature in found.steps if signature in ratio]
            step = nominal.step * sum(ratio[signature] for signature in known) / len(known)
        answers = generation_seconds(work, found.decoding) if found.decoding else 0.0
        return Phases(found.setup, step, found.loss + answers + WRITING, "measured")


def measured(arms: Sequence[Any], *, workers: int, threads: int, device: str, budget: float = BUDGET) -> Measurements:
    """Times each subject of the arms with each of their optimizers of different cost. Subjects are dealt out to
    `workers` processes, which run at the same time, as cells will; where there are fewer subjects than workers, all
    measure the same. Raises UserError where a process fails."""
    subjects: dict[str, dict[str, Any]] = {}
    for arm in arms:
        entry = subjects.setdefault(subject_of(arm), {"cell": _cell(arm), "optimizers": {}})
        entry["optimizers"].setdefault(cost_signature(arm.optimizer_spec), arm.optimizer_spec.dump())
    names = list(subjects)
    dealt = [names[index::workers] or names for index in range(workers)]
    processes = []
    for own in dealt:
        content = [{**subjects[name], "optimizers": list(subjects[name]["optimizers"].values())} for name in own]
        request = {"subjects": content, "threads": threads, "device": device, "budget": budget}
        processes.append((own, _asked(request, threads)))
    answers = [(own, _answer(process)) for own, process in processes]
    found: dict[str, list[dict[str, Any]]] = {}
    for own, answer in answers:
        for name, content in zip(own, answer["subjects"], strict=True):
            if content is not None:
                found.setdefault(name, []).append(content)
    startup, busy = (sum(answer[name] for _, answer in answers) / len(answers) for name in ("startup", "busy"))
    return Measurements(startup, busy, {name: _mean(contents) for name, contents in found.items()})


def _cell(arm: Any) -> dict[str, Any]:
    from optbench.cell import CellSpec

    return CellSpec(**arm.specs(), training=arm.training, seed=0).dump()


def _asked(request: dict[str, Any], threads: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(
        [sys.executable, "-m", "optbench.planning.measuring"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(request))
        process.stdin.close()
    except BrokenPipeError:
        pass  # It has died already, and says why when it is asked for its answer.
    process.stdin = None
    return process


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, error = process.communicate()
    if process.returncode:
        reason = (error.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise UserError(f"the pace of this machine could not be measured ({reason}); try --pace nominal")
    content: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return content


def _mean(contents: Sequence[Mapping[str, Any]]) -> Measurement:
    def of(name: str) -> float:
        return float(sum(content[name] for content in contents) / len(contents))

    signatures = {signature for content in contents for signature in content["steps"]}
    steps = {}
    for signature in signatures:
        values = [content["steps"][signature] for content in contents if signature in content["steps"]]
        steps[signature] = sum(values) / len(values)
    asks = "fixed" in contents[0]
    decoding = Decoding(of("fixed"), of("per_row"), of("per_prompt_token")) if asks else None
    return Measurement(of("setup"), steps, of("loss"), decoding)
