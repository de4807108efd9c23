"""YAML 1.2 with places."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optbench.errors import UserError
from optbench.yamlfile import Node, Place, merge, placed, read

HERE = Place("x.yaml", 1, "")


def load(folder: Path, text: str) -> Node:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return read(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("3e2", 300.0),
        (".5", 0.5),
        ("-7", -7),
        (".inf", math.inf),
        ("true", True),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("'1e-4'", "1e-4"),
        ("~", None),
        ("", None),
        ("naïve", "naïve"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object, tmp_path: Path) -> None:
    found = load(tmp_path, f"a: {text}\n").value["a"].value
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_line_and_path(tmp_path: Path) -> None:
    root = load(tmp_path, "# a comment\n\na: 1\nb:\n  - x\n  - c:\n      2\n  - {d:\n 3}\n")
    items = root.value["b"].value
    assert (root.place.line, root.value["a"].place.line) == (3, 3)
    assert [item.place.line for item in items] == [5, 6, 8]
    c, d = items[1].value["c"], items[2].value["d"]
    assert (c.key.line, c.place.line, c.place.label) == (6, 7, "b[1].c")
    assert (d.key.line, d.place.line, d.place.label) == (8, 9, "b[2].d")


def test_an_empty_value_stands_on_the_line_of_its_key(tmp_path: Path) -> None:
    assert load(tmp_path, "a:\n\nb: 1\n").value["a"].place.line == 1


def test_a_byte_order_mark_and_windows_lines_are_no_obstacle(tmp_path: Path) -> None:
    root = load(tmp_path, "\ufeffa: 1\r\nb: 2\r\n")
    assert root.plain() == {"a": 1, "b": 2}
    assert root.value["b"].place.line == 2


def test_merge_keys_and_anchors_are_taken_as_written(tmp_path: Path) -> None:
    root = load(tmp_path, "base: &b {lr: 1, eps: 2}\nx:\n  <<: *b\n  lr: 3\ny:\n  <<: [{lr: 4}, *b]\n")
    assert root.plain()["x"] == {"lr": 3, "eps": 2}
    assert root.plain()["y"] == {"lr": 4, "eps": 2}
    assert root.value["x"].value["eps"].place.label == "x.eps"


def test_deep_nesting_is_refused_and_does_not_crash(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nested too deeply"):
        load(tmp_path, "[" * 600 + "]" * 600)


def test_merge_goes_mapping_by_mapping_and_keeps_places() -> None:
    base = placed({"rule": {"lr": 1, "eps": 2}, "list": [1, 2]}, Place("base", 1, ""))
    top = placed({"rule": {"lr": 3}, "list": [4]}, Place("top", 9, ""))
    merged = merge(base, top)
    assert merged.plain() == {"rule": {"lr": 3, "eps": 2}, "list": [4]}
    assert merged.value["rule"].value["lr"].place.file == "top"
    assert merged.value["rule"].value["eps"].place.file == "base"


def test_another_kind_replaces_and_the_same_kind_merges() -> None:
    base = placed({"rule": {"kind": "adamw", "betas": [0, 0], "lr": 1}}, HERE)
    same = merge(base, placed({"rule": {"kind": "adamw", "lr": 2}}, HERE))
    other = merge(base, placed({"rule": {"kind": "gd", "lr": 2}}, HERE))
    assert same.plain() == {"rule": {"kind": "adamw", "betas": [0, 0], "lr": 2}}
    assert other.plain() == {"rule": {"kind": "gd", "lr": 2}}


trees = st.recursive(
    st.integers() | st.text() | st.booleans(),
    lambda inner: st.dictionaries(st.text().filter(lambda key: key != "kind"), inner, max_size=4),
    max_leaves=12,
)
mappings = st.dictionaries(st.text().filter(lambda key: key != "kind"), trees, max_size=4)


@given(mappings, mappings)
def test_merging_twice_is_merging_once(a: dict[str, object], b: dict[str, object]) -> None:
    once = merge(placed(a, HERE), placed(b, HERE))
    assert merge(once, placed(b, HERE)).plain() == once.plain()


@given(mappings, mappings, mappings)
def test_merging_is_associative_where_no_value_hides_a_mapping(
    a: dict[str, object], b: dict[str, object], c: dict[str, object]
) -> None:
    def flat(tree: dict[str, object]) -> Node:
        return placed({key: value for key, value in tree.items() if not isinstance(value, dict)}, HERE)

    left = merge(merge(flat(a), flat(b)), flat(c))
    right = merge(flat(a), merge(flat(b), flat(c)))
    assert left.plain() == right.plain()
