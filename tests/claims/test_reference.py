"""The verdicts that are committed are those of the records that are committed."""

import json
from pathlib import Path

from typer.testing import CliRunner

from optbench.cli import app

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"


def test_the_committed_verdicts_are_those_of_the_committed_records(monkeypatch):
    monkeypatch.chdir(REFERENCE.parents[1])
    done = CliRunner().invoke(app, ["claims", "--results", "results/reference", "--format", "json"])
    assert done.exit_code == 0, done.output
    found = {claim["name"]: claim for claim in json.loads(done.stdout)["claims"]}
    kept = {claim["name"]: claim for claim in json.loads((REFERENCE / "claims.json").read_text())["claims"]}
    assert set(found) == set(kept)
    for name, claim in kept.items():
        for field in ("verdict", "n", "scale", "criterion"):
            assert found[name][field] == claim[field], (name, field)


def test_accuracy_claims_rest_on_twelve_seeds():
    kept = json.loads((REFERENCE / "claims.json").read_text())["claims"]
    assert {claim["n"] for claim in kept if "accuracy" in claim["name"]} == {12}
