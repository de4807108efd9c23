"""What is bold in a terminal is not lost where a text has no bold."""

import re
from dataclasses import replace

import pytest

from optbench.reports.grid import notes_of
from optbench.reports.leaderboard import render, report_of


@pytest.fixture
def suite(bench):
    """Of three optimizers one is far ahead."""
    suite = bench.suite(("adamw", "muon", "sam"), models="ab", seeds=6)
    for cell in suite.cells():
        wobble = 0.01 * ((cell.seed * 7 + len(cell.arm.optimizer) * 3) % 5)
        bench.write(cell, (0.8 if cell.arm.optimizer == "muon" else 0.3) + wobble)
    return suite


def standings(text):
    return text.split(": costs")[0]


def rows(text):
    return {line.split()[0]: line for line in standings(text).splitlines() if "uniform" in line and "±" in line}


def test_plain_text_has_a_sign_where_a_terminal_has_bold(bench, suite):
    bold, plain = (rows(render(suite, bench.store, color=color)) for color in (True, False))
    assert set(bold) == set(plain) == {"muon", "adamw", "sam"}
    for name, line in bold.items():
        supported = [text.strip() for text in re.findall(r"\x1b\[1m([^\x1b]*)\x1b\[0m", line)]
        assert [text.replace("*", "^") for text in supported] == re.findall(r"\S+ ±\S+\^", plain[name])
        assert "^" not in line
    assert plain["muon"].count("^") == 3 and "*" not in plain["muon"]
    assert "^" not in plain["adamw"] + plain["sam"]


def test_the_sign_is_explained_and_takes_no_room(bench, suite):
    bold, plain = (render(suite, bench.store, color=color) for color in (True, False))
    free = re.sub(r"\x1b\[[0-9;]*m", "", bold)
    assert "Bold: such a row, above all rows without a star and itself resolved from one of them." in free
    assert "^ for *: such a row, above all rows without a sign and itself resolved from one of them." in plain
    assert "Bold" not in standings(plain) and "\x1b" not in plain
    assert [len(line) for line in rows(free).values()] == [len(line) for line in rows(plain).values()]


def test_a_tie_that_nothing_supports_keeps_its_star(bench):
    suite = bench.suite(("adamw", "muon", "sam"), models="a", seeds=6)
    noisy = [0.2, 1.0, 0.5, 1.0, 0.4, 1.0]
    for cell in suite.cells():
        steady = 0.01 * ((cell.seed * 7) % 5)
        scores = {"muon": 0.8 + steady, "adamw": 0.3 - steady, "sam": noisy[cell.seed]}
        bench.write(cell, scores[cell.arm.optimizer])
    plain = rows(render(suite, bench.store))
    assert {name: line.rstrip()[-1] for name, line in plain.items() if name != "adamw"} == {"muon": "^", "sam": "*"}
    assert not set(plain["adamw"]) & set("*^")


def test_bold_is_explained_only_where_something_is_bold(bench, suite):
    table = report_of(suite, bench.store).standings[0]
    assert any(note.startswith("Bold: ") for note in notes_of(table))
    without = replace(table, supported=table.supported & False)
    assert [note for note in notes_of(table) if note not in notes_of(without)] == [
        note for note in notes_of(table) if note.startswith("Bold: ")
    ]


def test_markdown_has_bold_and_no_sign(bench, suite):
    text = render(suite, bench.store, "markdown")
    assert "**" in text and "^" not in standings(text)
