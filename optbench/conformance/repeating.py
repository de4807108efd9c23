"""Whether a run can be repeated, stopped and gone on with, and run beside another."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from optbench.checkpoint_tree import Unsupported, put_together, taken_apart
from optbench.conformance.boundary import foreign
from optbench.conformance.problem import gradients
from optbench.conformance.subject import SEED, Outcome, Run, Subject, apart, differing, listed, said, same_bits
from optbench.optim.torch_rule import TorchRule
from optbench.rng import TorchState, seeded_torch


def repeats(subject: Subject) -> Outcome:
    """The same seed gives the same numbers, bit for bit."""
    parted = differing(subject.trained().weights(), subject.trained().weights())
    if parted:
        return Outcome(False, f"two runs from one seed are not the same bit for bit: {listed(parted)}")
    return Outcome(True, f"two runs of {subject.steps} steps from one seed are the same bit for bit")


def stands_alone(subject: Subject) -> Outcome:
    """A second instance that trains in turns with the first changes none of its numbers."""
    alone = subject.fed()
    with seeded_torch(SEED):
        one = subject.run()
        with seeded_torch(SEED):
            other = subject.run()
        for step in range(subject.steps):
            given = gradients(one.parameters, step)
            with seeded_torch(step):
                other.feed(gradients(other.parameters, step, 3.0))
            one.feed(given)
    parted = differing(one.weights(), alone.weights())
    if parted:
        distance, where = apart(one.weights(), alone.weights(), alone.start)
        return Outcome(
            False,
            f"beside a second instance the numbers are others, by {distance:.2g} of the movement in {where}: instances "
            "share state, at class level or in their module",
        )
    return Outcome(True, "a second instance that trains in turns with it changes no bit")


def leaves_the_generators(subject: Subject) -> Outcome:
    """A step draws nothing from the global generators."""
    drawn = set()
    with seeded_torch(SEED):
        run = subject.run()
        for step in range(2):
            given = gradients(run.parameters, step)
            before = _generators()
            run.feed(given)
            drawn |= {name for name, state in _generators().items() if state != before[name]}
    if not drawn:
        return Outcome(True, "a step draws nothing from the global generators of torch, numpy and Python")
    lost = "no checkpoint keeps those" if drawn - {"torch"} else "a checkpoint keeps it, so that runs still resume"
    return Outcome(
        False,
        f"a step draws from the global generator of {' and '.join(sorted(drawn))}: dropout then draws other masks than "
        f"under the optimizers that it is compared with, and ranks draw different numbers ({lost}); use a generator "
        "of its own, kept in its state",
    )


def _generators() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "Python": random.getstate(),
    }


def resumes(subject: Subject) -> Outcome:
    """What is saved at a step, as checkpoints keep it, and loaded into a new instance goes on bit for bit."""
    with seeded_torch(SEED):
        run = subject.run()
        for _ in range(subject.steps):
            run.step()
        try:
            form, tensors = saved(run)
        except Unsupported as error:
            return Outcome(False, f"its state cannot be saved without pickle: {error}")
        weights, generator = run.weights(), TorchState("cpu").state_dict()
        for _ in range(subject.steps):
            run.step()
    with seeded_torch(SEED):
        fresh = subject.run()
        with torch.no_grad():
            for p in fresh.parameters:
                p.tensor.copy_(weights[p.name])
        with foreign("loading its state"):
            fresh.optimizer.load_state_dict(put_together(form, tensors, "cpu"))
        again, tensors_again = saved(fresh)
        changed = again != form or any(not same_bits(t, tensors_again[name]) for name, t in tensors.items())
        TorchState("cpu").load_state_dict(generator)
        fresh.steps = subject.steps
        for _ in range(subject.steps):
            fresh.step()
    parted = differing(fresh.weights(), run.weights())
    if parted:
        distance, where = apart(fresh.weights(), run.weights(), run.start)
        return Outcome(
            False,
            f"saved after {subject.steps} steps, loaded into a new instance and gone on with for {subject.steps}, it "
            f"is elsewhere by {distance:.2g} of the movement in {where}: what the next step needs is not all in its "
            "state",
        )
    if changed:
        return Outcome(False, "its state after loading is not the state that was saved")
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    return Outcome(
        True, f"saved after {subject.steps} steps ({size} bytes, no pickle) and loaded, it goes on bit for bit"
    )


def saved(run: Run) -> tuple[Any, dict[str, Tensor]]:
    """The state of the optimizer as a checkpoint keeps it: through JSON, and through the format of its tensors. Raises
    `Unsupported` for what would not come back as it was."""
    with foreign("giving its state"):
        state = run.optimizer.state_dict()
    form, tensors = taken_apart(state)
    return json.loads(json.dumps(form)), safetensors.torch.load(safetensors.torch.save(tensors))


def returns_from_evaluation(subject: Subject) -> Outcome:
    """Looking at what is to be evaluated gives the training weights back, and rules that average say so."""
    with seeded_torch(SEED):
        run = subject.run()
        for _ in range(subject.steps):
            run.step()
        training = run.weights()
        with foreign("evaluating"), run.optimizer.rule.evaluating():
            evaluated = run.weights()
        distance, where = apart(run.weights(), training, run.start)
    if distance > subject.base_tolerance:
        return Outcome(
            False, f"after an evaluation the weights are elsewhere by {distance:.2g} of the movement in {where}"
        )
    elsewhere = differing(evaluated, training)
    if elsewhere:
        return Outcome(
            True, f"it is evaluated at other weights than it trains, which come back and differ by {said(distance)}"
        )
    rule = run.optimizer.rule
    if isinstance(rule, TorchRule) and any(_has_modes(engine) for engine in rule.engines):
        return Outcome(
            False,
            "it has train() and eval(), which exchange the weights of training for those to evaluate, and nobody calls "
            "them: set averages: true, or it is judged at the wrong weights",
        )
    return Outcome(True, "it is evaluated at the weights that it trains")


def _has_modes(engine: torch.optim.Optimizer) -> bool:
    """Whether the class has the two methods by which averaging optimizers switch; torch's own have neither."""
    return all(any(name in vars(kind) for kind in type(engine).__mro__) for name in ("train", "eval"))
