"""One step of each foreign optimizer of a suite on a few parameters, in a process of its own, before a run begins.

That a class refuses its options, is not there, or dies at its first step would else be found by every cell that has it,
after its model was built and its data were read. Which shapes a class can do with is its own affair, and to refuse what
would run is worse than to let begin what will fail: several sets of parameters are tried, one after another, and it is
refused where it fails on all of them. After a step that does not end no other set is tried.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from optbench.errors import UserError
from optbench.executors.attempts import death
from optbench.executors.devices import devices_of, visible_gpus
from optbench.executors.interrupts import interrupts_held
from optbench.optim.rules.torch_optimizer import TorchOptimizer
from optbench.spec import canonical
from optbench.yamlfile import Place

if TYPE_CHECKING:
    from optbench.arm import Arm
    from optbench.optim.base import Role

PATIENCE = 300
"""Whole seconds for a step; a step that compiles takes long."""
DONE = "done"
OVERRIDE = (
    "--no-step-check runs all the same, for an optimizer may do with a model's parameters and not with those tried here"
)


@dataclass(frozen=True)
class Shapes:
    """Parameters that a step is tried on: what they are called, and the shape of each."""

    words: str
    shapes: Sequence[tuple[int, ...]]
    matrices: Role = "hidden"


OF_ANY_MODEL = (
    Shapes("two small matrices", ((64, 32), (32, 32))),
    Shapes("two small matrices and two vectors", ((64, 32), (32, 32), (64,), (32,))),
    # Some project on more directions than small matrices have.
    Shapes("two wide matrices", ((1024, 768), (768, 768))),
)


@dataclass(frozen=True)
class Trial:
    """A rule, and the rank of the adapters that it would train; 0 where it would train a model's own weights."""

    rule: TorchOptimizer
    rank: int = 0

    @property
    def sets(self) -> Sequence[Shapes]:
        """What it is tried on, the likeliest first."""
        if not self.rank:
            return OF_ANY_MODEL
        # As peft orders them: A [rank, in] and B [out, rank] of a layer, then those of the next.
        pairs = ((self.rank, 32), (64, self.rank), (self.rank, 32), (32, self.rank))
        return (Shapes("the matrices of two adapters", pairs, "adapter"), *OF_ANY_MODEL)


def check_first_steps(arms: Iterable[Arm], *, patience: int = PATIENCE) -> None:
    """Raises UserError, at its line, for every optimizer of another package or a file of one's own that takes a step on
    no set of parameters, or whose step does not end within `patience` seconds. Where no process can be started nothing
    is said: the run says it.
    """
    places: dict[str, list[Place]] = {}
    trials: dict[str, Trial] = {}
    for arm in arms:
        rule = arm.optimizer_spec.rule
        if isinstance(rule, TorchOptimizer):
            lora = getattr(arm.model_spec, "lora", None)
            trial = Trial(rule, 0 if lora is None else lora.rank)
            key = f"{canonical(rule)} {trial.rank}"
            places.setdefault(key, []).append(arm.places["optimizer"])
            trials[key] = trial
    found = zip(trials, failures(list(trials.values()), patience=patience), strict=True)
    refused: dict[Place, str] = {}
    for key, why in found:
        for place in places[key] if why else []:
            refused.setdefault(place, f": {why}")
    if refused:
        raise UserError("\n".join([*(place.message(why) for place, why in refused.items()), OVERRIDE]))


def failures(trials: Sequence[Trial], *, patience: int) -> list[str]:
    """Why each rule cannot take a first step, by what happened on the first of its sets; empty for those that can."""
    said: list[list[str]] = [[] for _ in trials]

    def is_open(place: int) -> bool:
        return "" not in said[place] and len(said[place]) < len(trials[place].sets)

    while left := [place for place in range(len(trials)) if is_open(place)]:
        answers, exit_code = _asked([(place, trials[place], len(said[place])) for place in left], patience)
        if answers is None:
            return [own[0] if own and not is_open(place) else "" for place, own in enumerate(said)]
        for place, why in answers:
            said[place].append(why)
        died = next((place for place in left if is_open(place)), None)
        if died is not None:
            rest = trials[died].sets[len(said[died]) :]
            why = f"{trials[died].rule.target}: {_ended(rest[0], exit_code, patience)}"
            said[died] += [why] * (len(rest) if exit_code == -signal.SIGALRM else 1)
    return ["" if "" in own else own[0] for own in said]


def _asked(asked: list[tuple[int, Trial, int]], patience: int) -> tuple[list[tuple[int, str]] | None, int | None]:
    """What a process said of the trials until it ended, and its exit code; None where it could not start. Of each are
    given its place, itself and the first of its sets that is to be tried."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    device = devices_of(1, visible_gpus())[0]
    plain = [(place, trial.rule.dump(), trial.rank, start) for place, trial, start in asked]
    process = context.Process(target=_answer, args=(theirs, plain, device, patience), daemon=True)
    with interrupts_held():  # Ctrl-C is the main process's to answer.
        process.start()
    theirs.close()
    started, said = False, []
    try:
        while (word := ours.recv()) != DONE:
            if started:
                said.append(word)
            started = True
    except EOFError:
        process.join()
    finally:
        process.terminate()
        process.join()
        ours.close()
    return (said if started else None), process.exitcode


def _ended(shapes: Shapes, exit_code: int | None, patience: int) -> str:
    if exit_code == -signal.SIGALRM:
        return f"its first step, on {shapes.words}, did not end within {patience} seconds"
    return f"at its first step, on {shapes.words}, {death(exit_code)['reason']}"


def _answer(
    connection: Connection, asked: list[tuple[int, dict[str, Any], int, int]], device: str, patience: int
) -> None:
    """The life of the process: a first word when it can begin, one for each step that it tries, and a last one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import torch
    except (ImportError, OSError):
        return
    # What foreign code prints is no output of the run.
    os.dup2(2, 1)
    torch.set_num_threads(1)
    connection.send("ready")
    for place, rule, rank, start in asked:
        trial = Trial(TorchOptimizer.model_validate(rule), rank)
        for shapes in trial.sets[start:]:
            # The signal ends the process, also in the middle of a call that never returns and without a parent.
            signal.alarm(patience)
            why = _failure(trial.rule, shapes, device)
            signal.alarm(0)
            connection.send((place, why))
            if not why:
                break
    connection.send(DONE)


def _failure(spec: TorchOptimizer, tried: Shapes, device: str) -> str:
    import torch

    from optbench.conformance.boundary import Raised, foreign
    from optbench.optim.base import Parameter
    from optbench.rng import stream

    def drawn(what: str, place: int) -> torch.Tensor:
        numbers = stream(0, f"first_step/{what}", place).standard_normal(tried.shapes[place])
        return torch.from_numpy(0.1 * numbers).to(device, torch.float32)

    weights = [torch.nn.Parameter(drawn("weight", place)) for place in range(len(tried.shapes))]
    try:
        with foreign(f"{spec.target}: building it"):
            roles = [tried.matrices if weight.ndim > 1 else "vector" for weight in weights]
            named = zip(weights, roles, strict=True)
            rule = spec.build([Parameter(f"w{place}", *own) for place, own in enumerate(named)])
        for place, weight in enumerate(weights):
            weight.grad = drawn("gradient", place)
        with foreign(f"{spec.target}: its first step, on {tried.words},"), torch.no_grad():
            rule.apply(1.0)
            with rule.evaluating():
                pass
    except Raised as error:
        # What the rule itself refuses begins with the target already.
        return str(error).replace(f"{spec.target}: building it: {spec.target}", spec.target)
    return ""
