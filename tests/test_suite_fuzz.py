"""Suite files that were damaged, cut or filled in at random: each loads, or is refused with a message."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from optbench.errors import UserError
from optbench.suite import load_suite

SMOKE = Path(__file__).resolve().parent.parent / "suites" / "smoke.yaml"
TEXT = SMOKE.read_text(encoding="utf-8")
PLAIN: dict[str, Any] = YAML(typ="safe").load(TEXT)
# Numbers of a person's order of magnitude: a billion seeds are a valid suite that no test can wait for.
NUMBERS = st.integers(-3, 300) | st.sampled_from([0.0, -0.5, 0.05, 1e-30, float("nan"), float("inf")])
WORDS = st.sampled_from(
    [*"models tasks strategies optimizers budget training seeds execution contrasts name preset kind rule lr".split()]
    + "adamw muon sam uniform upsample augment arithmetic phi-nano nano same sweep where set of minus steps".split()
    + ["", " ", "../x", "a/b", "\u00e9\u4e2d", "true", "1e3", "null", "*", "- ", "{}", "%d", "{question}"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
UNHURRIED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
FEW = settings(max_examples=40, deadline=None, suppress_health_check=UNHURRIED)


def loads_or_is_refused(path: Path) -> None:
    try:
        suite = load_suite(path)
    except UserError as error:
        assert str(error).strip()
        assert "Traceback" not in str(error)
    else:
        assert suite.arms and all(arm.name for arm in suite.arms)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "fuzzed.yaml"


def paths_of(value: Any, start: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of everything in the suite."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [start, *(found for key, item in inner for found in paths_of(item, (*start, key)))]


PLACES = paths_of(PLAIN)[1:]


@FEW
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, len(TEXT)), st.integers(0, 12), st.text(max_size=4) | st.sampled_from("{}[]:-#&*!|>%@`\t")
        ),
        min_size=1,
        max_size=4,
    )
)
def test_text_with_pieces_cut_out_and_put_in(changes: list[tuple[int, int, str]], path: Path) -> None:
    text = TEXT
    for start, count, put in changes:
        text = text[:start] + put + text[start + count :]
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    loads_or_is_refused(path)


@FEW
@given(lines=st.permutations(TEXT.splitlines()), kept=st.integers(0, 40))
def test_lines_in_another_order(lines: list[str], kept: int, path: Path) -> None:
    path.write_text("\n".join(lines[:kept]), encoding="utf-8")
    loads_or_is_refused(path)


@FEW
@given(content=st.binary(max_size=60), at=st.integers(0, len(TEXT)))
def test_bytes_of_any_kind(content: bytes, at: int, path: Path) -> None:
    path.write_bytes(TEXT.encode()[:at] + content + TEXT.encode()[at:])
    loads_or_is_refused(path)


@FEW
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(PLACES), VALUES | st.just("(gone)"), WORDS | st.none()), min_size=1, max_size=3
    )
)
def test_values_of_another_kind_fields_that_are_gone_and_fields_that_are_new(
    changes: list[tuple[tuple[Any, ...], Any, str | None]], path: Path
) -> None:
    suite = copy.deepcopy(PLAIN)
    for place, value, name in changes:
        change(suite, place, value, name)
    text = io.StringIO()
    YAML().dump(suite, text)
    path.write_text(text.getvalue(), encoding="utf-8")
    loads_or_is_refused(path)


def change(suite: Any, place: tuple[Any, ...], value: Any, name: str | None) -> None:
    """Puts the value at a place, takes away what is there, or adds it beside under another name."""
    parent = suite
    for key in place[:-1]:
        try:
            parent = parent[key]
        except (KeyError, IndexError, TypeError):
            return  # An earlier change took it away.
    if isinstance(parent, dict):
        parent[place[-1] if name is None else name] = copy.deepcopy(value)
        if value == "(gone)":
            parent.pop(place[-1], None)
    elif isinstance(parent, list) and place[-1] < len(parent):
        parent[place[-1]] = copy.deepcopy(value)
