"""The shipped figures against a transcription of the sources that was made apart from them."""

import csv
import math
from pathlib import Path

import pytest

from optbench.boards.board import load_board

FOLDER = Path(__file__).parents[2] / "results" / "boards"


def transcribed():
    with (Path(__file__).parent / "transcription.csv").open(encoding="utf-8", newline="") as file:
        return {(row["board"], row["method"], row["setting"]): row for row in csv.DictReader(file)}


def shipped():
    return {
        (path.stem, row.method, setting): figure
        for path in FOLDER.glob("*.yaml")
        for row in load_board(path).rows
        for setting, figure in row.figures.items()
    }


@pytest.fixture(scope="module")
def both():
    return shipped(), transcribed()


def test_no_figure_is_on_one_side_only(both):
    ours, theirs = both
    assert set(ours) == set(theirs)
    assert len(ours) == 352


def test_every_figure_is_the_one_in_the_source(both):
    ours, theirs = both
    wrong = []
    for key, row in theirs.items():
        figure = ours[key]
        value = "" if math.isnan(figure.value) else figure.value
        expected = float(row["value"]) if row["value"] else ""
        runs = int(row["n"]) if row["n"] else None
        if (value, figure.n, figure.state, figure.bound) != (expected, runs, row["state"], row["bound"]):
            wrong.append((key, figure, row["quoted"]))
    assert not wrong


def test_every_transcribed_figure_stands_in_the_text_that_it_quotes(both):
    _, theirs = both
    for key, row in theirs.items():
        words = {"not reached": "inf", "diverged": "NaN", "measured": row["value"]}
        assert words[row["state"]] in row["quoted"].replace(",", ""), key
        assert ("≈" in row["quoted"]) or row["bound"] != "about", key


def test_grades_and_errors_of_reading(both):
    ours, _ = both
    grades = {}
    for (board, _, setting), figure in ours.items():
        grades.setdefault(board, {})[setting] = (figure.grade, figure.uncertainty)
    assert {found for name in grades for found in grades[name].values() if "benchmark_" in name} == {
        ("digitised", 0.002)
    }
    assert {found for found in grades["functional_sam_c4"].values()} == {("second-hand", None)}
    assert grades["algoperf_v06"] == {"external": ("published", None), "external_recomputed": ("derived", None)}
    assert {found[0] for found in grades["algoperf_v05_times"].values()} == {"derived"}
    assert {found[0] for found in grades["fantastic_speedup"].values()} == {"derived"}
    assert {found[0] for found in grades["modded_nanogpt_track3"].values()} == {"published"}


def test_the_spread_of_track_3_is_that_of_its_rules():
    board = load_board(FOLDER / "modded_nanogpt_track3.yaml")
    row = next(row for row in board.rows if row.name == "muon")
    assert row.figures["loss"].sigma == 0.0013
    # 0.0045 loss per 100 steps.
    assert row.figures["steps"].sigma is None  # Steps of an entry are no mean: its loss has slack below 3.28.


def test_speed_ups_follow_from_the_losses():
    """a D^-B + b through three points, solved here anew."""
    losses = {row.method: row.figures for row in load_board(FOLDER / "fantastic_optimizers.yaml").rows}
    speedups = load_board(FOLDER / "fantastic_speedup.yaml").rows
    for size in ("300M", "520M"):
        l2, l4, l8 = (losses["AdamW"][f"{size} {multiple}x"].value for multiple in (2, 4, 8))
        # (l2 - l4) / (l4 - l8) = 2^B for points that double.
        power = math.log2((l2 - l4) / (l4 - l8))
        scale = (l2 - l4) / (2**-power - 4**-power)
        floor = l8 - scale * 8**-power
        for row in speedups:
            loss = losses[row.method][f"{size} 8x"].value
            tokens = ((loss - floor) / scale) ** (-1 / power)
            # Published losses have three decimals, and the last one moves a speed-up by about 0.02.
            assert row.figures[f"{size} 8x"].value == pytest.approx(tokens / 8, abs=0.03), (size, row.method)
