"""Jobs to workers, with a pool that does as it is told."""

import pytest

from optbench.executors import dispatch, logs
from optbench.executors.attempts import death
from optbench.executors.dispatch import Worker, _Dispatch
from optbench.executors.events import NO_LOG, Summary
from optbench.executors.jobs import Job
from optbench.executors.locks import Locks
from optbench.store import Store

DONE = {"event": "done", "outcome": "completed"}
MEMORY = {"event": "memory", "reason": "out of memory"}


class Pool:
    """Workers on these devices. Each job ends with the next of its messages in `script`, by default as done; the jobs
    in `slow` end only when nothing else is running."""

    def __init__(self, devices, script=(), slow=(), deaths=1):
        self.workers = [Worker(device, ready=True) for device in devices]
        self.script, self.slow, self.deaths, self.lost = dict(script), slow, deaths, ""
        self.given, self.timeouts = [], []

    def give(self, worker, job, *, contended, last, tracked):
        beside = sorted(w.attempt.job.name for w in self.workers if w.attempt is not None and w is not worker)
        self.given.append((job.name, worker.device, last, beside))

    def messages(self, timeout):
        self.timeouts.append(timeout)
        running = [worker for worker in self.workers if worker.attempt is not None]
        if not running:
            assert timeout is not None, "the run would wait for ever"
            return []
        fast = [worker for worker in running if worker.attempt.job.name not in self.slow]
        worker = (fast or running)[0]
        messages = self.script.get(worker.attempt.job.name, [])
        return [(worker, messages.pop(0) if messages else DONE)]

    def close(self):
        pass


def cells(*names, after=()):
    return [Job("cell", f"key-{name}", name, {}, 1, after=after) for name in names]


def run(pool, given, root, locks=None, on_event=lambda event: None):
    """What was given to whom, what was said, and what became of it."""
    events, summary = [], Summary(total=len(given), already=0)

    def seen(event):
        events.append(event)
        on_event(event)

    locks = locks or Locks(root)
    _Dispatch(pool, given, Store(root), locks, summary, seen, {}).run()
    locks.close()
    return events, summary


def of_kind(events, kind):
    return [event.job.name for event in events if event.kind == kind]


def test_out_of_memory_is_tried_once_on_another_gpu(tmp_path):
    pool = Pool(["cuda:0", "cuda:1"], {"a": [MEMORY]}, slow=["b"])
    events, summary = run(pool, cells("a", "b"), tmp_path)
    assert [given[:3] for given in pool.given] == [
        ("a", "cuda:0", False),
        ("b", "cuda:1", False),
        ("a", "cuda:1", True),
    ]
    assert [(e.job.name, e.reason) for e in events if e.kind == "retried"] == [
        ("a", "out of memory; again on another device")
    ]
    assert summary.outcomes == {"completed": 2}


def test_on_the_only_device_it_is_tried_alone_after_everything_else(tmp_path):
    pool = Pool(["cpu", "cpu"], {"a": [MEMORY], "b": [MEMORY]}, slow=["d"])
    _, summary = run(pool, cells("a", "b", "c", "d", "e"), tmp_path)
    again = [given for given in pool.given if given[2]]
    assert again == [("a", "cpu", True, []), ("b", "cpu", True, [])]
    assert pool.given[-2:] == again
    assert summary.outcomes == {"completed": 5}


def test_one_worker_records_it_at_once(tmp_path):
    pool = Pool(["cuda:0"], {"a": [{"event": "done", "outcome": "out_of_memory"}]})
    _, summary = run(pool, cells("a"), tmp_path)
    assert [given[2] for given in pool.given] == [True]
    assert summary.outcomes == {"out_of_memory": 1}


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_worker_that_dies_costs_so_many_more_tries_and_then_the_cell(tmp_path, deaths):
    pool = Pool(["cpu"], {"a": [death(-11)] * 10}, deaths=deaths)
    events, summary = run(pool, cells("a", "b"), tmp_path)
    assert [name for name, *_ in pool.given].count("a") == 1 + deaths
    assert of_kind(events, "retried") == ["a"] * deaths
    reason, log = summary.failed["a"]
    assert reason == f"the worker process died (exit code -11: SIGSEGV), {deaths + 1} times"
    assert reason in log.read_text()
    assert summary.outcomes == {"completed": 1}
    assert not summary.complete


def test_a_worker_that_was_killed_beside_others_may_have_lacked_memory(tmp_path):
    pool = Pool(["cpu", "cpu"], {"a": [death(-9)]}, slow=["b"])
    _, summary = run(pool, cells("a", "b"), tmp_path)
    assert pool.given[-1][0] == "a" and pool.given[-1][3] == []
    assert summary.complete


def test_out_of_memory_and_deaths_together_end(tmp_path):
    pool = Pool(["cuda:0", "cuda:1"], {"a": [MEMORY, death(-9), MEMORY, death(-9), MEMORY] * 4})
    events, summary = run(pool, cells("a"), tmp_path)
    assert len(of_kind(events, "retried")) < 5
    assert len(of_kind(events, "failed") + of_kind(events, "done")) == 1


def test_a_crash_of_the_code_is_not_tried_again(tmp_path):
    failed = {"event": "failed", "reason": "ZeroDivisionError", "trace": "the whole story"}
    pool = Pool(["cpu"], {"a": [failed]})
    events, summary = run(pool, cells("a"), tmp_path)
    assert not of_kind(events, "retried")
    assert "the whole story" in summary.failed["a"][1].read_text()


def test_probes_go_first_and_a_failed_one_lets_its_cells_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "is_done", lambda job, store: False)
    probe = Job("probe", "key-p", "p", {}, 0)
    pool = Pool(["cpu", "cpu"], {"p": [{"event": "failed", "reason": "diverged"}]}, slow=["p"])
    events, summary = run(pool, [probe, *cells("a", after=("key-p",)), *cells("b")], tmp_path)
    assert [name for name, *_ in pool.given] == ["p", "b", "a"]
    assert of_kind(events, "failed") == ["p"]
    assert summary.complete


def test_without_workers_all_that_waits_fails_with_the_reason(tmp_path):
    class Dying(Pool):
        def messages(self, timeout):
            self.workers, self.lost = [], "no worker could start"
            return []

    pool = Dying(["cpu"])
    pool.workers[0].ready = False
    events, summary = run(pool, cells("a", "b"), tmp_path)
    assert [reason for reason, _ in summary.failed.values()] == ["no worker could start"] * 2
    assert of_kind(events, "failed") == ["a", "b"]


def test_what_another_run_has_begun_is_waited_for_and_counted_as_its(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(dispatch, "is_done", lambda job, store: job.key in done)
    monkeypatch.setattr(dispatch, "outcome_of", lambda job, store: "diverged")
    other, done = Locks(tmp_path), set()
    assert other.take("key-a")

    def finish(event):
        if event.kind == "waiting":
            done.add("key-a")
            other.release("key-a")

    pool = Pool(["cpu"])
    events, summary = run(pool, cells("a", "b"), tmp_path, on_event=finish)
    assert [name for name, *_ in pool.given] == ["b"]
    assert [(e.job.name, e.total) for e in events if e.kind == "waiting"] == [("a", 1)]
    assert of_kind(events, "shared") == ["a"]
    assert (summary.shared, summary.outcomes) == (1, {"completed": 1, "diverged": 1})
    assert pool.timeouts[0] is not None


def test_what_another_run_gave_up_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.01)
    other = Locks(tmp_path)
    assert other.take("key-a")
    pool = Pool(["cpu"])
    events, summary = run(
        pool, cells("a", "b"), tmp_path, on_event=lambda e: other.release("key-a") if e.kind == "waiting" else None
    )
    assert [name for name, *_ in pool.given] == ["b", "a"]
    assert summary.shared == 0


def test_a_job_stays_locked_between_two_attempts_and_until_it_has_ended(tmp_path):
    other, held = Locks(tmp_path), []

    def look(event):
        if event.kind in ("retried", "done") and event.job.name == "a":
            held.append((event.kind, other.take("key-a")))

    pool = Pool(["cpu", "cpu"], {"a": [MEMORY]}, slow=["b"])
    run(pool, cells("a", "b"), tmp_path, on_event=look)
    assert held == [("retried", False), ("done", True)]


def test_what_is_done_since_the_jobs_were_made_is_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(dispatch, "is_done", lambda job, store: job.name == "a")
    monkeypatch.setattr(dispatch, "outcome_of", lambda job, store: "completed")
    pool = Pool(["cpu"])
    _, summary = run(pool, cells("a", "b"), tmp_path)
    assert [name for name, *_ in pool.given] == ["b"]
    assert summary.shared == 1


def test_a_run_with_nothing_to_do_removes_the_locks_of_killed_ones(tmp_path):
    held = Locks(tmp_path)
    held.take("key-a")
    (tmp_path / "locks" / "key-b.lock").touch()  # As left by a run that was killed after its last cell.
    run = dispatch.run_jobs([], tmp_path, pool_of=lambda jobs: pytest.fail("no worker is needed"), on_event=print)
    assert (run.total, run.complete) == (0, True)
    assert [path.name for path in (tmp_path / "locks").iterdir()] == ["key-a.lock"]
    held.close()
    dispatch.run_jobs([], tmp_path, pool_of=lambda jobs: None, on_event=print)
    assert not (tmp_path / "locks").exists()


def test_a_log_goes_where_it_can_be_written(tmp_path, monkeypatch):
    (job,) = cells("a")
    assert logs.write_log(tmp_path / "r", job, "why") == tmp_path / "r" / "logs" / "key-a.log"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "logs").write_text("a file is in the way")
    monkeypatch.setattr(logs.tempfile, "gettempdir", lambda: str(tmp_path / "t"))
    assert logs.write_log(tmp_path / "full", job, "why") == tmp_path / "t" / "optbench-logs" / "key-a.log"
    assert "cell a\n\nwhy\n" == (tmp_path / "t" / "optbench-logs" / "key-a.log").read_text()
    monkeypatch.setattr(logs.tempfile, "gettempdir", lambda: str(tmp_path / "full" / "logs"))
    assert logs.write_log(tmp_path / "full", job, "why") == NO_LOG
