"""A profile as table, Markdown, CSV, JSON and figure, and how files are written."""

import csv
import io
import json
import math

import pytest
from profiles import profile, row

from optbench.commands.profile import check_files, rendered, save
from optbench.errors import UserError
from optbench.profiling.documents import write_whole

LONG = "preconditioned_functional_sam"


def mixed():
    return profile(
        row("small", "adamw"),
        row("small", "sam", ratio=2.0, ratio_low=1.9, ratio_high=2.1, break_even_percent=50.0),
        row("small", "gd", ratio=0.8, ratio_low=0.7, ratio_high=0.9, break_even_percent=-25.0),
        row("large", "adamw", status="extrapolated", measured_layers=(1, 4), fits="no", why="does not fit whole"),
        row("large", LONG, status="extrapolated", measured_layers=(1, 4), fits="no", ratio=1.95, ratio_low=1.9,
            ratio_high=2.0, break_even_percent=48.7, memory_peak=31e9),
        row("large", "muon", status="out of memory", fits="no", ratio=math.nan, ratio_low=math.nan, ratio_high=math.nan,
            step_seconds=math.nan, break_even_percent=math.nan),
    )  # fmt: skip


@pytest.mark.parametrize("format", ["table", "json", "csv", "markdown"])
def test_every_format_says_what_is_extrapolated_and_what_ran_out_of_memory(format):
    text = rendered(mixed(), format, width=100, color=False)
    assert "extrapolated" in text and "out of memory" in text
    measured = rendered(profile(row()), format, width=100, color=False)
    assert "extrapolated" not in measured


@pytest.mark.parametrize("width", [80, 100])
def test_tables_keep_their_width_and_lose_nothing(width):
    lines = rendered(mixed(), "table", width=width, color=False).splitlines()
    assert max(map(len, lines)) <= width
    text = "".join("".join(lines).split())
    assert "measured" in next(line for line in lines if "fits" in line and "peak" in line)
    assert LONG in text and "1.90-2.00" in text and "…" not in text
    if width == 100:
        assert any(LONG in line and "1.95" in line for line in lines)


def test_the_answers_in_words():
    text = " ".join(rendered(mixed(), "table", width=100, color=False).split())
    assert "small: everything fits (7 GB of 16 GB at most); cheapest per step is gd (0.80 x AdamW)" in text
    assert "to pay back, these have to save of the steps: sam 50%." in text
    assert "large: nothing fits whole: 7 GB at least, and 16 GB are there" in text
    assert "times are extrapolated from 1 and 4 of 28 layers: does not fit whole" in text


def test_json_holds_every_number_and_null_for_what_is_not_known():
    content = json.loads(rendered(mixed(), "json", width=100, color=False))
    rows = {(r["model"], r["optimizer"]): r for r in content["rows"]}
    assert rows["large", "muon"]["ratio"] is None and rows["large", "muon"]["mfu"] is None
    assert rows["small", "sam"]["ratio"] == 2.0 and rows["small", "sam"]["split"]["first_pass"] == 0.9
    assert rows["large", LONG]["measured_layers"] == [1, 4]
    assert content["conditions"]["device_name"] == "A processor"


def test_csv_has_a_row_per_case_and_a_column_per_number():
    rows = list(csv.DictReader(io.StringIO(rendered(mixed(), "csv", width=100, color=False))))
    assert len(rows) == 6
    assert rows[1]["ratio"] == "2.0" and rows[1]["split_rule"] == "0.08" and rows[1]["memory_state"] == "1000000000.0"
    assert rows[5]["ratio"] == "" and rows[3]["measured_layers"] == "1 4"


def test_markdown_tables_are_rectangular():
    lines = rendered(mixed(), "markdown", width=100, color=False).splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == 3 * (2 + 6)
    assert len({line.count("|") for line in tables[:8]}) == 1
    assert any("extrapolated from 1 and 4 of 28 layers" in line for line in tables)


def test_a_wrong_count_of_operations_is_said():
    text = rendered(profile(row(flops_counted=1.3)), "table", width=100, color=False)
    assert "torch counts 1.3 times the operations" in text


def test_the_figure_is_drawn(tmp_path):
    save(mixed(), "text", tmp_path / "new" / "p.md", tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "new" / "p.md").read_text() == "text\n"
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["p.md", "p.png"]


def test_nothing_to_draw_is_an_error_and_leaves_no_file(tmp_path):
    nothing = profile(row(ratio=math.nan, status="not measured"))
    with pytest.raises(UserError, match="nothing to draw"):
        save(nothing, "text", None, tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    target = tmp_path / "p.txt"
    target.write_text("old")

    def fails(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        write_whole(target, fails)
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("output", "plot", "says"),
    [
        ("folder", None, "is a folder"),
        (None, "folder.png", "is a folder"),
        (None, "p.doc", "allowed endings"),
        ("file/x.txt", None, "is not a folder"),
        ("same.png", "same.png", "the same file"),
    ],
)
def test_files_that_cannot_be_written_are_refused_before_anything_runs(tmp_path, output, plot, says):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=says):
        check_files(output and tmp_path / output, plot and tmp_path / plot)
