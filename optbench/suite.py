"""A suite: one scientific question as data. YAML file -> Suite -> arms x seeds -> cells."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench import overrides as changes
from optbench.added import Added
from optbench.arm import Arm
from optbench.arm_building import Arms, trained
from optbench.axes import AXES, Axis, Entry, entries
from optbench.cell import Budget, CellSpec
from optbench.errors import UserError, suggestion
from optbench.metrics.columns import COLUMNS, column
from optbench.overrides import Override
from optbench.panels.base import panel_key
from optbench.panels.specs import PRESETS as PANEL_PRESETS
from optbench.panels.specs import PanelSpec
from optbench.problems import Problems, check
from optbench.suite_command import Asked
from optbench.suitefile import ContrastFields, Execution, Side, SuiteFields, of_checkpoint
from optbench.tuning.layers import Layers
from optbench.tuning.record import Tuned
from optbench.tuning.request import Tuning
from optbench.tuning.space import check_spaces
from optbench.yamlfile import Node, Place, placed, read

if TYPE_CHECKING:
    from optbench.store import Store


Files = Path | str | Sequence[Path | str]
"""A file or several; none if empty."""
PANELS = Axis("panel", "panels", PanelSpec, PANEL_PRESETS)
"""Written like an axis, though arms do not differ in it."""


@dataclass(frozen=True)
class Cell:
    """One run: an arm at one seed, and the panels that are to look at it."""

    arm: Arm
    seed: int
    spec: CellSpec
    panels: Sequence[Any] = ()

    def missing_panels(self, store: Store) -> list[Any]:
        """The panels whose findings are not in the store."""
        return [panel for panel in self.panels if not store.has_panel(self.key, panel_key(panel))]

    def is_done(self, store: Store) -> bool:
        """Whether the record and the findings of all panels are in the store."""
        return store.has(self.key) and not self.missing_panels(store)

    @cached_property
    def key(self) -> str:
        """The key of the content. Raises UserError, at its line, for a file or checkpoint that is not there."""
        try:
            return self.spec.key
        except (OSError, UserError):
            for axis, spec in self.arm.specs().items():
                with self.arm.blaming(axis):
                    spec.identity()
            raise


@dataclass(frozen=True)
class Contrast:
    """A declared difference `of` - `minus` in `metric`, over all pairs of arms that agree on every other axis.

    Both map the same axes to display names; a budget is called as in tables, such as `300 steps`.
    """

    name: str
    of: Mapping[str, str]
    minus: Mapping[str, str]
    metric: str


@dataclass(frozen=True)
class Suite:
    """A suite file, worked out: every arm with its specs."""

    name: str
    question: str
    path: Path
    arms: list[Arm]
    seeds: list[int]
    contrasts: list[Contrast]
    execution: Execution
    panels: list[Any] = field(default_factory=list)
    ranked_by: str = "accuracy"
    left_out: int = 0
    """Declared contrasts that `--only` has left out. They were looked at with the others, and so still count."""
    added: Added | None = None
    """Seeds that were added one look after another, where the suite was run until its contrasts were resolved."""
    tuning: Tuning = Tuning()
    tuned: Tuned | None = None
    """The trials that values of these arms were chosen by. They lie beside the overrides files that `tune` wrote: the
    one of `tuned:`, and those of `--overrides` on top of it. Each arm has the trials of the last file that sets
    something of its optimizer or training; where that one was written by hand, or its trials were of other arms, it has
    none, for its values are no longer those that were tuned. What else `Tuned` says is said by the last file."""
    asked: Asked = Asked()
    """The options that it was read and narrowed with, for the commands that are printed."""

    @property
    def family(self) -> int:
        """How many contrasts were declared: what the level of intervals under repeated looks is shared by."""
        return len(self.contrasts) + self.left_out

    def cells(self) -> list[Cell]:
        """Every arm at every seed of the suite, then the seeds that were added to some arms. Two cells of the same
        content have the same key, and are one run."""
        return list(self._cells)

    @cached_property
    def _cells(self) -> list[Cell]:
        panels = tuple(self.panels)
        found = [self._cell(arm, seed, panels) for arm, seed in itertools.product(self.arms, self.seeds)]
        if self.added is not None:
            panels = tuple(self.panels_of_added())
            for arm in self.arms:
                # What became a seed of the suite since is none that was added.
                more = [seed for seed in self.added.seeds.get(arm.name, ()) if seed not in self.seeds]
                found += [self._cell(arm, seed, panels) for seed in more]
        return found

    def _cell(self, arm: Arm, seed: int, panels: Sequence[Any]) -> Cell:
        return Cell(arm, seed, CellSpec(**arm.specs(), training=arm.training, seed=seed), panels)

    def panels_of_added(self) -> list[Any]:
        """The panels that look at added seeds: those that a contrast takes its column from. The others would cost time
        and decide nothing."""
        wanted = {column(contrast.metric).panel for contrast in self.contrasts}
        return [panel for panel in self.panels if panel.kind in wanted]


def load_suite(path: Path | str, overrides: Files = "", checkpoint: str = "") -> Suite:
    """The suite in the file, with the overrides of other files on top of its own, if some are given: of several, each
    on top of those before.

    With `checkpoint` (a directory, or an id on the hub) its models give way to that one, named as its directory is.

    Raises UserError with one line for each problem, all that can be told at once: `suites/x.yaml:12: optimizers[1].lrr
    is unknown; did you mean lr?`. Reads nothing but the files, and no data unless the budget depends on it.
    """
    root = read(path)
    files = _files(overrides)
    suite = suite_of_tree(of_checkpoint(root, checkpoint) if checkpoint else root, path, files)
    return replace(suite, asked=Asked([str(file) for file in files], model=checkpoint))


def suite_of_tree(root: Node, path: Path | str, overrides: Files = "") -> Suite:
    """The suite with this content, which is that of the file at `path`, or was made of it; see `load_suite`."""
    fields: SuiteFields = check(root, SuiteFields)
    problems = Problems()
    axes = {axis.name: entries(axis, root.value[axis.plural], problems) for axis in AXES.values()}
    budgets = _budgets(root.value["budget"], problems)
    training = _training(root, problems)
    problems.raise_any()

    names = {axis: [entry.name for entry in found] for axis, found in axes.items()}
    layers: list[Override] = []
    if "overrides" in root.value:
        layers += changes.parse(root.value["overrides"], names, layer=0, problems=problems)
    files = Layers(names, problems)
    if fields.tuned:
        layers += files.put(_tuned_file(root.value["tuned"], fields.tuned), 1)
    for place, file in enumerate(_files(overrides), start=2):
        layers += files.put(file, place)
    contrasts = _contrasts(root, fields, {**names, "budget": list(budgets)}, problems)
    seeds = _seeds(root, fields, problems)
    panels = _panels(root, problems)
    if COLUMNS.get(fields.ranked_by.partition("/")[0], COLUMNS["questions"]).direction == "neither":
        better = [name for name, own in COLUMNS.items() if own.direction != "neither"]
        problems.add(root.value["ranked_by"].place, f"is {fields.ranked_by!r}; {suggestion(fields.ranked_by, better)}")
    _check_tuning(root, fields, seeds, problems)
    problems.raise_any()

    arms = Arms(layers, training, budgets, problems).build(axes)
    _check_panels(panels, arms, problems)
    problems.raise_any()
    if fields.tuning.spaces:
        check_spaces(root.value["tuning"].value["spaces"], fields.tuning, arms, problems)
    problems.raise_any()
    name = fields.name or Path(path).stem
    specs = [entry.spec for entry in panels]
    return Suite(
        name,
        fields.question,
        Path(path),
        arms,
        seeds,
        contrasts,
        fields.execution,
        specs,
        fields.ranked_by,
        tuning=fields.tuning,
        tuned=files.trials_of(arms),
    )


def _files(given: Files) -> list[Path]:
    return [Path(file) for file in ([given] if isinstance(given, str | Path) else given) if file]


def _budgets(given: Node, problems: Problems) -> dict[str, tuple[Budget, Place]]:
    """The budgets by label."""
    found: dict[str, tuple[Budget, Place]] = {}
    for node in given.value if isinstance(given.value, list) else [given]:
        with problems.collected():
            budget = check(node, Budget)
            if budget.label in found:
                raise node.place.problem(f": {budget.label} are there already, at {found[budget.label][1].label}")
            found[budget.label] = (budget, node.place)
    return found


def _training(root: Node, problems: Problems) -> Node:
    node = root.value.get("training") or placed({}, root.place.inside("training"))
    with problems.collected():
        trained(node, 1)
    return node


def _tuned_file(node: Node, given: str) -> Path:
    """The file of `tuned:`. Raises UserError, at its line, where it is not there."""
    path = Path(node.place.file).parent / given
    if not path.is_file():
        raise node.place.problem(f"is {given!r}: no such file ({path}); `optbench tune` writes it")
    return path


def _check_tuning(root: Node, fields: SuiteFields, seeds: Sequence[int], problems: Problems) -> None:
    """Notes what the block `tuning` asks for that cannot be."""
    node = root.value.get("tuning")
    if node is None:
        return
    score = fields.tuning.score
    columns = [name for name, own in COLUMNS.items() if own.direction != "neither"]
    if score not in columns:
        problems.add(node.value["score"].place, f"is {score!r}; {suggestion(score, columns)}")
    for index, seed in enumerate(fields.tuning.seeds):
        if seed in seeds:
            place = node.value["seeds"].value[index].place if "seeds" in node.value else node.place
            what = f"has {seed}, which is a seed of the suite: what is tuned on a seed is not compared on it"
            problems.add(place, what)


def _panels(root: Node, problems: Problems) -> list[Entry]:
    """The panels of the suite; two of one kind would have the same columns."""
    if "panels" not in root.value:
        return []
    found = [entry for entry in entries(PANELS, root.value["panels"], problems) if entry.spec is not None]
    kinds: set[str] = set()
    for entry in found:
        if entry.spec.kind in kinds:
            problems.add(entry.node.place, f": there is a panel of the kind {entry.spec.kind!r} already")
        kinds.add(entry.spec.kind)
    return found


def _check_panels(panels: Sequence[Entry], arms: Sequence[Arm], problems: Problems) -> None:
    """Notes every panel that cannot look at a task of the suite."""
    for entry in panels:
        reads = getattr(entry.spec, "medium", "any")
        for arm in arms:
            medium = getattr(arm.task_spec, "medium", "text")
            if reads != "any" and not medium.startswith(reads):
                what = f": the panel {entry.name} looks at tasks of {reads}, and the task {arm.task} is {medium}"
                problems.add(entry.node.place, what)
            elif getattr(entry.spec, "needs_answers", False) and not getattr(arm.task_spec, "asks_questions", True):
                what = f": the panel {entry.name} tells right from wrong answers, and the task {arm.task} asks none"
                problems.add(entry.node.place, what)


def _seeds(root: Node, fields: SuiteFields, problems: Problems) -> list[int]:
    if isinstance(fields.seeds, int):
        return list(range(fields.seeds))
    for index, seed in enumerate(fields.seeds):
        if seed in fields.seeds[:index]:
            problems.add(root.value["seeds"].value[index].place, f"is {seed} once more; seeds differ")
    return fields.seeds


def _contrasts(
    root: Node, fields: SuiteFields, names: Mapping[str, Sequence[str]], problems: Problems
) -> list[Contrast]:
    found: dict[str, Contrast] = {}
    for index, given in enumerate(fields.contrasts):
        node = root.value["contrasts"].value[index]
        contrast = _contrast(given, fields.ranked_by)
        for side in ("of", "minus"):
            for axis, word in node.value[side].value.items():
                if word.value not in names[axis]:
                    hint = suggestion(word.value, names[axis])
                    problems.add(word.place, f": no {axis} of this suite is named {word.value!r}; {hint}")
        if given.metric and given.metric.partition("/")[0] not in COLUMNS:
            problems.add(node.value["metric"].place, f"is {given.metric!r}; {suggestion(given.metric, COLUMNS)}")
        if contrast.name in found:
            problems.add(node.place, f": there is a contrast named {contrast.name!r} already")
        found[contrast.name] = contrast
    return list(found.values())


def _contrast(given: ContrastFields, ranked_by: str) -> Contrast:
    of, minus = _names(given.of), _names(given.minus)
    name = given.name or f"{' '.join(of.values())} minus {' '.join(minus.values())}"
    return Contrast(name, of, minus, given.metric or ranked_by)


def _names(side: Side) -> dict[str, str]:
    return {axis: getattr(side, axis) for axis in type(side).model_fields if axis in side.model_fields_set}
