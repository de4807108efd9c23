"""One HTML page that says what a suite found: everything it needs is in the file, and nothing is fetched."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.errors import UserError
from optbench.page.cells import DIGITS, POINTS, cells_table_of, details_of
from optbench.page.circumstances import facts_of, outcomes_of, scale_of
from optbench.page.contrasts import HEIGHT, MARGIN, WIDTH, groups_of
from optbench.page.dots import classes_of, style_of
from optbench.page.library import library
from optbench.page.pictures import Picture
from optbench.page.safety import inlined, policy_of, script_json, shown_path
from optbench.page.tables import table_of
from optbench.page.templating import asset, template
from optbench.reports.frame import MISSING
from optbench.reports.panel_grid import panel_grid
from optbench.reports.sections import sections_of, tuning_sections_of

if TYPE_CHECKING:
    from optbench.reports.leaderboard import Report
    from optbench.store import Store

FILE = "index.html"
TUNABILITY = "tunability"
"""The name of the charts that stand beside the tables of tuning, or its beginning."""
_NONE: Mapping[str, str] = {}
_FILTERED = ("model", "task", "strategy", "budget", "outcome")


def page_text(
    report: Report,
    store: Store,
    *,
    panels: Sequence[str] = (),
    pictures: Sequence[Picture] = (),
    left_out: Mapping[str, str] = _NONE,
) -> str:
    """The page, whole.

    `panels` are the keys of the suite's panels, whose findings a cell shows when it is opened; `pictures` are its
    figures; `left_out` says of other charts why they are not among them. Raises UserError where the suite has no
    record at all.
    """
    from markupsafe import Markup

    if report.missing == len(report.cells):
        raise UserError(report.advice())
    tabulator, colors = library(), classes_of(report.cells["optimizer"])
    styles = [inlined(tabulator.style), inlined(asset("page.css") + style_of(colors))]
    scripts = [inlined(tabulator.script), inlined(asset("page.js"))]
    models = [str(name) for name in report.cells["model"].drop_duplicates()]
    drawn = [(picture, Markup(picture.uri)) for picture in pictures]
    of_panels = {panel_grid(table).title for table in report.panels}
    of_tuning = {section.grid.title for section in tuning_sections_of(report)}
    tables = [
        table_of(f"table-{place}", section.grid, section.notes, models=models, colors=colors)
        for place, section in enumerate(sections_of(report))
    ]
    recorded = report.cells[report.cells["outcome"] != MISSING].drop_duplicates("key")
    pairs = [(model, store.record(key)) for model, key in zip(recorded["model"], recorded["key"], strict=True)]
    records = [(str(model), record) for model, record in pairs if record is not None]
    return template("page.html.j2").render(
        policy=Markup(policy_of(scripts, styles)),
        scripts=[Markup(text) for text in scripts],
        styles=[Markup(text) for text in styles],
        report=report,
        answer=report.answer.lines,
        scale=scale_of(report.cells, records),
        outcomes=outcomes_of(report.cells),
        groups=groups_of(report.contrasts),
        picture={"width": WIDTH, "height": HEIGHT, "margin": MARGIN},
        remarks=report.sentences()[len(report.contrasts) :],
        boards=[table for table in tables if table.title not in of_panels | of_tuning],
        panel_tables=[table for table in tables if table.title in of_panels],
        tuning_tables=[table for table in tables if table.title in of_tuning],
        tuning_pictures=[pair for pair in drawn if pair[0].name.startswith(TUNABILITY)],
        pictures=[pair for pair in drawn if not pair[0].name.startswith(TUNABILITY)],
        left_out=left_out,
        facts=facts_of(record for _, record in records),
        cells=cells_table_of(report.cells, report.ranked_by, colors),
        details=Markup(script_json(details_of(report.cells, store, panels))),
        choices={axis: [str(name) for name in report.cells[axis].drop_duplicates()] for axis in _FILTERED},
        digits=DIGITS,
        points=POINTS,
        command=_command(report),
        library=tabulator,
        license_text=Markup("\n").join(tabulator.license_text.split("\n")),
    )


def write_page(text: str, folder: Path) -> Path:
    """Writes the page as index.html into the folder, which is made where it is not there; whole or not at all.

    Raises UserError where the folder is a file or cannot be written to.
    """
    target = folder / FILE
    made = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    temporary = folder / f".{FILE}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        _clear(temporary, made)
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise UserError(f"{folder}: is a file; the page needs a folder") from error
        if isinstance(error, OSError):
            raise UserError(f"{target}: cannot be written: {error.strerror or error}") from error
        raise
    return target


def _clear(temporary: Path, made: Sequence[Path]) -> None:
    """Removes what a failed write left: its file, and the folders it made, innermost first, where they are empty."""
    with contextlib.suppress(OSError):
        temporary.unlink()
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _command(report: Report) -> dict[str, str]:
    """What reproduces the records, and the page from them."""
    suite, asked = shown_path(report.path), report.asked.shown(shown_path)
    results = ["--results", shown_path(report.results)]
    # Records in a file are read alone: whoever runs the suite gets a folder of their own.
    into = [] if Path(report.results).is_file() else results
    return {
        "run": asked.command("run", suite, *into),
        "page": asked.command("report", suite, *results, "--html", "page"),
    }
