"""The row of a LaTeX table: its cells are the numbers of the challenge, and its text is escaped."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from challenge_page.contents import content_of, profile_of, records, suite_of, tuned_of

from optbench.challenge.row import latex_row


def lines(content):
    """The comments, without their signs, and the cells of the row."""
    text = latex_row(content)
    assert text.endswith("\\\\\n")
    *comments, row = text.splitlines()
    assert all(line.startswith("% ") for line in comments)
    return [line.removeprefix("% ") for line in comments], row.removesuffix(r" \\").split(" & ")


def test_a_column_has_its_name_in_the_comment_and_its_number_in_the_row(content):
    (needs, head, *verdicts), cells = lines(content)
    assert r"\usepackage{booktabs}" in needs
    assert head.split(" & ") == [
        "optimizer",
        r"accuracy, \%",
        "muon minus adamw (accuracy, points)",
        "muon minus sam (accuracy, points)",
        "step time /adamw",
        "memory",
        "trials",
    ]
    assert verdicts == [*(judged.sentence for judged in content.contrasts), *content.limits]
    accuracy = [
        content.store.record(c.key).result["accuracy"] for c in content.suite.cells() if c.arm.optimizer == "muon"
    ]
    width = content.report.standings[0].half_width.loc[("muon", "uniform")].iloc[0]
    expected = ["muon", rf"{100 * sum(accuracy) / 13:.1f} $\pm$ {100 * width:.1f}"]
    for judged in content.contrasts:
        numbers = (100 * judged.estimate, 100 * judged.low, 100 * judged.high)
        expected.append("{:+.1f} {{[}}{:+.1f}, {:+.1f}{{]}}".format(*numbers))
    assert cells == [*expected, "1.31 (1.27 to 1.36)", "7.00 GB", "4"]


def test_names_are_escaped_and_stay_in_their_line(content):
    evil = "a_b & 50% \\input{x}\n$1"
    judged = replace(content.contrasts[0], name=evil, sentence=evil)
    comments, _ = lines(replace(content, name=evil, contrasts=[judged]))
    text = latex_row(replace(content, name=evil, contrasts=[judged]))
    assert text.splitlines()[-1].startswith(r"a\_b \& 50\% \textbackslash{}input\{x\} \$1 & - & ")
    assert len(comments) == 3 + len(content.limits)
    assert not re.search(r"(?<!\\)%", "\n".join(comments)) and r"\input" not in text.replace(
        r"\textbackslash{}input", ""
    )


def test_what_is_not_known_is_a_dash(content):
    unknown = replace(content.contrasts[0], estimate=math.nan, low=-math.inf, high=math.inf)
    bare = replace(content, contrasts=[unknown], profiles=(replace(profile_of(), rows=profile_of().rows[:1]),))
    _, cells = lines(bare)
    assert cells[2:] == ["- no interval", "-", "-", "4"]


def test_models_and_tables_have_columns_each(content):
    two = replace(content, profiles=(profile_of("m1"), profile_of("m2")))
    (_, head, *_), cells = lines(two)
    assert head.split(" & ")[4:] == [
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
    (_, head, *_), cells = lines(content)
    accuracy = [content.store.record(c.key).result["accuracy"] for c in suite.cells() if c.arm.optimizer == "muon"]
    assert cells[1].startswith(f"{100 * sum(accuracy) / 6:.1f} ")
    assert head.split(" & ")[1] == r"accuracy, \%"


@pytest.mark.parametrize(("counts", "wanted"), [((4, 4, 4), "4"), ((2, 4, 4), "2")])
def test_trials_are_those_of_the_challenger(content, counts, wanted):
    tuned = tuned_of()
    studies = [
        study.model_copy(update={"trials": study.trials[:count], "best": 0})
        for study, count in zip(tuned.studies, counts, strict=True)
    ]
    assert lines(replace(content, tuned=tuned.model_copy(update={"studies": studies})))[1][-1] == wanted
