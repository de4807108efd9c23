"""Claims as they are tested: the files, with their suites loaded and every name looked up."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optbench.claims.claimfile import ClaimFields, ComparisonFields
from optbench.errors import UserError, suggestion
from optbench.metrics.columns import COLUMNS
from optbench.problems import Problems, check
from optbench.suite import Suite, load_suite
from optbench.suitefile import Side
from optbench.yamlfile import Node, read

Form = Literal["difference", "ratio", "level"]


@dataclass(frozen=True)
class Comparison:
    """One number of a suite, and the bounds that decide about it, all in the unit of that number.

    `sign` is 1 where the number must lie above the threshold and -1 where below. `claimed` is the bound that it must
    pass, the threshold moved by the margin; `opposite` is the same distance on the other side.
    """

    suite: Suite
    metric: str
    form: Form
    of: Mapping[str, str]
    against: Mapping[str, str]
    sign: int
    threshold: float
    margin: float

    @property
    def claimed(self) -> float:
        """The bound that the number must pass."""
        return self.threshold + self.sign * self.margin

    @property
    def opposite(self) -> float:
        """The bound between no effect beyond the margin and an effect in the other direction."""
        return self.threshold - self.sign * self.margin

    @property
    def is_against_nothing(self) -> bool:
        """Whether the threshold is what no effect would give: a difference of 0, a ratio of 1; a level has none."""
        return self.form != "level" and self.threshold == (1 if self.form == "ratio" else 0)

    def oriented(self, value: float) -> float:
        """The value on the scale that intervals are made on (logarithms of ratios), more of it supporting the claim."""
        if self.form == "ratio":
            value = math.log(value) if value > 0 else -math.inf
        return self.sign * value

    def shown(self, oriented: float) -> float:
        """The inverse of `oriented`."""
        value = self.sign * oriented
        return math.exp(value) if self.form == "ratio" else value


@dataclass(frozen=True)
class Choice:
    """The tests of a claim with a choice that the paper leaves open made another way."""

    name: str
    tests: Sequence[Comparison]


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper and its tests; `fields` holds its texts."""

    fields: ClaimFields
    path: Path
    tests: Sequence[Comparison]
    choices: Sequence[Choice]

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.fields.name


def load_claims(paths: Sequence[Path]) -> list[Claim]:
    """The claims in the files, and in all YAML files of the folders, in the order given and by file name.

    Raises UserError with one line for each problem of the claim files, and for a suite that cannot be loaded.
    """
    files = [file for path in paths for file in _files(path)]
    problems, suites = Problems(), _Suites()
    found: dict[str, Claim] = {}
    for file in dict.fromkeys(files):
        with problems.collected():
            root = read(file)
            if isinstance(root.value, dict) and "models" in root.value and "tests" not in root.value:
                raise root.place.problem(": this is a suite; claims are files like suites/claims/*.yaml")
            claim = _claim(root, file, suites, problems)
            if claim.name in found:
                there = found[claim.name].path
                raise root.value["name"].place.problem(f"is {claim.name!r}, as in {there}; names differ")
            found[claim.name] = claim
    problems.raise_any()
    return list(found.values())


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
    if not files:
        raise UserError(f"{path}: no claims there; a folder of claims holds YAML files")
    return files


class _Suites:
    """Suites by path, each loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[Path, Suite] = {}

    def at(self, node: Node, folder: Path) -> Suite:
        path = Path(os.path.normpath(folder / node.value))
        if path not in self._loaded:
            if not path.is_file():
                raise node.place.problem(f"is {node.value!r}; there is no file {path}")
            self._loaded[path] = load_suite(path)
        return self._loaded[path]


def _claim(root: Node, file: Path, suites: _Suites, problems: Problems) -> Claim:
    fields: ClaimFields = check(root, ClaimFields)

    def tests(given: Sequence[ComparisonFields], nodes: Node) -> list[Comparison]:
        found = []
        for one, node in zip(given, nodes.value, strict=True):
            with problems.collected():
                suite = suites.at(node.value["suite"], file.parent)
                _look_up(suite, one, node, problems)
                found.append(_comparison(suite, one))
        return found

    names: set[str] = set()
    choices = []
    for index, choice in enumerate(fields.choices):
        node = root.value["choices"].value[index]
        if choice.name in names:
            problems.add(node.value["name"].place, f"is {choice.name!r} once more; names of choices differ")
        names.add(choice.name)
        choices.append(Choice(choice.name, tests(choice.tests, node.value["tests"])))
    return Claim(fields, file, tests(fields.tests, root.value["tests"]), choices)


def _look_up(suite: Suite, fields: ComparisonFields, node: Node, problems: Problems) -> None:
    """Notes every name that the suite does not have."""
    axes = [arm.axes() for arm in suite.arms]
    for side in ("of", "minus", "over"):
        given: Mapping[str, Node] = node.value[side].value if side in node.value else {}
        for axis, word in given.items():
            names = list(dict.fromkeys(names[axis] for names in axes))
            if word.value not in names:
                hint = suggestion(word.value, names)
                problems.add(word.place, f": no {axis} of {suite.path} is named {word.value!r}; {hint}")
    if fields.metric.partition("/")[0] not in COLUMNS:
        problems.add(node.value["metric"].place, f"is {fields.metric!r}; {suggestion(fields.metric, COLUMNS)}")


def _comparison(suite: Suite, fields: ComparisonFields) -> Comparison:
    form: Form = "level" if fields.minus is fields.over is None else "ratio" if fields.minus is None else "difference"
    other = fields.minus or fields.over
    return Comparison(
        suite=suite,
        metric=fields.metric,
        form=form,
        of=_names(fields.of),
        against={} if other is None else _names(other),
        sign=1 if fields.above is not None else -1,
        threshold=fields.threshold,
        margin=fields.margin,
    )


def _names(side: Side) -> dict[str, str]:
    return {axis: getattr(side, axis) for axis in type(side).model_fields if axis in side.model_fields_set}
