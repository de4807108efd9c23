"""`report`: the report of a suite as files, a page and figures; or as text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.archive import open_store
from optbench.errors import UserError
from optbench.panels.base import panel_key
from optbench.reports.leaderboard import report_of

if TYPE_CHECKING:
    from optbench.suite import Suite


def report_files(suite: Suite, results: Path, *, html: Path | None, figures: Path | None) -> list[str]:
    """Writes the page into the folder `html` and the figures into the folder `figures`, either where it is not None.

    Says in one line each what was written, and of each chart that was left out why. Raises UserError where a folder is
    a file or cannot be written, where the suite has no record at all, and as `report_of` does; nothing is written then.
    """
    for option, folder in (("--html", html), ("--figures", figures)):
        if folder is not None:
            _check_folder(option, folder)
    store = open_store(results)
    report = report_of(suite, store)
    if report.missing == len(report.cells):
        raise UserError(report.advice())
    from optbench.charts.charts import drawings

    drawn, left_out = drawings(report, store)
    said = []
    if html is not None:
        from optbench.page.page import page_text, write_page
        from optbench.page.pictures import pictures_of

        keys = [panel_key(panel) for panel in suite.panels]
        text = page_text(report, store, panels=keys, pictures=pictures_of(drawn, report), left_out=left_out)
        page = write_page(text, html)
        said.append(f"{page}: the report as one page, {_size(page.stat().st_size)}")
    if figures is not None:
        from optbench.charts.charts import save

        files = save(drawn, figures)
        size = _size(sum(file.stat().st_size for file in files))
        said.append(f"{figures}: {len(drawn)} figures in {len(files)} files, {size}")
        said += [f"left out: {name}: {reason}" for name, reason in left_out.items()]
    return said


def _check_folder(option: str, folder: Path) -> None:
    """Raises UserError, before anything is computed, where the folder, or what it would lie in, is something else."""
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), None)
    if there is not None and not there.is_dir():
        raise UserError(f"{option} {folder}: {'' if there == folder else f'{there} '}is a file; a folder is needed")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
