"""The code of an optimizer inside a bundle: hashed, never run."""

import json
import zipfile
from pathlib import Path

import pytest

from optbench.bundle import Bundle
from optbench.bundling import write_bundle
from optbench.errors import UserError
from optbench.store import Store
from optbench.suite import load_suite
from optbench.verification.identity import identity_of_cell

FOLDER = Path("results/challenges/signed")


@pytest.fixture
def bundle(world, request_of):
    """The bundle of a finished challenge."""
    world.run(request_of())
    return FOLDER / "bundle.zip"


def cell_of_signed():
    cell = next(cell for cell in load_suite(FOLDER / "suite.yaml").cells() if cell.arm.optimizer == "Signed")
    return cell.key, json.loads(json.dumps(cell.spec.dump()))


def test_it_has_the_code_the_suite_and_the_trials(bundle):
    with Bundle(bundle) as opened:
        assert opened.read("sources/results/challenges/signed/signed.py") == Path("signed.py").read_bytes()
        assert [path.name for path in opened.suites()] == ["suite.yaml"]
        suite = load_suite(opened.suites()[0].parent / "suite.yaml") if FOLDER.exists() else None
        assert suite is not None
        assert suite.tuned is not None
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
    assert {"suites/suite.yaml", "suites/tuned.yaml", "suites/tuned.json"} <= names


def test_keys_are_made_again_from_the_code_that_came_along(bundle, tmp_path_factory, monkeypatch):
    key, content = cell_of_signed()
    whole = bundle.resolve()
    monkeypatch.chdir(tmp_path_factory.mktemp("another-machine"))
    assert identity_of_cell(key, content).verdict == "not here"
    with Bundle(whole) as opened:
        sources = opened.unpacked_root() / "sources"
        found = identity_of_cell(key, content, sources)
        assert found.verdict == "agrees"
        assert found.spec.optimizer.rule.target == "results/challenges/signed/signed.py:Signed"
        content["optimizer"]["rule"]["lr"] = 0.5
        assert identity_of_cell(key, content, sources).verdict == "edited"


def test_other_code_is_found(bundle):
    key, content = cell_of_signed()
    with Bundle(bundle) as opened:
        sources = opened.unpacked_root() / "sources"
        (sources / "results/challenges/signed/signed.py").write_text("# other code")
        assert identity_of_cell(key, content, sources).verdict == "edited"


def test_the_code_is_neither_parsed_nor_run(bundle, tmp_path):
    key, content = cell_of_signed()
    with Bundle(bundle) as opened:
        sources = opened.unpacked_root() / "sources"
        path = sources / "results/challenges/signed/signed.py"
        path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w'); (((")
        assert identity_of_cell(key, content, sources).verdict == "edited"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("target", ["../signed.py:Signed", "/etc/signed.py:Signed", "~/signed.py:Signed"])
def test_no_other_place_is_looked_at(bundle, target):
    key, content = cell_of_signed()
    content["optimizer"]["rule"]["target"] = target
    with Bundle(bundle) as opened:
        assert identity_of_cell(key, content, opened.unpacked_root() / "sources").verdict != "agrees"


def test_sources_elsewhere_are_refused(bundle):
    keys = [record.key for record in Store("results/runs").records()]
    for path, said in ((Path("../x.py"), "no name"), (Path("/x/y.py"), "no name"), (Path("a b.py"), "no name")):
        with pytest.raises(UserError, match=said):
            write_bundle(keys, [], Store("results/runs"), Path("other.zip"), sources=[path])
    Path("large.py").write_text("#" * (1 << 20) + "\n")
    with pytest.raises(UserError, match="KiB of code"):
        write_bundle(keys, [], Store("results/runs"), Path("other.zip"), sources=[Path("large.py")])
    assert not Path("other.zip").exists()
