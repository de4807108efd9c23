"""One HTML page that says what became of a challenge: all of it in one file, nothing fetched, no script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from optbench.challenge.page_contrasts import BAR, DOT, HEIGHT, WIDTH, groups_of
from optbench.challenge.page_outcome import (
    budget_text,
    claims_of,
    hardware_text,
    links_of,
    margins_text,
    outcomes_of,
    scale_text,
    stages_of,
)
from optbench.challenge.page_tables import board_of, profile_table_of, split_text
from optbench.challenge.page_tuning import tuning_report, tunings_of
from optbench.challenge.pictures import Drawn, pictures_of
from optbench.errors import UserError
from optbench.page.circumstances import facts_of, scale_of
from optbench.page.dots import classes_of, style_of
from optbench.page.page import write_page as write_text
from optbench.page.safety import inlined, policy_of
from optbench.page.tables import table_of
from optbench.page.templating import asset, template
from optbench.profiling.sentences import answers, headline, legend
from optbench.reports.cost_grid import cost_grid, cost_notes_of
from optbench.reports.frame import MISSING
from optbench.reports.panel_grid import panel_grid, panel_notes_of
from optbench.reports.stats import ALPHA

if TYPE_CHECKING:
    from optbench.challenge.content import Content

PACKAGE = "optbench.challenge"


def write_page(content: Content, folder: Path) -> Path:
    """Writes the page as index.html into the folder, whole or not at all, and says where it is.

    Raises UserError where there is no record to speak of, and where the folder cannot be written to.
    """
    if content.report.missing == len(content.report.cells):
        raise UserError(content.report.advice())
    return write_text(page_text(content, folder, pictures_of(content, tuning_report(content))), folder)


def page_text(content: Content, folder: Path, drawn: Mapping[str, Drawn]) -> str:
    """The page, whole. `folder` is where it will be, for the addresses of the files beside it; `drawn` are the figures
    of its sections, see `pictures_of`."""
    from markupsafe import Markup

    report, store = content.report, content.store
    colors = classes_of([content.name, *content.against, *report.cells["optimizer"]])
    styles = [inlined(asset("page.css") + asset("challenge.css", PACKAGE) + style_of(colors))]
    models = [str(name) for name in report.cells["model"].drop_duplicates()]
    recorded = report.cells[report.cells["outcome"] != MISSING].drop_duplicates("key")
    rows = zip(recorded["model"], recorded["optimizer"], map(store.record, recorded["key"]), strict=True)
    records = [(str(model), str(optimizer), record) for model, optimizer, record in rows if record is not None]
    scale = scale_of(report.cells, [(model, record) for model, _, record in records])
    pictures = {
        section: {
            "pictures": [(each.name, each, Markup(each.uri)) for each in found.pictures],
            "left_out": found.left_out,
        }
        for section, found in drawn.items()
    }
    standings = list(enumerate(report.standings))
    return template("challenge.html.j2", PACKAGE).render(
        policy=Markup(policy_of([], styles)),
        styles=[Markup(text) for text in styles],
        content=content,
        state=report.state(),
        scale=scale_text(scale, content),
        hardware=hardware_text([record for _, _, record in records]),
        level=f"{100 * (1 - ALPHA):g}",
        groups=groups_of(content),
        picture={"width": WIDTH, "height": HEIGHT, "bar": BAR, "dot": DOT},
        unresolved=[judged.name for judged in content.contrasts if judged.verdict == "unresolved"],
        boards=[board_of(content, table, f"board-{place}", colors) for place, table in standings],
        panels=[
            table_of(f"panel-{place}", panel_grid(table), panel_notes_of(table), models=models, colors=colors)
            for place, table in enumerate(report.panels)
        ],
        pictures=pictures,
        costs=[
            table_of(f"cost-{place}", cost_grid(table), cost_notes_of(table), models=models, colors=colors)
            for place, table in standings
        ],
        profiles=[
            {
                "table": profile_table_of(profile, f"profile-{place}", colors),
                "headline": headline(profile),
                "lines": [*answers(profile), *legend(profile)],
                "splits": [(row.optimizer, row.model, split_text(row)) for row in profile.rows if split_text(row)],
            }
            for place, profile in enumerate(content.profiles)
        ],
        tuning=tunings_of(content, tuning_report(content), colors),
        claims=claims_of(content, [(optimizer, record) for _, optimizer, record in records]),
        outcomes=outcomes_of(content),
        margins=margins_text(content),
        stages=stages_of(content.spent),
        budget=budget_text(content),
        facts=facts_of(record for _, _, record in records),
        source=content.source.expandtabs(4).splitlines(),
        links=links_of(content.files, folder),
    )
