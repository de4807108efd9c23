"""One step of each foreign optimizer of a suite on two small matrices, in a process of its own, before anything is run.

That a class refuses its options, is not there, or dies at its first step would else be found by every cell that has it,
after its model was built and its data were read. Matrices of a layer's shape alone are given: what no matrix would be
enough for fails in no other way in a cell, and what cannot do with vectors is left to the cell, whose model may have
none.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from optbench.executors.attempts import death
from optbench.executors.devices import devices_of, visible_gpus
from optbench.optim.rules.torch_optimizer import TorchOptimizer
from optbench.spec import canonical
from optbench.yamlfile import Place, Refused

if TYPE_CHECKING:
    from optbench.arm import Arm

PATIENCE = 300
"""Whole seconds for a step; a step that compiles takes long."""
SHAPES = ((64, 32), (32, 32))


def check_first_steps(arms: Iterable[Arm], *, patience: int = PATIENCE) -> None:
    """Raises UserError, at its line, for every optimizer of another package or a file of one's own that does not take a
    step on small matrices within `patience` seconds. Where no process can be started nothing is said: the run says it.
    """
    places: dict[str, list[Place]] = {}
    rules: dict[str, TorchOptimizer] = {}
    for arm in arms:
        rule = arm.optimizer_spec.rule
        if isinstance(rule, TorchOptimizer):
            own = places.setdefault(canonical(rule), [])
            own += [arm.places["optimizer"]] if arm.places["optimizer"] not in own else []
            rules[canonical(rule)] = rule
    found = zip(rules, failures(list(rules.values()), patience=patience), strict=True)
    refused = [(place, f": {why}") for key, why in found if why for place in places[key]]
    if refused:
        raise Refused(refused)


def failures(rules: Sequence[TorchOptimizer], *, patience: int) -> list[str]:
    """Why each rule cannot take a first step; empty for those that can."""
    found: list[str] = []
    while len(found) < len(rules):
        left = rules[len(found) :]
        answers, exit_code = _asked([rule.dump() for rule in left], patience)
        if answers is None:
            return [*found, *[""] * len(left)]
        found += answers
        if len(answers) < len(left):
            found.append(f"{left[len(answers)].target}: {_ended(exit_code, patience)}")
    return found


def _asked(rules: list[dict[str, Any]], patience: int) -> tuple[list[str] | None, int | None]:
    """What a process said of the rules until it ended, and its exit code; None where it could not start."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    device = devices_of(1, visible_gpus())[0]
    process = context.Process(target=_answer, args=(theirs, rules, device, patience), daemon=True)
    # Ctrl-C reaches this process, too, and is the main one's to answer: it starts with the signal held back.
    resource_tracker.ensure_running()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    theirs.close()
    try:
        said: list[str] = []
        while len(said) <= len(rules):
            try:
                said.append(ours.recv())
            except EOFError:
                process.join()
                break
    finally:
        process.terminate()
        process.join()
        ours.close()
    return (said[1:], process.exitcode) if said else (None, process.exitcode)


def _ended(exit_code: int | None, patience: int) -> str:
    if exit_code == -signal.SIGALRM:
        return f"its first step, on two small matrices, did not end within {patience} seconds"
    return f"at its first step, on two small matrices, {death(exit_code)['reason']}"


def _answer(connection: Connection, rules: list[dict[str, Any]], device: str, patience: int) -> None:
    """The life of the process: a first word when it can begin, then one for each rule."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import torch
    except (ImportError, OSError):
        return
    # What foreign code prints is no output of the run.
    os.dup2(2, 1)
    torch.set_num_threads(1)
    connection.send("ready")
    for rule in rules:
        # The signal ends the process, also in the middle of a call that never returns and without a parent.
        signal.alarm(patience)
        connection.send(_failure(TorchOptimizer.model_validate(rule), device))
        signal.alarm(0)


def _failure(spec: TorchOptimizer, device: str) -> str:
    import torch

    from optbench.conformance.boundary import Raised, foreign
    from optbench.optim.base import Parameter
    from optbench.rng import stream

    def drawn(what: str, place: int) -> torch.Tensor:
        numbers = stream(0, f"first_step/{what}", place).standard_normal(SHAPES[place])
        return torch.from_numpy(0.1 * numbers).to(device, torch.float32)

    weights = [torch.nn.Parameter(drawn("weight", place)) for place in range(len(SHAPES))]
    try:
        with foreign(f"{spec.target}: building it"):
            rule = spec.build([Parameter(f"w{place}", weight, "hidden") for place, weight in enumerate(weights)])
        for place, weight in enumerate(weights):
            weight.grad = drawn("gradient", place)
        with foreign(f"{spec.target}: its first step, on two small matrices,"), torch.no_grad():
            rule.apply(1.0)
            with rule.evaluating():
                pass
    except Raised as error:
        # What the rule itself refuses begins with the target already.
        return str(error).replace(f"{spec.target}: building it: {spec.target}", spec.target)
    return ""
