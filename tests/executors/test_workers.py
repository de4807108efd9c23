"""Worker processes: what reaches one while it starts."""

import os
import signal

import pytest
from processes import PATIENCE

from optbench.executors.local import ProcessPool


@pytest.fixture
def pool(tmp_path):
    made = ProcessPool(["cpu"], results=str(tmp_path), threads=1, patient=False, checkpoint_minutes=0.0)
    yield made
    made.close()


def test_ctrl_c_does_not_end_a_worker_that_is_still_starting(pool):
    """The main process decides what it means, and whatever a worker said of it would be a traceback."""
    (worker,) = pool.workers
    os.kill(worker.process.pid, signal.SIGINT)
    assert [message["event"] for _, message in pool.messages(PATIENCE)] == ["ready"]
    assert pool.workers == [worker]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set(), "here the signal means what it always does"
