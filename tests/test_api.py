"""What notebooks and scripts read, from the records that are committed."""

from pathlib import Path

import pytest

import optbench

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "results" / "reference"


@pytest.fixture(scope="module")
def suite():
    return optbench.load_suite(ROOT / "suites" / "claims_nano.yaml")


def test_cells_arms_and_contrasts_are_of_the_same_records(suite):
    cells, arms = optbench.cells(suite, REFERENCE), optbench.report(suite, REFERENCE)
    assert len(cells) == len(suite.cells()) and len(arms) == len(suite.arms)
    whole = cells.groupby("arm")["accuracy"].mean()
    assert arms["accuracy"].dropna().tolist() == pytest.approx(whole.dropna().tolist())
    assert len(optbench.contrasts(suite, REFERENCE)) == len(suite.contrasts)


def test_records_are_read_one_by_one(suite):
    store = optbench.open_results(REFERENCE)
    cells = optbench.cells(suite, REFERENCE)
    row = cells[cells["outcome"] == "completed"].iloc[0]
    assert store.record(row["key"]).result["accuracy"] == row["accuracy"]


def test_what_holds_no_records_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(optbench.UserError, match="is a file"):
        optbench.open_results(tmp_path / "notes.txt")
