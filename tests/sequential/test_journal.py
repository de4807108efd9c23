"""The journal of added seeds: found again for the same suite alone, never losing a seed, read with suspicion."""

import json
import multiprocessing
from pathlib import Path

import pytest

from optbench.added import Added
from optbench.archive import open_store, write_archive
from optbench.errors import UserError
from optbench.selection import narrowed
from optbench.sequential.journal import Entries, Journal, stated_in, with_added
from optbench.store import Store
from optbench.suite import load_suite

TEXT = """
name: "small / one"
models: [{name: tiny, preset: llama-nano, width: 16, layers: 1, heads: 2, kv_heads: 1}]
tasks: [{name: sums, preset: arithmetic, train: 60, validation: 6, test: 12, kinds: [add1, add2]}]
strategies: [uniform]
optimizers: [adamw, {name: fast, preset: adamw, rule: {lr: 0.03}}]
budget: {steps: 5}
seeds: 3
contrasts: [{of: {optimizer: fast}, minus: {optimizer: adamw}}]
panels: [{preset: simplicity, looks: 2}, {preset: sharpness}]
"""
ADAMW, FAST = "tiny/sums/uniform/adamw", "tiny/sums/uniform/fast"


@pytest.fixture
def path(tmp_path):
    def write(*changes):
        text = TEXT
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        file = tmp_path / "suite.yaml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


def added(suite, root, seeds):
    return Journal.of(suite, root).add(0.02, {ADAMW: seeds, FAST: seeds})


def test_reports_of_the_same_suite_see_the_seeds_and_nobody_else(path, root):
    suite = load_suite(path())
    assert with_added(suite, Store(root)) is suite
    assert not root.exists(), "reading writes nothing"
    assert added(suite, root, [3, 4]) == Added(0.02, {ADAMW: [3, 4], FAST: [3, 4]})
    found = with_added(suite, Store(root))
    assert [(cell.arm.optimizer, cell.seed) for cell in found.cells()][6:] == [
        ("adamw", 3),
        ("adamw", 4),
        ("fast", 3),
        ("fast", 4),
    ]
    assert sorted(file.name for file in root.rglob("*") if file.is_file()) == [Journal.of(suite, root).name]
    for change in [
        ("lr: 0.03", "lr: 0.02"),
        ("name: fast", "name: quick"),
        ("small / one", "small / two"),
        ("adamw}}]", "adamw}, metric: test_nll}]"),
        ("steps: 5", "steps: 6"),
    ]:
        rename = [("optimizer: fast", "optimizer: quick")] if "quick" in change[1] else []
        other = load_suite(path(change, *rename))
        assert with_added(other, Store(root)).added is None, change


def test_more_seeds_of_its_own_keep_the_journal_and_are_run_once(path, root):
    added(load_suite(path()), root, [3, 4])
    more = with_added(load_suite(path(("seeds: 3", "seeds: 4"))), Store(root))
    assert [cell.seed for cell in more.cells() if cell.arm.optimizer == "fast"] == [0, 1, 2, 3, 4]
    assert len({cell.key for cell in more.cells()}) == len(more.cells())


def test_some_arms_of_a_suite_see_their_seeds(path, root):
    suite = load_suite(path())
    added(suite, root, [3])
    some = narrowed(with_added(suite, Store(root)), ["optimizer=fast"])
    assert [cell.seed for cell in some.cells()] == [0, 1, 2, 3]


def test_panels_look_at_added_seeds_only_where_a_contrast_is_theirs(path, root):
    suite = load_suite(path())
    added(suite, root, [3])
    assert {len(cell.panels) for cell in with_added(suite, Store(root)).cells() if cell.seed == 3} == {0}
    assert {len(cell.panels) for cell in with_added(suite, Store(root)).cells() if cell.seed < 3} == {2}
    of_panel = load_suite(path(("adamw}}]", "adamw}, metric: sam_sharpness}]")))
    added(of_panel, root, [3])
    panels = [cell.panels for cell in with_added(of_panel, Store(root)).cells() if cell.seed == 3]
    assert [[panel.kind for panel in own] for own in panels] == [["sharpness"]] * 2


def test_what_is_written_is_the_union_and_the_last_margin_counts(path, root):
    journal = Journal.of(load_suite(path()), root)
    journal.add(0.02, {ADAMW: [4, 3]})
    journal.add(0.01, {ADAMW: [5], FAST: [3]})
    assert journal.add(0.02, {}) == Added(0.02, {ADAMW: [3, 4, 5], FAST: [3]})
    assert journal.read() == Entries([0.01, 0.02], {ADAMW: [3, 4, 5], FAST: [3]})


def _adds(path, root, seeds):
    journal = Journal.of(load_suite(path), root)
    for seed in seeds:
        journal.add(0.02, {ADAMW: [seed]})


def test_runs_beside_each_other_lose_no_seed(path, root):
    file, fork = path(), multiprocessing.get_context("fork")
    both = [fork.Process(target=_adds, args=(file, root, range(start, 60, 2))) for start in (10, 11)]
    for one in both:
        one.start()
    for one in both:
        one.join()
        assert one.exitcode == 0
    assert Journal.of(load_suite(file), root).read().seeds[ADAMW] == list(range(10, 60))
    assert not [name for name in root.rglob("*") if name.suffix in (".tmp", ".lock") or name.name.startswith(".")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"schema": 1', '"schema": 2'),
        lambda text: text.replace("small / one", "small / ons"),
        lambda text: text.replace("0.02", "-0.02"),
        lambda text: text.replace("0.02", "NaN"),
        lambda text: text.replace("0.02", "true"),
        lambda text: text.replace('"seeds": {', '"seeds": {"nobody": [3], '),
        lambda text: text.replace("   7", "   -7"),
        lambda text: text.replace("   7", "   7.5"),
        lambda text: text.replace('"margins"', '"margin"'),
    ],
)
def test_a_damaged_journal_is_named_and_never_written_over(path, root, damage):
    suite = load_suite(path())
    added(suite, root, [7])
    journal = Journal.of(suite, root)
    before = journal.path.read_text()
    after = damage(before)
    assert after != before
    journal.path.write_text(after)
    for use in (journal.read, lambda: journal.add(0.01, {}), lambda: with_added(suite, Store(root))):
        with pytest.raises(UserError, match="small-one-.*json"):
            use()
    assert journal.path.read_text() == after


def test_an_archive_carries_the_journal_of_suites_that_are_whole_in_it(path, root, tmp_path, monkeypatch):
    suite = load_suite(path())
    added(suite, root, [3])
    keys = [cell.key for cell in suite.cells()]
    monkeypatch.setattr("optbench.archive._line", lambda key, store: json.dumps(record(key)))
    write_archive(keys, Store(root), tmp_path / "whole.jsonl")
    assert with_added(suite, open_store(tmp_path / "whole.jsonl")).added == Added(0.02, {ADAMW: [3], FAST: [3]})
    write_archive(keys[:3], Store(root), tmp_path / "part.jsonl")
    assert with_added(suite, open_store(tmp_path / "part.jsonl")).added is None


def record(key):
    blocks = dict.fromkeys(("cell", "result", "plan", "optimizer", "measured"), {})
    return {"schema": 1, "key": key, "outcome": "completed", **blocks}


def test_one_that_comes_from_elsewhere_has_to_be_what_its_name_says(path, root, tmp_path):
    suite = load_suite(path())
    added(suite, root, [3])
    journal = Journal.of(suite, root)
    text = journal.path.read_bytes()
    other, entries = stated_in(journal.name, text, tmp_path / "other")
    assert other.join(entries) == journal.read()
    assert other.path == tmp_path / "other" / "added" / journal.name
    for name, content in ((journal.name, text.replace(b"fast minus", b"slow minus")), ("../x.json", text), ("a", b"1")):
        with pytest.raises(UserError, match="damaged journal"):
            stated_in(name, content, tmp_path / "other")


def test_names_of_files_are_tame(path, root):
    for name in ("../../etc", "a b/c", "...", "x" * 300):
        file = Journal.of(load_suite(path(("small / one", name))), root).path
        assert file.parent == Path(root) / "added"
        assert len(file.name) < 100
