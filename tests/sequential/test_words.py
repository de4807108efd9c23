"""What is said of a look has units: differences, intervals and margins are read without the suite at hand."""

from __future__ import annotations

import math

import pytest

from optbench.reports.verdicts import Judged, Verdict
from optbench.sequential.words import look_line


def said(metric: str, verdict: Verdict, margin: float = 0.02, estimate: float = 0.0123) -> str:
    own = Judged("a minus b", metric, estimate, -0.01, 0.035, 7, margin, verdict, "")
    return look_line(3, [own], 5400.0)


@pytest.mark.parametrize(
    ("metric", "margin", "difference", "limit"),
    [
        ("accuracy", 0.02, "+1.2 points [-1.0, +3.5]", "2 points"),
        ("accuracy", 0.01, "+1.2 points [-1.0, +3.5]", "1 point"),
        ("test_nll", 0.02, "+0.0123 nats [-0.01, +0.035]", "0.02 nats"),
        ("bits_per_byte", 0.005, "+0.0123 bits/byte [-0.01, +0.035]", "0.005 bits/byte"),
        ("test_loss", 0.5, "+0.0123 [-0.01, +0.035]", "0.5"),
    ],
)
def test_differences_and_margins_have_the_unit_of_the_column(
    metric: str, margin: float, difference: str, limit: str
) -> None:
    line = said(metric, "unresolved", margin)
    assert line == f"look 3: a minus b {difference}, 7 seeds, unresolved (margin {limit}); 1.5 h left"
    line = said(metric, "no difference beyond the margin", margin)
    assert f"7 seeds, no difference beyond the margin of {limit}; " in line


def test_where_the_margin_does_not_matter_it_is_left_out() -> None:
    assert ", 7 seeds, better; " in said("test_nll", "better")
    assert "no estimate yet, 7 seeds, unresolved (margin 0.02 nats)" in said("test_nll", "unresolved", 0.02, math.nan)
