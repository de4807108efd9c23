"""Curves on their way while a cell trains: nothing waits for the device, and nothing outlives the process."""

import os
import signal
import subprocess
from types import SimpleNamespace

import pytest
import torch
from processes import until
from torch.utils._python_dispatch import TorchDispatchMode
from tracking_cases import SUITE, command, environment, orphans

from optbench.noted import Noted
from optbench.optim.base import StepInfo
from optbench.store import Store
from optbench.suite import load_suite
from optbench.tracking.labels import labels_of
from optbench.tracking.live import Live, Rows, Tracked
from optbench.tracking.target import Target
from optbench.train import CHECK_EVERY, History


class Operations(TorchDispatchMode):
    """Notes the operations on tensors; those that need a number on the host are errors."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func.overloadpacket).removeprefix("aten.")
        assert name not in ("_local_scalar_dense", "item", "equal", "nonzero", "is_nonzero"), name
        self.seen.append(name)
        return func(*args, **(kwargs or {}))


def info(step):
    return StepInfo(torch.tensor(1.0 / (step + 1)), "weights", torch.tensor(float(step)), {})


def add(rows, step):
    rows.add(info(step), lr_scale=0.5, tokens=10 + step, passes=2.0)


def test_a_step_costs_no_operation_and_sending_waits_for_nothing():
    rows = Rows()
    infos = [info(step) for step in range(CHECK_EVERY)]
    with Operations() as operations:
        for step, each in enumerate(infos):
            rows.add(each, lr_scale=0.5, tokens=step, passes=2.0)
        assert operations.seen == []
        rows.send()
    assert "copy_" in operations.seen
    assert len(operations.seen) <= 10, "as many for any number of steps"


def test_rows_arrive_after_the_next_wait_in_order_and_once():
    rows = Rows()
    assert rows.arrived() == []
    for step in range(3):
        add(rows, step)
    rows.send()
    for step in range(3, 5):
        add(rows, step)
    expected = [
        {"loss": torch.tensor(1.0 / (s + 1)).item(), "gradient_norm": float(s), "lr_scale": 0.5, "tokens": 10 + s}
        for s in range(5)
    ]
    passes = [2.0, 4.0, 6.0, 8.0, 10.0]
    expected = [{**row, "passes": p} for row, p in zip(expected, passes, strict=True)]
    assert rows.arrived() == expected[:3]
    assert rows.arrived() == []
    rows.send()
    assert rows.arrived() == expected[3:]


def test_a_run_that_goes_on_is_told_what_earlier_sessions_did():
    class Session(list):
        def log(self, row, step):
            self.append((step, row))

    live = Live(Tracked(None, None), None, lambda reason: pytest.fail(reason))
    live._session = session = Session()
    history = History(
        losses=[3.0, 2.0], gradient_norms=[1.0, 0.5], lr_scales=[0.1, 0.2], tokens=[7, 8], passes=[2.0, 1.0]
    )
    live.resume(history)
    for step in range(2, 2 * CHECK_EVERY):
        live.step(info(step), lr_scale=0.5, tokens=10 + step, passes=2.0)
        live.observe(step + 1)
    assert session[:2] == [
        (0, {"loss": 3.0, "gradient_norm": 1.0, "lr_scale": 0.1, "tokens": 7, "passes": 2.0}),
        (1, {"loss": 2.0, "gradient_norm": 0.5, "lr_scale": 0.2, "tokens": 8, "passes": 3.0}),
    ]
    assert [step for step, _ in session] == list(range(CHECK_EVERY))
    assert session[2][1]["passes"] == 5.0


def test_rows_are_logged_sixteen_steps_late_while_the_cell_trains(suite, tmp_path):
    loaded = load_suite(suite)
    cell = loaded.cells()[0]
    live = Live(Tracked(Target("offline", tmp_path), labels_of(loaded, cell)), cell.spec, pytest.fail)
    logged = []
    live._session = SimpleNamespace(log=lambda row, step: logged.append((step, row["tokens"])))
    for step in range(3 * CHECK_EVERY):
        live.step(info(step), lr_scale=1.0, tokens=step, passes=1.0)
        live.observe(step + 1)
        assert len(logged) == max(0, (step + 1) // CHECK_EVERY - 1) * CHECK_EVERY
    assert logged == [(step, step) for step in range(2 * CHECK_EVERY)]


def test_a_noted_optimizer_takes_the_steps_of_the_optimizer_itself():
    class Inner(SimpleNamespace):
        def step(self, oracle, lr_scale=1.0, *, observe=False):
            return ("info", oracle, lr_scale, observe)

    inner = Inner(estimator=None, rule=SimpleNamespace(claims=dict), parameters=[], max_norm=1.0)
    told = []
    notes = SimpleNamespace(step=lambda info, **more: told.append((info, more)))
    oracle = SimpleNamespace(batch=SimpleNamespace(num_tokens=7), passes=2.0)
    made = Noted(inner, notes).step(oracle, 0.25, observe=True)
    assert made == ("info", oracle, 0.25, True)
    assert told == [(made, {"lr_scale": 0.25, "tokens": 7, "passes": 2.0})]


def test_interrupted_by_ctrl_c_no_service_is_left_and_the_next_run_starts_the_cell_anew(tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text(SUITE.replace("{steps: 40}", "{steps: 100000}"))
    words = command("run", path, "--results", tmp_path / "runs", "--workers", 1, "--only", "optimizer=fsam")
    process = subprocess.Popen(
        [*words, "--wandb", "offline"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(tmp_path),
        # A shell in the background lets its children ignore the signal, and they pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: written(tmp_path / "runs") or process.poll() is not None, "the first cell")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "the same command again continues" in errors
    assert "Traceback" not in errors
    until(lambda: not orphans(tmp_path), "the end of wandb's service")
    cell = load_suite(path).cells()[1]
    assert Store(tmp_path / "runs").record(cell.key) is None
    assert len(list((tmp_path / "runs" / "wandb").glob(f"offline-run-*-{cell.key}-*"))) == 1


def written(results):
    """Whether a cell has begun to be tracked."""
    return any(path.stat().st_size > 0 for path in results.glob("wandb/offline-run-*/*.wandb"))
