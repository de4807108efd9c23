"""Checkpoints: a run that is interrupted goes on as if nothing had happened, whatever its optimizer, disk or luck."""

import errno
import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from support import Plainly, TinyLM, batch, ids, parameters

from optbench import checkpoint
from optbench.checkpoint_tree import taken_apart
from optbench.checkpointing import Checkpoints, Weights, circumstances
from optbench.models.language_model import cross_entropy
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.rng import TorchState
from optbench.train import History, train

STEPS = 24
ALWAYS = 1e-9
MADE = {"torch": "2"}
NOISY = """
import torch


class Noisy(torch.optim.SGD):
    '''Draws from torch's global generator, counts its steps outside its state, and keeps a state of another type.'''

    def __init__(self, params, lr):
        super().__init__(params, lr=lr)
        self.taken = 0
        self.total = torch.zeros((), dtype=torch.float64)

    @torch.no_grad()
    def step(self, closure=None):
        self.taken += 1
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                before = state.get("slow", torch.zeros_like(p, dtype=torch.float64))
                state["slow"] = before + (p.grad.double() - before) / 3
                self.total += state["slow"].abs().sum()
                noise = torch.rand_like(p) / self.taken
                p -= group["lr"] * (state["slow"] * (1 + noise) / self.total.sqrt()).float()
"""


class Interrupted(BaseException):
    """As final as a kill, as far as Python goes."""


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def optimizers():
    fsam = {"kind": "sharpness_aware", "functional": True}
    yield from PRESETS.items()
    yield "gd momentum", {"rule": {"kind": "gd", "momentum": 0.9, "nesterov": True}}
    yield "muon fsam", {"estimator": fsam, "rule": {"kind": "muon"}, "max_norm": 1.0}
    yield "momentum sam", {"estimator": {"kind": "sharpness_aware", "ascent": "momentum"}, "rule": {"kind": "adamw"}}
    for every in (2, 5):
        yield f"sam every {every}", {"estimator": {"kind": "sharpness_aware", "refresh_every": every}, "rule": ADAMW}
    yield "fsam every 3", {"estimator": {**fsam, "refresh_every": 3}, "rule": {"kind": "muon"}}
    for target in ("torch.optim:NAdam", "torch.optim:Adafactor", "torch.optim:Rprop", "torch.optim:ASGD"):
        yield target, {"rule": {"kind": "torch", "target": target, "lr": 0.01}}
    for name in ("SOAP", "Prodigy", "AdEMAMix", "MARS"):
        yield name, {"rule": {"kind": "torch", "target": f"pytorch_optimizer:{name}", "lr": 0.01}}
    averaging = {"kind": "torch", "target": "pytorch_optimizer:ScheduleFreeAdamW", "lr": 0.01, "averages": True}
    yield "schedule-free", {"rule": averaging}
    yield "noisy", {"rule": {"kind": "torch", "target": "noisy.py:Noisy", "lr": 0.1}}


ADAMW = {"kind": "adamw", "lr": 0.01}
OPTIMIZERS = dict(optimizers())


class Counted(TinyLM):
    """With a frozen parameter, and buffers that change as training goes, one of them in another order of memory."""

    def __init__(self):
        super().__init__()
        self.float()
        self.frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("turned", torch.zeros(3, 2).T, persistent=False)

    def forward(self, ids_BT):
        if torch.is_grad_enabled():
            self.seen += 1
            self.turned.add_(torch.rand(3, 2).T)
        return super().forward(ids_BT) * (1 + 0.01 * torch.rand(()))


def session(root, spec, *, stop=-1, steps=STEPS, minutes=ALWAYS, say=None, made=MADE, key="k"):
    """One session of a run in the loop, without the harness around it."""
    torch.manual_seed(0)
    module = Counted()
    given = [p for p in parameters(module) if p.tensor.requires_grad]
    optimizer = OptimizerSpec.model_validate(spec).build(given)
    checkpoints = Checkpoints(root, key, steps, minutes, made, "cpu", *([say] if say else []))
    history = History()
    parts = {"weights": Weights(module), "optimizer": optimizer, "random": TorchState("cpu")}
    start = checkpoints.resume(history, parts)
    assert start == history.steps

    def observe(done):
        checkpoints.observe(done)
        if done == stop:
            raise Interrupted

    batches = (batch(ids(step)) for step in range(start, steps))
    try:
        train(
            Plainly(module),
            cross_entropy,
            optimizer,
            batches,
            steps=steps,
            schedule=lambda progress: 1 - progress / 2,
            observe_at=frozenset({3, 17}),
            observers=[observe],
            history=history,
        )
    except Interrupted:
        assert stop > 0
    return module, optimizer, history, start


def state(module, optimizer, history):
    """Everything, as bytes: NaN is equal to NaN, 0.0 is not -0.0, and the order in memory counts."""
    told = {name: value for name, value in history.state_dict().items() if name != "seconds"}
    form, tensors = taken_apart({"told": told, "optimizer": optimizer.state_dict(), "model": dict(module.state_dict())})
    turned = module.turned.stride(), module.turned.numpy().tobytes()
    return json.dumps(form), {name: (t.dtype, t.numpy().tobytes()) for name, t in tensors.items()}, turned


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("noisy.py").write_text(NOISY)
    spec, draw = OPTIMIZERS[name], random.Random(name)
    once = state(*session(tmp_path / "once", spec, minutes=0.0)[:3])
    first, second = sorted(draw.sample(range(1, STEPS), 2))
    starts = [session(tmp_path / "again", spec, stop=at)[3] for at in (first, second)]
    *found, start = session(tmp_path / "again", spec)
    assert [*starts, start] == [0, first, second]
    assert state(*found) == once


SPEC = {"estimator": {"kind": "sharpness_aware", "refresh_every": 5}, "rule": ADAMW}


def kept(root, key="k"):
    return [int(path.name) for path in checkpoint.newest_first(root, key)]


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The state of a run that was never interrupted."""
    return state(*session(tmp_path_factory.mktemp("once"), SPEC, minutes=0.0)[:3])


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    root = tmp_path_factory.mktemp("interrupted")
    session(root, SPEC, stop=13)
    return root


@pytest.fixture
def stopped(interrupted, tmp_path):
    """A run that was interrupted after step 13."""
    shutil.copytree(interrupted, tmp_path / "stopped")
    assert kept(tmp_path / "stopped") == [13, 12]
    return tmp_path / "stopped"


def goes_on(root, once, *, at, says=(), **fields):
    """Goes on from step `at`, says so many lines and no more, and ends as the uninterrupted run."""
    said = []
    *found, start = session(root, SPEC, say=said.append, **fields)
    assert start == at
    assert len(said) == len(says), said
    for line, words in zip(said, says, strict=True):
        assert line.startswith("k: ") and words in line, line
        assert "\n" not in line
    assert state(*found) == once
    return said


def test_two_are_kept_and_they_are_the_newest(tmp_path):
    for stop in (1, 2, 3, 9, 10):
        session(tmp_path, SPEC, stop=stop)
        assert kept(tmp_path) == [stop, stop - 1][: min(stop, 2)]
    assert sorted(path.name for path in (tmp_path / "checkpoints").rglob("*") if path.name.startswith(".")) == []


def test_an_interrupted_run_states_whose_it_is_and_how_far_it_got(stopped):
    found = checkpoint.progress_of(stopped, "k")
    assert (found.key, found.step, found.steps, found.made, found.resumed) == ("k", 13, STEPS, MADE, 0)
    assert found.seconds > 0
    text = (checkpoint.newest_first(stopped, "k")[0] / "checkpoint.json").read_text()
    assert json.loads(text)["schema"] == checkpoint.SCHEMA
    assert checkpoint.progress_of(stopped, "another") is None


def test_sessions_are_counted_and_their_time_adds_up(stopped):
    seconds = [checkpoint.progress_of(stopped, "k").seconds]
    for number, stop in enumerate((15, 18), start=1):
        session(stopped, SPEC, stop=stop)
        found = checkpoint.progress_of(stopped, "k")
        assert found.resumed == number
        seconds.append(found.seconds)
    assert seconds == sorted(set(seconds))


def test_never_is_never_and_what_is_there_is_used_all_the_same(stopped, once, tmp_path):
    session(tmp_path / "never", SPEC, minutes=0.0)
    assert not (tmp_path / "never").exists()
    goes_on(stopped, once, at=13, minutes=0.0)
    assert kept(stopped) == [13, 12]


def test_a_run_shorter_than_the_time_between_two_writes_none(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "_write", lambda *given: pytest.fail("was written"))
    session(tmp_path, SPEC, minutes=1e6)
    assert list(tmp_path.iterdir()) == []


def test_the_time_counts_from_the_last_one(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("optbench.checkpointing.time.perf_counter", lambda: clock[0])
    made = Checkpoints(tmp_path, "k", 100, 10.0, MADE, "cpu")
    made.resume(History(), {})
    written = []
    for step in range(1, 100):
        clock[0] += 150.0
        made.observe(step)
        written += [step for name in kept(tmp_path)[:1] if name == step]
    assert written == list(range(4, 100, 4))
    made.observe(100)
    assert kept(tmp_path)[0] == 100, "the last step, for what comes after it may take long"


def test_the_last_step_of_a_run_that_had_none_is_not_worth_one(tmp_path):
    made = Checkpoints(tmp_path, "k", 100, 10.0, MADE, "cpu")
    made.resume(History(), {})
    made.observe(100)
    assert kept(tmp_path) == []


def test_a_run_that_was_interrupted_after_its_last_step_takes_no_more(tmp_path, once):
    session(tmp_path, SPEC, stop=STEPS)
    goes_on(tmp_path, once, at=STEPS)


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-7])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def emptied(path):
    path.write_bytes(b"")


NAMES = ["checkpoint.json", "state.json", "tensors-000.safetensors", "seal.json"]


@pytest.mark.parametrize("harm", [cut_off, flipped, emptied, Path.unlink])
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(harm, name, stopped, once):
    harm(stopped / "checkpoints" / "k" / "13" / name)
    goes_on(stopped, once, at=12, says=["the checkpoint at step 13 is not used; it is damaged: "])


def test_with_no_checkpoint_left_it_begins_anew(stopped, once):
    for number, folder in enumerate(checkpoint.newest_first(stopped, "k")):
        flipped(folder / NAMES[number])
    goes_on(stopped, once, at=0, says=["step 13 is not used", "step 12 is not used"])


def test_a_damaged_checkpoint_gives_way_to_a_good_one_of_the_same_step_and_not_before(stopped, once):
    flipped(stopped / "checkpoints" / "k" / "13" / "state.json")
    session(stopped, SPEC, stop=12 + 1)
    goes_on(stopped, once, at=13)
    flipped(stopped / "checkpoints" / "k" / str(STEPS) / "state.json")
    session(stopped, SPEC, minutes=0.0, say=lambda line: None)
    assert kept(stopped)[0] == STEPS, "nothing better has been written"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"torch": "3"}, "it was made with torch 2, and here is 3"),
        ({"torch": "2", "device type": "cuda"}, "it was made with device type none, and here is cuda"),
        ({}, "it was made with torch 2, and here is none"),
    ],
)
def test_a_checkpoint_made_otherwise_is_not_used(made, said, stopped, once):
    goes_on(stopped, once, at=0, says=[f"step 13 is not used; {said}", "step 12"], made=made)
    assert kept(stopped) == [24, 23], "those of no use have gone, and are in nobody's way"


def test_a_checkpoint_of_another_run_is_not_used(stopped, once):
    shutil.copytree(stopped / "checkpoints" / "k", stopped / "checkpoints" / "l")
    said = []
    assert session(stopped, SPEC, key="l", say=said.append)[3] == 0
    assert "it is of another run, k of 24 steps" in said[0]


def test_a_checkpoint_of_another_layout_is_not_used(stopped, once, monkeypatch):
    monkeypatch.setattr(checkpoint, "SCHEMA", checkpoint.SCHEMA + 1)
    goes_on(stopped, once, at=0, says=["another layout"] * 2)


def test_the_circumstances_are_versions_device_and_threads():
    here = circumstances("cpu", 7)
    assert here["torch"] == torch.__version__.split("+")[0] or here["torch"] == torch.__version__
    assert (here["protocol"], here["device type"], here["threads"]) == (7, "cpu", torch.get_num_threads())
    assert {"optbench", "transformers"} <= set(here)
    there = circumstances("cuda:3", 7)
    assert there["device type"] == "cuda" and "threads" not in there


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_is_full_costs_the_checkpoint_and_not_the_run_and_is_said_once(number, tmp_path, once, monkeypatch):
    def full(path, content):
        Path(path).touch()
        raise OSError(number, "the disk says no")

    monkeypatch.setattr(Path, "write_bytes", full)
    goes_on(tmp_path, once, at=0, says=["no checkpoint could be written (the disk says no); the run goes on without"])
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_once_there_is_room_again_checkpoints_are_written(stopped, once, monkeypatch):
    calls = []
    real = Path.write_bytes

    def full(path, content):
        calls.append(path)
        if len(calls) < 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    goes_on(stopped, once, at=13, says=["No space left"])
    assert kept(stopped) == [24, 23]


def test_a_full_disk_leaves_the_checkpoints_before(stopped, monkeypatch, once):
    with monkeypatch.context() as patch:
        patch.setattr(
            "optbench.store.os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
        )
        session(stopped, SPEC, stop=20, say=lambda line: None)
    assert kept(stopped) == [13, 12]
    goes_on(stopped, once, at=13)


def test_a_state_that_cannot_be_kept_costs_the_checkpoints_and_is_said_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("odd.py").write_text("""
import torch


class Odd(torch.optim.SGD):
    def step(self, closure=None):
        super().step()
        self.helper = {1, 2}
""")
    said = []
    module, _, history, _ = session(
        tmp_path / "r", {"rule": {"kind": "torch", "target": "odd.py:Odd", "lr": 0.1}}, say=said.append
    )
    assert history.steps == STEPS
    (line,) = said
    assert line == (
        "k: this run cannot be checkpointed, and starts anew if it is interrupted: "
        "optimizer.rule.attributes[0].helper is a set"
    )
    assert not (tmp_path / "r").exists()


def test_losses_that_are_not_finite_are_found_at_the_same_step_and_are_in_no_checkpoint(tmp_path):
    hot = {"rule": {"kind": "gd", "lr": 1e18}}
    *once, _ = session(tmp_path / "once", hot, minutes=0.0)
    history = once[2]
    assert 0 < history.diverged_at < 5 and len(history.losses) == 16
    session(tmp_path / "again", hot, stop=1)
    *found, start = session(tmp_path / "again", hot)
    assert start == 1 and state(*found) == state(*once)
    assert kept(tmp_path / "again")[0] == history.diverged_at


def test_large_states_are_written_in_pieces(stopped, once, monkeypatch):
    monkeypatch.setattr("optbench.checkpointing.SHARD_BYTES", 300)
    session(stopped, SPEC, stop=17)
    newest = checkpoint.newest_first(stopped, "k")[0]
    assert len(list(newest.glob("tensors-*.safetensors"))) > 3
    goes_on(stopped, once, at=17)


def test_a_history_is_read_at_any_step_without_changing_a_number(tmp_path):
    module, optimizer, history, _ = session(tmp_path, SPEC, minutes=0.0)
    again = session(tmp_path, SPEC)[2]
    assert again.losses == history.losses and again.gradient_norms == history.gradient_norms
    assert len(again.seconds) == len(history.seconds) == STEPS
    assert [step for step, seconds in enumerate(again.seconds) if seconds != seconds] == [3, 17]
