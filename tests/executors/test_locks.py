"""Which run does which job: locks that end with their process."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from optbench.executors.locks import Locks

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom optbench.executors.locks import Locks\n"
    "print(Locks(Path(sys.argv[1])).take('a'), flush=True)\ntime.sleep(600)\n"
)


def test_one_run_has_a_job_until_it_gives_it_back(tmp_path):
    one, other = Locks(tmp_path), Locks(tmp_path)
    assert one.take("a") and one.take("a")
    assert not other.take("a")
    assert other.take("b")
    one.release("a")
    assert other.take("a")
    assert not one.take("a")


def test_a_job_of_a_process_that_was_killed_is_free(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    locks = Locks(tmp_path)
    try:
        assert holder.stdout.readline() == "True\n"
        assert not locks.take("a")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    assert locks.path("a").exists()
    assert locks.take("a")


def test_nothing_is_left_and_what_killed_runs_left_is_removed(tmp_path):
    one, other = Locks(tmp_path), Locks(tmp_path)
    one.take("a")
    other.take("b")
    other.path("killed").touch()
    other.close()
    assert sorted(path.name for path in (tmp_path / "locks").iterdir()) == ["a.lock"]
    one.close()
    assert not (tmp_path / "locks").exists()


def test_a_lock_on_a_file_that_was_removed_meanwhile_counts_for_nothing(tmp_path, monkeypatch):
    """The holder gives the job back, and a third run takes it, between our opening the file and our locking it."""
    holder, third, ours = Locks(tmp_path), Locks(tmp_path), Locks(tmp_path)
    holder.take("a")
    plain = fcntl.flock

    def late(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", plain)
        holder.release("a")
        assert third.take("a")
        plain(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert not ours.take("a")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_without_locks_everything_is_granted_and_nothing_is_left(tmp_path, monkeypatch, number):
    def refused(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    one, other = Locks(tmp_path), Locks(tmp_path)
    assert one.take("a") and other.take("a")
    one.close()
    other.close()
    assert not (tmp_path / "locks").exists()


def test_a_folder_that_cannot_be_written_to_grants_everything(tmp_path):
    (tmp_path / "locks").write_text("a file is in the way")
    locks = Locks(tmp_path)
    assert locks.take("a")
    locks.close()
