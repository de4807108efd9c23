"""Checkpoints: what tells them apart, what is refused, and that a stored model behaves as any other."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from optbench.errors import UserError
from optbench.models import checkpoints
from optbench.models.generation import generate
from optbench.models.language_model import batch_of_labels, cross_entropy
from optbench.models.pretrained import Pretrained
from optbench.models.roles import parameters_of
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.oracle import Oracle

CHARACTERS = "abcdefghijklmnopqrstuvwxyz 0123456789+="
EOS = "</s>"
SURPRISES = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0, "max_length": 3, "num_beams": 2}


def _tokenizer():
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([EOS, "<unk>", *CHARACTERS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=EOS, pad_token=EOS, unk_token="<unk>")


def _save(folder: Path, *, dtype: torch.dtype = torch.bfloat16) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(CHARACTERS) + 2,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=0,
        bos_token_id=None,
        # Large enough that greedy answers differ from prompt to prompt.
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.to(dtype).save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(SURPRISES))
    _tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    return _save(tmp_path_factory.mktemp("checkpoint") / "model")


@pytest.fixture
def copied(stored, tmp_path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "model"))


@pytest.fixture
def no_hub(tmp_path, monkeypatch) -> Path:
    """An empty cache and no network, whatever the machine has."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    checkpoints.commit_of.cache_clear()
    yield tmp_path / "hub"
    checkpoints.commit_of.cache_clear()


def _build(path: Path):
    return Pretrained(path=str(path)).build(seed=0, device="cpu", precision="float32", attention="sdpa")


def test_a_checkpoint_is_the_same_wherever_it_lies(copied, tmp_path):
    before = Pretrained(path=str(copied)).identity()
    moved = copied.rename(tmp_path / "elsewhere")
    assert Pretrained(path=str(moved)).identity() == before


def test_a_checkpoint_with_one_changed_byte_of_weights_is_another(copied):
    before = Pretrained(path=str(copied)).identity()
    weights = copied / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert Pretrained(path=str(copied)).identity() != before


def test_weights_are_float32_whatever_they_are_stored_in(stored):
    model = _build(stored)
    kept = load_file(stored / "model.safetensors")
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}
    for name, p in model.module.named_parameters():
        assert torch.equal(p.to(torch.bfloat16), kept[name])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_checkpoint_of_16_bits_trains_as_its_float32_copy_does_and_its_shift_is_exact(tmp_path, dtype):
    half = _save(tmp_path / "half", dtype=dtype)
    single = _save(tmp_path / "single", dtype=torch.float32)
    widened = {name: tensor.float() for name, tensor in load_file(half / "model.safetensors").items()}
    save_file(widened, single / "model.safetensors", metadata={"format": "pt"})
    ids = torch.randint(2, 30, (6, 12), generator=torch.Generator().manual_seed(0))
    seen = []
    for folder in (half, single):
        model = _build(folder)
        assert {p.dtype for p in model.module.parameters()} == {torch.float32}
        optimizer = OptimizerSpec.model_validate(PRESETS["sam"]).build(parameters_of(model.module))
        batch = batch_of_labels({"input_ids": ids, "labels": ids})
        steps = [optimizer.step(Oracle(model, cross_entropy, batch), observe=True) for _ in range(3)]
        for info in steps:
            # In 16 bits most of a shift of 0.05 would be lost to rounding.
            assert info.notes["shift_norm"] == pytest.approx(0.05, rel=1e-5)
            assert info.notes["shift_cosine"] == pytest.approx(1.0, abs=1e-9)
        weights = [p.detach().clone() for p in model.module.parameters()]
        seen.append(([float(info.loss) for info in steps], weights))
    (losses, ours), (same, theirs) = seen
    assert losses == same and len(set(losses)) == 3
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_adapters_on_a_checkpoint_of_16_bits_are_float32_and_so_are_the_frozen_weights(stored, precision):
    pytest.importorskip("peft")
    spec = Pretrained(path=str(stored), lora={"r": 2})
    model = spec.build(seed=0, device="cpu", precision=precision, attention="sdpa")
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    assert {p.role for p in parameters_of(model.module)} == {"adapter"} and spec.is_small
    found = spec.dimensions()
    assert sum(p.tensor.numel() for p in parameters_of(model.module)) == found.trained_parameters
    assert found.base == Pretrained(path=str(stored)).dimensions()
    plain = Pretrained(path=str(stored)).identity()
    assert spec.identity() == {**plain, "lora": {"r": 2}} and not Pretrained(path=str(stored)).is_small


def test_a_checkpoint_has_its_own_tokenizer_a_tied_head_and_known_sizes(stored):
    model = _build(stored)
    assert model.head is not None
    assert model.head.weight_VD is model.module.get_input_embeddings().weight
    assert model.tokenizer.decode(model.tokenizer.encode("one + 2")) == "one + 2"
    assert model.tokenizer.eos_id == model.tokenizer.pad_id == 0
    trained = sum(p.numel() for p in model.module.parameters() if p.dim() > 1)
    assert Pretrained(path=str(stored)).dimensions().matrix_parameters == trained


def test_the_embedding_of_the_padding_token_is_trained(stored):
    assert [e.padding_idx for e in _build(stored).module.modules() if isinstance(e, torch.nn.Embedding)] == [None]


PROMPTS = ["a", "seven + 8 =", "b c", "how many are there then", "0"]


def test_answers_to_many_prompts_are_those_to_each_alone(stored):
    model = _build(stored)
    together = generate(model, PROMPTS, max_new_tokens=12)
    assert together == [generate(model, [prompt], max_new_tokens=12)[0] for prompt in PROMPTS]
    assert len(set(together)) > 2


def test_generation_takes_the_likeliest_token_whatever_the_checkpoint_says_of_sampling(stored):
    model = _build(stored)
    assert model.module.generation_config.do_sample is False
    for prompt in PROMPTS:
        ids = model.tokenizer.encode(prompt)
        for _ in range(12):
            with torch.no_grad():
                ids.append(int(model.module(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == model.tokenizer.eos_id:
                break
        expected = model.tokenizer.decode(ids[len(model.tokenizer.encode(prompt)) :])
        assert generate(model, [prompt], max_new_tokens=12) == [expected]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: shutil.rmtree(folder), "no checkpoint there"),
        (lambda folder: (folder / "config.json").unlink(), "no checkpoint there"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            "pickle files are refused",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x08" + 7 * b"\0" + b"{}"), "model"),
        (lambda folder: (folder / "config.json").write_text("{"), "model"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "nobody-knows"}'), "nobody-knows"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_message(copied, spoil, said):
    spoil(copied)
    with pytest.raises(UserError, match=said) as refused:
        _build(copied)
    assert str(refused.value).startswith(str(copied))
    assert "\n" not in str(refused.value)


def test_a_checkpoint_without_a_tokenizer_is_refused(copied):
    for file in copied.glob("*token*"):
        file.unlink()
    with pytest.raises(UserError, match=str(copied)):
        Pretrained(path=str(copied)).tokenizer()


def test_a_checkpoint_that_lacks_a_tensor_is_refused_and_not_filled_with_noise(copied):
    kept = load_file(copied / "model.safetensors")
    del kept["model.layers.1.mlp.up_proj.weight"]
    save_file(kept, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="lacks 1 tensor.*up_proj"):
        _build(copied)


@pytest.mark.parametrize("known", [True, False])
def test_code_that_comes_with_a_checkpoint_is_never_run(copied, tmp_path, known):
    ran = tmp_path / "ran"
    for name in ("configuration_own", "modeling_own", "tokenization_own"):
        (copied / f"{name}.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: ...\n")
    config = json.loads((copied / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "modeling_own.Own"}
    config["model_type"] = "llama" if known else "own"
    (copied / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((copied / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["tokenization_own.Own", None]}
    (copied / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    if known:
        assert type(_build(copied).module).__name__ == "LlamaForCausalLM"
    else:
        with pytest.raises(UserError):
            _build(copied)
    assert not ran.exists()


@pytest.mark.parametrize("path", ["meta-llama/Llama-3.2-1B", "models/nowhere"])
@pytest.mark.parametrize(
    "ask", [lambda s: s.identity(), lambda s: s.dimensions(), lambda s: s.tokenizer(), lambda s: _build(s.path)]
)
def test_a_hub_id_that_cannot_be_had_is_one_message_with_the_remedies(no_hub, path, ask):
    with pytest.raises(UserError, match=f"^{path}: .*no such directory.*HF_TOKEN.*local directory") as refused:
        ask(Pretrained(path=path))
    assert "\n" not in str(refused.value)


def test_a_hub_checkpoint_is_known_by_its_commit_and_not_by_the_name_of_its_branch(no_hub):
    references = no_hub / "models--somebody--model" / "refs"
    references.mkdir(parents=True)
    (references / "main").write_text("0123abcd")
    (references.parent / "snapshots" / "0123abcd").mkdir(parents=True)
    by_branch = Pretrained(path="somebody/model").identity()
    assert by_branch["path"] == {"hub": "somebody/model", "commit": "0123abcd"}
    assert Pretrained(path="somebody/model", hub_revision="0123abcd").identity() == by_branch


def test_a_commit_written_out_is_itself_and_nobody_is_asked(no_hub, monkeypatch):
    monkeypatch.setattr(checkpoints, "urlopen", None)
    commit = "0123456789abcdef0123456789abcdef01234567"
    spec = Pretrained(path="somebody/model", hub_revision=commit)
    assert spec.identity()["path"] == {"hub": "somebody/model", "commit": commit}
    with pytest.raises(UserError, match="somebody/model: this checkpoint cannot be loaded"):
        spec.tokenizer()
