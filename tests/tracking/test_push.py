"""Records that are there, pushed later: whatever the store keeps, each run once."""

import json
import shutil
import socket
from dataclasses import replace

import pytest
from offline_runs import runs_in
from tracking_cases import STEPS

from optbench.archive import Archive, write_archive
from optbench.commands.wandb import wandb
from optbench.store import CURVES, Store
from optbench.suite import load_suite
from optbench.tracking.content import portable
from optbench.tracking.labels import labels_of
from optbench.tracking.ledger import Ledger
from optbench.tracking.push import push
from optbench.tracking.target import Target, target_of


def pushed(suite, store, folder, *, whole=False, names=None):
    """Pushes, and fails with the reason where W&B did."""
    reasons = []
    named = [] if names is None else names
    found = push(suite, store, Target("offline", folder), whole=whole, say=reasons.append, on_run=named.append)
    assert not reasons
    return found


def counts(found):
    return found.written, found.same, found.missing


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small(suite):
    return load_suite(suite)


@pytest.fixture(scope="module")
def archive(small, untracked, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "small.jsonl"
    write_archive([cell.key for cell in small.cells()], untracked, path)
    return Archive(path, [path])


def test_a_later_push_writes_what_the_cells_would_have_logged_themselves(tracked, small, tmp_path):
    assert counts(pushed(small, tracked.store, tmp_path)) == (2, 0, 0)
    live = tracked.runs()
    for id, run in runs_in(tmp_path).items():
        other = live[id]
        assert run.config == other.config
        assert len(run.history) == len(other.history)
        for mine, theirs in zip(run.history, other.history, strict=True):
            assert {k: v for k, v in mine.items() if k not in ("_timestamp", "_runtime")} == {
                k: v for k, v in theirs.items() if k not in ("_timestamp", "_runtime")
            }
        names = [name for name in run.summary if not name.startswith("_") and name != "questions"]
        assert {name: run.summary[name] for name in names} == {name: other.summary[name] for name in names}
        assert run.table("questions") == other.table("questions")
        assert (run.about.tags, run.about.display_name) == (other.about.tags, other.about.display_name)


def test_an_archive_has_results_but_neither_curves_nor_questions(archive, small, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "planted-host")
    names = []
    assert counts(pushed(small, archive, tmp_path, names=names)) == (2, 0, 0)
    assert names == [f"{arm.name} seed 0" for arm in small.arms]
    runs = runs_in(tmp_path)
    for cell in small.cells():
        run = runs[labels_of(small, cell).id]
        record = archive.record(cell.key)
        assert run.summary["accuracy (fraction)"] == record.result["accuracy"]
        assert run.config["optimizer"] == json.loads(json.dumps(record.cell["optimizer"]))
        assert (run.history, run.artifacts, run.files) == ([], [], [])
    assert not [path for path, content in contents(tmp_path).items() if b"planted-host" in content]


def test_pushed_again_nothing_is_written_and_what_changed_takes_the_place_of_what_was_there(archive, small, tmp_path):
    assert counts(pushed(small, archive, tmp_path)) == (2, 0, 0)
    before = contents(tmp_path)
    assert counts(pushed(small, archive, tmp_path)) == (0, 2, 0)
    assert contents(tmp_path) == before

    one = small.cells()[0]
    lines = [json.loads(line) for line in archive.root.read_text().splitlines()]
    (line,) = [line for line in lines if line["key"] == one.key]
    line["result"]["accuracy"] = 0.875
    changed = tmp_path / "changed.jsonl"
    changed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert counts(pushed(small, Archive(changed, [changed]), tmp_path)) == (1, 1, 0)
    runs = runs_in(tmp_path)  # Which sees two folders of one run.
    assert len(runs) == 2
    assert runs[labels_of(small, one).id].summary["accuracy (fraction)"] == 0.875


def test_what_was_begun_and_never_ended_or_was_deleted_is_pushed_again(archive, small, tmp_path):
    pushed(small, archive, tmp_path)
    target = Target("offline", tmp_path)
    one, other = (labels_of(small, cell) for cell in small.cells())
    (begun,) = target.runs.glob(f"offline-run-*-{one.id}")
    Ledger(target).note(one, folder=begun.name, uploaded=False)
    (deleted,) = target.runs.glob(f"offline-run-*-{other.id}")
    shutil.rmtree(deleted)
    assert counts(pushed(small, archive, tmp_path)) == (2, 0, 0)
    assert len(runs_in(tmp_path)) == 2
    for path in (target.runs / "pushed").iterdir():
        path.write_text("{")
    assert Ledger(target).has(one, "anything") is False


def test_a_curve_that_was_uploaded_is_not_sent_again(untracked, suite, tmp_path):
    path = tmp_path / "small.yaml"
    shutil.copy(suite, path)
    small = load_suite(path)
    ids = [labels_of(small, cell).id for cell in small.cells()]
    assert counts(pushed(small, untracked, tmp_path)) == (2, 0, 0)
    for id in ids:
        (log,) = tmp_path.glob(f"wandb/offline-run-*-{id}/*.wandb")
        if id == ids[0]:
            log.with_name(log.name + ".synced").touch()  # As `wandb sync` does.
    changed = replaced(untracked, small.cells(), tmp_path / "runs")
    for _ in range(2):
        assert counts(pushed(small, changed, tmp_path)) == (2, 0, 0)
        runs = runs_in(tmp_path)
        assert [len(runs[id].history) for id in ids] == [0, STEPS]
        assert {runs[id].summary["accuracy (fraction)"] for id in ids} == {0.875}
        changed = replaced(changed, small.cells(), tmp_path / "again", questions=25.0)


def replaced(store, cells, folder, **more):
    """A copy of the records with other results."""
    made = Store(folder)
    for cell in cells:
        record = store.record(cell.key)
        record = replace(record, result={**record.result, "accuracy": 0.875, **more})
        made.write(record, lambda to, key=cell.key: shutil.copy(store.folder(key) / CURVES, to))
    return made


def test_a_ledger_cannot_name_a_folder_elsewhere(small, tmp_path):
    target = Target("offline", tmp_path / "here")
    labels = labels_of(small, small.cells()[0])
    precious = tmp_path / "precious"
    precious.mkdir()
    for folder in ("../../precious", str(precious), "..", ".", "pushed"):
        Ledger(target).note(labels, folder=folder, uploaded=False)
        Ledger(target).clear(labels)
        assert precious.is_dir()
        assert (target.runs / "pushed").is_dir()


def test_projects_entities_and_modes_have_ledgers_of_their_own(small, tmp_path):
    labels = labels_of(small, small.cells()[0])
    Ledger(Target("online", tmp_path)).note(labels, folder="", uploaded=False, content="abc")
    assert Ledger(Target("online", tmp_path)).has(labels, "abc")
    assert not Ledger(Target("online", tmp_path)).has(labels, "abd")
    others = [
        Target("offline", tmp_path),
        Target("online", tmp_path, project="other"),
        Target("online", tmp_path, entity="team"),
        Target("online", tmp_path, server="https://wandb.example"),
    ]
    assert not any(Ledger(target).has(labels, "abc") for target in others)


def test_cells_without_a_record_are_counted_and_left_out(untracked, small, tmp_path):
    first = small.cells()[0]
    store = Store(tmp_path / "runs")
    shutil.copytree(untracked.folder(first.key), store.folder(first.key))
    found = pushed(small, store, tmp_path)
    assert counts(found) == (1, 0, 1)
    assert list(runs_in(tmp_path)) == [labels_of(small, first).id]


def test_the_command_says_what_is_there_and_how_it_is_uploaded(tracked, small, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(tracked.results))
    text, complete = wandb(small, tracked.results, "offline", whole=True)
    assert complete
    assert text.splitlines() == [
        f"W&B: 2 cells and the summary in {tracked.results}/wandb. "
        "0 runs written, 3 there already with the same content.",
        f"Upload with: cd {tracked.results} && wandb sync wandb/offline-run-*",
    ]


def test_ids_are_the_cell_and_the_suite(small, suite, tmp_path):
    cells = small.cells()
    ids = [labels_of(small, cell).id for cell in cells]
    assert [id.split("-")[0] for id in ids] == [cell.key for cell in cells]
    renamed = tmp_path / "other.yaml"
    renamed.write_text(suite.read_text().replace("name: small", "name: 'other: a/b'"))
    other = load_suite(renamed)
    assert [cell.key for cell in other.cells()] == [cell.key for cell in cells]
    others = [labels_of(other, cell).id for cell in other.cells()]
    assert not set(ids) & set(others)
    assert all(not set(id) & set("/\\#?%: ") for id in [*ids, *others])


def test_long_names_are_cut_to_what_is_allowed_and_keep_the_seed(suite, tmp_path):
    long = tmp_path / "long.yaml"
    long.write_text(suite.read_text().replace("fsam", "f" * 200))
    loaded = load_suite(long)
    labels = labels_of(loaded, loaded.cells()[1])
    assert len(labels.name) == 128
    assert labels.name.endswith("... seed 0")
    assert max(len(tag) for tag in labels.tags) == 64


def test_the_folder_of_runs_lies_with_the_records_unless_wandb_dir_says_otherwise(tmp_path):
    archive = tmp_path / "x.jsonl"
    archive.write_text("")
    assert target_of("offline", tmp_path, {}).runs == tmp_path / "wandb"
    assert target_of("offline", archive, {}).runs == tmp_path / "wandb"
    assert target_of("offline", archive, {"WANDB_DIR": str(tmp_path / "w")}).runs == tmp_path / "w" / "wandb"


def test_of_paths_in_specs_the_last_part_is_left():
    given = {
        "target": "/home/me/own.py:Own",
        "paths": ["~/x.jsonl", "C:\\me\\y.jsonl"],
        "n": 1,
        "text": "a/b",
        "none": None,
    }
    expected = {"target": "own.py:Own", "paths": ["x.jsonl", "y.jsonl"], "n": 1, "text": "a/b", "none": None}
    assert portable(given) == expected
