"""Board files: those that are shipped can be read, and what is wrong with one is said where it stands."""

import math
import re
from pathlib import Path

import pytest
from boards.conftest import BOARD, HEAD, rows

from optbench.boards.board import load_board
from optbench.errors import UserError

SHIPPED = sorted((Path(__file__).parents[2] / "results" / "boards").glob("*.yaml"))


def test_shipped_boards_can_be_read_and_there_is_one_of_every_source():
    boards = [load_board(path) for path in SHIPPED]
    for board in boards:
        assert board.comparable()
        for row in board.rows:
            for figure in row.figures.values():
                assert figure.state != "measured" or math.isfinite(figure.value)
    sources = {board.fields.source.repository or board.fields.source.paper for board in boards}
    assert sources == {
        "mlcommons/submissions_algorithms",
        "epfml/llm-optimizer-benchmark",
        "marin-community/marin",
        "KellerJordan/modded-nanogpt",
        "zhehangdu/Newton-Muon",
        "HomebrewML/HeavyBall",
        "arXiv 2502.02407",
        "arXiv 2602.00576",
    }


def test_a_board_is_called_by_its_file(stand):
    assert stand.board(name="mine").name == "mine"


def test_a_figure_takes_what_its_setting_and_its_board_say(stand):
    board = stand.board(
        HEAD.replace("grade: published", "grade: digitised\nuncertainty: 0.002\nn: 7")
        + """\
settings:
  a: {about: a, n: 3, metric: time, unit: s, direction: higher}
  b: {about: b}
rows:
  - method: AdamW
    figures:
      a: 1.5
      b: {value: 2.5, n: 9, uncertainty: 0.1, grade: published, flags: [odd]}
  - {method: Muon, figures: {b: 4}}
"""
    )
    first, second = board.rows[0].figures["a"], board.rows[0].figures["b"]
    assert (first.grade, first.uncertainty, first.n, first.value) == ("digitised", 0.002, 3, 1.5)
    assert (second.grade, second.uncertainty, second.n, second.flags) == ("published", 0.1, 9, ["odd"])
    assert board.rows[1].figures["b"].n == 7
    a, b = board.settings["a"], board.settings["b"]
    assert (a.metric, a.unit, a.direction) == ("time", "s", "higher")
    assert (b.metric, b.unit, b.direction) == ("loss", "nats", "lower")


def test_unknown_stays_unknown(stand):
    figure = stand.board().rows[0].figures["small"]
    assert (figure.n, figure.sigma, figure.uncertainty) == (None, None, None)
    assert stand.board().settings["small"].scale.batch_tokens is None


WRONG = [
    ("grade: published", "grade: publishd", r"toy.yaml:3: grade is 'publishd'; did you mean published\?"),
    ("grade: published\n", "", r"toy.yaml:1: the file: needs a `grade`"),
    ("metric: loss", "metrik: loss", r"toy.yaml:4: metrik is unknown; did you mean metric\?"),
    ("direction: lower", "direction: down", r"toy.yaml:6: direction is 'down'; allowed: higher, lower, neither"),
    ("{small: 3.0}", "{smal: 3.0}", r"toy.yaml:10: rows\[0\].figures.smal is no setting of this board; did you mean s"),
    ("{small: 3.0}", "{small: three}", r"toy.yaml:10: rows\[0\].figures.small must be a number or a mapping"),
    ("{small: 3.0}", "{small: true}", r"toy.yaml:10: rows\[0\].figures.small must be a number or a mapping, not true"),
    ("{small: 3.0}", "{small: .nan}", r"toy.yaml:10: rows\[0\].figures.small is not a number"),
    ("{small: 3.0}", "{small: .inf}", r"toy.yaml:10: rows\[0\].figures.small must be finite"),
    ("{small: 3.0}", "{small: {valu: 3.0}}", r"toy.yaml:10: rows\[0\].figures.small.valu is unknown; did you mean va"),
    ("{small: 3.0}", "{small: {value: 3.0, n: 0}}", r"toy.yaml:10: .*small.n must be at least 1, not 0"),
    ("{small: 3.0}", "{small: {value: 3.0, n: 1.5}}", r"toy.yaml:10: .*small.n must be a whole number"),
    ("{small: 3.0}", "{small: {value: 3.0, bound: around}}", r"toy.yaml:10: .*bound is 'around'; allowed: about, at"),
    ("{small: 3.0}", "{small: {value: 3.0, state: diverged}}", r"toy.yaml:10: .*needs a `value`, or a `state`"),
    ("{small: 3.0}", "{small: {n: 3}}", r"toy.yaml:10: .*needs a `value`, or a `state`"),
    ("{small: 3.0}", "{small: {value: 3.0, sigma: 0.1}}", r"toy.yaml:10: .*`sigma` and `sigma_from` go together"),
    ("{small: 3.0}", "{small: {value: 3.0, grade: derived}}", r"toy.yaml:10: .*small is derived; say how"),
    ("{small: 3.0}", "{small: {value: 3.0, grade: digitised}}", r"toy.yaml:10: .*digitised; say how exactly"),
    ("{small: 3.0}", "{small: {value: 3.0, grade: second-hand}}", r"toy.yaml:10: .*second-hand; say through whom"),
    ("method: Muon", "method: Adam-W", r"toy.yaml:11: .*Adam-W would be compared as 'adamw', as AdamW is"),
    ("method: Muon", "method: M, stands_for: muon", r"toy.yaml:11: .*`stands_for` and `because` go together"),
    ("rows:", "  big: {about: big}\nrows:", r"toy.yaml:9: settings.big has no figure in any row"),
    ("about: 10 M parameters", "form: ratio, about: x", r"toy.yaml:8: .*`relative_to` names what a ratio"),
    ("about: 10 M parameters", "relative_to: AdamW, about: x", r"toy.yaml:8: .*a level has none"),
    ("{paper: arXiv 0000.00000, where: table 1}", "{where: x}", r"toy.yaml:2: source: needs a `paper`"),
    ("tokens: 2e9", "tokens: -1", r"toy.yaml:8: .*tokens must be greater than 0"),
    (BOARD, "models: [a]\n", r"this is a suite; boards are files like results/boards"),
    (BOARD, "", r"toy.yaml:1: the file is empty"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[str(place) for place in range(len(WRONG))])
def test_what_is_wrong_is_said_where_it_stands(stand, old, new, message):
    assert old in BOARD
    with pytest.raises(UserError) as caught:
        stand.board(BOARD.replace(old, new))
    assert re.search(message, str(caught.value)), caught.value


def test_every_problem_is_said_at_once(stand):
    text = BOARD.replace("{small: 3.0}", "{smal: 3.0}").replace("{small: 2.7}", "{small: {value: 1, grade: derived}}")
    with pytest.raises(UserError) as caught:
        stand.board(text)
    lines = str(caught.value).splitlines()
    assert [re.search(r"toy.yaml:(\d+):", line)[1] for line in lines] == ["10", "11"]


def test_figures_that_support_others_are_not_compared(stand):
    board = stand.board(BOARD.replace("about: 10 M parameters", "direction: neither, about: x"))
    assert board.comparable() == []
    with pytest.raises(UserError, match="support others and are not compared"):
        board.setting("small")


def test_unknown_settings_are_refused(stand):
    with pytest.raises(UserError, match="no such setting; did you mean small"):
        stand.board().setting("smal")


def test_a_diverged_row_needs_no_error_of_reading(stand):
    text = rows(AdamW="{value: 1.0, uncertainty: 0.1}", SAM="{state: diverged}")
    board = stand.board(text.replace("grade: published", "grade: digitised"))
    assert board.rows[1].figures["small"].state == "diverged"


def test_the_example_in_the_readme_is_a_board(stand):
    text = (SHIPPED[0].parent / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    board = stand.board(example)
    assert [row.name for row in board.rows] == ["adamw", "muon", "sam"]


def test_the_list_in_the_docs_is_whole():
    text = (SHIPPED[0].parents[2] / "docs" / "boards.md").read_text(encoding="utf-8")
    for path in SHIPPED:
        assert re.search(rf"\b{path.stem}\b", text), path.stem
