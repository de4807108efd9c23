"""A finished challenge of real records: muon against adamw and sam, from the reference records of 13 seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from profiling.profiles import row

from optbench.archive import open_store
from optbench.challenge.content import Content
from optbench.conformance.finding import Finding
from optbench.profiling.rows import Profile
from optbench.reports.contrasts import contrasts_of
from optbench.reports.frame import cells_table
from optbench.reports.leaderboard import report_of
from optbench.reports.sequential import half_width_anytime
from optbench.reports.verdicts import Judged
from optbench.store import Store
from optbench.suite import Suite, load_suite
from optbench.tuning.record import Study, Trial, Tuned

ROOT = Path(__file__).resolve().parent.parent.parent
SEEDS = tuple(range(1, 14))
NAMES = ("muon", "adamw", "sam")
MARGIN = 0.02
HEAD = """\
name: challenge
question: Is muon better than adamw and sam?
models: [{models}]
tasks: [arithmetic]
strategies: [uniform]
optimizers: [adamw, muon, sam]
budget: {{steps: 300}}
training: {{batch_size: 64, schedule: {{kind: cosine, warmup: 0.05}}, precision: float32}}
seeds: {seeds}
execution: {{workers: 2, threads: 1}}
overrides:
  - {{where: {{optimizer: adamw}}, set: {{optimizer: {{rule: {{lr: {adamw}}}}}}}}}
  - {{where: {{optimizer: muon}}, set: {{optimizer: {{rule: {muon}}}}}}}
  - {{where: {{optimizer: sam}}, set: {{optimizer: {{rule: {{lr: 0.004}}, estimator: {{rho: 0.02}}}}}}}}
contrasts:
"""
CONTRAST = (
    "  - {{name: {of} minus {minus}{more}, of: {{optimizer: {of}}}, minus: {{optimizer: {minus}}}, metric: {metric}}}\n"
)


def suite_of(
    folder: Path,
    models: str = "llama-nano",
    seeds: Sequence[int] = SEEDS,
    contrasts: Sequence[tuple[str, str, str]] = (("muon", "adamw", "accuracy"), ("muon", "sam", "accuracy")),
    panels: str = "",
) -> Suite:
    """The suite of the reference records, as far as it goes: of `quick_seeds`, or with panels of `quick`."""
    values = {"adamw": 0.005497, "muon": "{lr: 0.01489, adamw_lr: 0.01723}"}
    if not panels:
        values = {"adamw": 0.004, "muon": "{lr: 0.01, adamw_lr: 0.012}"}
    text = HEAD.format(models=models, seeds=list(seeds), **values)
    text += "".join(
        CONTRAST.format(of=of, minus=minus, metric=metric, more="" if metric == "accuracy" else f" in {metric}")
        for of, minus, metric in contrasts
    )
    text += f"panels: [{panels}]\n" if panels else ""
    path = folder / "challenge.yaml"
    path.write_text(text, encoding="utf-8")
    return load_suite(path)


@cache
def records(name: str = "quick_seeds") -> Store:
    """Reference records, opened once: `quick_seeds` of 13 seeds, `quick` of seed 0 with panels."""
    return open_store(ROOT / "results" / "reference" / name / "records.zip")


def judged_of(suite: Suite, store: Store, margin: float = MARGIN) -> list[Judged]:
    """The verdicts by the rule that docs of verdicts state, written down here a second time."""
    found = []
    table = contrasts_of(suite, store, cells_table(suite, store))
    for each in table.to_dict("records"):
        half = float(half_width_anytime(each["sd"], each["n"], level=0.05 / len(table)))
        low, high = each["estimate"] - half, each["estimate"] + half
        up, down = ("worse", "better") if each["metric"] == "test_nll" else ("better", "worse")
        within = -margin <= low and high <= margin
        verdict = "no difference beyond the margin" if within else up if low > 0 else down if high < 0 else "unresolved"
        sentence = f"{each['name']}: {verdict} (n = {each['n']})."
        numbers = (each["estimate"], low, high, each["n"], margin)
        found.append(Judged(each["name"], each["metric"], *numbers, verdict, sentence))
    return found


def trial(score: float | None, sampler: str = "quasi-random", outcome: str = "completed", **values: float) -> Trial:
    """One trial of one cell."""
    return Trial(
        values={f"rule.{name}": value for name, value in values.items()},
        sampler=sampler,
        score=score,
        outcomes={outcome: 1},
        keys=["0" * 16],
        seconds=20.0,
    )


def study(optimizer: str, best: int, trials: Sequence[Trial], **more: Any) -> Study:
    """A study of one rate between 0.001 and 0.1."""
    space = {"rule.lr": {"low": 0.001, "high": 0.1, "log": True}}
    return Study(
        optimizer=optimizer,
        where={"optimizer": [optimizer]},
        arms=[f"llama-nano/arithmetic/uniform/{optimizer}"],
        space=space,
        declared_by="rule",
        trials=list(trials),
        best=best,
        **more,
    )


def tuned_of() -> Tuned:
    """Four trials of each optimizer: one of muon diverged, and sam is best at the lower end of its range."""
    return Tuned(
        suite="challenge",
        score="test_nll",
        direction="lower",
        seeds=[1001],
        seed=7,
        studies=[
            study(
                "muon",
                1,
                [
                    trial(0.8125, "suite", lr=0.02),
                    trial(0.7031, lr=0.01),
                    trial(None, outcome="diverged", lr=0.09),
                    trial(0.9, lr=0.002),
                ],
                importance={"rule.lr": 1.0},
            ),
            study("adamw", 0, [trial(0.75, "suite", lr=0.004), *(trial(0.8 + lr, lr=lr) for lr in (0.01, 0.02, 0.03))]),
            study(
                "sam",
                3,
                [trial(0.9, "suite", lr=0.004), *(trial(0.9 + lr, lr=lr) for lr in (0.03, 0.02)), trial(0.7, lr=0.001)],
            ),
        ],
    )


def profile_of(model: str = "llama-nano") -> Profile:
    """What the profiler might have found."""
    rows = [
        row(model, "adamw", timed_steps=60, step_seconds=0.0312, state_bytes=800_000.0),
        row(model, "muon", timed_steps=60, ratio=1.31, ratio_low=1.27, ratio_high=1.36, state_bytes=400_000.0),
        row(model, "sam", timed_steps=30, ratio=2.04, ratio_low=1.98, ratio_high=2.11, memory_peak=9e9),
    ]
    conditions = {
        "device": "cpu",
        "device_name": "A processor",
        "threads": 1,
        "usable_bytes": 16e9,
        "precision": "float32",
        "tokens": 800,
        "batch": 64,
        "length": 13,
        "positions": 300,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    }
    return Profile(conditions, rows)


FINDINGS = (
    Finding("state is saved and loaded", True, True, "20 steps, saved and loaded: the same bits."),
    Finding("follows the rate", True, True, "At a rate of 0 nothing moved."),
    Finding("updates every role", False, False, "hidden by muon; embedding, head and vector by adamw."),
)
SPENT = {"conformance": 12.0, "tuning": 1200.0, "seeds": 4300.0, "profile": 95.0}


def content_of(folder: Path, suite: Suite | None = None, store: Store | None = None, **changes: Any) -> Content:
    """The finished challenge; `changes` are other fields."""
    suite = suite_of(folder) if suite is None else suite
    store = records() if store is None else store
    tuned = tuned_of()
    files: Mapping[str, Path] = {
        "records, as a bundle": folder / "out" / "challenge.zip",
        "LaTeX row": folder / "out" / "row.tex",
        "suite": folder / "challenge.yaml",
    }
    made = Content(
        name="muon",
        source="class Muon:\n\tdef step(self):\n        return 1 < 2 and 3 > 2\n",
        against=("adamw", "sam"),
        suite=replace(suite, tuned=tuned),
        store=store,
        report=report_of(suite, store),
        tuned=tuned,
        contrasts=judged_of(suite, store),
        findings=FINDINGS,
        profiles=(profile_of(),),
        margin=MARGIN,
        budget_seconds=7200.0,
        spent=SPENT,
        plan=("13 seeds resolve 1.9 points against adamw with a chance of 80%.",),
        limits=("The learning rate of sam is at the lower edge of what was searched.",),
        command="optbench challenge muon --against adamw,sam --suite quick --budget 2h",
        files=files,
        margins=(MARGIN,),
        starts=("Started with what earlier, recorded trials of the suite chose: adamw (12 trials).",),
    )
    return replace(made, **changes)
