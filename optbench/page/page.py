"""One HTML page that says what a suite found: everything it needs is in the file, and nothing is fetched."""

from __future__ import annotations

import contextlib
import os
import shlex
import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optbench.errors import UserError
from optbench.page.cells import DIGITS, POINTS, cells_table_of, details_of
from optbench.page.circumstances import facts_of, outcomes_of, scale_of
from optbench.page.contrasts import HEIGHT, MARGIN, WIDTH, groups_of
from optbench.page.dots import classes_of, style_of
from optbench.page.library import library
from optbench.page.pictures import Picture
from optbench.page.safety import inlined, policy_of, script_json, shown, shown_path
from optbench.page.tables import table_of
from optbench.reports.frame import MISSING
from optbench.reports.panel_grid import panel_grid
from optbench.reports.sections import sections_of

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

    from optbench.reports.leaderboard import Report
    from optbench.store import Store

FILE = "index.html"
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
    styles = [inlined(tabulator.style), inlined(_asset("page.css") + style_of(colors))]
    scripts = [inlined(tabulator.script), inlined(_asset("page.js"))]
    models = [str(name) for name in report.cells["model"].drop_duplicates()]
    of_panels = {panel_grid(table).title for table in report.panels}
    tables = [
        table_of(f"table-{place}", section.grid, section.notes, models=models, colors=colors)
        for place, section in enumerate(sections_of(report))
    ]
    recorded = report.cells[report.cells["outcome"] != MISSING].drop_duplicates("key")
    pairs = [(model, store.record(key)) for model, key in zip(recorded["model"], recorded["key"], strict=True)]
    records = [(str(model), record) for model, record in pairs if record is not None]
    return _template().render(
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
        boards=[table for table in tables if table.title not in of_panels],
        panel_tables=[table for table in tables if table.title in of_panels],
        pictures=[(picture, Markup(picture.uri)) for picture in pictures],
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
    suite, results = (shlex.quote(shown_path(path)) for path in (report.path, report.results))
    # Records in a file are read alone: whoever runs the suite gets a folder of their own.
    into = "" if Path(report.results).is_file() else f" --results {results}"
    return {
        "run": f"optbench run {suite}{into}",
        "page": f"optbench report {suite} --results {results} --html page",
    }


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("optbench.page", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template("page.html.j2")


def _finalized(value: Any) -> Any:
    """Every text that the template puts out passes here, on its way to be escaped; our own markup is left alone."""
    return shown(value) if type(value) is str else value


def _breakable(name: str) -> Markup:
    """A name that may be broken after an underscore, where a column is narrow."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in shown(name).split("_"))


def _asset(name: str) -> str:
    return (files("optbench.page") / "assets" / name).read_text(encoding="utf-8")
