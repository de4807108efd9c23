"""Every study gets the same number of trials, on validation, and which values they have depends on results alone."""

import math
import shutil
from dataclasses import replace

import pytest

import optbench.tuning.engine as engine
from optbench.added import Added
from optbench.errors import UserError
from optbench.executors.events import NO_LOG, Summary
from optbench.selection import narrowed
from optbench.store import Store
from optbench.suite import load_suite
from optbench.tuning.engine import Unfinished, tune


def silent(line):
    pass


def tuned(path, results, trials=8, **more):
    return tune(load_suite(path), results, trials=trials, tell=silent, **more)


def test_all_studies_have_the_same_number_of_trials_also_where_some_diverge(suite_file, cells_run, tmp_path):
    found = tuned(suite_file(), tmp_path / "r")
    assert [study.optimizer for study in found.studies] == ["gd", "adamw", "sam"]
    assert [len(study.trials) for study in found.studies] == [8, 8, 8]
    lost = [trial for trial in found.studies[0].trials if trial.score is None]
    assert lost
    assert all(trial.values["rule.lr"] > 0.5 and trial.outcomes == {"diverged": 2} for trial in lost)
    assert len(cells_run) == len({cell.key for cell in cells_run}) == 8 * 3 * 2


def test_the_best_trial_is_the_one_with_the_best_mean_over_its_arms(suite_file, cells_run, tmp_path):
    for study in tuned(suite_file(), tmp_path / "r").studies:
        scores = [trial.score for trial in study.trials]
        assert scores[study.best] == min(score for score in scores if score is not None)
        names = ["linear-attention/icl-regression/" + s + "/" + study.optimizer for s in ("uniform", "random_upsample")]
        assert study.arms == names
        rate = study.chosen.get("rule.lr")
        mean = abs(math.log(rate / 0.02)) + 0.01 * sum(map(len, names)) / 2 + 0.001 * 1000
        assert scores[study.best] == pytest.approx(mean)
        assert study.trials[0].seconds == 3.0


def test_a_score_where_higher_is_better_is_maximised(suite_file, cells_run, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_direction", lambda score: "higher")
    for study in tuned(suite_file(), tmp_path / "r").studies:
        scores = [trial.score for trial in study.trials if trial.score is not None]
        assert study.trials[study.best].score == max(scores)


def test_the_suites_own_values_are_tried_first(suite_file, cells_run, tmp_path):
    gd, adamw, sam = tuned(suite_file(), tmp_path / "r").studies
    assert [study.trials[0].sampler for study in (gd, adamw, sam)] == ["suite"] * 3
    assert gd.trials[0].values == {"rule.lr": 0.1}
    assert sam.trials[0].values == {"rule.lr": 0.001, "estimator.rho": 0.05}
    assert [trial.sampler for trial in gd.trials] == ["suite", *["quasi-random"] * 3, *["tpe"] * 4]


def test_trials_are_cells_of_validation_with_seeds_of_their_own_and_no_panels(suite_file, cells_run, tmp_path):
    path = suite_file(("  trials: 8", "  trials: 8\n  seeds: [7, 8]"), more="panels: [simplicity]\n")
    text = path.read_text().replace("models: [linear-attention]", "models: [llama-nano]")
    path.write_text(text.replace("{preset: icl-regression, train: 64, validation: 16, test: 64}", "arithmetic"))
    suite = load_suite(path)
    assert suite.panels
    tune(suite, tmp_path / "r", trials=4, tell=silent)
    assert {cell.seed for cell in cells_run} == {7, 8}
    assert {cell.spec.training.evaluate for cell in cells_run} == {"validation"}
    assert not any(cell.panels for cell in cells_run)
    assert not {cell.key for cell in cells_run} & {cell.key for cell in suite.cells()}


def test_values_depend_neither_on_workers_nor_on_interruptions(suite_file, cells_run, tmp_path, monkeypatch):
    path = suite_file()
    whole = tuned(path, tmp_path / "one", workers=1)
    assert tuned(path, tmp_path / "four", workers=4) == whole
    calm = engine.execute

    for cut in (1, 5, 8):
        rounds = 0

        def execute(cells, results, cut=cut, **more):
            nonlocal rounds
            rounds += 1
            if rounds == min(cut, 4):
                calm(cells[: len(cells) // 2], results, **more)
                raise KeyboardInterrupt
            return calm(cells, results, **more)

        monkeypatch.setattr(engine, "execute", execute)
        results = tmp_path / f"cut{cut}"
        with pytest.raises(KeyboardInterrupt):
            tuned(path, results)
        before = len(cells_run)
        monkeypatch.setattr(engine, "execute", calm)
        assert tuned(path, results) == whole
        assert len(cells_run) - before < 48, "what was done is done again"
        assert len(list(Store(results).records())) == 48


def test_a_second_call_runs_nothing(suite_file, cells_run, tmp_path):
    first = tuned(suite_file(), tmp_path / "r")
    count = len(cells_run)
    assert tuned(suite_file(), tmp_path / "r") == first
    assert len(cells_run) == count


def test_more_trials_keep_the_quasi_random_ones(suite_file, cells_run, tmp_path):
    few, many = tuned(suite_file(), tmp_path / "r"), tuned(suite_file(), tmp_path / "r", trials=16)
    for one, other in zip(few.studies, many.studies, strict=True):
        assert other.trials[:4] == one.trials[:4]


def test_studies_and_seeds_of_the_sequence_differ_and_narrowing_changes_nothing(suite_file, cells_run, tmp_path):
    path = suite_file()
    whole = tuned(path, tmp_path / "r")
    gd, adamw, sam = ([trial.values["rule.lr"] for trial in study.trials] for study in whole.studies)
    assert adamw[1:4] != sam[1:4]
    other = tuned(suite_file(("  trials: 8", "  trials: 8\n  seed: 1")), tmp_path / "r")
    assert [trial.values["rule.lr"] for trial in other.studies[1].trials[1:4]] != adamw[1:4]
    only = tune(narrowed(load_suite(suite_file()), ["optimizer=adamw"]), tmp_path / "s", trials=8, tell=silent)
    assert only.studies == [whole.studies[1]]


def test_where_the_time_runs_out_all_have_as_many(suite_file, cells_run, tmp_path, stopped_clock, monkeypatch):
    calm = engine.execute

    def execute(cells, results, **more):
        stopped_clock.now += len(cells)  # a second each: six of them make a trial of all studies
        return calm(cells, results, **more)

    monkeypatch.setattr(engine, "execute", execute)
    said = []
    for seconds, expected in ((0.0, 1), (17.0, 1), (18.0, 3), (23.0, 3), (35.0, 4), (48.0, 8)):
        stopped_clock.now = 0.0
        shutil.rmtree(tmp_path / "r", ignore_errors=True)
        found = tune(load_suite(suite_file()), tmp_path / "r", trials=8, tell=said.append, seconds=seconds)
        assert [len(study.trials) for study in found.studies] == [expected] * 3
        assert stopped_clock.now <= max(seconds, 6.0)
    assert "the time is up: all have 1 of 8 trials" in said


def test_cells_that_fail_leave_nothing_behind(suite_file, tmp_path, monkeypatch):
    def execute(cells, results, **more):
        return Summary(total=len(cells), already=0, failed={"some arm seed 1000": ("it broke", NO_LOG)})

    monkeypatch.setattr(engine, "execute", execute)
    with pytest.raises(Unfinished, match="some arm seed 1000: it broke"):
        tuned(suite_file(), tmp_path / "r")


def test_a_damaged_record_is_told_before_anything_else_is_run(suite_file, cells_run, tmp_path):
    found = tuned(suite_file(), tmp_path / "r", trials=2)
    store = Store(tmp_path / "r")
    damaged, missing = found.studies[0].trials[0].keys
    (store.folder(damaged) / "record.json").write_text("{")
    shutil.rmtree(store.folder(missing))
    count = len(cells_run)
    with pytest.raises(UserError, match="damaged record"):
        tuned(suite_file(), tmp_path / "r", trials=2)
    assert (store.folder(damaged) / "record.json").read_text() == "{"
    assert len(cells_run) == count


def test_a_score_that_the_task_does_not_have_is_told_with_those_that_it_has(suite_file, cells_run, tmp_path):
    with pytest.raises(UserError, match="no column 'accuracy' to choose by; allowed: test_loss"):
        tuned(suite_file(("score: test_loss", "score: accuracy")), tmp_path / "r")


def test_nothing_but_the_axes_of_per_has_values_of_its_own(suite_file, cells_run, tmp_path):
    path = suite_file(("  trials: 8", "  trials: 8\n  per: [strategy]"))
    found = tuned(path, tmp_path / "r", trials=2)
    assert [study.where for study in found.studies[:2]] == [
        {"strategy": ["uniform"], "optimizer": ["gd"]},
        {"strategy": ["uniform"], "optimizer": ["adamw"]},
    ]
    assert [len(study.arms) for study in found.studies] == [1] * 6
    path = suite_file(("  trials: 8", "  trials: 8\n  per: []"))
    suite = narrowed(load_suite(path), ["strategy=uniform"])
    (gd, *_) = tune(suite, tmp_path / "r", trials=2, tell=silent).studies
    assert gd.where == {"optimizer": ["gd"]}, "holds for all strategies"
    assert gd.arms == ["linear-attention/icl-regression/uniform/gd"], "says what it was tuned on"


def test_arms_that_differ_are_tried_as_they_are(suite_file, cells_run, tmp_path):
    more = "overrides:\n  - {where: {strategy: uniform}, set: {optimizer: {rule: {lr: 0.02}}}}\n"
    suite = narrowed(load_suite(suite_file(more=more)), ["optimizer=gd"])
    (gd,) = tune(suite, tmp_path / "r", trials=3, tell=silent).studies
    assert gd.trials[0].values == {}
    assert {cell.spec.optimizer.rule.lr for cell in cells_run[:2]} == {0.02, 0.1}


def test_seeds_of_the_suite_and_several_budgets_are_refused(suite_file, cells_run, tmp_path):
    suite = load_suite(suite_file())
    for own in (replace(suite, seeds=[3, 1000]), replace(suite, added=Added(0.1, {"any arm": [1000]}))):
        with pytest.raises(UserError, match="the seed 1000 is one of the suite"):
            tune(own, tmp_path / "r", trials=2, tell=silent)
    several = load_suite(suite_file(("budget: {steps: 4}", "budget: [{steps: 4}, {steps: 8}]")))
    with pytest.raises(UserError, match='--only budget="4 steps" or --only budget="8 steps"'):
        tune(several, tmp_path / "r", trials=2, tell=silent)
    narrow = narrowed(several, ["budget=8 steps"])
    assert len(tune(narrow, tmp_path / "r", trials=2, tell=silent).studies) == 3
    assert {cell.spec.training.steps for cell in cells_run} == {8}
