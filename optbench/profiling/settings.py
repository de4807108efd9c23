"""What a profile is asked for: models, optimizers and a batch, from the words of the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

from optbench.errors import UserError, suggestion
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.profiling.shapes import Shape

BASELINE = "adamw"
"""What everything is compared with: torch's AdamW with its fused kernel."""
TOKENS = 2048
"""Of a step, unless said otherwise."""
LENGTH = 256
"""Tokens of an example unless said otherwise: a worked solution of school mathematics has about as many."""


@dataclass(frozen=True)
class Settings:
    """How to measure. `steps` and `rounds` None: as many as a step's time allows. `layers` None: the whole model where
    it fits and a step takes no longer than `step_limit` seconds. `supervised` is the share of each example that is
    supervised, its end."""

    batch: int
    length: int
    supervised: float
    device: str
    precision: Any
    steps: int | None = None
    rounds: int | None = None
    threads: int | None = None
    layers: int | None = None
    step_limit: float = 3.0
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Input tokens of a step."""
        return self.batch * self.length

    @property
    def supervised_per_example(self) -> int:
        """Supervised positions of an example: one at least, and none for the first token, which nothing predicts."""
        return min(max(1, round(self.supervised * self.length)), self.length - 1)

    @property
    def positions(self) -> int:
        """Supervised positions of a step."""
        return self.batch * self.supervised_per_example


def batch_and_length(
    tokens: int | None, batch: int | None, length: int | None, shapes: Sequence[Shape]
) -> tuple[int, int]:
    """Examples and tokens of each. Without `tokens` they are as many as `batch` and `length` make, or `TOKENS`; a
    missing length is the largest divisor of what is left up to `LENGTH`.

    Raises UserError where they do not multiply to `tokens`, or an example is longer than a model reads.
    """
    longest = min(shape.max_length for shape in shapes)
    total = tokens if tokens is not None else (batch * length if batch and length else TOKENS)
    if length is None:
        each = total // batch if batch else total
        length = each if batch else next(n for n in range(min(LENGTH, longest, each), 0, -1) if each % n == 0)
    if batch is None:
        batch = total // length
    if batch < 1:
        raise UserError(f"an example of --length {length} is longer than a step of --tokens {total}")
    if tokens is not None and total % batch:
        raise UserError(f"--tokens {total} is no multiple of --batch {batch}")
    if batch * length != total:
        raise UserError(f"--batch {batch} examples of --length {length} are {batch * length} tokens, not {total}")
    if length < 2:
        raise UserError(
            f"--tokens {total}: examples of {length} token{'s' * (length != 1)}; each needs two, one to predict the "
            "other from: choose --length"
        )
    short = next((shape for shape in shapes if shape.max_length < length), None)
    if short is not None:
        raise UserError(f"--length {length}: {short.name} reads {short.max_length} tokens at most")
    return batch, length


def optimizers_of(text: str) -> dict[str, OptimizerSpec]:
    """Presets by name, or mappings in JSON, with a name before if wanted: `mine={"rule": {"kind": "muon"}}`; a mapping
    may name a `preset`, and the fields that differ from it. Separated by commas. The baseline comes first, asked for or
    not. Raises UserError for anything unknown."""
    found: dict[str, OptimizerSpec] = {BASELINE: _spec(PRESETS[BASELINE], BASELINE)}
    for word in _split(text):
        name, content = _named(word)
        if name in PRESETS and content != PRESETS[name]:
            raise UserError(f"--optimizers: {name} is a preset; give {word} another name")
        if name in found and name != BASELINE:
            raise UserError(f"--optimizers: {name} is named twice")
        found[name] = _spec(content, name)
    return found


def check_fractions(specs: Mapping[str, OptimizerSpec], batch: int) -> None:
    """Raises UserError where an ascent is to be taken from a part of a batch that is no number of examples."""
    for name, spec in specs.items():
        fraction = float(getattr(spec.estimator, "ascent_fraction", 1.0))
        if (Fraction(repr(fraction)) * batch).denominator != 1:
            raise UserError(
                f"--optimizers: {name}: ascent_fraction {fraction:g} of {batch} example{'s' * (batch != 1)} is no "
                "number of examples: choose --batch"
            )


def _named(word: str) -> tuple[str, dict[str, Any]]:
    name, equals, rest = word.partition("=")
    if word.startswith("{") or (equals and rest.startswith("{")):
        text = word if word.startswith("{") else rest
        try:
            content = json.loads(text)
        except ValueError as error:
            raise UserError(f"--optimizers: {text} is not JSON: {error}") from error
        return (word if word.startswith("{") else name), _whole(content, name)
    if word not in PRESETS:
        raise UserError(f"--optimizers: no optimizer is named {word!r}; {suggestion(word, PRESETS)}")
    return word, PRESETS[word]


def _whole(content: Any, name: str) -> Any:
    """The mapping with what its preset says, if it names one."""
    preset = content.pop("preset", None) if isinstance(content, dict) else None
    if preset is None:
        return content
    if preset not in PRESETS:
        raise UserError(f"--optimizers: {name}: no preset is named {preset!r}; {suggestion(str(preset), PRESETS)}")
    merged = {part: dict(value) for part, value in PRESETS[preset].items()}
    for part, value in content.items():
        merged[part] = {**merged.get(part, {}), **value} if isinstance(value, dict) else value
    return merged


def _split(text: str) -> list[str]:
    """The words between commas that stand outside braces and brackets."""
    words, depth = [""], 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        if character == "," and depth == 0:
            words.append("")
        else:
            words[-1] += character
    found = [word.strip() for word in words if word.strip()]
    if not found:
        raise UserError(f"--optimizers is empty; {suggestion('', PRESETS)}")
    return found


def _spec(content: dict[str, Any], name: str) -> OptimizerSpec:
    try:
        return OptimizerSpec.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"--optimizers: {name}: {where or 'spec'}: {first['msg']}") from error
