"""How a suite asks for its hyper-parameters to be chosen: the block `tuning:` of a suite file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from optbench.optim.search import Dimension
from optbench.spec import Spec

Axis = Literal["model", "task", "strategy"]
Sequence = Literal["own", "shared"]


class SpaceFields(Spec):
    """What is tuned of the optimizers that `optimizer` names, * and ? standing for any text: fields by their path from
    the optimizer, such as `rule.lr`, or `training.schedule.warmup` and `training.schedule.final`."""

    optimizer: str = "*"
    space: Annotated[dict[str, Dimension], Field(min_length=1)]


class Tuning(Spec):
    """How hyper-parameters are chosen: `trials` sets of values for every optimizer, the first of them the suite's own.

    `seeds` are those of the trials; none of them may be a seed of the suite, whose results would be chosen with the
    values. `per` names the axes that get values of their own, beside the optimizer, which always does; over the others
    a trial is run on all arms, and scored by their mean. `score` is a column, taken on the validation split: by default
    a loss, for right and wrong answers to a few hundred validation questions are too noisy to choose by. `spaces`:
    those that match an optimizer make up its space, the last one that names a path deciding; without any it is what is
    declared beside the code. `seed` makes the quasi-random sequence. Nothing of this enters a key.

    `sequence`: whose the quasi-random points are, and the seeds of the model after them. "own": each study's, so that
    two optimizers that are the same under two names are tuned to different values; this is how studies on record were
    made, and stays the default so that they can be made again. "shared": studies with the same space on the same arms
    but for the optimizer have the same ones, so that what differs between them is due to the optimizers.
    """

    trials: Annotated[int, Field(ge=1)] = 16
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [1000]
    per: list[Axis] = ["model", "task"]
    score: str = "test_nll"
    spaces: list[SpaceFields] = []
    seed: Annotated[int, Field(ge=0)] = 0
    sequence: Sequence = "own"
