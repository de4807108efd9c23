"""Results of pretrained checkpoints, read where the checkpoints are not: they state which these were."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from models.test_checkpoints import _save
from models.test_checkpoints import no_hub as no_hub
from typer.testing import CliRunner

import optbench
from optbench.archive import open_store
from optbench.cell import CellSpec
from optbench.cli import app
from optbench.errors import UserError
from optbench.models import checkpoints
from optbench.models.pretrained import Pretrained
from optbench.models.stated import heard, identity_of, stated_checkpoints
from optbench.reading import stated_at
from optbench.runner import run_cell
from optbench.sequential.journal import Journal
from optbench.store import Store
from optbench.suite import load_suite
from optbench.tracking.push import Pushed

SUITE = """
name: mine
models:
  - {name: mine, kind: pretrained, path: models/mine}
  - {name: fresh, kind: decoder, width: 16, layers: 1, heads: 2, kv_heads: 1, tokenizer_path: models/mine}
tasks: [{name: sums, kind: arithmetic, train: 32, validation: 8, test: 12, kinds: [add1]}]
strategies: [uniform]
optimizers: [adamw, {name: slow, preset: adamw, rule: {lr: 1e-5}}]
budget: {steps: 2}
training: {batch_size: 8}
seeds: 2
contrasts: [{name: slow minus adamw, of: {optimizer: slow}, minus: {optimizer: adamw}, metric: final_loss}]
"""
CLAIM = """
name: slow-is-slow
source: nobody
quotation: slow is slow
about: small models
criterion: Its loss is larger.
tests: [{suite: suite.yaml, metric: final_loss, of: {optimizer: slow}, minus: {optimizer: adamw}, above: 0, margin: 1}]
"""
CHECKPOINT, TOKENIZER = "models/mine@main", "tokenizer of models/mine@main"
BOARD = ["--board", "llm_optimizer_benchmark_720m", "--pair", "slow=D-Muon"]
SIZES = re.compile(r"2 models \(mine, fresh\)|2 models of \S+( to \S+)? parameters")


def call(*words, code=0):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if code == 2:
        assert isinstance(done.exception, UserError), done.output
        return str(done.exception)
    assert done.exit_code == code, done.exception or done.output
    return done.output


def plain(text):
    """The text without the sizes of models, which are not known where their configuration is not."""
    return SIZES.sub("models", " ".join(text.split()))


def run(suite, results):
    store = Store(results)
    for cell in suite.cells():
        run_cell(cell.spec, store)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the checkpoint, the suite, its records with an added seed, and a bundle of them."""
    home = tmp_path_factory.mktemp("home")
    before = Path.cwd()
    os.chdir(home)
    try:
        _save(home / "models" / "mine")
        (home / "suite.yaml").write_text(SUITE)
        (home / "claim.yaml").write_text(CLAIM)
        suite = load_suite("suite.yaml")
        run(suite, "runs")
        added = Journal.of(suite, Path("runs")).add(0.1, {arm.name: [2] for arm in suite.arms})
        run(replace(suite, added=added), "runs")
        call("export", "suite.yaml", "--results", "runs", "--to", "all.zip")
    finally:
        os.chdir(before)
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch, no_hub):
    """Where the checkpoint is."""
    folder = Path(shutil.copytree(made, tmp_path / "home"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def away(home):
    """The same where it is not."""
    shutil.rmtree(home / "models")
    return home


def change(home):
    """Another checkpoint in the same place."""
    weights = home / "models/mine/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def forget(results):
    """Records as earlier versions wrote them."""
    for path in Path(results).glob("??/*/record.json"):
        content = json.loads(path.read_text())
        del content["checkpoints"]
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        (path.parent / "seal.json").unlink()


def test_a_record_states_what_its_key_was_made_with_and_others_state_nothing(home):
    stated = [record.checkpoints for record in Store("runs").records()]
    assert len(stated) == 12
    checkpoint = {CHECKPOINT: checkpoints.checkpoint_identity("models/mine", "main")}
    tokenizer = {TOKENIZER: checkpoints.tokenizer_identity("models/mine", "main")}
    assert stated.count(checkpoint) == stated.count(tokenizer) == 6
    assert checkpoint[CHECKPOINT] != tokenizer[TOKENIZER]
    suite = load_suite("suite.yaml")
    nano = {"kind": "nano", "family": "llama", "width": 16, "layers": 1}
    cell = CellSpec.model_validate({**suite.cells()[0].spec.dump(), "model": nano})
    run_cell(cell, Store("nano"))
    assert b'"checkpoints"' not in (Store("nano").folder(cell.key) / "record.json").read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ["report", "suite.yaml", "--results", "all.zip"],
        ["report", "suite.yaml", "--results", "runs"],
        ["report", "suite.yaml", "--results", "runs", "--format", "json"],
        ["report", "suite.yaml", "--results", "all.zip", "--format", "csv"],
        ["report", "suite.yaml", "--results", "all.zip", "--format", "latex"],
        ["status", "suite.yaml", "--results", "runs"],
        ["compare", "suite.yaml", "--with", "all.zip", "--results", "runs"],
        ["compare", "suite.yaml", *BOARD, "--results", "all.zip", "--metric", "final_loss", "--format", "csv"],
        ["claims", "claim.yaml", "--results", "all.zip", "--details"],
        ["wandb", "suite.yaml", "--results", "runs"],
    ],
)
def test_readers_say_the_same_without_the_checkpoint(home, words, monkeypatch):
    def pushed(suite, store, target, **options):
        return Pushed(cells=sum(store.has(cell.key) for cell in suite.cells()), same=0, written=0, missing=0)

    monkeypatch.setattr("optbench.commands.wandb._pushed", pushed)
    here = call(*words)
    shutil.rmtree("models")
    assert plain(call(*words)) == plain(here)


def test_the_page_and_the_figures_are_made(away):
    call("report", "suite.yaml", "--results", "all.zip", "--html", "page", "--figures", "figures")
    assert "slow minus adamw" in Path("page/index.html").read_text()
    assert list(Path("figures").glob("*.svg"))


@pytest.mark.parametrize("target", [["all.zip"], ["runs"], ["suite.yaml", "--results", "all.zip"]])
def test_verify_makes_the_keys_with_what_is_stated_and_says_so(away, target):
    found = json.loads(call("verify", *target, "--format", "json"))
    assert found["well"] and not any("key of" in why for why in found["not_checked"])
    stated = found["checkpoints_as_stated"]
    assert {name.split(", ")[0]: count for name, count in stated.items()} == {CHECKPOINT: 6, TOKENIZER: 6}
    assert f"checkpoint as stated, not read here (6 records): {CHECKPOINT}, content " in call("verify", *target)


def test_verify_says_nothing_of_statements_where_the_checkpoint_is(home):
    assert json.loads(call("verify", "runs", "--format", "json"))["checkpoints_as_stated"] == {}


def test_a_record_edited_beside_its_statement_is_found(away):
    for seal in Path("runs").glob("??/*/seal.json"):
        seal.unlink()
    path = next(Path("runs").glob("??/*/record.json"))
    content = json.loads(path.read_text())
    content["cell"]["seed"] = 77
    path.write_text(json.dumps(content))
    assert "does not belong to its cell" in call("verify", "runs", code=1)


def test_a_wrong_statement_is_found_and_makes_no_numbers(away):
    for path in Path("runs").glob("??/*/record.json"):
        content = json.loads(path.read_text())
        content["checkpoints"] = {name: {"content": "0" * 64} for name in content["checkpoints"]}
        path.write_text(json.dumps(content))
        (path.parent / "seal.json").unlink()
    assert call("verify", "runs", code=1).count("does not belong to its cell") == 12
    assert "8 missing" in call("status", "suite.yaml", "--results", "runs")


@pytest.mark.parametrize("stated", [[], {"x": "y"}, {"x": {"content": "no hash"}}, {"x": {"hub": "a/b"}}])
def test_a_statement_that_is_none_is_a_damaged_record(away, stated):
    path = next(Path("runs").glob("??/*/record.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "checkpoints": stated}))
    (path.parent / "seal.json").unlink()
    with pytest.raises(UserError, match="damaged record .bad checkpoints"):
        Store("runs").record(path.parent.name)
    assert "its checkpoints state" in call("verify", "runs", code=1)


def test_what_is_stated_is_kept_by_whatever_keeps_records(away):
    call("export", "suite.yaml", "--results", "all.zip", "--to", "again.zip")
    assert Path("again.zip").read_bytes() == Path("all.zip").read_bytes()
    call("merge", "again.zip", "--results", "merged")
    call("archive", "suite.yaml", "--results", "merged", "--to", "lines.jsonl")
    there = [record.checkpoints for record in Store("runs").records()]
    for kept in ("merged", "lines.jsonl"):
        assert [record.checkpoints for record in open_store(Path(kept)).records()] == there
        assert "12 of 12" in call("export", "suite.yaml", "--results", "merged", "--to", "x.zip")


def test_a_bundle_of_earlier_records_states_the_checkpoint_that_makes_their_keys(home):
    forget("runs")
    call("export", "suite.yaml", "--results", "runs", "--to", "again.zip")
    shutil.rmtree("models")
    assert [r.checkpoints for r in open_store(Path("again.zip")).records()] == [
        r.checkpoints for r in open_store(Path("all.zip")).records()
    ]
    assert call("verify", "again.zip").endswith("12 records verified; no problems\n")


def test_a_bundle_of_earlier_records_states_no_other_checkpoint(home):
    forget("runs")
    keys = {cell.key for cell in load_suite("suite.yaml").cells()}
    change(home)
    from optbench.bundling import write_bundle

    write_bundle(keys, [], Store("runs"), Path("again.zip"))
    stated = [sorted(record.checkpoints) for record in open_store(Path("again.zip")).records()]
    assert [] in stated and [CHECKPOINT] not in stated


def test_the_checkpoint_that_is_here_decides_and_the_other_one_is_told(home):
    change(home)
    said = call("status", "suite.yaml", "--results", "runs")
    assert "4 missing" in said
    now = checkpoints.checkpoint_identity("models/mine", "main")["content"][:12]
    line = re.search(r"^models/mine@main: here it is .*$", said, re.MULTILINE).group(0)
    assert f"content {now}" in line and "(6 records)" in line and "runs" in line
    assert "tokenizer" not in line
    assert "models/mine@main: here it is" in call("report", "suite.yaml", "--results", "all.zip")
    assert "source differs: models/mine" in call("verify", "all.zip")


def test_two_checkpoints_of_one_name_are_refused_where_neither_is_here(home):
    first = checkpoints.checkpoint_identity("models/mine", "main")["content"][:12]
    change(home)
    second = checkpoints.checkpoint_identity("models/mine", "main")["content"][:12]
    run(load_suite("suite.yaml"), "runs")
    assert "here it is" not in call("status", "suite.yaml", "--results", "runs")
    shutil.rmtree("models")
    said = call("report", "suite.yaml", "--results", "runs", code=2)
    assert f"content {first} (6 records)" in said and f"content {second} (4 records)" in said
    assert f"{CHECKPOINT}: is not here, and the records in runs state 2 of this name" in said
    # Each record is checked by what it states itself.
    found = json.loads(call("verify", "runs", "--format", "json"))
    assert found["well"] and not any("key of" in why for why in found["not_checked"])


@pytest.mark.parametrize("words", [["run"], ["run", "--until-resolved", "1", "--max-hours", "1"]])
def test_what_trains_refuses_as_before(away, words):
    said = call(words[0], "suite.yaml", "--results", "runs", *words[1:], code=2)
    assert "this checkpoint cannot be loaded" in said
    assert len(list(Store("runs").records())) == 12


def test_a_replay_takes_the_checkpoint_itself(away):
    assert "this checkpoint cannot be loaded" in call("verify", "all.zip", "--replay", "1", code=2)


COMMIT = "0123456789abcdef0123"


def published(no_hub, commit=COMMIT):
    """The cache of a machine that has downloaded the branch at this commit."""
    there = no_hub / "models--somebody--model" / "refs"
    there.mkdir(parents=True, exist_ok=True)
    (there / "main").write_text(commit)
    checkpoints.commit_of.cache_clear()
    return no_hub / "models--somebody--model"


def test_a_checkpoint_of_the_hub_is_read_about_without_network(home, no_hub, monkeypatch):
    text = SUITE.replace("path: models/mine}", "path: somebody/model}").replace("seeds: 2", "seeds: 1")
    Path("hub.yaml").write_text(re.sub(r"\n.*fresh.*", "", text))
    cache = published(no_hub)
    for cell, own in zip(load_suite("hub.yaml").cells(), load_suite("suite.yaml").cells()[::2], strict=False):
        like = Store("runs").record(own.key)
        with heard() as named:
            made = replace(like, key=cell.key, cell=cell.spec.dump())
        assert named.identities == {"somebody/model@main": {"hub": "somebody/model", "commit": COMMIT}}
        made = replace(made, checkpoints=named.identities)
        Store("hub").write(made, lambda folder: None)
    here = call("report", "hub.yaml", "--results", "hub", "--format", "csv")
    shutil.rmtree(cache)
    checkpoints.commit_of.cache_clear()
    # Neither is asked, though there is a network for all that is known.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(checkpoints, "urlopen", None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", None)
    assert call("report", "hub.yaml", "--results", "hub", "--format", "csv") == here
    call("report", "hub.yaml", "--results", "hub")
    assert f"somebody/model@main, commit {COMMIT[:12]} of somebody/model" in call("verify", "hub")
    with pytest.raises(UserError, match="is not here; the results that are read say"), stated_at(Path("hub")):
        Pretrained(path="somebody/model").tokenizer()
    published(no_hub, "f" * 20)
    assert "2 missing" in call("status", "hub.yaml", "--results", "hub")


def test_tables_of_one_suite_are_made_of_results_with_other_checkpoints(home):
    change(home)
    run(load_suite("suite.yaml"), "others")
    shutil.rmtree("models")
    suite = load_suite("suite.yaml")
    for results, count in (("runs", 3), ("others", 2), ("runs", 3)):
        found = optbench.report(suite, results).set_index("model")
        assert set(found.loc["mine", "completed"]) == {count}
    with pytest.raises(UserError, match="this checkpoint cannot be loaded"):
        suite.cells()[0].key  # noqa: B018


def test_results_without_statements_are_refused_as_before(away):
    forget("runs")
    assert "models[0]: models/mine: this checkpoint cannot be loaded" in call(
        "report", "suite.yaml", "--results", "runs", code=2
    )


def test_a_model_option_is_read_without_the_checkpoint(home):
    Path("nano.yaml").write_text(re.sub(r"models:\n.*\n.*\n", "models: [llama-nano]\n", SUITE))
    run(load_suite("nano.yaml", checkpoint="./models/mine"), "other")
    words = ["report", "nano.yaml", "--model", "./models/mine", "--results", "other", "--format", "csv"]
    here = call(*words)
    shutil.rmtree("models")
    assert call(*words) == here


def test_records_are_not_searched_where_no_checkpoint_takes_part(away, monkeypatch):
    def no_search(store):
        raise AssertionError("searched")

    monkeypatch.setattr(Store, "stating", no_search)
    Path("nano.yaml").write_text(re.sub(r"models:\n.*\n.*\n", "models: [llama-nano]\n", SUITE))
    assert "8 missing" not in call("status", "nano.yaml", "--results", "runs")


def test_damaged_records_of_other_suites_stop_no_reading(away):
    folder = Path("runs/ff/ffffffffffffffff")
    folder.mkdir(parents=True)
    (folder / "record.json").write_text('{"checkpoints": ')
    assert "12 cells" in call("status", "suite.yaml", "--results", "runs")


def test_what_is_stated_inside_goes_before_what_is_stated_around():
    def asked(name, *, is_here=False):
        return identity_of(name, lambda: {"content": "here"}, is_here=is_here)

    with heard() as around, stated_checkpoints({"a": {"content": "1"}, "b": {"content": "2"}}.get):
        with heard() as within, stated_checkpoints({"a": {"content": "3"}}.get):
            assert [asked(name)["content"] for name in "abc"] == ["3", "2", "here"]
            assert asked("d", is_here=True) == {"content": "here"}
        assert asked("a") == {"content": "1"}
    assert within.stated == {"a", "b"} and set(within.identities) == set("abcd") == set(around.identities)
    assert asked("a") == {"content": "here"}


def test_committed_results_of_a_checkpoint_are_read_without_it(tmp_path, monkeypatch, no_hub):
    root = Path(__file__).resolve().parent.parent
    records, suite = root / "results/reference/smollm2/records.zip", root / "suites/smollm2.yaml"
    monkeypatch.chdir(tmp_path)
    found = json.loads(call("verify", records, "--format", "json"))
    assert found["well"] and not any("key of" in why for why in found["not_checked"])
    assert sum(found["checkpoints_as_stated"].values()) == found["records"] >= 20
    assert "smollm2-135m" in call("report", suite, "--results", records)
