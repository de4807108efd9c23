"""Cells on Ray: the records of the local executor, whether the machines share the results folder or not."""

from pathlib import Path

import pytest
from small_runs import UPSAMPLE, contents

import optbench.commands.run as command
from optbench.errors import UserError
from optbench.executors import cluster
from optbench.executors.jobs import jobs_for
from optbench.executors.parcels import inputs_of, results_of, unpack
from optbench.runner import run_cell
from optbench.store import Store
from optbench.suite import load_suite

KILLS = """
import os, signal
from pathlib import Path
import torch
class Kills(torch.optim.SGD):
    def step(self, closure=None):
        once = Path(__file__).with_name("killed")
        if not once.exists():
            once.touch()
            os.kill(os.getppid(), signal.SIGKILL)  # The actor, whose process this is.
        return super().step(closure)
"""


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine, for as long as the tests of this file take."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        # It ends no worker because other processes fill the memory or keep the processors busy.
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")
        patch.setenv("RAY_worker_register_timeout_seconds", "600")
        with cluster._connected("", 2):
            yield


def reference(suite, root):
    """The records as this process makes them."""
    for cell in suite.cells():
        run_cell(cell.spec, Store(root), cell.panels)
    return contents(root)


@pytest.mark.filterwarnings("ignore")  # Ray's own.
def test_records_and_probes_travel_where_the_folder_is_not_shared_and_a_dead_actor_costs_nothing(
    ray, suite, own, tmp_path, monkeypatch
):
    class Unseen(cluster.Locks):
        def take(self, key):
            return True

    monkeypatch.setattr(cluster, "Locks", Unseen)
    loaded = load_suite(suite(own(KILLS, "Kills"), strategies=UPSAMPLE, more="panels: [eigen_directions]\n"))
    (tmp_path / "killed").touch()
    expected = reference(loaded, tmp_path / "here")
    (tmp_path / "killed").unlink()
    events = []
    results = tmp_path / "there"
    summary = cluster.execute(loaded.cells(), results, workers=2, threads=1, on_event=events.append)
    assert summary.complete, summary.failed
    assert contents(results) == expected
    (again,) = [event for event in events if event.kind == "retried"]
    assert "Kills" in again.job.name and "the worker of the cluster died" in again.reason
    kinds = [event.job.kind for event in events if event.kind == "started"]
    assert kinds[0] == "probe" and kinds.count("probe") == 1
    assert any(event.kind == "progress" for event in events)
    assert all(Store(results).record(cell.key).measured["contended"] for cell in loaded.cells())
    assert not list(results.glob("**/.*.tmp")) and not (results / "locks").exists()


@pytest.mark.filterwarnings("ignore")
def test_workers_write_where_the_folder_is_shared(ray, suite, tmp_path, monkeypatch, capfd):
    loaded = load_suite(suite())
    monkeypatch.setattr(cluster, "unpack", lambda *given: pytest.fail("nothing has to travel"))
    monkeypatch.setattr(cluster, "inputs_of", lambda *given: pytest.fail("nothing has to travel"))
    summary = cluster.execute(loaded.cells(), tmp_path / "there", workers=1, threads=1)
    assert summary.complete, summary.failed
    assert contents(tmp_path / "there") == reference(loaded, tmp_path / "here")
    assert not (tmp_path / "there" / "locks").exists()
    assert capfd.readouterr().out == ""


def test_a_worker_that_no_machine_has_room_for_is_refused(ray, suite, tmp_path):
    with pytest.raises(UserError, match=r"a worker takes 999 CPUs .* the machines of the cluster have 2$"):
        cluster.execute(load_suite(suite()).cells(), tmp_path, threads=999)


def test_what_a_job_needs_goes_there_and_what_is_new_comes_back(suite, tmp_path):
    loaded = load_suite(suite(strategies=UPSAMPLE))
    here, there = Store(tmp_path / "here"), tmp_path / "there"
    for cell in loaded.cells():
        run_cell(cell.spec, here)
    with_panels = load_suite(suite(strategies=UPSAMPLE, more="panels: [eigen_directions]\n"))
    upsampled = next(cell for cell in with_panels.cells() if cell.arm.strategy == "upsample")
    (job,) = [job for job in jobs_for(with_panels.cells(), here) if job.key == upsampled.key]
    sent = inputs_of(job, here)
    assert [Path(place).parts[0] for place in sent] == ["probes", job.key[:2]]
    unpack(sent, there)
    assert results_of(there, sent) == {}
    run_cell(upsampled.spec, Store(there), upsampled.panels)
    (place,) = back = results_of(there, sent)
    assert place.startswith(f"{job.key[:2]}/{job.key}/panels/")
    unpack(back, here.root)
    assert upsampled.is_done(here)
    assert here.panel(upsampled.key, Path(place).name)["cell"] == upsampled.key


def test_what_is_there_already_stays(tmp_path):
    parcel = {"ab/abcd": {"a/b.txt": b"one"}}
    unpack(parcel, tmp_path)
    unpack({"ab/abcd": {"a/b.txt": b"other"}}, tmp_path)
    assert (tmp_path / "ab" / "abcd" / "a" / "b.txt").read_bytes() == b"one"


PORT = ({"executor": "ray", "address": "127.0.0.1:1"}, "--address 127.0.0.1:1: no Ray cluster can be reached there (")
REFUSED = {
    "nobody there": PORT,
    "no port": ({"executor": "ray", "address": "head"}, "--address head: give host:port of the head, or auto"),
    "address": ({"address": "auto"}, "--address auto: is for --executor ray"),
    "client": ({"executor": "ray", "address": "ray://x:1"}, "--address ray://x:1: give host:port of the head, or auto"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused(case, suite, tmp_path, monkeypatch):
    if "executor" in REFUSED[case][0]:
        pytest.importorskip("ray")
    given, words = REFUSED[case]
    monkeypatch.setattr(cluster, "_start", lambda *given: pytest.fail("no cluster is started"))
    with pytest.raises(UserError) as said:
        command.run(load_suite(suite()), tmp_path / "r", **given)
    assert str(said.value).startswith(words)
    assert not (tmp_path / "r").exists()


def test_without_ray_the_extra_is_named(suite, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "optbench\[ray\]"'):
        command.run(load_suite(suite()), tmp_path / "r", executor="ray")
    assert not (tmp_path / "r").exists()
