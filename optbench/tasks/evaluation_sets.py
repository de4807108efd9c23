"""The sets of questions that the papers test on, as data: where each is had, how its rows read, how it is graded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator

from optbench.errors import UserError
from optbench.spec import Spec
from optbench.tasks.base import Example, Grade
from optbench.tasks.grading import Grading, grader
from optbench.tasks.hub import Rows, data_identity, is_local, read_rows
from optbench.tasks.published_sets import PUBLISHED, Published
from optbench.tasks.rows import FILES, read_file

Grader = Callable[[str, Example], Grade]
SetName = Literal["gsm8k", "math", "numglue", "svamp", "mathematics", "simuleq"]


class EvaluationSet(Spec):
    """One set of questions, all of which are asked.

    `path` is a local file (.json, .jsonl, .parquet, for mathematics also .txt) or folder in the published layout, or a
    hub id; empty, it is the published place, at the commit that is known. `grading` is that of the set, unless another
    one is named. Sets without a known place on the hub need a `path`.
    """

    set: SetName
    path: str = ""
    hub_revision: str = ""
    grading: Grading | Literal["published"] = "published"

    @model_validator(mode="before")
    @classmethod
    def _published_place(cls, given: Any) -> Any:
        name = given.get("set") if isinstance(given, dict) else None
        if isinstance(name, str) and name in PUBLISHED and not given.get("path"):
            published = PUBLISHED[name]
            return {**given, "path": published.hub, "hub_revision": given.get("hub_revision") or published.commit}
        return given

    @model_validator(mode="after")
    def _has_a_place(self) -> EvaluationSet:
        published = PUBLISHED[self.set]
        if not self.path:
            raise ValueError(
                f"{self.set}: no place on the hub is known for it; give the local file, "
                f"{{set: {self.set}, path: FILE}}, in the layout {published.layout}"
            )
        if not self._is_local and not self.hub_revision:
            raise ValueError(f"{self.set}: {self.path} on the hub needs its commit as `hub_revision`")
        return self

    def identity(self) -> dict[str, Any]:
        """The set and its grading, with the data by its content or commit.

        A local file that is not there enters by its name: the suite can be read and planned, and nothing can be run
        under that key.
        """
        content: dict[str, Any] = {} if self.revision == 1 else {"revision": self.revision}
        content |= {"set": self.set, "grading": self.graded_by}
        if self._is_local and not Path(self.path).expanduser().exists():
            return {**content, "path": {"missing": self.path}}
        return {**content, "path": data_identity(self.path, self.hub_revision)}

    @property
    def published(self) -> Published:
        """What is known of the set."""
        return PUBLISHED[self.set]

    @property
    def graded_by(self) -> Grading:
        """How its answers are graded."""
        return self.published.grading if self.grading == "published" else self.grading

    def examples(self) -> list[Example]:
        """All questions of the set, each with the set's name as source. Raises UserError where the data is not to be
        had, or naming the row that does not read."""
        rows = self._rows()
        found = [self.published.read(row, f"{self.path}: row {i}", f"{self.set}-{i}") for i, row in enumerate(rows)]
        if not found:
            raise UserError(f"{self.path}: no questions")
        return [Example(e.id, e.question, e.solution, e.answer, self.set) for e in found]

    @property
    def _is_local(self) -> bool:
        return is_local(self.path) or self.path.endswith(FILES)

    def _rows(self) -> Rows:
        if self._is_local and self.path.endswith(FILES):
            return read_file(self.path)
        rows: Rows = []
        folder = Path(self.path).expanduser()
        # A local folder holds all configurations as subfolders, as on the hub, or is one.
        local = [name for name in self.published.configurations if (folder / name).is_dir()] or [""]
        for configuration in local if is_local(self.path) else self.published.configurations:
            splits = read_rows(self.path, name=configuration, hub_revision=self.hub_revision)
            missing = [split for split in self.published.splits if split not in splits]
            if missing:
                raise UserError(f"{self.path}: has no {' and no '.join(missing)} split; there are: {', '.join(splits)}")
            rows += [row for split in self.published.splits for row in splits[split]]
        return rows


def _by_name(given: Any) -> Any:
    if isinstance(given, list | tuple):
        return tuple({"set": one} if isinstance(one, str) else one for one in given)
    return given


def _once_each(sets: tuple[EvaluationSet, ...]) -> tuple[EvaluationSet, ...]:
    twice = [name for name, count in Counter(one.set for one in sets).items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} is named more than once")
    return sets


EvaluateOn = Annotated[tuple[EvaluationSet, ...], BeforeValidator(_by_name), AfterValidator(_once_each)]
"""The sets that a task is tested on instead of its own test split; a set may be given by its name alone."""
Programs = Literal["off", "on"]
"""Whether programs that a model writes are run: see `asked`."""


def questions_of(sets: Sequence[EvaluationSet]) -> list[Example]:
    """The questions of all sets, in their order."""
    return [example for one in sets for example in one.examples()]


def grade_by_set(sets: Sequence[EvaluationSet], otherwise: Grader) -> Grader:
    """The grading of each set for its own questions, and `otherwise` for those of any other source."""
    graders: dict[str, Grader] = {one.set: grader(one.graded_by) for one in sets}
    return lambda text, example: graders.get(example.source, otherwise)(text, example)


def numbers_of(sets: Sequence[EvaluationSet], otherwise: str) -> frozenset[str]:
    """The sources whose answers are numbers: those of the sets, or, without sets, `otherwise`."""
    return frozenset(one.set for one in sets if one.published.numbers) if sets else frozenset({otherwise})


def sizes_of(sets: Sequence[EvaluationSet], examples: Sequence[Example]) -> dict[str, Any]:
    """How many questions each set has, for the notes of a task; where it differs, also how many were published."""
    asked = Counter(example.source for example in examples)
    return {
        one.set: asked[one.set]
        if asked[one.set] == one.published.size
        else {"asked": asked[one.set], "published": one.published.size}
        for one in sets
    }
