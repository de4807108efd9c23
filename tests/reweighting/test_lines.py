"""The user's file comes back line by line, letter by letter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optbench.errors import UserError
from optbench.reweighting.lines import check_weights, joined, read_file, repeated, shuffled, weighted
from optbench.tasks.base import Example
from optbench.tasks.layouts import Fields

ROWS = [{"question": f"What is {i} + 1?", "solution": f"It is {i + 1}.", "id": [i, {"k": None}]} for i in range(9)]


def written(path: Path, lines: list[bytes], end: bytes = b"\n") -> str:
    path.write_bytes(end.join(lines))
    return str(path)


def as_lines(rows: list[dict[str, object]]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def read(path: str, *, source: str = "", limit: int = 0, fields: Fields = Fields()):  # noqa: B008
    return read_file(path, fields, source=source, limit=limit)


def test_lines_keep_their_bytes_and_their_order(tmp_path: Path) -> None:
    odd = [
        b' {"question":"caf\\u00e9?",  "solution" : "caf\xc3\xa9", "n": 1.50, "n2":1e3} ',
        b'{"solution": "b", "question": "b", "question": "a"}',
        *as_lines(ROWS),
    ]
    file = read(written(tmp_path / "x.jsonl", [b"", *odd[:3], b"  ", *odd[3:], b"", b""]))
    assert repeated(file, np.ones(11, dtype=int)) == odd
    counts = np.array([2, 1, 3, *[1] * 8])
    assert repeated(file, counts) == [odd[0], odd[0], odd[1], odd[2], odd[2], odd[2], *odd[3:]]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_windows_lines_end_as_they_did_and_the_byte_order_mark_goes(tmp_path: Path, end: bytes, mark: bytes) -> None:
    lines = as_lines(ROWS)
    file = read(written(tmp_path / "x.jsonl", [mark + lines[0], *lines[1:]], end))
    assert file.ending == end
    assert repeated(file, np.ones(9, dtype=int)) == lines


def test_a_weight_is_added_and_nothing_else_changes(tmp_path: Path) -> None:
    lines = [b'{"question": "q",   "solution": "\\u00e9", "n": 1.50 }  ', *as_lines(ROWS)]
    file = read(written(tmp_path / "x.jsonl", lines))
    made = weighted(file, np.array([3, *[1] * 9]))
    assert made[0] == b'{"question": "q",   "solution": "\\u00e9", "n": 1.50, "weight": 3}'
    assert [json.loads(line) for line in made[1:]] == [{**row, "weight": 1} for row in ROWS]


def test_a_weight_that_is_there_already_is_refused_by_line(tmp_path: Path) -> None:
    file = read(written(tmp_path / "x.jsonl", as_lines([*ROWS, {**ROWS[0], "weight": 1}])))
    with pytest.raises(UserError, match=r"x.jsonl:10: has a field 'weight' already"):
        check_weights(file)


def test_shuffling_draws_an_order_by_its_seed_and_loses_nothing() -> None:
    lines = [str(i).encode() for i in range(50)]
    assert sorted(shuffled(lines, 1)) == sorted(lines)
    assert shuffled(lines, 1) == shuffled(lines, 1) != shuffled(lines, 2) != lines


@pytest.mark.parametrize(
    ("row", "new"),
    [
        ({"question": "q", "solution": "old", "k": 1}, {"question": "q", "solution": "new", "k": 1}),
        ({"question": "q", "answer": "4"}, {"question": "q", "answer": "4", "solution": "new"}),
        ({"completion": "old", "prompt": "q"}, {"completion": "new", "prompt": "q"}),
        (
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "old", "x": 1}], "k": 2},
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "new", "x": 1}], "k": 2},
        ),
    ],
)
def test_a_new_solution_stands_in_the_place_of_the_old_one_after_its_line(tmp_path, row, new) -> None:
    file = read(written(tmp_path / "x.jsonl", as_lines([{"n": i, **row} for i in range(8)])))
    example = Example("new", "q", "new\n#### 4", "4", "data")
    made = joined(file, [2, 2], [example, example])
    assert len(made) == 10
    assert list(json.loads(made[3]).items()) == list({"n": 2, **new}.items())
    assert made[3] == made[4] and made[5] == file.line(3)


def test_a_solution_keeps_its_mark_where_the_old_one_had_one_and_letters_where_it_had_letters(tmp_path: Path) -> None:
    rows = [{"question": "é", "solution": "so\n#### 4", "n": i} for i in range(8)]
    file = read(written(tmp_path / "x.jsonl", [json.dumps(row, ensure_ascii=False).encode() for row in rows]))
    made = joined(file, [0], [Example("new", "é", "thus\n#### 4", "4", "data")])
    assert made[1] == '{"question": "é", "solution": "thus\\n#### 4", "n": 0}'.encode()


def test_sources_are_taken_where_every_line_has_one_and_required_where_they_are_named(tmp_path: Path) -> None:
    rows = [{**row, "source": "ab"[i % 2], "level": i % 2} for i, row in enumerate(ROWS)]
    path = written(tmp_path / "x.jsonl", as_lines(rows))
    assert read(path).sources == ["a", "b", "a", "b", "a", "b", "a", "b", "a"]
    assert set(read(path, source="level").sources) == {"0", "1"}
    for odd in ({}, {"source": ["a"]}, {"source": "\ud800"}, {"source": ""}):
        mixed = written(tmp_path / "y.jsonl", as_lines([*rows, {**ROWS[0], **odd}]))
        assert set(read(mixed).sources) == {"data"}
        with pytest.raises(UserError, match=r"y.jsonl:10: the field 'source' of --source is"):
            read(mixed, source="source")


def test_a_limit_takes_the_first_lines_and_the_hash_is_of_what_is_read(tmp_path: Path) -> None:
    one = read(written(tmp_path / "x.jsonl", as_lines([*ROWS, *ROWS])), limit=9)
    other = read(written(tmp_path / "y.jsonl", as_lines([{**row, "more": 1} for row in ROWS]), b"\r\n"))
    assert (len(one.sources), one.total) == (9, 18)
    assert one.hash == other.hash
    changed = read(written(tmp_path / "z.jsonl", as_lines([*ROWS[:8], {**ROWS[8], "solution": "no"}])))
    assert changed.hash != one.hash


@pytest.mark.parametrize(("count", "limit"), [(1, 0), (7, 0), (9, 3)])
def test_too_few_examples_are_refused(tmp_path: Path, count: int, limit: int) -> None:
    path = written(tmp_path / "x.jsonl", as_lines(ROWS[:count]))
    with pytest.raises(UserError, match=r"example\(s\); telling early from late takes 8 at least"):
        read(path, limit=limit)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.text(max_size=6).filter(lambda name: name not in Fields.model_fields and name != "weight")


@settings(max_examples=60, deadline=None)
@given(
    more=st.dictionaries(NAMES, JSON, max_size=4),
    text=st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip())),
    separators=st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]),
    ascii=st.booleans(),
    around=st.sampled_from(["", " ", "\t"]),
)
def test_whatever_else_a_line_holds_stays_as_it_was(more, text, separators, ascii, around, tmp_path_factory) -> None:
    row = {"prompt": text, **more, "completion": text}
    line = (around + json.dumps(row, separators=separators, ensure_ascii=ascii) + around).encode()
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(b"\n".join([line] * 8))
    file = read(str(path))
    assert repeated(file, np.full(8, 2)) == [line] * 16
    assert [json.loads(made) for made in weighted(file, np.full(8, 2))] == [{**row, "weight": 2}] * 8
    new = joined(file, [0], [Example("new", text, "new", "", "data")])[1]
    assert json.loads(new) == {**row, "completion": "new"}
