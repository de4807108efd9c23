"""The code of docs/trainers.md runs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from trainer_cases import arguments, llama, rows

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "trainers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def block(containing):
    (found,) = [text for text in BLOCKS if containing in text]
    return found


def run(code, **names):
    exec(compile(code, "docs/trainers.md", "exec"), names)
    return names


@pytest.fixture
def checkpoint(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["[PAD]", "[EOS]", "[UNK]", *"0123456789+= "])}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]"
    ).save_pretrained(tmp_path / "model")
    llama().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")  # A machine without a GPU.
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated")  # TRL's own.
def test_functional_sam_in_ten_lines(checkpoint, tmp_path, monkeypatch):
    pytest.importorskip("trl", reason='needs pip install "optbench[trl]"')
    monkeypatch.chdir(tmp_path)
    lines = [{"prompt": f"{i}+1=", "completion": f"{i + 1}"} for i in range(20)]
    Path("train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    code = block("OptbenchSFTTrainer")
    assert len([line for line in code.splitlines() if line.strip() and "import" not in line]) <= 10
    code = code.replace("HuggingFaceTB/SmolLM2-135M", str(checkpoint)).replace("2e-5", "1e-2, use_cpu=True")
    trainer = run(code)["trainer"]
    assert trainer.steps == 3 and trainer.passes == 6, "20 examples, 8 at a time: 3 micro-batches, 1 step an epoch"
    from transformers import AutoModelForCausalLM

    saved = AutoModelForCausalLM.from_pretrained("tuned", dtype=torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), trainer.model.parameters(), strict=True))


def test_a_mixin_and_a_recorder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run(block("class MyTrainer"), model=llama(), args=arguments(tmp_path), train_dataset=rows(24))
    assert capsys.readouterr().out.splitlines()[-1] == "2.0"
    found = run(block("LossRecorder"), trainer=names["trainer"])
    losses = np.load(tmp_path / "losses" / "losses.npy", allow_pickle=False)
    assert losses.shape == (24, 2)
    later = found["later"]
    assert later.shape == (24,) and 0 < later.sum() < 24
    assert losses[later].mean() > losses[~later].mean()
