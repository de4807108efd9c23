"""A small suite, and what is known of a command that ran it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from offline_runs import runs_in
from processes import is_running

from optbench.store import Store
from optbench.suite import load_suite

STEPS = 40
"""Rows are sent after 16 and 32 steps; the first are logged while the cell trains, the last when it has ended."""
SUITE = f"""
name: small
question: Which one?
models: [{{name: tiny, preset: llama-nano, width: 16, layers: 1, heads: 2, kv_heads: 1}}]
tasks: [{{name: sums, preset: arithmetic, train: 120, validation: 12, test: 24, kinds: [add1]}}]
strategies: [uniform]
optimizers: [adamw, {{name: fsam, estimator: {{kind: sharpness_aware, functional: true}}, rule: {{kind: adamw}}}}]
budget: {{steps: {STEPS}}}
training: {{batch_size: 8}}
contrasts: [{{of: {{optimizer: fsam}}, minus: {{optimizer: adamw}}}}]
"""
PLANTED = {
    "USER": "planted-user",
    "LOGNAME": "planted-user",
    "HOSTNAME": "planted-host",
    "SOME_SECRET": "planted-secret",
    "WANDB_API_KEY": "planted0" * 5,
    "HTTPS_PROXY": "http://planted-proxy:9",
}


@dataclass(frozen=True)
class Case:
    """A run of the suite: its file, the folder of records, the home it ran with, and what the command printed."""

    suite: Path
    results: Path
    home: Path
    code: int
    out: str
    err: str

    @property
    def store(self):
        return Store(self.results)

    def cells(self):
        return {cell.arm.optimizer: cell for cell in load_suite(self.suite).cells()}

    def runs(self):
        return runs_in(self.results)


def environment(home, **more):
    """The environment without anything that W&B would read."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {**kept, "HOME": str(home), **more}


def command(*words):
    return [sys.executable, "-m", "optbench", *map(str, words)]


def orphans(home):
    """Services of wandb that commands with this home have started and whose parents are gone, by their process ids;
    those of other tests, which run at the same time, are no concern of this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            variables = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.endswith(b"wandb-core") for word in words) and f"HOME={home}".encode() in variables:
            if b"--pid" in words and not is_running(words[words.index(b"--pid") + 1].decode()):
                found.append(path.name)
    return found
