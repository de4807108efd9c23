"""The loop: what it notes, what times it, and that the host never waits for the device inside a step."""

import itertools
import math
from types import SimpleNamespace

import families
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import optbench.clock
import optbench.train
from optbench.clock import EventClock, HostClock, clock_of
from optbench.models.roles import parameters_of
from optbench.optim.base import StepInfo
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.oracle import Oracle
from optbench.train import CHECK_EVERY, train

ATEN = torch.ops.aten
WAITING = {
    ATEN._local_scalar_dense,  # .item(), float(), int(), bool()
    ATEN.item,
    ATEN.is_nonzero,
    ATEN.nonzero,
    ATEN.equal,
    ATEN.masked_select,
    ATEN._unique2,
    ATEN.unique_consecutive,
}
"""Operations whose result, or the size of it, is data: on a GPU the host waits for the device to learn it."""


class NeverWaits(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        indices = args[1] if func.overloadpacket in (ATEN.index, ATEN.index_put, ATEN.index_put_) else ()
        masks = [i for i in indices if i is not None and i.dtype in (torch.bool, torch.uint8)]
        sized = func == ATEN.repeat_interleave.Tensor and (kwargs or {}).get("output_size") is None
        if func.overloadpacket in WAITING or masks or sized:
            raise AssertionError(f"the host waits for the device: {func}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "waits",
    [
        lambda t: t[0].item(),
        lambda t: float(t[0]),
        lambda t: bool(t[0] > 0),
        lambda t: t.nonzero(),
        lambda t: t[t > 0],
        lambda t: torch.equal(t, t),
        lambda t: torch.arange(3).repeat_interleave(torch.tensor([1, 2, 3])),
    ],
)
def test_what_waits_is_seen(waits):
    with NeverWaits(), pytest.raises(AssertionError, match="the host waits"):
        waits(torch.ones(3))


@pytest.mark.parametrize("family", families.NAMES)
@pytest.mark.parametrize("optimizer", sorted(PRESETS))
def test_no_step_of_any_optimizer_waits_for_the_device(optimizer, family):
    model = families.model(family, dtype=torch.float32)
    spec = OptimizerSpec.model_validate({**PRESETS[optimizer], "max_norm": 1.0})
    built = spec.build(parameters_of(model.module))
    oracles = [families.oracle(model, examples=6, micro_batch=4) for _ in range(3)]
    infos = []
    with NeverWaits():
        for oracle in oracles:
            infos.append(built.step(oracle, 0.5))
    assert all(math.isfinite(float(info.loss)) for info in infos)


class Device:
    """A stream that runs behind the host: it does its work, and passes its marks, only when it is waited for."""

    def __init__(self):
        self.queued, self.passed, self.waits = 0.0, -1.0, 0

    def work(self, milliseconds):
        self.queued += milliseconds

    def mark(self):
        device, at = self, self.queued

        def synchronize():
            device.passed, device.waits = at, device.waits + 1

        def elapsed_time(end):
            assert max(at, end.at) <= device.passed, "read before the device has passed it"
            return end.at - at

        return SimpleNamespace(at=at, synchronize=synchronize, elapsed_time=elapsed_time)


def test_events_are_read_all_at_once_after_one_wait():
    device = Device()
    clock = EventClock(device.mark)
    for work in (3.0, 5.0):
        device.work(100.0)  # Between the steps.
        clock.start()
        device.work(work)
        clock.stop()
    assert device.waits == 0
    assert clock.read() == [0.003, 0.005]
    assert device.waits == 1
    assert clock.read() == []
    clock.start()
    device.work(7.0)
    clock.stop()
    assert clock.read() == [0.007]
    assert device.waits == 2


def test_the_host_clock_times_steps_and_nothing_between(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(optbench.clock.time, "perf_counter", lambda: float(next(ticks)) ** 2)
    clock = HostClock()
    for _ in range(2):
        clock.start()
        clock.stop()
    assert clock.read() == [1.0, 5.0]
    assert clock.read() == []
    assert isinstance(clock_of(torch.device("cpu")), HostClock)


def run(steps, *, clock, monkeypatch, loss_of=lambda step: 1.0 / (1 + step), seen=None, **options):
    """The loop with an optimizer that only does as if."""
    monkeypatch.setattr(optbench.train, "clock_of", lambda device: clock)
    model, made = families.model("llama"), itertools.count()

    class Optimizer:
        def step(self, oracle, scale, *, observe):
            step = next(made)
            if seen is not None:
                seen.append(step)
            loss = torch.tensor(loss_of(step), dtype=torch.float32)
            return StepInfo(loss, "weights", torch.tensor(10.0 + step), {"shift_norm": 1.0} if observe else {})

    batch = families.oracle(model).batch
    return train(
        model,
        None,
        Optimizer(),
        itertools.repeat(batch),
        steps=steps,
        schedule=lambda progress: 1 - progress,
        **options,
    )


class Counted(HostClock):
    """Each step takes as many seconds as its number; remembers after how many steps it was read."""

    def __init__(self):
        self.done, self.kept, self.reads = 0, [], []

    def start(self):
        pass

    def stop(self):
        self.kept.append(float(self.done))
        self.done += 1

    def read(self):
        self.reads.append(self.done)
        found, self.kept = self.kept, []
        return found


@pytest.mark.parametrize("steps", [1, CHECK_EVERY, 2 * CHECK_EVERY + 5])
def test_the_clock_is_read_with_the_losses_and_observed_steps_have_no_time(steps, monkeypatch):
    clock, looked = Counted(), []
    observed = frozenset({0, 20} & set(range(steps)))
    history = run(
        steps, clock=clock, monkeypatch=monkeypatch, observe_at=observed, observers=[lambda done: looked.append(done)]
    )
    assert clock.reads == sorted({*range(CHECK_EVERY, steps + 1, CHECK_EVERY), steps})
    assert [step for step, seconds in enumerate(history.seconds) if math.isnan(seconds)] == sorted(observed)
    assert all(seconds == step for step, seconds in enumerate(history.seconds) if step not in observed)
    assert history.losses == [float(torch.tensor(1.0 / (1 + step), dtype=torch.float32)) for step in range(steps)]
    assert history.gradient_norms == [10.0 + step for step in range(steps)]
    assert history.lr_scales == [1 - step / steps for step in range(steps)]
    assert [step for step, _ in history.notes] == sorted(observed)
    assert looked == list(range(1, steps + 1))
    assert history.diverged_at is None


def test_a_loss_that_is_not_finite_ends_the_run_at_the_next_look(monkeypatch):
    seen = []
    history = run(
        50,
        clock=Counted(),
        monkeypatch=monkeypatch,
        seen=seen,
        loss_of=lambda step: math.inf if step == CHECK_EVERY + 3 else 1.0,
    )
    assert history.diverged_at == CHECK_EVERY + 3
    assert len(seen) == len(history.losses) == len(history.seconds) == len(history.tokens) == 2 * CHECK_EVERY


def test_the_loop_itself_never_waits_between_looks(monkeypatch):
    device = Device()
    model = families.model("llama", dtype=torch.float32)
    task = families.task()
    prepared = task.prepare(task.train, model)
    optimizer = OptimizerSpec.model_validate(PRESETS["sam"]).build(parameters_of(model.module))
    monkeypatch.setattr(optbench.train, "clock_of", lambda _: EventClock(device.mark))
    waits = []

    def batches():
        while True:
            device.work(1.0)
            waits.append(device.waits)
            yield prepared.batch(range(6), micro_batch=4)

    def losses(outputs, targets):
        device.work(2.0)
        return task.losses(outputs, targets)

    with NeverWaits():
        history = train(model, losses, optimizer, batches(), steps=CHECK_EVERY + 2, schedule=lambda progress: 1.0)
    assert waits == [0] * CHECK_EVERY + [1] * 2
    assert device.waits == 2
    # Two parts, two passes, 2 ms each; what was done between the steps is not in it.
    assert history.seconds == pytest.approx([0.008] * (CHECK_EVERY + 2))
    assert len(set(history.losses)) > 2
    assert Oracle(model, task.losses, prepared.batch(range(6), micro_batch=4)).loss().isfinite()
