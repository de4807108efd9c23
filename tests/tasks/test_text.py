from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from optbench.errors import UserError
from optbench.models.tokenizers import CharTokenizer
from optbench.tasks.arithmetic import ArithmeticTask
from optbench.tasks.base import Example
from optbench.tasks.text import token_counts


@dataclass
class Stub:
    tokenizer: CharTokenizer
    device: torch.device = torch.device("cpu")


MODEL = Stub(CharTokenizer())
TASK = ArithmeticTask(train=120, validation=12, test=24).build()


def slow(task, examples):
    """The set of (context, target) pairs, one supervised token at a time."""
    tokenizer, pairs = MODEL.tokenizer, []
    for example in examples:
        prompt = tokenizer.encode(task.prompt_of(example))
        rest = [*tokenizer.encode(example.solution), tokenizer.eos_id]
        pairs += [((*prompt, *rest[:i]), target) for i, target in enumerate(rest)]
    return pairs


def pairs_of(batch):
    """What a causal model sees at each supervised output, and what it should say."""
    pairs = []
    for part in batch.parts:
        ids = part.inputs["input_ids"]
        for position, target in zip(part.positions.tolist(), part.targets.tolist(), strict=True):
            row, column = divmod(position, ids.shape[1])
            pairs.append((tuple(ids[row, : column + 1].tolist()), target))
    return pairs


@pytest.mark.parametrize("rows", [[0], [3, 3, 1], list(range(64)), list(range(119, -1, -7))])
@pytest.mark.parametrize("micro_batch", [1, 5, 64, 4096])
def test_a_batch_is_what_the_plainest_reading_says(rows, micro_batch):
    prepared = TASK.prepare(TASK.train, MODEL)
    batch = prepared.batch(np.array(rows), micro_batch=micro_batch)
    expected = slow(TASK, [TASK.train[row] for row in rows])
    assert pairs_of(batch) == expected
    assert batch.num_supervised == len(expected) == int(prepared.supervised[rows].sum())
    assert len(batch.parts) == -(-len(rows) // micro_batch)


def test_tokens_are_counted_without_padding_and_without_the_last_token():
    prepared = TASK.prepare(TASK.train, MODEL)
    sizes = [len(e.question) + len(e.solution) for e in TASK.train]
    assert prepared.lengths.tolist() == sizes
    assert prepared.num_tokens == sum(sizes)
    assert prepared.batch([4, 9], micro_batch=8).num_tokens == sizes[4] + sizes[9]
    assert len(prepared) == len(TASK.train)


def test_parts_are_trimmed_to_their_longest_and_padded_on_the_right():
    prepared = TASK.prepare(TASK.train, MODEL)
    for part, rows in zip(prepared.batch(range(9), micro_batch=3).parts, np.arange(9).reshape(3, 3), strict=True):
        ids, lengths = part.inputs["input_ids"], prepared.lengths[rows]
        assert ids.shape == (3, lengths.max())
        assert set(part.inputs) == {"input_ids"}
        for row, length in zip(ids.tolist(), lengths, strict=True):
            assert set(row[length:]) <= {MODEL.tokenizer.pad_id}
            assert MODEL.tokenizer.pad_id not in row[:length]


def test_every_solution_ends_with_the_end_of_sequence():
    prepared = TASK.prepare(TASK.train[:5], MODEL)
    batch = prepared.batch(range(5), micro_batch=5)
    assert batch.parts[0].targets.tolist().count(MODEL.tokenizer.eos_id) == 5


def test_losses_are_those_of_each_position_and_padding_changes_nothing():
    torch.manual_seed(0)
    embedding = torch.randn(98, 98, dtype=torch.float64)

    def total(micro_batch):
        batch = TASK.prepare(TASK.train, MODEL).batch(range(30), micro_batch=micro_batch)
        losses = []
        for part in batch.parts:
            # A causal toy: the output at t is the sum over what stands at or before t.
            outputs = embedding[part.inputs["input_ids"]].cumsum(1).flatten(0, 1)[part.positions]
            losses.append(TASK.losses(outputs, part.targets))
        return torch.cat(losses)

    whole = total(64)
    assert whole.shape == (int(TASK.prepare(TASK.train[:30], MODEL).supervised.sum()),)
    for micro_batch in (1, 7):
        torch.testing.assert_close(total(micro_batch), whole, rtol=1e-12, atol=1e-12)


def test_an_example_that_is_too_long_is_refused_by_name():
    task = replace(TASK, max_length=10)
    with pytest.raises(UserError, match=r"'far-too-long' has 14 tokens, more than max_length \(10\)"):
        task.prepare([Example("far-too-long", "47+38=", "15+70:85", "85", "add2")], MODEL)


@pytest.mark.parametrize(
    ("max_length", "prompt", "solution"),
    [(14, "47+38=", "15+70:85"), (10, "47+38=", "15+70"), (6, "47+38=", "1"), (4, "+38=", "1")],
)
def test_truncation_takes_the_end_of_the_solution_and_never_all_of_it(max_length, prompt, solution):
    task = replace(TASK, max_length=max_length, too_long="truncate")
    ids, num_prompt = task.encode(Example("x", "47+38=", "15+70:85", "85", "add2"), MODEL.tokenizer)
    assert len(ids) - 1 == max_length
    assert MODEL.tokenizer.decode(ids[:num_prompt]) == prompt
    assert MODEL.tokenizer.decode(ids[num_prompt:]) == solution


def test_questions_with_braces_go_into_a_template_as_they_are():
    task = replace(TASK, prompt="Q {question} {other}\n")
    assert task.prompt_of(Example("x", "{0} {question}", "", "", "")) == "Q {0} {question} {other}\n"


def test_token_counts_are_those_of_the_prepared_training_set():
    prepared = TASK.prepare(TASK.train, MODEL)
    lengths, supervised = token_counts(TASK, MODEL.tokenizer)
    assert lengths.tolist() == prepared.lengths.tolist()
    assert supervised.tolist() == prepared.supervised.tolist()


def test_answers_are_generated_and_graded_in_order(monkeypatch):
    from optbench.models import generation

    def oracle(model, prompts, *, max_new_tokens):
        known = {e.question: e.solution for e in TASK.test}
        return [known[prompt] if i % 2 else "no colon" for i, prompt in enumerate(prompts)]

    monkeypatch.setattr(generation, "generate", oracle)
    grades = TASK.answer(TASK.test, MODEL)
    assert [g.correct for g in grades] == [bool(i % 2) for i in range(len(TASK.test))]
    assert all(g.format_error == (not g.correct) for g in grades)


def test_a_batch_costs_well_under_a_millisecond():
    import time

    task = ArithmeticTask().build()
    prepared = task.prepare(task.train, MODEL)
    rows = np.random.Generator(np.random.PCG64(0)).permutation(len(prepared))[:64]
    times = []
    # The best of many on a processor's own clock: a busy machine must not fail a test.
    for _ in range(200):
        start = time.process_time()
        prepared.batch(rows, micro_batch=4096)
        times.append(time.process_time() - start)
    assert min(times) < 5e-4
