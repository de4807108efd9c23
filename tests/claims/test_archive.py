"""Archives hold what stores hold, but for questions, curves and weights."""

import errno
import json
import re

import pandas as pd
import pytest

from optbench.archive import open_store, write_archive
from optbench.claims.claim import load_claims
from optbench.claims.evaluation import judge
from optbench.claims.rendering import json_text
from optbench.commands.archive import archive
from optbench.errors import UserError
from optbench.reports.leaderboard import render
from optbench.store import PANEL, PANELS, QUESTIONS, Store


def value(cell):
    return 0.5 + 0.01 * cell.seed + 0.002 * len(cell.arm.name) * (cell.seed % 3)


@pytest.fixture
def suite(desk):
    suite = desk.suite(4)
    desk.fill(suite, value)
    return suite


def packed(desk, suite, name="toy.jsonl"):
    target = desk.root / "reference" / name
    write_archive([cell.key for cell in suite.cells()], desk.store, target)
    return target


def test_records_come_back_as_they_were(desk, suite):
    target = packed(desk, suite)
    found = open_store(target)
    assert list(found.records()) == list(desk.store.records())
    for cell in suite.cells():
        assert found.has(cell.key)
        assert found.record(cell.key).content() == desk.store.record(cell.key).content()
    assert not found.has("0" * 16)
    assert found.record("0" * 16) is None


def test_lines_are_sorted_and_writing_twice_writes_the_same(desk, suite):
    target = packed(desk, suite)
    first = target.read_bytes()
    keys = [json.loads(line)["key"] for line in first.splitlines()]
    assert keys == sorted(cell.key for cell in suite.cells())
    packed(desk, suite)
    assert target.read_bytes() == first
    assert [path.name for path in target.parent.iterdir()] == ["toy.jsonl"]


def test_claims_say_the_same_of_an_archive(desk, suite):
    desk.claim(desk.test())
    claims = load_claims([desk.root / "claims"])
    target = packed(desk, suite)
    assert json_text(judge(claims, open_store(target))) == json_text(judge(claims, desk.store))


@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_a_report_says_the_same_up_to_the_questions(desk, suite, format):
    path = desk.root / "toy.yaml"
    path.write_text(path.read_text() + "contrasts: [{of: {optimizer: sam}, minus: {optimizer: adamw}}]\n")
    from optbench.suite import load_suite

    suite = load_suite(path)
    for cell in suite.cells():
        verdicts = [(cell.seed + i + len(cell.arm.name)) % 3 == 0 for i in range(20)]
        table = pd.DataFrame({"id": [f"q{i}" for i in range(20)], "correct": verdicts})
        table.to_parquet(desk.store.folder(cell.key) / QUESTIONS)
    target = packed(desk, suite)

    def without_questions(text):
        text = re.sub(r'"question_standard_error": [^,]*,', "", text)
        text = re.sub(r'"interval_all_questions": (null|\[[^\]]*\]),', "", text)
        return re.sub(r"Test questions alone.*?add to it\.", "", text, flags=re.DOTALL).split()

    from_store, from_archive = (render(suite, store, format) for store in (desk.store, open_store(target)))
    if format != "csv":
        assert from_store != from_archive
    assert without_questions(from_store) == without_questions(from_archive)


def test_several_archives_of_a_folder_are_read_together(desk, suite):
    more = desk.suite(2, name="more")
    packed(desk, suite)
    packed(desk, more, "more.jsonl")  # shares its cells with the other
    assert list(open_store(desk.root / "reference").records()) == list(desk.store.records())


def test_two_records_of_one_key_that_differ(desk, suite):
    target = packed(desk, suite)
    content = json.loads(target.read_text().splitlines()[1])
    content["result"]["accuracy"] = 0.123
    (target.parent / "z.jsonl").write_text(json.dumps(content) + "\n")
    with pytest.raises(UserError, match=r"z\.jsonl:1: another record of [0-9a-f]{16} than at .*toy\.jsonl:2"):
        open_store(target.parent)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda line: line[: len(line) // 2], "damaged record"),
        (lambda line: "[]", "damaged record"),
        (lambda line: line.replace('"outcome"', '"outcme"'), r"damaged record \(no outcome\)"),
        (lambda line: line.replace('"schema":1', '"schema":9'), "record of schema 9; this version reads schema 1"),
        (lambda line: line[:-1] + ',"panels":{"a":{}}}', "damaged record"),
    ],
)
def test_a_damaged_line_is_named(desk, suite, damage, message):
    target = packed(desk, suite)
    lines = target.read_text().splitlines()
    lines[2] = damage(lines[2])
    target.write_text("\n".join(lines))
    with pytest.raises(UserError, match=rf"toy\.jsonl:3: {message}"):
        open_store(target)


def test_what_panels_found_comes_along(desk, suite):
    key = suite.cells()[0].key
    folder = desk.store.folder(key) / PANELS / ("a" * 16)
    folder.mkdir(parents=True)
    content = {"cell": key, "panel": {"kind": "sharpness"}, "result": {"hessian_top": 2.0}, "notes": {}, "measured": {}}
    (folder / PANEL).write_text(json.dumps(content))
    (folder / "table.parquet").write_bytes(b"x")
    found = open_store(packed(desk, suite))
    assert found.panel(key, "a" * 16) == content == desk.store.panel(key, "a" * 16)
    assert found.has_panel(key, "a" * 16)
    assert found.panel(key, "b" * 16) is None
    assert found.panel(suite.cells()[1].key, "a" * 16) is None


def test_no_path_of_a_machine_is_written(desk, suite):
    cell = suite.cells()[0]
    path = desk.store.folder(cell.key) / "record.json"
    path.write_text(path.read_text().replace('"a processor"', '"/home/someone"'))
    target = desk.root / "x.jsonl"
    with pytest.raises(UserError, match="provenance.device is '/home/someone', a path of this machine"):
        write_archive([cell.key], desk.store, target)
    assert not target.exists()


def test_what_cannot_be_archived_or_read(desk, suite):
    with pytest.raises(UserError, match="no records of these suites"):
        write_archive(["0" * 16], desk.store, desk.root / "x.jsonl")
    with pytest.raises(UserError, match=r"an archive is named \*\.jsonl"):
        write_archive([suite.cells()[0].key], desk.store, desk.root / "x.json")
    (desk.root / "x.txt").write_text("")
    with pytest.raises(UserError, match="is a file; records need a folder, or an archive"):
        open_store(desk.root / "x.txt")
    (desk.store.root / "x.jsonl").write_text("")
    with pytest.raises(UserError, match="holds records and archives"):
        open_store(desk.store.root)
    assert type(open_store(desk.root / "nowhere")) is Store


def test_an_archive_is_read_alone(desk, suite):
    found = open_store(packed(desk, suite))
    key = suite.cells()[0].key
    for attempt in (lambda: found.questions(key), lambda: found.curves(key), lambda: found.write(None, None)):
        with pytest.raises(UserError, match="archive"):
            attempt()


def test_the_verb_says_what_is_missing(desk):
    suite = desk.suite(4)
    desk.fill(suite, lambda cell: value(cell) if cell.seed < 3 else None)
    said = archive([desk.root / "toy.yaml"], desk.store.root, desk.root / "toy.jsonl")
    size = (desk.root / "toy.jsonl").stat().st_size
    assert 1e3 < size < 1e6
    assert said.endswith(f"18 of 24 records, {size / 1e3:.1f} kB; 6 cells have no record yet")


def test_the_verb_says_that_it_replaced_an_archive(desk, suite):
    target = desk.root / "toy.jsonl"
    first = archive([desk.root / "toy.yaml"], desk.store.root, target)
    second = archive([desk.root / "toy.yaml"], desk.store.root, target)
    assert second == f"{first}, replaced"


def everything_in(folder):
    return sorted(path for path in folder.rglob("*") if "runs" not in path.parts)


@pytest.mark.parametrize(
    "place", ["/proc/a.jsonl", "file/x.jsonl", "file/deep/x.jsonl", "folder.jsonl", "new/deep/" + "x" * 300 + ".jsonl"]
)
def test_a_place_that_cannot_be_written_is_one_message_and_leaves_nothing(desk, suite, place):
    (desk.root / "file").write_text("kept")
    (desk.root / "folder.jsonl").mkdir()
    before = everything_in(desk.root)
    with pytest.raises(UserError) as caught:
        archive([desk.root / "toy.yaml"], desk.store.root, desk.root / place)
    assert str(caught.value).startswith(f"--to {desk.root / place}: cannot be written: ")
    assert everything_in(desk.root) == before


def test_a_disk_that_fills_up_leaves_the_old_archive_and_no_folder(desk, suite, monkeypatch):
    target = packed(desk, suite)
    before, old = everything_in(desk.root), target.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("optbench.archive.os.fsync", full)
    for place in (target, desk.root / "new" / "deep" / "x.jsonl"):
        with pytest.raises(UserError, match="cannot be written: No space left on device"):
            archive([desk.root / "toy.yaml"], desk.store.root, place)
    assert everything_in(desk.root) == before
    assert target.read_bytes() == old
