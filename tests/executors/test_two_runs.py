"""Two runs into one folder at the same time: each cell is run once, and what a killed run had begun is taken over."""

import os
import signal
import subprocess
import time
from pathlib import Path

from small_runs import command

from optbench.executors.local import execute
from optbench.store import Store
from optbench.suite import load_suite

PATIENT = """
import os, time
from pathlib import Path
import torch
class Waits(torch.optim.SGD):
    def step(self, closure=None):
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


def until(true, process=None):
    """Waits; a deadline only keeps a failure from hanging."""
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline and (process is None or process.poll() is None), "it never came"
        time.sleep(0.05)


def is_alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_runs_share_the_work_and_one_goes_on_when_the_other_is_killed(suite, own, tmp_path):
    path = suite(own(PATIENT, "First", "Second"))
    path.write_text(path.read_text().replace("steps: 4", "steps: 1"))
    results = tmp_path / "r"
    cells = {cell.arm.optimizer: cell for cell in load_suite(path).cells()}
    names = {cell.key: name for name, cell in cells.items()}
    words = command(path, results, "--only", "optimizer=First,optimizer=Second", "--workers", "1")
    other = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun = {name: tmp_path / f"begun-{name}" for name in ("First", "Second")}
    until(begun["First"].exists, other)
    said = []

    def on_event(event):
        said.append((event.kind, names[event.job.key]))
        if said[-1] == ("started", "gd"):
            (tmp_path / "go-First").touch()
            until(begun["Second"].exists, other)
        elif event.kind == "waiting":
            # A worker that says nothing for hours ends with its run all the same.
            (process,) = begun["Second"].read_text().split()
            other.send_signal(signal.SIGKILL)
            other.wait()
            until(lambda: not is_alive(process))
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
