"""A bench without training: cells take the time they are told, and differences come from a generator."""

import itertools
import math
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from optbench.executors.events import NO_LOG, Summary
from optbench.reports.inference import ROUNDING
from optbench.reports.sequential import half_width_anytime, joint_level
from optbench.reports.verdicts import Judged
from optbench.sequential.bench import Seen
from optbench.sequential.journal import Entries


@dataclass(frozen=True)
class Arm:
    name: str
    content: str = ""

    def axes(self):
        return {"model": "m", "task": "t", "strategy": "s", "optimizer": self.name, "budget": "1 steps"}


@dataclass(frozen=True)
class Cell:
    arm: Arm
    seed: int

    @property
    def key(self):
        return f"{self.arm.content or self.arm.name} {self.seed}"


@dataclass(frozen=True)
class Contrast:
    of: dict
    minus: dict
    metric: str = "accuracy"

    @property
    def name(self):
        return f"{self.of['optimizer']} minus {self.minus['optimizer']}"


@dataclass(frozen=True)
class Suite:
    arms: list
    contrasts: list
    seeds: list
    added: object = None
    name: str = "toy"
    path: Path = Path("toy.yaml")
    tuning: object = field(default_factory=lambda: SimpleNamespace(seeds=[1000]))

    @property
    def family(self):
        return len(self.contrasts)

    def panels_of_added(self):
        return []

    def cells(self):
        found = [Cell(arm, seed) for arm, seed in itertools.product(self.arms, self.seeds)]
        for arm in self.arms:
            found += [Cell(arm, seed) for seed in (self.added.seeds.get(arm.name, ()) if self.added else ())]
        return found


def suite(*others, seeds=3, base="adamw", **more):
    """Everything is compared with `base`."""
    contrasts = [Contrast({"optimizer": name}, {"optimizer": base}) for name in others]
    return Suite([Arm(base), *(Arm(name) for name in others)], contrasts, list(range(seeds)), **more)


@dataclass
class MemoryJournal:
    """As `Journal`, without a file."""

    entries: Entries | None = None

    def read(self):
        return self.entries

    def add(self, margin, seeds):
        there = Entries([], {}) if self.entries is None else self.entries
        self.entries = there.joined(Entries([margin], seeds))
        return self.entries.added


@dataclass
class Bench:
    """`effect` and `spread` by arm: a cell's value is its arm's effect plus its own noise. Verdicts are those of the
    real rule, in numbers alone."""

    effect: dict
    spread: dict
    takes: dict = field(default_factory=dict)
    workers: int = 1
    seed: int = 0
    clock: float = 0.0
    values: dict = field(default_factory=dict)
    rounds: list = field(default_factory=list)
    planned_factor: float = 1.0
    on_run: object = None

    def now(self):
        return self.clock

    def left(self, of):
        runs = {cell.key: cell for cell in of.cells()}
        return [cell for cell in runs.values() if cell.key not in self.values]

    def length(self, arm):
        return self.takes.get(arm.content or arm.name, 60.0)

    def planned(self, of, cells):
        return self.planned_factor * math.fsum(self.length(cell.arm) for cell in cells) / self.workers

    def run(self, cells, may_begin):
        begun, free, start = [], [0.0] * self.workers, self.clock
        for cell in sorted(cells, key=lambda cell: -self.length(cell.arm)):
            place = free.index(min(free))
            self.clock = start + free[place]
            if not may_begin():
                break
            free[place] += self.length(cell.arm)
            begun.append(cell)
        self.clock = start + max(free)
        self.rounds.append(begun)
        failed = {}
        for cell in begun:
            name = cell.arm.content or cell.arm.name
            digits = int.from_bytes(sha256(f"{self.seed} {name} {cell.seed}".encode()).digest()[:8])
            noise = np.random.default_rng(digits).standard_normal()
            self.values[cell.key] = self.effect.get(name, 0.0) + self.spread.get(name, 0.05) * noise
            if self.on_run is not None:
                reason = self.on_run(cell)
                if reason:
                    failed[cell.key] = (reason, NO_LOG)
        return Summary(len(cells), 0, failed=failed)

    def seconds(self, of):
        return {cell.arm.name: self.length(cell.arm) for cell in of.cells() if cell.key in self.values}

    def look(self, of):
        level = joint_level(len(of.contrasts))
        cells = {(cell.arm.name, cell.seed): cell.key for cell in of.cells()}
        seeds = sorted({seed for _, seed in cells})
        found = []
        for contrast in of.contrasts:
            sides = [side["optimizer"] for side in (contrast.of, contrast.minus)]
            by_seed = []
            for seed in seeds:
                pair = [self.values.get(cells.get((name, seed))) for name in sides]
                if None not in pair:
                    by_seed.append(pair[0] - pair[1])
            found.append(seen(contrast, by_seed, of.added.margin, level))
        return found


def seen(contrast, numbers, margin, level):
    n = len(numbers)
    mean = float(np.mean(numbers)) if n else math.nan
    sd = float(np.std(numbers, ddof=1)) if n > 1 else math.nan
    sd = math.nan if sd <= ROUNDING else sd
    width = float(half_width_anytime(sd, n, level=level)) if n > 1 else math.inf
    low, high = (mean - width, mean + width) if n else (-math.inf, math.inf)
    verdict = "unresolved"
    if low > 0 or high < 0:
        verdict = "better" if low > 0 else "worse"
    elif -margin <= low and high <= margin:
        verdict = "no difference beyond the margin"
    return Seen(Judged(contrast.name, contrast.metric, mean, low, high, n, margin, verdict, ""), sd)


def same_runs(given, **contents):
    """The suite with some arms of the same content."""
    return replace(given, arms=[Arm(arm.name, contents.get(arm.name, "")) for arm in given.arms])
