"""A small suite in a working directory, an optimizer beside it, and a world in which training takes no time."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

PLUGIN = (Path(__file__).parent / "plugins" / "signed.py").read_text(encoding="utf-8")
SUITE = """\
name: tiny
question: Which one?
models: [{name: small, kind: nano, family: llama, width: 16, layers: 1, heads: 2, kv_heads: 1}]
tasks: [{preset: arithmetic, kinds: [add1, add2], train: 120, validation: 24, test: 24}]
strategies: [uniform, upsample]
optimizers: [adamw, {preset: muon, rule: {lr: 0.01}}, {name: mine, preset: sam}]
budget: {steps: 6}
training: {batch_size: 16}
seeds: 2
ranked_by: test_nll
execution: {workers: 1, threads: 1}
overrides:
  - {where: {task: arithmetic}, set: {optimizer: {max_norm: 1.0}}}
  - {where: {optimizer: adamw}, set: {optimizer: {rule: {lr: 0.004}}}}
contrasts: [{of: {optimizer: muon}, minus: {optimizer: adamw}, metric: test_nll}]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with suites/tiny.yaml and signed.py."""
    monkeypatch.chdir(tmp_path)
    Path("suites").mkdir()
    Path("suites/tiny.yaml").write_text(SUITE, encoding="utf-8")
    Path("signed.py").write_text(PLUGIN, encoding="utf-8")
    return tmp_path


@pytest.fixture
def request_of(place):
    """A request, with some of it changed."""
    from optbench.challenge.request import Request

    def made(**changes):
        usual = Request(
            target="signed.py:Signed",
            against=["adamw"],
            suite=Path("suites/tiny.yaml"),
            budget=600.0,
            to=Path("results/challenges/signed"),
            results=Path("results/runs"),
            name="",
            command="optbench challenge signed.py:Signed",
        )
        return replace(usual, **changes)

    return made


class World:
    """A clock, and tools that move it: a cell takes `cell` seconds, and its record is made up. The first optimizer is
    better by `gain` nats."""

    def __init__(self, cell=5.0, gain=0.5):
        self.now, self.cell, self.gain = 0.0, cell, gain
        self.estimate = cell
        self.calls = []
        self.findings = []
        self.stop_at = None
        self.ended = ""
        self.contents = []
        self.told = []

    def clock(self):
        return self.now

    def tools(self):
        from optbench.challenge.tools import Tools

        return Tools(
            check=lambda: None,
            examine=self.examine,
            prices=self.prices,
            tune=self.tune,
            resolve=self.resolve,
            look=self.look,
            profile=self.profile,
            write_page=self.write_page,
            latex_row=lambda content: "row \\\\\n",
        )

    def run(self, request):
        from optbench.challenge.reading import read
        from optbench.challenge.stages import run

        return run(read(request), self.tools(), tell=self.told.append, clock=self.clock)

    def examine(self, spec):
        self.calls.append("examine")
        self.now += 2.0
        return self.findings

    def prices(self, suite, store, *, budget, workers, panels, seeds):
        from optbench.challenge.budget import Prices

        each = len(suite.arms) * self.estimate
        return Prices(cells=each, seed=each, panels=2 * each, startup=3.0, page=8.0)

    def tune(self, suite, results, *, trials, workers, tell, seconds):
        from optbench.tuning.record import Study, Trial, Tuned
        from optbench.tuning.study import studies_of

        self.calls.append(("tune", trials))
        start, done = self.now, 0
        while done < trials and (done == 0 or self.now - start + self.cell * len(suite.arms) <= seconds):
            self._pass(len(suite.arms) if (suite.name, done) not in self.calls else 0)
            self.calls.append((suite.name, done))
            done += 1
        studies = [
            Study(
                optimizer=own.optimizer,
                where=dict(own.where),
                arms=[arm.name for arm in own.arms],
                space=dict(own.space),
                declared_by=own.declared_by,
                trials=[
                    Trial(
                        values=own.incumbent,
                        sampler="suite",
                        score=1.0 + place,
                        outcomes={"completed": 1},
                        keys=["0" * 16],
                        seconds=self.cell * len(own.arms),
                    )
                    for place in range(done)
                ],
                best=0,
            )
            for own in studies_of(suite)
        ]
        return Tuned(suite=suite.name, score="test_nll", direction="lower", seeds=[1000], seed=0, studies=studies)

    def resolve(self, suite, results, *, margin, seconds, workers, tell, cell_seconds):
        from optbench.added import Added
        from optbench.reports.contrasts import contrasts_of
        from optbench.reports.frame import cells_table
        from optbench.reports.verdicts import judged
        from optbench.sequential.engine import Resolved
        from optbench.store import Store

        self.calls.append("resolve")
        if self.ended in ("interrupted", "failed"):
            failed = {"a cell": ("it died", Path("a.log"))}
            return Resolved(
                suite=suite, contrasts=[], looks=0, ended=self.ended, sentences=[], margin=margin, failed=failed
            )
        store, deadline, number = Store(results), self.now + seconds, 0
        seeds = list(suite.seeds)
        while number < 12:
            seed = seeds[number] if number < len(seeds) else seeds[-1] + number - len(seeds) + 1
            alone = replace(suite, seeds=[seed])
            owed = [cell for cell in alone.cells() if not store.has(cell.key)]
            if self.now + self.cell * len(owed) > deadline:
                break
            for cell in owed:
                self._pass(1)
                self._record(store, cell)
            number += 1
        more = [seeds[-1] + step for step in range(1, max(0, number - len(seeds)) + 1)]
        whole = replace(suite, added=Added(margin, {arm.name: more for arm in suite.arms}))
        found = judged(whole, contrasts_of(whole, store, cells_table(whole, store)), margin)
        last = ["The end.", *(f"{own.name}: open" for own in found if own.verdict == "unresolved")]
        return Resolved(
            suite=whole,
            contrasts=found,
            looks=1,
            ended="budget",
            sentences=["Foresight.", *last],
            margin=margin,
            foresight=["Foresight."],
        )

    def look(self, suite, panels, results, *, seeds, workers, left, cell_seconds):
        from optbench.challenge.panels import Looked

        self.calls.append("look")
        done = 0
        while done < len(seeds) * len(suite.arms) and left() > cell_seconds:
            self._pass(3)
            done += 1
        return Looked(done, len(seeds) * len(suite.arms))

    def profile(self, suite, store, order, *, seconds, tell):
        from optbench.challenge.cost import rounds_and_steps
        from optbench.profiling.rows import Profile, Row

        self.calls.append("profile")
        rounds_and_steps(seconds, 0.01, len(order))
        self.now += max(0.0, seconds)
        return Profile({"device_name": "a device"}, [Row("small", name, ratio=1.5) for name in order])

    def write_page(self, content, folder):
        self.contents.append(content)
        self.now += 4.0
        (folder / "index.html").write_text("the page", encoding="utf-8")
        return folder / "index.html"

    def _pass(self, cells):
        for _ in range(cells):
            self.now += self.cell
            if self.stop_at is not None and self.now >= self.stop_at:
                self.stop_at = None
                raise KeyboardInterrupt

    def _record(self, store, cell):
        from optbench.store import Record

        ours = cell.arm.optimizer == "Signed"
        noise = 0.01 * math.sin(37.0 * cell.seed + len(cell.arm.name))
        record = Record(
            key=cell.key,
            cell=cell.spec.dump(),
            outcome="completed",
            result={"test_nll": 2.0 + noise - (self.gain if ours else 0.0)},
            plan={},
            optimizer={},
            measured={"total_seconds": self.cell},
        )
        store.write(record, lambda folder: None)


@pytest.fixture
def world(place):
    return World()
