"""Two runs into one folder at the same time: each cell is run once, and what a killed run had begun is taken over."""

import os
import signal
import subprocess

from processes import is_running, until
from small_runs import command

from optbench.executors.local import execute
from optbench.store import Store
from optbench.suite import load_suite

PATIENT = """
import os, time
from pathlib import Path
import torch
class Waits(torch.optim.SGD):
    was_tried = False
    def step(self, closure=None):
        if not self.was_tried:  # A first step is tried before the first cell.
            self.was_tried = True
            return super().step(closure)
        folder, name = Path(__file__).parent, type(self).__name__
        with open(folder / f"begun-{name}", "a") as file:
            file.write(f"{os.getpid()}\\n")
        while not (folder / f"go-{name}").exists():
            time.sleep(0.05)
        return super().step(closure)
class First(Waits):
    pass
class Second(Waits):
    pass
"""


def test_two_runs_share_the_work_and_one_goes_on_when_the_other_is_killed(suite, own, tmp_path):
    path = suite(own(PATIENT, "First", "Second"))
    path.write_text(path.read_text().replace("steps: 4", "steps: 2"))
    results = tmp_path / "r"
    cells = {cell.arm.optimizer: cell for cell in load_suite(path).cells()}
    names = {cell.key: name for name, cell in cells.items()}
    words = command(path, results, "--only", "optimizer=First,optimizer=Second", "--workers", "1")
    other = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun = {name: tmp_path / f"begun-{name}" for name in ("First", "Second")}

    def has_begun(name):
        """Whether the other run has begun a cell, and the id of its process is written down."""
        assert other.poll() is None, "the other run has ended"
        return begun[name].exists() and begun[name].read_text().endswith("\n")

    until(lambda: has_begun("First"))
    said = []

    def on_event(event):
        said.append((event.kind, names[event.job.key]))
        if said[-1] == ("started", "gd"):
            (tmp_path / "go-First").touch()
            until(lambda: has_begun("Second"))
        elif event.kind == "waiting":
            # A worker that says nothing for hours ends with its run all the same.
            (process,) = begun["Second"].read_text().split()
            other.send_signal(signal.SIGKILL)
            other.wait()
            until(lambda: not is_running(process))
        if event.kind in ("waiting", "started") and event.job.key == cells["Second"].key:
            (tmp_path / "go-Second").touch()

    try:
        summary = execute(list(cells.values()), results, workers=1, threads=1, on_event=on_event)
    finally:
        other.kill()
        other.wait()
    assert [each for each in said if each[0] != "progress"] == [
        ("started", "gd"),
        ("done", "gd"),
        ("shared", "First"),
        ("waiting", "Second"),
        ("started", "Second"),
        ("done", "Second"),
    ]
    assert (summary.complete, summary.already, summary.shared) == (True, 0, 1)
    assert [len(file.read_text().split()) for file in begun.values()] == [1, 2]
    assert {name: Store(results).record(cell.key).outcome for name, cell in cells.items()} == dict.fromkeys(
        cells, "completed"
    )
    assert not (results / "locks").exists()
    assert os.listdir(results) and not list(results.glob("**/.*.tmp"))
