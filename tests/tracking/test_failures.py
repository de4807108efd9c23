"""When W&B fails: the record is the same, it is told once, and nothing is left running."""

import os
import subprocess

import pytest
from tracking_cases import command, environment

from optbench.commands.wandb import tracking_of
from optbench.errors import UserError
from optbench.executors.events import Event
from optbench.executors.jobs import jobs_for
from optbench.executors.worker import attempted
from optbench.store import Store
from optbench.suite import load_suite
from optbench.tracking import session
from optbench.tracking.boundary import Boundary
from optbench.tracking.labels import labels_of
from optbench.tracking.live import Tracked
from optbench.tracking.push import push
from optbench.tracking.target import Target, target_of


class Broken:
    """A session that fails where it is told to."""

    folder = "offline-run-x"
    ended = ()

    def __init__(self, *given, **more):
        Broken.ended = []
        self._fail("begin")

    def _fail(self, at):
        if at == self.at:
            raise self.error

    def log(self, row, step):
        self._fail("log")

    def complete(self, content, *, logged=0):
        self._fail("complete")

    def drop(self):
        Broken.ended.append("dropped")
        raise OSError("once more")


@pytest.fixture(params=["begin", "log", "complete"])
def broken(request, monkeypatch):
    monkeypatch.setattr(Broken, "at", request.param, raising=False)
    monkeypatch.setattr(Broken, "error", RuntimeError("wandb is\nill"), raising=False)
    monkeypatch.setattr(session, "Session", Broken)
    monkeypatch.setattr(session, "close_service", lambda: None)
    return request.param


def alone(tracked, said):
    how = {"device": "cpu", "contended": False, "last": True, "checkpoint_minutes": 0.0}
    return {**how, "tracked": tracked, "say": said.append}


def test_a_failure_costs_no_cell_and_is_told_once(broken, suite, untracked, tmp_path):
    loaded = load_suite(suite)
    cell = loaded.cells()[0]
    store, said = Store(tmp_path / "runs"), []
    (job,) = [job for job in jobs_for(loaded.cells(), store) if job.key == cell.key]
    tracked = Tracked(Target("offline", tmp_path), labels_of(loaded, cell))
    assert attempted(job, store.root, **alone(tracked, said)) == {"event": "done", "outcome": "completed"}
    told = [message for message in said if message["event"] == "untracked"]
    assert told == [{"event": "untracked", "reason": "RuntimeError: wandb is"}]
    one, other = store.record(cell.key).content(), untracked.record(cell.key).content()
    assert one.pop("measured") and other.pop("measured")
    assert one == other
    assert store.curves(cell.key).equals(untracked.curves(cell.key))
    assert Broken.ended == ([] if broken == "begin" else ["dropped"])


def test_a_cell_that_fails_ends_its_run_as_failed(monkeypatch, suite, tmp_path):
    loaded = load_suite(suite)
    store = Store(tmp_path / "runs")
    monkeypatch.setattr(Broken, "at", "never", raising=False)
    monkeypatch.setattr(session, "Session", Broken)
    monkeypatch.setattr(session, "close_service", lambda: Broken.ended.append("closed"))

    def fails(*given, **more):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("optbench.runner.run_cell", fails)
    job = jobs_for(loaded.cells(), store)[0]
    tracked = Tracked(Target("offline", tmp_path), labels_of(loaded, loaded.cells()[0]))
    with pytest.raises(ZeroDivisionError):
        attempted(job, store.root, **alone(tracked, []))
    assert Broken.ended == ["dropped", "closed"]


def test_a_push_ends_with_the_first_failure_and_says_so(broken, suite, untracked, tmp_path):
    if broken == "log":
        pytest.skip("a push logs rows inside `complete`")
    said, names = [], []
    loaded = load_suite(suite)
    pushed = push(loaded, untracked, Target("offline", tmp_path), whole=True, say=said.append, on_run=names.append)
    assert said == ["RuntimeError: wandb is"]
    assert (pushed.failed, pushed.written, pushed.same, pushed.summary) == (True, 0, 0, False)
    assert names == [f"{loaded.arms[0].name} seed 0"]
    assert Broken.ended == ([] if broken == "begin" else ["dropped"])


def test_the_end_of_a_run_lets_no_failure_through(monkeypatch, suite, untracked, tmp_path, capsys):
    def fails(*given, **more):
        raise UserError("damaged")

    monkeypatch.setattr("optbench.tracking.push.content_of", fails)
    tracking = tracking_of(load_suite(suite), tmp_path, "offline", whole=True)
    assert tracking.finish(untracked) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"W&B failed: UserError: damaged. No record is lost; to push them later: optbench wandb {suite} "
        f"--results {tmp_path} --wandb offline"
    )


def test_after_a_failure_beside_a_cell_it_is_told_once_and_nothing_is_pushed(suite, untracked, tmp_path, capsys):
    loaded = load_suite(suite)
    tracking = tracking_of(loaded, tmp_path, "offline", whole=True)
    seen = []
    view = tracking.watching(seen.append)
    (job, *_) = jobs_for(loaded.cells(), Store(tmp_path))
    for _ in range(2):
        view(Event("untracked", job, reason="OSError: full"))
    assert [event.kind for event in seen] == ["untracked"] * 2
    assert tracking.finish(untracked) == []
    assert capsys.readouterr().err.count("W&B failed: OSError: full. No record is lost") == 1
    assert not (tmp_path / "wandb").exists()


def test_the_boundary_holds_everything_but_an_interruption():
    said = []
    boundary = Boundary(said.append)
    assert boundary.attempt(lambda: 3) == 3
    assert boundary.attempt(lambda: {}["x"]) is None
    assert boundary.attempt(lambda: pytest.fail("after a failure nothing is tried")) is None
    assert said == ["KeyError: 'x'"]
    boundary.cleanup(lambda: {}["y"])
    assert len(said) == 1

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Boundary(said.append).attempt(interrupted)


REFUSED = {
    "no-credentials": ({}, "online", "no credentials for https://api.wandb.ai: set WANDB_API_KEY"),
    "another-server": ({"WANDB_BASE_URL": "https://w.example/"}, "online", "no credentials for https://w.example:"),
    "project": ({"WANDB_PROJECT": "a/b"}, "offline", "WANDB_PROJECT=a/b: is no name of a project"),
    "folder": ({"WANDB_DIR": "/proc/none"}, "offline", "WANDB_DIR=/proc/none: /proc cannot be written to"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_written(case, tmp_path):
    given, mode, words = REFUSED[case]
    if case == "folder" and os.geteuid() == 0:
        given, words = {"WANDB_DIR": str(tmp_path / "file")}, "file cannot be written to"
        (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=words.replace("=", "=")):
        target_of(mode, tmp_path / "runs", {"HOME": str(tmp_path), **given})
    assert not (tmp_path / "runs").exists()


def test_credentials_are_looked_for_where_wandb_does(tmp_path):
    netrc = tmp_path / "elsewhere"
    netrc.write_text("machine api.wandb.ai login user password abc\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine w.example login user password abc\n")
    bare = {"HOME": str(home)}
    allowed = [
        {"WANDB_API_KEY": "abc"},
        {"WANDB_IDENTITY_TOKEN_FILE": "token"},
        {"NETRC": str(netrc)},
        {"WANDB_BASE_URL": "https://w.example"},
    ]
    for given in allowed:
        assert target_of("online", tmp_path, {**bare, **given}).mode == "online"
    for given in ({}, {"WANDB_API_KEY": ""}, {"NETRC": str(tmp_path / "none")}):
        with pytest.raises(UserError, match="no credentials"):
            target_of("online", tmp_path, {**bare, **given})
    assert target_of("offline", tmp_path, bare) == Target("offline", tmp_path)


def test_project_and_entity_come_from_the_environment(tmp_path):
    target = target_of("offline", tmp_path, {"WANDB_PROJECT": "mine", "WANDB_ENTITY": "team", "WANDB_MODE": "online"})
    assert (target.mode, target.project, target.entity) == ("offline", "mine", "team")


@pytest.mark.parametrize("verb", ["run", "wandb"])
def test_online_without_an_account_ends_with_2_and_no_question(verb, suite, untracked, tmp_path):
    results = tmp_path / "runs" if verb == "run" else untracked.root
    words = command(verb, suite, "--results", results, "--wandb", "online")
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment(tmp_path), stdin=subprocess.DEVNULL
    )
    assert done.returncode == 2
    assert done.stderr.startswith("--wandb online: no credentials for https://api.wandb.ai")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
