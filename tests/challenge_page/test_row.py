"""The row of a LaTeX table: its cells are the numbers of the challenge, and its text is escaped."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from challenge_page.contents import content_of, profile_of, records, suite_of, tuned_of
from papers import check, needs_pdflatex

from optbench.challenge.row import latex_row


def lines(content):
    """What is said before the table, and the cells of the row."""
    text = latex_row(content)
    assert text.endswith("\n")
    said = [line.removeprefix("%% ") for line in text.splitlines() if line.startswith("%% ")]
    (row,) = [line for line in text.splitlines() if not line.startswith("%")]
    assert row.endswith(r" \\")
    return said, row.removesuffix(r" \\").split(" & ")


def titles(content):
    """The titles of the columns, their lines put together."""
    text = latex_row(content)
    header = text[text.index("toprule\n") : text.index("% " + " " * 4 + r"\midrule")].splitlines()[1:]
    rows = [line.removeprefix("%").strip().removesuffix(r"\\").split("&") for line in header if "cmidrule" not in line]
    wide = [[each for cell in row for each in spread(cell.strip())] for row in rows]
    return [" ".join(filter(None, column)) for column in zip(*wide, strict=True)]


def spread(cell):
    """A cell over several columns, in each of them."""
    found = re.fullmatch(r"\\multicolumn\{(\d)\}\{c\}\{(.*)\}", cell)
    return [found[2]] * int(found[1]) if found else [cell]


def test_a_column_has_its_title_above_it_and_its_number_in_the_row(content):
    said, cells = lines(content)
    assert titles(content) == [
        "optimizer",
        r"accuracy, \%",
        "muon minus adamw (accuracy, points)",
        "muon minus sam (accuracy, points)",
        "step time /adamw",
        "memory",
        "trials",
    ]
    assert said[:-2] == [*(judged.sentence for judged in content.contrasts), *content.limits]
    assert r"\usepackage{booktabs,graphicx}" in said[-2]
    accuracy = [
        content.store.record(c.key).result["accuracy"] for c in content.suite.cells() if c.arm.optimizer == "muon"
    ]
    width = content.report.standings[0].half_width.loc[("muon", "uniform")].iloc[0]
    expected = ["muon", rf"{100 * sum(accuracy) / 13:.1f}\,$\pm$\,{100 * width:.1f}"]
    for judged in content.contrasts:
        numbers = (100 * judged.estimate, 100 * judged.low, 100 * judged.high)
        expected.append("{:+.1f} {{[}}{:+.1f}, {:+.1f}{{]}}".format(*numbers))
    assert cells == [*expected, "1.31 (1.27 to 1.36)", r"7.00\,GB", "4"]


def test_without_its_comment_signs_it_is_a_table_of_one_row(content):
    table = re.sub("^% ", "", latex_row(content), flags=re.MULTILINE)
    shown = [line.strip() for line in table.splitlines() if not line.startswith("%%")]
    row = shown.index(r"\midrule") + 1
    assert shown[0] == r"\begin{table*}[htbp]" and shown[-1] == r"\end{table*}"
    assert shown[row].startswith("muon & ") and shown[row + 1] == r"\bottomrule"
    assert {line.count(" & ") for line in (shown[row], shown[row - 2])} == {6}
    assert table.count(r"\begin{") == table.count(r"\end{") == 2


def test_names_are_escaped_and_stay_in_their_line(content):
    evil = "a_b & 50% \\input{x}\n$1"
    judged = replace(content.contrasts[0], name=evil, sentence=evil)
    hostile = replace(content, name=evil, contrasts=[judged])
    said, _ = lines(hostile)
    text = latex_row(hostile)
    (row,) = [line for line in text.splitlines() if not line.startswith("%")]
    assert row.startswith(r"a\_b \& 50\% \textbackslash{}input\{x\} \$1 & -- & ")
    assert len(said) == 3 + len(content.limits)
    assert not re.search(
        r"(?<!\\)%(?!$)", re.sub("^%%? ", "", text, flags=re.MULTILINE).replace("the % that", ""), re.M
    )
    assert r"\input" not in text.replace(r"\textbackslash{}input", "")


def test_what_is_not_known_is_a_dash(content):
    unknown = replace(content.contrasts[0], estimate=math.nan, low=-math.inf, high=math.inf)
    bare = replace(content, contrasts=[unknown], profiles=(replace(profile_of(), rows=profile_of().rows[:1]),))
    _, cells = lines(bare)
    assert cells[2:] == ["-- no interval", "--", "--", "4"]


def test_models_and_tables_have_columns_each(content):
    two = replace(content, profiles=(profile_of("m1"), profile_of("m2")))
    _, cells = lines(two)
    assert titles(two)[4:] == [
        "step time /adamw on m1",
        "memory on m1",
        "step time /adamw on m2",
        "memory on m2",
        "trials",
    ]
    assert len(cells) == 9


def test_of_several_models_the_score_is_over_all(tmp_path):
    suite = suite_of(tmp_path, models="llama-nano, phi-nano", seeds=(1, 2, 3))
    content = content_of(tmp_path, suite, records())
    _, cells = lines(content)
    accuracy = [content.store.record(c.key).result["accuracy"] for c in suite.cells() if c.arm.optimizer == "muon"]
    assert cells[1].startswith(f"{100 * sum(accuracy) / 6:.1f}" + r"\,$\pm$")
    assert titles(content)[1] == r"accuracy, \%"


@pytest.mark.parametrize(("counts", "wanted"), [((4, 4, 4), "4"), ((2, 4, 4), "2")])
def test_trials_are_those_of_the_challenger(content, counts, wanted):
    tuned = tuned_of()
    studies = [
        study.model_copy(update={"trials": study.trials[:count], "best": 0})
        for study, count in zip(tuned.studies, counts, strict=True)
    ]
    assert lines(replace(content, tuned=tuned.model_copy(update={"studies": studies})))[1][-1] == wanted


@needs_pdflatex
def test_pdflatex_takes_the_row_in_its_table(content, tmp_path):
    hostile = replace(content, name="a_b & 50% \\input{x}\n$1 <" + "x" * 60)
    for each in (content, hostile):
        check(tmp_path, re.sub("^% ", "", latex_row(each), flags=re.MULTILINE))
