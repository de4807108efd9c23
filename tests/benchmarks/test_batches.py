"""Batches cut by length, and the loop around them, beside transformers.Trainer on the same examples.

The lengths are drawn, not anybody's data: prompts lognormal with median 85 tokens (sigma 0.35, cut to 30..250),
solutions lognormal with median 115 (sigma 0.5, cut to 30..400), which has the shape of school-arithmetic sets with
worked solutions: prompts mostly of 45 to 150 tokens, solutions of 50 to 250, a long tail on the right.
"""

import time

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from ratios import ratio

from optbench.models.dimensions import of_config
from optbench.models.generation import generate
from optbench.models.language_model import LanguageModel, cross_entropy
from optbench.models.roles import parameters_of
from optbench.models.specs import PRESETS, ModelSpec
from optbench.optim.specs import OptimizerSpec
from optbench.oracle import Oracle
from optbench.tasks.grouping import grouped, groups, part_cost
from optbench.tasks.specs import PRESETS as TASKS
from optbench.tasks.specs import TaskSpec
from optbench.tasks.text import Encoded
from optbench.train import train

pytestmark = pytest.mark.benchmark
VOCABULARY, PAD, BATCH, STEPS = 8192, 0, 16, 2
OPTIMIZER = OptimizerSpec.model_validate({"rule": {"kind": "adamw", "lr": 1e-4, "weight_decay": 0.0}})


class Padding:
    pad_id = PAD


def llama():
    """About 7 million parameters, 4.7 of them inside the blocks."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        max_position_embeddings=1024,
    )
    return LlamaForCausalLM(config)


def examples():
    """Token ids and the number of them that are prompt."""
    rng = np.random.default_rng(0)

    def lengths(median, sigma, low, high):
        return rng.lognormal(np.log(median), sigma, BATCH * STEPS).clip(low, high).astype(int)

    sizes = zip(lengths(85, 0.35, 30, 250), lengths(115, 0.5, 30, 400), strict=True)
    return [(rng.integers(1, VOCABULARY, size=p + s).tolist(), int(p)) for p, s in sizes]


ROWS = examples()


def ours(*, by_length):
    """A block of STEPS steps of the loop, batches made in it. With it, the model and a list of the losses."""
    module = llama()
    model = LanguageModel(module, LanguageModel.of(module).head, Padding())
    prepared = Encoded.of(ROWS, model)
    cost = part_cost(of_config(module.config.to_dict(), where="here"), "cpu")
    optimizer = OPTIMIZER.build(parameters_of(module))
    losses = []

    def batches():
        for rows in np.arange(BATCH * STEPS).reshape(STEPS, BATCH):
            if by_length:
                yield grouped(prepared, rows, cost, micro_batch=4096)
            else:
                yield prepared.batch(rows, micro_batch=4096)

    def block():
        history = train(model, cross_entropy, optimizer, batches(), steps=STEPS, schedule=lambda progress: 1.0)
        losses.extend(history.losses)

    return block, module, losses


def collated():
    from tokenizers import Tokenizer, models
    from transformers import DataCollatorForSeq2Seq, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[PAD]": PAD, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    data = [{"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]} for ids, prompt in ROWS]
    return data, DataCollatorForSeq2Seq(tokenizer)


def trainer(folder):
    """A block of STEPS steps of transformers.Trainer: the same model, examples, order, optimizer; nothing else on."""
    from torch.utils.data import SequentialSampler
    from transformers import Trainer, TrainingArguments

    class InOrder(Trainer):
        def _get_train_sampler(self, *args, **kwargs):
            return SequentialSampler(self.train_dataset)

    data, collator = collated()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        max_steps=STEPS,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=0.0,
        optim="adamw_torch_fused",
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    found = InOrder(model=llama(), args=arguments, train_dataset=data, data_collator=collator)
    return found.train, found


def by_hand():
    """The Trainer's mathematics in a bare loop: one padded part, logits and loss of transformers."""
    module = llama()
    data, collator = collated()
    adam = torch.optim.AdamW(module.parameters(), lr=1e-4, weight_decay=0.0, fused=True)

    def block():
        for start in range(0, len(data), BATCH):
            adam.zero_grad(set_to_none=True)
            module(**collator(data[start : start + BATCH]), use_cache=False).loss.backward()
            adam.step()

    return block


def test_the_loop_is_faster_than_the_trainer(row, tmp_path):
    (block, _, losses), (theirs, found) = ours(by_length=True), trainer(tmp_path)
    # The same mathematics to begin with: the first batch has one loss.
    with torch.no_grad():
        first = found.data_collator([found.train_dataset[i] for i in range(BATCH)])
        expected = float(found.model(**first).loss)
    measured = ratio(theirs, block, rounds=3)
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    tokens = sum(len(ids) - 1 for ids, _ in ROWS)
    row(
        "tokens/s of the loop, Llama 7M, batch 16, CPU",
        "transformers.Trainer, padded",
        ">= 1.4",
        f"{measured.words}; {tokens / measured.theirs:.0f} against {tokens / measured.ours:.0f} tokens/s",
    )
    assert measured.median >= 1.4


def test_of_it_cutting_by_length_with_the_same_losses(row):
    (fast, module, found), (slow, _, expected) = ours(by_length=True), ours(by_length=False)
    measured = ratio(slow, fast, rounds=2)
    assert len(found) == len(expected) == 3 * STEPS
    assert found == pytest.approx(expected, rel=1e-5)
    lengths = np.array([len(ids) - 1 for ids, _ in ROWS]).reshape(STEPS, BATCH)
    cost = part_cost(of_config(module.config.to_dict(), where="here"), "cpu")
    cut = [[own[g] for g in groups(own, cost, micro_batch=4096)] for own in lengths]
    one = sum(BATCH * own.max() for own in lengths)
    many = sum(len(part) * part.max() for parts in cut for part in parts)
    row(
        "of it: parts by length",
        "one padded part",
        "> 1.1",
        f"{measured.words}; {one} and {many} padded tokens of {lengths.sum()}, parts of {[len(p) for p in cut[0]]}; "
        f"losses differ by {max(abs(a / b - 1) for a, b in zip(found, expected, strict=True)):.1g} at most",
    )
    assert measured.median > 1.1


def test_of_it_the_output_layer_where_it_is_needed(row):
    measured = ratio(by_hand(), ours(by_length=False)[0], rounds=2)
    row("of it: output layer at supervised positions", "logits everywhere", "> 1.05", measured.words)
    assert measured.median > 1.05


def test_of_it_what_the_trainer_adds(row, tmp_path):
    measured = ratio(trainer(tmp_path)[0], by_hand(), rounds=2)
    row("of it: the Trainer's own work", "a bare loop of the same", "-", measured.words)
    assert measured.median < 1.5


class Ids:
    """Token ids as text."""

    eos_id, pad_id = 2, PAD

    def encode_prompt(self, text):
        return [int(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(map(str, ids))


def countdown():
    """A Llama that says 90, 89, ... down to 2, the end of sequence, after a 91: its layers do all of their work, but
    their last matrices are zero, and the output layer points from each token to the one before it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    module = LlamaForCausalLM(LlamaConfig(**{**llama().config.to_diff_dict(), "tie_word_embeddings": False}))
    with torch.no_grad():
        for layer in module.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        module.lm_head.weight[:-1] = module.model.embed_tokens.weight[1:]
    model = LanguageModel(module.eval(), LanguageModel.of(module).head, Ids())
    module.generation_config = type(module.generation_config)(pad_token_id=PAD, eos_token_id=2, do_sample=False)
    return model


def test_answers_that_have_ended_cost_nothing_more(row):
    model, rng = countdown(), np.random.default_rng(0)
    ends = 2 + rng.lognormal(np.log(30), 0.5, 32).clip(8, 120).astype(int)
    prompts = [" ".join(map(str, [*rng.integers(200, 8000, size=rng.integers(12, 25)), end])) for end in ends]
    ids = [[int(word) for word in prompt.split()] for prompt in prompts]
    longest = max(map(len, ids))
    inputs = torch.tensor([[PAD] * (longest - len(one)) + one for one in ids])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in ids])

    def ours():
        return generate(model, prompts, max_new_tokens=150)

    def theirs():
        return model.module.generate(input_ids=inputs, attention_mask=mask, max_new_tokens=150)

    assert [len(answer.split()) for answer in ours()] == (ends - 3).tolist()
    assert [row.tolist().index(2) for row in theirs()[:, longest:]] == (ends - 3).tolist()
    measured = ratio(theirs, ours, rounds=3)
    row("32 answers of 8 to 120 tokens, Llama 9M", "transformers' generate", ">= 1.3", measured.words)
    assert measured.median >= 1.3


def share(make, step, rounds):
    """Process time of making a batch over that of a step with it: medians."""
    made, done = [], []
    for _ in range(rounds):
        start = time.process_time()
        batch = make()
        middle = time.process_time()
        step(batch)
        made.append(middle - start)
        done.append(time.process_time() - middle)
    return float(np.median(made) / np.median(done)), float(np.median(made))


def test_batches_are_made_in_a_small_part_of_a_step(row):
    nano = (
        TypeAdapter(ModelSpec)
        .validate_python(PRESETS["llama-nano"])
        .build(seed=0, device="cpu", precision="float32", attention="sdpa")
    )
    task = TypeAdapter(TaskSpec).validate_python(TASKS["arithmetic"]).build()
    prepared = task.prepare(task.train, nano)
    rows = np.random.default_rng(0).permutation(len(prepared))[:64]
    module = llama()
    large = LanguageModel(module, LanguageModel.of(module).head, Padding())
    texts = Encoded.of(ROWS, large)
    cost = part_cost(of_config(module.config.to_dict(), where="here"), "cpu")
    cases = {
        "nano, 64 examples": (nano, lambda: prepared.batch(rows, micro_batch=4096), 30, 0.03),
        "7M, 16 examples by length": (
            large,
            lambda: grouped(texts, np.arange(BATCH), cost, micro_batch=4096),
            3,
            0.01,
        ),
    }
    for name, (model, make, rounds, target) in cases.items():
        optimizer = OPTIMIZER.build(parameters_of(model.module))
        step = lambda batch, m=model, o=optimizer: o.step(Oracle(m, cross_entropy, batch))  # noqa: E731
        step(make())
        found, seconds = share(make, step, rounds)
        row(f"making a batch: {name}", "a step", f"<= {target}", f"{found:.4f} ({1e3 * seconds:.2f} ms)")
        assert found <= target
