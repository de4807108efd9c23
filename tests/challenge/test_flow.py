"""A challenge from beginning to end, in a world where training takes no time."""

import json
from pathlib import Path

import pytest

from optbench.challenge.finished import content_of, text_of
from optbench.challenge.folder import OUTPUTS
from optbench.conformance.finding import Finding
from optbench.errors import UserError
from optbench.store import Store
from optbench.suite import load_suite

FOLDER = Path("results/challenges/signed")


def progress():
    return json.loads((FOLDER / "progress.json").read_text(encoding="utf-8"))


def test_a_better_optimizer_is_found_better_and_everything_is_written(world, request_of):
    finished = world.run(request_of())
    assert finished.ended == "done"
    assert finished.code == 0
    assert [each.verdict for each in finished.contrasts] == ["better"]
    assert {path.name for path in FOLDER.iterdir()} == {*OUTPUTS, "progress.json", "signed.py"}
    content = world.contents[0]
    assert content.name == "Signed"
    assert content.against == ["adamw"]
    assert content.source == Path("signed.py").read_text(encoding="utf-8")
    assert content.suite.tuned == content.tuned
    assert [profile.conditions["device_name"] for profile in content.profiles] == ["a device"]
    assert "trials of each of 2 arms" in content.plan[0]
    assert content.plan[1] == "Foresight."
    assert "The end." in content.limits


def test_it_ends_within_the_budget(world, request_of):
    for budget in (120.0, 200.0, 600.0, 1800.0):
        world.now, world.cell, world.told = 0.0, 2.0, []
        world.estimate = 2.0
        finished = world.run(request_of(budget=budget, to=Path(f"results/challenges/b{budget:.0f}")))
        assert finished.ended == "done"
        assert world.now <= budget


def test_cells_that_take_longer_than_planned_cost_trials_and_seeds_and_not_the_budget(world, request_of):
    world.estimate, world.cell = 2.0, 6.0
    finished = world.run(request_of(budget=400.0))
    assert finished.ended == "done"
    assert world.now <= 400.0
    assert 4 <= progress()["trials"] < 20


def test_the_number_of_trials_is_measured_by_the_first(world, request_of):
    world.estimate, world.cell = 20.0, 2.0
    world.run(request_of(budget=900.0))
    asked = [call[1] for call in world.calls if call[0] == "tune"]
    assert asked[0] == 1
    assert asked[1] == 24  # The estimate alone would have been 7.


def test_an_optimizer_that_does_not_conform_is_not_trained(world, request_of, place):
    world.findings = [Finding("moves", True, False, "nothing moved"), Finding("order", False, False, "other bits")]
    before = sorted(place.rglob("*"))
    finished = world.run(request_of())
    assert (finished.ended, finished.code) == ("not conforming", 1)
    assert world.calls == ["examine"]
    assert sorted(place.rglob("*")) == before
    assert "required: moves: nothing moved" in text_of(finished)
    assert content_of(finished)["contrasts"] == []


def test_what_is_not_required_stops_nothing(world, request_of):
    world.findings = [Finding("order", False, False, "other bits")]
    finished = world.run(request_of())
    assert finished.ended == "done"
    assert "note: order: other bits" in text_of(finished)


def test_too_little_time_is_refused_before_anything_is_trained_or_written(world, request_of, place):
    before = sorted(place.rglob("*"))
    with pytest.raises(UserError, match="the least is --budget"):
        world.run(request_of(budget=60.0))
    assert world.calls == ["examine"]
    assert sorted(place.rglob("*")) == before


def test_it_goes_on_after_an_interruption(world, request_of):
    world.stop_at = 60.0
    with pytest.raises(KeyboardInterrupt):
        world.run(request_of())
    spent = sum(progress()["spent"].values())
    assert 60.0 <= spent == world.now < 70.0
    assert not progress()["tuned"]
    finished = world.run(request_of())
    assert finished.ended == "done"
    assert world.now <= 600.0
    assert any("going on: 62 s" in line for line in world.told)


def test_what_was_begun_is_not_refused_for_lack_of_time(world, request_of):
    world.stop_at = 120.0
    with pytest.raises(KeyboardInterrupt):
        world.run(request_of())
    trials = progress()["trials"]
    assert trials > 4
    assert not progress()["tuned"]
    with pytest.raises(UserError, match="the trials are kept"):
        world.run(request_of(budget=130.0))
    finished = world.run(request_of(budget=600.0))
    assert finished.ended == "done"
    assert [call for call in world.calls if call[0] == "tune"][-1] == ("tune", trials)


def test_trials_that_cannot_be_counted_end_it(world, request_of, monkeypatch):
    from optbench.tuning.engine import Unfinished

    def tune(*arguments, **more):
        raise Unfinished("2 cells of the trials failed")

    monkeypatch.setattr(world, "tune", tune)
    finished = world.run(request_of())
    assert (finished.ended, finished.code) == ("failed", 1)
    assert "2 cells of the trials failed" in text_of(finished)


def test_trials_are_not_run_again_where_they_are_there(world, request_of):
    world.stop_at = 250.0
    with pytest.raises(KeyboardInterrupt):
        world.run(request_of())
    assert progress()["tuned"]
    tuned = (FOLDER / "tuned.json").read_bytes()
    world.calls.clear()
    assert world.run(request_of()).ended == "done"
    assert not [call for call in world.calls if call[0] == "tune"]
    assert (FOLDER / "tuned.json").read_bytes() == tuned


def test_an_interruption_that_the_seeds_report_is_one(world, request_of):
    world.ended = "interrupted"
    with pytest.raises(KeyboardInterrupt):
        world.run(request_of())
    assert not (FOLDER / "index.html").exists()


def test_failed_cells_are_told(world, request_of):
    world.ended = "failed"
    finished = world.run(request_of())
    assert (finished.ended, finished.code) == ("failed", 1)
    assert "a cell: it died (log: a.log)" in text_of(finished)


def test_the_same_command_again_shows_the_same_and_trains_nothing(world, request_of):
    first = world.run(request_of())
    keys = sorted(record.key for record in Store("results/runs").records())
    world.calls.clear()
    world.cell = 100.0  # Any further cell would be far above the budget.
    again = world.run(request_of())
    assert sorted(record.key for record in Store("results/runs").records()) == keys
    assert [(each.name, each.estimate, each.n) for each in again.contrasts] == [
        (each.name, each.estimate, each.n) for each in first.contrasts
    ]
    assert "profile" not in world.calls
    assert world.contents[1].plan == world.contents[0].plan
    assert world.contents[1].profiles[0].rows[0].ratio == world.contents[0].profiles[0].rows[0].ratio == 1.5


def test_other_code_is_another_challenge_and_it_is_said(world, request_of):
    world.run(request_of())
    Path("signed.py").write_text(Path("signed.py").read_text() + "\n# changed\n")
    before = world.now
    finished = world.run(request_of())
    assert finished.ended == "done"
    assert world.now - before > 100.0
    assert len(progress()["versions"]) == 2
    assert any("challenge 2 in this folder" in line for line in finished.limits)
    assert (FOLDER / "signed.py").read_text() == Path("signed.py").read_text()


@pytest.mark.parametrize(
    ("first", "then", "versions"),
    [
        ({}, {}, 1),
        ({"trials": 8}, {}, 1),
        ({"trials": 8}, {"trials": 9}, 2),
        ({"margin": 0.05}, {"margin": 0.02}, 2),
        ({}, {"seeds_from": 20000}, 2),
    ],
)
def test_trials_margin_and_seeds_make_another_version(world, request_of, first, then, versions):
    world.run(request_of(budget=700.0, **first))
    assert len(progress()["versions"]) == 1
    finished = world.run(request_of(**{"budget": 700.0, **then}))
    assert len(progress()["versions"]) == versions
    said = [line for line in finished.limits if f"challenge {versions} in this folder" in line]
    assert len(said) == versions - 1
    assert all("does not confirm" in line and "--seeds-from" in line for line in said)


def test_trials_that_time_cuts_off_are_no_further_version(world, request_of):
    from optbench.challenge.reading import read
    from optbench.challenge.stages import run

    world.cell = world.estimate = 10.0

    def slow_down(text):
        if text.startswith("22 trials of each arm"):
            world.cell = 20.0

    finished = run(read(request_of(budget=720.0, trials=22)), world.tools(), tell=slow_down, clock=world.clock)
    assert finished.ended == "done"
    assert progress()["trials"] < 22
    assert len(progress()["versions"]) == 1


def test_every_margin_is_kept_the_last_one_last(world, request_of):
    for margin in (0.05, 0.02, 0.05):
        world.run(request_of(margin=margin))
    assert [list(content.margins) for content in world.contents] == [[0.05], [0.05, 0.02], [0.02, 0.05]]


def test_margins_that_others_stated_for_these_arms_are_known(world, request_of):
    from optbench.sequential.journal import Journal

    world.run(request_of())
    Journal.of(world.contents[0].suite, Path("results/runs")).add(0.3, {})
    world.run(request_of())
    assert list(world.contents[1].margins) == [0.3, 0.02]


def test_few_trials_are_taken_where_they_are_asked_for_and_it_is_said(world, request_of):
    few = world.run(request_of(trials=4))
    assert [line for line in few.limits if line.startswith("So few trials as 4 leave tuning to chance")]
    assert "leave tuning to chance" in text_of(few)
    enough = world.run(request_of(trials=8, to=Path("results/challenges/enough")))
    assert "leave tuning to chance" not in text_of(enough)


def test_code_that_is_changed_meanwhile_changes_nothing(world, request_of):
    told = world.told.append

    def edit(text):
        told(text)
        if text.startswith("[tuning]"):
            Path("signed.py").write_text("raise SystemExit")

    from optbench.challenge.reading import read
    from optbench.challenge.stages import run

    finished = run(read(request_of()), world.tools(), tell=edit, clock=world.clock)
    assert finished.ended == "done"
    assert "class Signed" in world.contents[0].source


def test_a_second_challenger_meets_the_same_baselines(world, request_of):
    world.run(request_of())
    before = {cell.key for cell in load_suite(FOLDER / "suite.yaml").cells() if cell.arm.optimizer == "adamw"}
    Path("other.py").write_text(Path("signed.py").read_text().replace("beta=0.9", "beta=0.95"))
    world.now = 0.0
    world.run(request_of(target="other.py:Signed", to=Path("results/challenges/other")))
    suite = load_suite("results/challenges/other/suite.yaml")
    assert {cell.key for cell in suite.cells() if cell.arm.optimizer == "adamw"} == before


def test_json_has_the_agreed_shape(world, request_of):
    finished = world.run(request_of())
    content = json.loads(json.dumps(content_of(finished), allow_nan=False))
    assert list(content)[:3] == ["contrasts", "page", "bundle"]
    assert list(content["contrasts"][0])[:5] == ["name", "estimate", "interval", "n", "verdict"]
    assert content["contrasts"][0]["name"] == "Signed minus adamw"
    assert content["contrasts"][0]["interval"][0] < content["contrasts"][0]["estimate"] < 0
    assert content["page"] == "results/challenges/signed/index.html"
    assert content["bundle"] == "results/challenges/signed/bundle.zip"
    assert json.loads((FOLDER / "challenge.json").read_text()) == content


def test_an_unknown_interval_is_null():
    from math import inf, nan

    from optbench.challenge.finished import Finished
    from optbench.reports.verdicts import Judged

    judged = Judged("a minus b", "accuracy", nan, -inf, inf, 1, 0.02, "unresolved", "One seed.")
    entry = content_of(Finished("done", contrasts=[judged]))["contrasts"][0]
    assert entry["interval"] == [None, None]
    assert entry["estimate"] is None
    json.dumps(entry, allow_nan=False)


def test_panels_are_left_out_where_the_time_is_short_and_it_is_said(world, request_of):
    world.cell = world.estimate = 10.0
    finished = world.run(request_of(budget=300.0))
    assert any(line.startswith("Panels (sharpness and simplicity): 0 of") for line in finished.limits)
    assert "panels:" not in (FOLDER / "suite.yaml").read_text()
    rich = world.run(request_of(budget=7200.0, to=Path("results/challenges/rich")))
    assert not any(line.startswith("Panels") for line in rich.limits)
    assert "panels:" in Path("results/challenges/rich/suite.yaml").read_text()


def test_nothing_written_names_a_path_of_this_machine(world, request_of, place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "signed.py"
    elsewhere.write_text(Path("signed.py").read_text())
    world.run(request_of(target=f"{elsewhere}:Signed"))
    for path in sorted(FOLDER.iterdir()):
        if path.suffix != ".zip":
            text = path.read_text(encoding="utf-8")
            assert str(place) not in text, path
            assert str(elsewhere.parent) not in text, path
    for record in Store("results/runs").records():
        assert str(elsewhere.parent) not in json.dumps(record.content())


def test_a_damaged_progress_is_named(world, request_of):
    world.run(request_of())
    (FOLDER / "progress.json").write_text("{")
    with pytest.raises(UserError, match=r"progress\.json: damaged"):
        world.run(request_of())
