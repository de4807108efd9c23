"""Bundles hold what a folder of records holds, are read in place, and do no harm whoever made them."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import warnings
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from optbench.archive import open_store
from optbench.bundle import MANIFEST, Bundle
from optbench.bundling import packed, write_bundle
from optbench.commands.merge import merged_into
from optbench.errors import UserError
from optbench.merging import merge
from optbench.reports.leaderboard import render
from optbench.store import Store
from optbench.verification.verify import verify_records, verify_suite


@pytest.fixture
def bundle(published, tmp_path):
    return Path(shutil.copy(published, tmp_path / "tiny.zip"))


def exported(desk, target, **options):
    keys = {cell.key for cell in desk.suite.cells()}
    write_bundle(keys, [desk.path], open_store(desk.root), target, **options)
    return target


def rewritten(source, target, change, *, stated=True):
    """The bundle with its files changed; its manifest too, unless `stated` is False."""
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    if stated:
        manifest = json.loads(files[MANIFEST])
        manifest["files"] = {
            name: {"bytes": len(own), "sha256": hashlib.sha256(own).hexdigest()}
            for name, own in files.items()
            if name != MANIFEST
        }
        files[MANIFEST] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, own in files.items():
            archive.writestr(name, own)
    return target


def test_everything_comes_back_as_it_was(desk, bundle):
    found = open_store(bundle)
    assert list(found.records()) == list(desk.store.records())
    for cell in desk.suite.cells():
        pd.testing.assert_frame_equal(found.curves(cell.key), desk.store.curves(cell.key), check_exact=True)
        pd.testing.assert_frame_equal(found.questions(cell.key), desk.store.questions(cell.key))
        for panel in desk.store.folder(cell.key).glob("panels/*"):
            assert found.panel(cell.key, panel.name) == desk.store.panel(cell.key, panel.name)
            for table in panel.glob("*.parquet"):
                there = found.folder(cell.key) / "panels" / panel.name / table.name
                pd.testing.assert_frame_equal(pd.read_parquet(there), pd.read_parquet(table), check_exact=True)
    assert found.record("0" * 16) is None
    assert not found.folder("0" * 16).exists()
    assert not list(bundle.parent.glob("**/weights.safetensors.zip"))


def test_a_report_says_the_same_of_a_bundle(desk, bundle):
    def text(store):
        return render(desk.suite, store, "json").replace(str(store.root), "RESULTS")

    assert text(open_store(bundle)) == text(desk.store)


def test_verify_finds_nothing_wrong_with_a_bundle(desk, bundle):
    verdict = verify_suite(desk.suite, bundle)
    assert [problem.line() for problem in verdict.findings.problems] == []
    assert (verdict.records, verdict.unsealed, verdict.missing) == (8, 0, 0)
    assert verdict.figures > 1000
    assert not verdict.findings.unchecked  # The probes came along.


def test_the_same_records_make_the_same_bytes_wherever_they_lie(desk, bundle, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(desk.root, moved)
    keys = [cell.key for cell in desk.suite.cells()][::-1]
    write_bundle(keys, [desk.path], Store(moved), tmp_path / "other.zip")
    assert (tmp_path / "other.zip").read_bytes() == bundle.read_bytes()
    write_bundle(keys, [desk.path], Bundle(bundle), tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        assert names[1:] == sorted(names[1:])
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert not any(name.endswith(("seal.json", ".safetensors")) for name in names)


@pytest.mark.parametrize(
    ("without", "gone"),
    [
        ("questions", "questions.parquet"),
        ("curves", "curves.parquet"),
        ("panels", "panels/"),
        ("tables", "losses.parquet"),
        ("probes", "probes/"),
    ],
)
def test_parts_are_left_out_and_nothing_is_missed(desk, tmp_path, without, gone):
    target = exported(desk, tmp_path / "x.zip", without=[without])
    with zipfile.ZipFile(target) as archive:
        assert not any(gone in name for name in archive.namelist())
    assert without in Bundle(target).manifest["without"]
    assert verify_records(target).problems == 0


def test_weights_come_along_on_request(desk, tmp_path):
    target = exported(desk, tmp_path / "x.zip", weights=True)
    store = Bundle(target)
    there = store.folder(desk.key) / "weights.safetensors"
    assert there.read_bytes() == (desk.folder / "weights.safetensors").read_bytes()


def test_packing_keeps_every_bit(tmp_path):
    table = pd.DataFrame({"x": [0.0, -0.0, float("nan"), 1e-310], "y": pd.array(["a", None, "", "b"], dtype="string")})
    whole = io.BytesIO()
    table.to_parquet(whole, index=False)
    again = pd.read_parquet(io.BytesIO(packed(whole.getvalue(), "here")))
    assert again["x"].to_numpy().tobytes() == table["x"].to_numpy().tobytes()
    pd.testing.assert_frame_equal(again, table)
    with pytest.raises(UserError, match="here: damaged table"):
        packed(whole.getvalue()[:100], "here")


@pytest.mark.parametrize("path", ["/home/someone/x", "C:\\Users\\x", "~/data", "file:///x", "\\\\server\\x"])
def test_no_path_of_a_machine_is_written(desk, tmp_path, path):
    desk.unseal()
    desk.edit(lambda content: content["measured"]["provenance"].update(device=path))
    with pytest.raises(UserError, match="provenance.device is .*a path of this machine"):
        exported(desk, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_an_edited_record_is_not_published(desk, tmp_path):
    curves = desk.folder / "curves.parquet"
    curves.write_bytes(curves.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"curves\.parquet: does not match its seal"):
        exported(desk, tmp_path / "new" / "x.zip")
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_exported(desk, bundle, tmp_path):
    with pytest.raises(UserError, match=r"a bundle is named \*\.zip"):
        exported(desk, tmp_path / "x.tar")
    with pytest.raises(UserError, match="--without curvs: .*did you mean curves"):
        exported(desk, tmp_path / "x.zip", without=["curvs"])
    with pytest.raises(UserError, match="no records of these suites"):
        write_bundle(["0" * 16], [desk.path], desk.store, tmp_path / "x.zip")
    with pytest.raises(UserError, match="a bundle is read, never written to"):
        Bundle(bundle).write(None, None)
    (tmp_path / "folder.zip").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        exported(desk, tmp_path / "folder.zip")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "name",
    ["../evil.json", "/etc/x", "records/../../x", "records/ab/abcdef0123456789/../../x", "records\\x", "evil.py",
     "records/ab/abcdef0123456789/.hidden", "records/ab/cdef0123456789ab/record.json",
     "suites/../b.yaml", "suites/.a/b.yaml", "suites/a//b.yaml", "suites/a/b.py", "sources/../x.py", "sources/x.sh"],
)  # fmt: skip
def test_foreign_names_are_refused(bundle, tmp_path, name):
    harmful = rewritten(bundle, tmp_path / "x.zip", lambda files: files.update({name: b"x"}))
    with pytest.raises(UserError, match="refused: .* is no name that a bundle has"):
        open_store(harmful)
    assert [problem.path for problem in verify_records(harmful).findings.problems] == [str(harmful)]


def test_names_that_are_there_twice_are_refused(bundle, tmp_path):
    twice = tmp_path / "x.zip"
    shutil.copy(bundle, twice)
    with zipfile.ZipFile(twice, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(MANIFEST, b"{}")
    with pytest.raises(UserError, match="is in it twice"):
        Bundle(twice)


def test_links_are_refused(bundle, tmp_path):
    linked = tmp_path / "x.zip"
    shutil.copy(bundle, linked)
    info = zipfile.ZipInfo("suites/link.yaml")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(linked, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match="is no regular file"):
        Bundle(linked)


def test_bombs_are_refused(bundle, tmp_path, monkeypatch):
    bomb = tmp_path / "x.zip"
    shutil.copy(bundle, bomb)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("suites/big.yaml", bytes(30 << 20))
    with pytest.raises(UserError, match="would grow"):
        Bundle(bomb)
    monkeypatch.setattr("optbench.bundle.MOST_FILE_BYTES", 1 << 20)
    with pytest.raises(UserError, match="would take 30 MiB"):
        Bundle(bomb)
    monkeypatch.setattr("optbench.bundle.MOST_BYTES", 100)
    with pytest.raises(UserError, match="refused: it would take"):
        Bundle(bundle)


def test_files_and_manifest_name_each_other(desk, bundle, tmp_path):
    curves = f"records/{desk.key[:2]}/{desk.key}/curves.parquet"
    fewer = rewritten(bundle, tmp_path / "x.zip", lambda files: files.pop(curves), stated=False)
    with pytest.raises(UserError, match="is in the manifest and not in the bundle"):
        Bundle(fewer)
    more = rewritten(bundle, tmp_path / "y.zip", lambda files: files.update({"suites/b.yaml": b"x"}), stated=False)
    with pytest.raises(UserError, match="is in the bundle and not in its manifest"):
        Bundle(more)
    later = rewritten(
        bundle,
        tmp_path / "z.zip",
        lambda f: f.update({MANIFEST: f[MANIFEST].replace(b'"version": 1', b'"version": 2')}),
        stated=False,
    )
    with pytest.raises(UserError, match="bundle of version 2"):
        Bundle(later)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UserError, match="cannot be read as a bundle"):
        open_store(tmp_path / "text.zip")


@pytest.mark.parametrize("name", ["record.json", "curves.parquet"])
def test_a_file_that_is_not_what_its_hash_says(desk, bundle, tmp_path, name):
    place = f"records/{desk.key[:2]}/{desk.key}/{name}"

    def flip(files):
        files[place] = files[place][:40] + bytes([files[place][40] ^ 1]) + files[place][41:]

    wrong = rewritten(bundle, tmp_path / "x.zip", flip, stated=False)
    store = open_store(wrong)
    with pytest.raises(UserError, match="its hash is not that of the manifest"):
        store.record(desk.key) if name == "record.json" else store.curves(desk.key)
    assert [problem.path for problem in verify_records(wrong).findings.problems] == [f"{wrong}!{place}"]
    with pytest.raises(UserError, match="its hash is not that of the manifest.*nothing was merged"):
        merge(wrong, Store(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_forged_number_with_a_new_manifest_is_found_by_what_follows_from_it(desk, bundle, tmp_path):
    place = f"records/{desk.key[:2]}/{desk.key}/record.json"

    def forge(files):
        content = json.loads(files[place])
        content["result"]["accuracy"] = 0.99
        files[place] = json.dumps(content).encode()

    forged = rewritten(bundle, tmp_path / "x.zip", forge)
    lines = [problem.line() for problem in verify_records(forged).findings.problems]
    assert any("result.accuracy is 0.99, but the table says" in line for line in lines)
    found = merge(forged, Store(tmp_path / "new"))
    assert found.added == 7
    assert not Store(tmp_path / "new").has(desk.key)


def test_merging_adds_what_is_not_there_and_again_adds_nothing(desk, bundle, tmp_path):
    target = Store(tmp_path / "new")
    assert merge(bundle, target).added == 8
    assert render(desk.suite, target, "json").replace(str(target.root), "") == render(
        desk.suite, desk.store, "json"
    ).replace(str(desk.root), "")
    verdict = verify_suite(desk.suite, target.root)
    assert (verdict.problems, verdict.unsealed) == (0, 0)
    again = merge(bundle, target)
    assert (again.added, again.equal, again.panels, again.is_well) == (0, 8, 0, True)


def test_a_folder_is_merged_too_and_panels_are_added(desk, tmp_path):
    target = tmp_path / "new"
    shutil.copytree(desk.root, target)
    shutil.rmtree(Store(target).folder(desk.key) / desk.panel("simplicity"))
    shutil.rmtree(Store(target).folder(desk.suite.cells()[0].key))
    text, is_well = merged_into(desk.root, target)
    assert is_well
    assert text.endswith("1 added, 7 there already, 1 findings of panels added")
    assert verify_records(target).problems == 0


def test_conflicts_are_named_and_what_is_there_stays(desk, bundle, tmp_path):
    target = Store(tmp_path / "new")
    merge(bundle, target)
    path = target.folder(desk.key) / "record.json"
    content = json.loads(path.read_text())
    content["result"]["test_nll"] = 0.5
    content["measured"]["total_seconds"] = 1.0  # Of another machine: no conflict.
    path.write_text(json.dumps(content))
    (path.parent / "seal.json").unlink()
    before = path.read_bytes()
    text, is_well = merged_into(bundle, target.root)
    assert not is_well
    assert f"{path.parent}: conflict: differs in result.test_nll; the record that is there stays" in text
    assert path.read_bytes() == before


def test_damaged_records_of_a_folder_are_not_merged_and_the_others_are(desk, tmp_path):
    desk.edit(lambda content: content["result"].update(test_nll=0.1))
    text, is_well = merged_into(desk.root, tmp_path / "new")
    assert not is_well
    assert f"{desk.folder}/record.json: does not match its seal" in text
    assert "7 added" in text
    assert not Store(tmp_path / "new").has(desk.key)


def test_what_cannot_be_merged(desk, tmp_path):
    for place, message in (
        (tmp_path / "nowhere", "is not there"),
        (desk.root, "is the folder that is merged into"),
        (desk.path, "is no bundle"),
    ):
        with pytest.raises(UserError, match=message):
            merge(place, desk.store)
