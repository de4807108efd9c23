"""A board as it is compared: every figure with all that is known of it, whether board, setting or figure said so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optbench.boards.boardfile import (
    BoardFields,
    Bound,
    Direction,
    EvidenceFields,
    FigureFields,
    Form,
    Grade,
    RowFields,
    ScaleFields,
    SettingFields,
    State,
)
from optbench.boards.names import normalised
from optbench.errors import UserError, suggestion
from optbench.problems import Problems, check
from optbench.yamlfile import Node, Refused, read


@dataclass(frozen=True)
class Setting:
    """One column: what its figures mean, and how large the runs were."""

    name: str
    about: str
    metric: str
    unit: str
    direction: Direction
    form: Form
    relative_to: str | None
    scale: ScaleFields
    notes: Sequence[str]


@dataclass(frozen=True)
class Figure:
    """One figure. `value` is NaN where `state` is not measured; None elsewhere means that the source does not say."""

    value: float
    bound: Bound
    state: State
    grade: Grade
    derived_by: str | None
    uncertainty: float | None
    n: int | None
    sigma: float | None
    sigma_from: str | None
    flags: Sequence[str]


@dataclass(frozen=True)
class Row:
    """One method, the name that it is compared under, and its figures by setting.

    `because` says why a variant stands for that name; empty where the names are the same but for their spelling.
    """

    method: str
    name: str
    because: str
    flags: Sequence[str]
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class Board:
    """A board file, worked out; `fields` holds its texts."""

    fields: BoardFields
    path: Path
    settings: Mapping[str, Setting]
    rows: Sequence[Row]

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return self.path.stem

    def setting(self, name: str) -> Setting:
        """The column called so. Raises UserError for an unknown one, and for one that is not for comparing."""
        if name not in self.settings:
            raise UserError(f"--column {name}: {self.path} has no such setting; {suggestion(name, self.comparable())}")
        if self.settings[name].direction == "neither":
            allowed = suggestion(name, self.comparable())
            raise UserError(f"--column {name}: its figures support others and are not compared; {allowed}")
        return self.settings[name]

    def comparable(self) -> list[str]:
        """The columns whose figures have a better and a worse."""
        return [name for name, setting in self.settings.items() if setting.direction != "neither"]


def load_board(path: Path) -> Board:
    """The board in the file. Raises UserError with one line for each problem, each with file and line."""
    root = read(path)
    if isinstance(root.value, dict) and "models" in root.value and "rows" not in root.value:
        raise root.place.problem(": this is a suite; boards are files like results/boards/*.yaml")
    fields: BoardFields = check(root, BoardFields)
    problems = Problems()
    _note_half_spreads(fields, root, problems)
    settings = {name: _setting(name, given, fields) for name, given in fields.settings.items()}
    rows = []
    names: dict[str, str] = {}
    for given, node in zip(fields.rows, root.value["rows"].value, strict=True):
        row = _row(given, node, fields, problems)
        if row.name in names:
            what = f": {row.method} would be compared as {row.name!r}, as {names[row.name]} is; rows have names apart"
            problems.add(node.place, what)
        names.setdefault(row.name, row.method)
        rows.append(row)
    for name, setting in settings.items():
        if not any(name in row.figures for row in fields.rows):
            problems.add(root.value["settings"].value[name].key, "has no figure in any row")
        if setting.form != "level" and setting.direction == "neither":
            problems.add(root.value["settings"].value[name].key, ": a ratio or a gain has a direction")
    problems.raise_any()
    return Board(fields, path, settings, rows)


def _note_half_spreads(fields: BoardFields, root: Node, problems: Problems) -> None:
    """Notes every spread between runs without its origin, and every origin without a spread."""
    stated: list[tuple[EvidenceFields, Node]] = [(fields, root)]
    stated += [(given, root.value["settings"].value[name]) for name, given in fields.settings.items()]
    for row, node in zip(fields.rows, root.value["rows"].value, strict=True):
        for name, figure in row.figures.items():
            if isinstance(figure, FigureFields):
                stated.append((figure, node.value["figures"].value[name]))
    for given, node in stated:
        if (given.sigma is None) != (given.sigma_from is None):
            problems.add(node.place, ": `sigma` and `sigma_from` go together: a spread between runs, and who says so")


def _setting(name: str, given: SettingFields, board: BoardFields) -> Setting:
    return Setting(
        name=name,
        about=given.about,
        metric=board.metric if given.metric is None else given.metric,
        unit=board.unit if given.unit is None else given.unit,
        direction=board.direction if given.direction is None else given.direction,
        form=given.form,
        relative_to=given.relative_to,
        scale=given.scale,
        notes=given.notes,
    )


def _row(given: RowFields, node: Node, board: BoardFields, problems: Problems) -> Row:
    figures = {}
    nodes = node.value["figures"].value
    for setting, figure in given.figures.items():
        with problems.collected():
            if setting not in board.settings:
                raise nodes[setting].key.problem(f"is no setting of this board; {suggestion(setting, board.settings)}")
            figures[setting] = _figure(figure, nodes[setting], board.settings[setting], board)
    name = normalised(given.stands_for or given.method)
    return Row(given.method, name, given.because or "", given.flags, figures)


def _figure(given: float | FigureFields, node: Node, setting: SettingFields, board: BoardFields) -> Figure:
    """The figure with what its setting and its board say where it says nothing itself."""
    own = FigureFields(value=given) if isinstance(given, float) else given
    if (own.value is None) == (own.state == "measured"):
        raise node.place.problem(": needs a `value`, or a `state` (diverged, not reached) instead of one")
    graded = _first("grade", own, setting, board)
    # What belongs to a grade or a spread comes from whoever states it, never mixed from two.
    spread = _first("sigma", own, setting, board)
    figure = Figure(
        value=math.nan if own.value is None else own.value,
        bound=own.bound,
        state=own.state,
        grade=graded.grade or "published",
        derived_by=graded.derived_by,
        uncertainty=_first("uncertainty", own, setting, board).uncertainty,
        n=_first("n", own, setting, board).n,
        sigma=spread.sigma,
        sigma_from=spread.sigma_from,
        flags=own.flags,
    )
    _refuse_unsupported(figure, node, board)
    return figure


def _first(name: str, *layers: EvidenceFields) -> EvidenceFields:
    """The innermost of the layers that states the field, else the outermost."""
    return next((layer for layer in layers if name in layer.model_fields_set), layers[-1])


def _refuse_unsupported(figure: Figure, node: Node, board: BoardFields) -> None:
    """Raises Refused where a grade lacks what makes it honest."""
    lacks = None
    if figure.grade == "derived" and figure.derived_by is None:
        lacks = "is derived; say how beside the grade, in `derived_by`"
    elif figure.grade == "digitised" and figure.uncertainty is None and figure.state == "measured":
        lacks = "is digitised; say how exactly in `uncertainty`"
    elif figure.grade == "second-hand" and board.source.through is None:
        lacks = "is second-hand; say through whom in `source.through`"
    if lacks is not None:
        raise Refused([(node.place, lacks)])
