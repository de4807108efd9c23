"""Records that state wrongly which checkpoint they were made with, and a checkpoint that is here beside statements."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from models.test_checkpoints import no_hub as no_hub
from test_stated_checkpoints import (
    CHECKPOINT,
    SUITE,
    TOKENIZER,
    call,
    change,
    forget,
    published,
)
from test_stated_checkpoints import away as away
from test_stated_checkpoints import home as home
from test_stated_checkpoints import made as made

from optbench import runner
from optbench.archive import open_store
from optbench.bundling import write_bundle
from optbench.commands.verify import Outcome, text_of
from optbench.errors import UserError
from optbench.models.checkpoints import checkpoint_identity
from optbench.models.stated import heard, identity_of, in_words
from optbench.reading import stated_at
from optbench.store import Store, are_checkpoints
from optbench.suite import load_suite
from optbench.verification.problem import Findings
from optbench.verification.verify import Verdict

WRONG = {"content": "ab" * 32}
RED = "\x1b[31m"


def restate(results, statement):
    """Every record states what `statement` makes of its own."""
    for path in Path(results).glob("??/*/record.json"):
        content = json.loads(path.read_text())
        content["checkpoints"] = statement(content["checkpoints"])
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        (path.parent / "seal.json").unlink(missing_ok=True)


def all_wrong(own):
    return dict.fromkeys(own, WRONG)


def keys():
    return {cell.key for cell in load_suite("suite.yaml").cells()}


def hub_results():
    """Results of a branch of the hub: those of the checkpoint under another name."""
    text = SUITE.replace("path: models/mine}", "path: somebody/model}").replace("seeds: 2", "seeds: 1")
    Path("hub.yaml").write_text(re.sub(r"\n.*fresh.*", "", text))
    for cell, own in zip(load_suite("hub.yaml").cells(), load_suite("suite.yaml").cells()[::2], strict=False):
        with heard() as named:
            record = replace(Store("runs").record(own.key), key=cell.key, cell=cell.spec.dump())
        Store("hub").write(replace(record, checkpoints=named.identities), lambda folder: None)


def test_the_commit_that_is_cached_here_decides_between_two_that_are_stated(home, no_hub):
    for commit in ("a" * 20, "b" * 20):
        published(no_hub, commit)
        hub_results()
    assert "2 of 2 cells done" in call("status", "hub.yaml", "--results", "hub")
    assert "is not here" not in call("report", "hub.yaml", "--results", "hub")
    shutil.rmtree(published(no_hub))
    said = call("status", "hub.yaml", "--results", "hub", code=2)
    assert "somebody/model@main: is not here" in said and "state 2" in said


def test_verify_finds_a_wrong_statement_where_the_checkpoint_is(home):
    restate("runs", all_wrong)
    said = call("verify", "runs", code=1)
    assert said.count("states models/mine@main as content abababababab, and its key was made with content ") == 6
    assert said.count("states tokenizer of models/mine@main as content abababababab") == 6


def test_verify_finds_statements_that_entered_no_key_and_ones_that_lack(home):
    restate("runs", lambda own: {"models/other@main": WRONG, **own})
    extra = "states models/other@main, which did not enter its key"
    assert call("verify", "runs", code=1).count(extra) == 12
    restate("runs", lambda own: {"models/other@main": WRONG})
    said = call("verify", "runs", code=1)
    assert said.count(f"does not state {CHECKPOINT}, which entered its key") == 6
    assert said.count(f"does not state {TOKENIZER}, which entered its key") == 6


def test_verify_finds_statements_that_entered_no_key_where_the_checkpoint_is_not(away):
    restate("runs", lambda own: {"models/other@main": WRONG, **own})
    assert call("verify", "runs", code=1).count("which did not enter its key") == 12


def test_records_that_state_nothing_are_well(home):
    forget("runs")
    assert json.loads(call("verify", "runs", "--format", "json"))["well"]


@pytest.mark.parametrize("statement", [all_wrong, lambda own: {"models/other@main": WRONG, **own}])
def test_a_bundle_states_what_makes_the_keys_instead_of_what_was_stated(home, statement):
    there = [record.checkpoints for record in Store("runs").records()]
    restate("runs", statement)
    call("export", "suite.yaml", "--results", "runs", "--to", "again.zip")
    assert [record.checkpoints for record in open_store(Path("again.zip")).records()] == there
    shutil.rmtree("models")
    assert json.loads(call("verify", "again.zip", "--format", "json"))["well"]


def test_a_bundle_drops_what_makes_no_key_and_keeps_what_does(home):
    there = {record.key: record.checkpoints for record in Store("runs").records()}
    change(home)
    write_bundle(there, [], Store("runs"), Path("right.zip"))
    assert {record.key: record.checkpoints for record in open_store(Path("right.zip")).records()} == there
    restate("runs", all_wrong)
    write_bundle(there, [], Store("runs"), Path("wrong.zip"))
    found = [record.checkpoints for record in open_store(Path("wrong.zip")).records()]
    # The tokenizer, which is the same file still, makes its keys.
    assert found.count({}) == 6 and [sorted(own) for own in found].count([TOKENIZER]) == 6


@pytest.mark.parametrize(
    ("stated", "well"),
    [
        ({"a/b@main": {"hub": "a/b", "commit": "abcd"}}, True),
        ({"tokenizer of a/b@main": {"hub": "a/b", "commit": "abcd"}}, True),
        ({"./mine@main": {"content": "abcd"}}, True),
        ({"./mine@main": {"content": 1234}}, False),
        ({"a/b@main": {"hub": "a/b", "commit": 1234}}, False),
        ({"a/b@main": {"hub": 1234, "commit": "abcd"}}, False),
        ({"a/b@main": {"hub": "a/c", "commit": "abcd"}}, False),
        ({"a/b@main": {"hub": f"{RED}X", "commit": "abcd"}}, False),
        ({"a/b@main": {"content": ""}}, False),
    ],
)
def test_a_statement_is_the_hash_of_files_or_the_commit_of_the_id_in_its_name(stated, well):
    assert are_checkpoints(stated) == well


def test_a_number_for_a_hash_is_a_damaged_record(home):
    restate("runs", lambda own: dict.fromkeys(own, {"content": 1234}))
    assert "damaged record (bad checkpoints)" in call("report", "suite.yaml", "--results", "runs", code=2)
    assert call("verify", "runs", code=1).count("its checkpoints state") == 12


def test_names_that_records_state_never_move_the_cursor(home, capsys):
    name = f"{RED}mine@main"
    restate("runs", lambda own: {**own, name: WRONG})
    assert RED not in call("verify", "runs", code=1)
    with stated_at(Path("runs")):
        identity_of(name, lambda: {"content": "cd" * 32}, is_here=True)
    said = capsys.readouterr().err
    assert "mine@main: here it is content cdcdcdcdcdcd" in said and RED not in said
    half = iter(range(12))
    restate("runs", lambda own: {name: {"content": "ef" * 32} if next(half) % 2 else WRONG})
    with pytest.raises(UserError, match="mine@main: is not here") as refused, stated_at(Path("runs")):
        identity_of(name, dict, is_here=False)
    assert RED not in str(refused.value)


def test_what_could_not_be_checked_is_said_without_control_characters():
    findings = Findings()
    findings.skip(f"source differs: {RED}mine")
    assert RED not in text_of(Outcome(Verdict(findings=findings)))


@pytest.fixture
def read(monkeypatch):
    """Records whose statements were asked for."""
    found, stating = [], Store.stating

    def noted(store):
        for record in stating(store):
            found.append(record.key)
            yield record

    monkeypatch.setattr(Store, "stating", noted)
    return found


def test_records_are_searched_no_further_than_to_the_checkpoint_that_is_here(home, read):
    call("status", "suite.yaml", "--results", "runs")
    assert 2 <= len(read) < 12
    read.clear()
    change(home)
    assert "here it is" in call("status", "suite.yaml", "--results", "runs")
    assert len(read) >= 12


def test_an_interrupted_reading_searches_nothing_and_an_error_is_explained(home, read, capsys):
    change(home)
    with pytest.raises(KeyboardInterrupt), stated_at(Path("runs")):
        assert keys()
        raise KeyboardInterrupt
    assert not read and not capsys.readouterr().err
    with pytest.raises(UserError), stated_at(Path("runs")):
        assert keys()
        raise UserError("no records")
    assert "models/mine@main: here it is" in capsys.readouterr().err


def test_a_replay_with_another_checkpoint_is_refused_before_training(home, monkeypatch):
    then, record = checkpoint_identity("models/mine", "main"), record_of_checkpoint()
    change(home)
    monkeypatch.setattr(runner, "run_cell", None)
    said = call("verify", "runs", "--replay", record.key, code=2)
    now = checkpoint_identity("models/mine", "main")
    assert f"{CHECKPOINT} is {in_words(now)} here, and {in_words(then)} in the record" in said and record.key in said
    assert "what is here makes another cell" in call("verify", "runs", "--replay", "12", code=2)
    forget("runs")
    said = call("verify", "runs", "--replay", record.key, code=2)
    assert f"{CHECKPOINT} is {in_words(now)} here, and the record does not state it" in said


def test_a_replay_of_another_cell_than_its_key_is_refused(home):
    path = record_of_checkpoint().path / "record.json"
    content = json.loads(path.read_text())
    for cell, said in (({**content["cell"], "seed": 77}, "makes another cell"), ({}, "its cell is not valid here")):
        path.write_text(json.dumps({**content, "cell": cell}))
        (path.parent / "seal.json").unlink(missing_ok=True)
        assert said in call("verify", "runs", "--replay", content["key"], code=2)


def record_of_checkpoint():
    return next(record for record in Store("runs").records() if CHECKPOINT in record.checkpoints)


def test_a_folder_without_a_checkpoint_in_its_place_is_none(away):
    Path("models/mine").mkdir(parents=True)
    assert "12 of 12 cells done" in call("status", "suite.yaml", "--results", "runs")
    assert json.loads(call("verify", "runs", "--format", "json"))["well"]
    Path("models/mine/config.json").write_text("{}")
    assert "12 of 12 cells done" in call("status", "suite.yaml", "--results", "runs")
    assert "no *.safetensors there" in call("run", "suite.yaml", "--results", "runs", code=2)
