"""What is tried again, where; which device a worker has."""

import signal

import pytest

from optbench.executors.attempts import Attempt, again, death, where
from optbench.executors.devices import devices_of, has_neighbours, worker_count
from optbench.executors.jobs import Job

FIRST = Attempt(Job("cell", "k", "a cell", {}, 1))
GPUS = ["cuda:0", "cuda:1"]


@pytest.mark.parametrize("memory", [True, False])
def test_what_failed_on_a_device_is_tried_on_another_one(memory):
    then = again(FIRST, "cuda:1", GPUS, memory=memory)
    assert not then.fits("cuda:1", GPUS)
    assert then.fits("cuda:0", GPUS)
    assert not then.alone
    assert where(then, FIRST) == "again on another device"


def test_a_device_that_was_to_be_avoided_will_do_when_it_is_the_last_one_left():
    then = again(FIRST, "cuda:1", GPUS, memory=True)
    assert then.fits("cuda:1", ["cuda:1"])


def test_what_ran_out_of_memory_beside_others_on_the_only_device_is_tried_alone():
    then = again(FIRST, "cpu", ["cpu", "cpu"], memory=True)
    assert then.alone
    assert then.fits("cpu", ["cpu", "cpu"])
    assert where(then, FIRST) == "again alone, when the others have ended"


@pytest.mark.parametrize(("devices", "memory"), [(["cpu", "cpu"], False), (["cpu"], False), (["cuda:0"], True)])
def test_else_it_is_tried_in_the_same_way(devices, memory):
    then = again(FIRST, devices[0], devices, memory=memory)
    assert then == FIRST
    assert where(then, FIRST) == "again on a fresh worker"


@pytest.mark.parametrize(
    ("attempt", "devices", "last"),
    [
        (FIRST, ["cuda:0"], True),  # One GPU: nothing would be different.
        (FIRST, ["cpu"], True),
        (FIRST, GPUS, False),
        (FIRST, ["cpu", "cpu"], False),
        (FIRST, ["cuda:0", "cuda:0"], False),
        (Attempt(FIRST.job, short=True), GPUS, True),
        (Attempt(FIRST.job, alone=True), ["cpu", "cpu"], True),
    ],
)
def test_running_out_of_memory_is_final_where_nothing_would_be_different_and_the_second_time(attempt, devices, last):
    assert attempt.is_last(devices[0], devices) is last


def test_a_death_is_told_with_its_signal_and_what_it_may_mean():
    killed = death(-signal.SIGKILL)
    assert killed["reason"] == "the worker process died (exit code -9: killed by signal 9, possibly out of memory)"
    assert killed["memory"]
    crashed = death(-signal.SIGSEGV)
    assert crashed["reason"] == "the worker process died (exit code -11: SIGSEGV)"
    assert not crashed["memory"]
    assert death(3)["reason"] == "the worker process died (exit code 3)"


@pytest.mark.parametrize(
    ("asked", "said", "gpus", "count"), [(None, 2, 0, 2), (None, 2, 8, 8), (3, 2, 8, 3), (3, 2, 0, 3), (None, 4, 1, 1)]
)
def test_a_cell_on_each_gpu_unless_another_number_was_asked_for(asked, said, gpus, count):
    assert worker_count(asked, said, gpus) == count


def test_workers_take_the_gpus_in_turn():
    assert devices_of(4, 4) == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert devices_of(3, 2) == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices_of(2, 0) == ["cpu", "cpu"]
    assert devices_of(2, 4, "cuda:3") == ["cuda:3", "cuda:3"]


def test_neighbours_share_a_device():
    assert has_neighbours("cpu", ["cpu", "cpu"])
    assert not has_neighbours("cuda:0", ["cuda:0", "cuda:1"])
