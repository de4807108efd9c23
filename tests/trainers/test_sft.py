"""TRL's SFTTrainer, with and without adapters, stepped by optimizers of optbench."""

import pytest
import torch
from trainer_cases import llama, logged, same, settings, weights

pytest.importorskip("trl", reason='needs pip install "optbench[trl]"')

from datasets import Dataset, disable_progress_bars, enable_progress_bars
from trl import SFTConfig, SFTTrainer

from optbench.errors import UserError
from optbench.trainers import OptbenchSFTTrainer, OptimizerMixin

SUMS = [(f"{i}+{i % 7}=", str(i + i % 7)) for i in range(12)]
DATA = {
    "prompt and completion": [{"prompt": prompt, "completion": completion} for prompt, completion in SUMS],
    "messages": [
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]}
        for prompt, completion in SUMS
    ],
}


@pytest.fixture(autouse=True)
def _quiet():
    disable_progress_bars()
    yield
    enable_progress_bars()


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["[PAD]", "[EOS]", "[UNK]", *"0123456789+=:uas"])}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    found = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]")
    found.chat_template = "{% for m in messages %}{{ m['role'][0] + ':' + m['content'] + '=' }}{% endfor %}"
    return found


def sft(kind, tokenizer, folder, rows, *, model=None, peft_config=None, spec=None, fields=None, **given):
    config = SFTConfig(**{**settings(folder), "bf16": False, "activation_checkpointing": False, **given})
    return kind(
        model=llama() if model is None else model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        **({"peft_config": peft_config} if peft_config else {}),
        **({"optimizer_spec": spec, "optimizer_fields": fields or {}} if spec else {}),
    )


@pytest.mark.parametrize("form", DATA)
def test_adamw_is_that_of_the_trainer_itself(form, tokenizer, tmp_path):
    ours = sft(OptbenchSFTTrainer, tokenizer, tmp_path, DATA[form], spec="adamw")
    stock = sft(SFTTrainer, tokenizer, tmp_path, DATA[form])
    ours.train()
    stock.train()
    for name in ("loss", "grad_norm", "learning_rate"):
        assert logged(ours, name) == pytest.approx(logged(stock, name), rel=1e-4), name
    assert ours._total_train_tokens == stock._total_train_tokens == ours.tokens > 0


def test_rows_without_padding_are_told_apart(tokenizer, tmp_path):
    """All examples of a micro-batch in one row, told apart by their position ids."""
    rows = DATA["prompt and completion"]
    ours = sft(OptbenchSFTTrainer, tokenizer, tmp_path, rows, spec="adamw", padding_free=True, max_length=None)
    stock = sft(SFTTrainer, tokenizer, tmp_path, rows)
    ours.train()
    stock.train()
    assert logged(ours, "loss") == pytest.approx(logged(stock, "loss"), rel=1e-4)


def test_functional_sam_trains_with_a_mixin_of_ones_own(tokenizer, tmp_path):
    class MyTrainer(OptimizerMixin, SFTTrainer):
        pass

    trainer = sft(
        MyTrainer, tokenizer, tmp_path, DATA["messages"], spec="functional_sam", num_train_epochs=8, bf16=True
    )
    trainer.train()
    losses = logged(trainer, "loss")
    assert losses[-1] < 0.8 * losses[0]
    assert trainer.passes == 2 * trainer.steps == 2 * 16
    assert trainer.evaluate(Dataset.from_list(DATA["messages"]))["eval_loss"] == pytest.approx(losses[-1], rel=0.2)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # Peft's own.
@pytest.mark.parametrize("spec", ["muon", "functional_sam"])
def test_adapters_alone_are_moved_and_shifted(spec, tokenizer, tmp_path):
    peft = pytest.importorskip("peft")
    model = llama()
    before = weights(model)
    lora = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.0, task_type="CAUSAL_LM")
    trainer = sft(
        OptbenchSFTTrainer,
        tokenizer,
        tmp_path,
        DATA["messages"],
        model=model,
        peft_config=lora,
        spec=spec,
        num_train_epochs=4,
        learning_rate=0.1,
    )
    trainer.create_optimizer()
    roles = {p.role for p in trainer.optimizer.optimizer.parameters}
    trainer.train()
    losses = logged(trainer, "loss")
    assert roles == {"adapter"}
    assert losses[-1] < losses[0]
    base = [p for name, p in trainer.model.named_parameters() if "lora_" not in name]
    assert same(before, [p.detach() for p in base])
    moved = [p for name, p in trainer.model.named_parameters() if "lora_B" in name]
    assert all(p.abs().sum() > 0 for p in moved)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss_type": "dft"}, "loss_type: not with an optimizer of optbench"),
        ({"bf16": False, "weight_decay": 0.1}, "set weight_decay in the spec"),
    ],
)
def test_what_would_not_be_done_as_asked_is_refused(given, message, tokenizer, tmp_path):
    with pytest.raises(UserError, match=message):
        sft(OptbenchSFTTrainer, tokenizer, tmp_path, DATA["messages"], spec="sam", **given)


def test_bf16_products_with_float32_weights_stay_close(tokenizer, tmp_path):
    rows = DATA["messages"]
    runs = [
        sft(OptbenchSFTTrainer, tokenizer, tmp_path, rows, spec="functional_sam", bf16=bf16) for bf16 in (False, True)
    ]
    for trainer in runs:
        trainer.train()
    exact, rounded = (logged(trainer, "loss") for trainer in runs)
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=0.02)
    assert {p.dtype for p in runs[1].model.parameters()} == {torch.float32}
