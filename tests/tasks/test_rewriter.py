import numpy as np
import pytest
import torch

from optbench.errors import UserError
from optbench.tasks.base import Example
from optbench.tasks.grading import grader
from optbench.tasks.rewriter import Rewriter, rewritten

EXAMPLES = [
    Example(f"e{i}", f"What is {i} + 1?", f"{i} + 1 = {i + 1}\n#### {i + 1}", str(i + 1), "sums") for i in range(4)
]
PROMPTS = [e.question for e in EXAMPLES]


class Sampler:
    """Answers from a table: for each question the texts of its attempts in turn."""

    def __init__(self, table):
        self.table = {q: list(texts) for q, texts in table.items()}
        self.seeds, self.asked = [], []

    def __call__(self, prompts, seed):
        self.seeds.append(seed)
        self.asked.append(list(prompts))
        return [self.table[prompt].pop(0) for prompt in prompts]


def made(table, **options):
    sampler = Sampler(table)
    options = {"attempts": 3, "seed": 9, **options}
    return rewritten(EXAMPLES, PROMPTS, sampler, grader("number"), **options), sampler


def test_only_right_and_new_solutions_are_kept_and_the_rest_are_counted():
    found, sampler = made(
        {
            PROMPTS[0]: [" One more than 0.\n#### 1 "],
            PROMPTS[1]: ["#### 7", "no mark 2", "finally\n#### 2"],
            PROMPTS[2]: ["#### 4", "#### 5", "#### 6"],
            PROMPTS[3]: [EXAMPLES[3].solution] * 3,
        }
    )
    assert [e.solution for e in found] == [
        "One more than 0.\n#### 1",
        "finally\n#### 2",
        EXAMPLES[2].solution,
        EXAMPLES[3].solution,
    ]
    assert [e.id.endswith("-repeated") for e in found] == [False, False, True, True]
    assert [(e.question, e.answer, e.source) for e in found] == [(e.question, e.answer, e.source) for e in EXAMPLES]
    assert sampler.asked == [PROMPTS, PROMPTS[1:], PROMPTS[1:]]
    assert len(set(sampler.seeds)) == 3
    assert len({e.id for e in found}) == 4


def test_sampling_stops_when_all_are_right():
    _, sampler = made({e.question: [f"so\n#### {e.answer}"] for e in EXAMPLES})
    assert len(sampler.asked) == 1


def test_a_question_without_a_reference_is_never_sampled():
    nameless = Example("n", "Prove it.", "print(3)", "", "programs")
    (found,) = rewritten([nameless], ["Prove it."], Sampler({}), grader("number"), attempts=2, seed=0)
    assert (found.solution, found.id) == ("print(3)", "rewritten-0-0-repeated")


def test_no_model_is_a_polite_refusal():
    with pytest.raises(UserError, match="name a local instruct model"):
        Rewriter().function(grader("number"))(EXAMPLES, 0)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(UserError, match="nothing-here"):
        Rewriter(model=str(tmp_path / "nothing-here")).identity()


class Counting(torch.nn.Module):
    """Says the token after the last one, nearly surely, and ends after 6; padding must not matter."""

    def forward(self, *, input_ids, attention_mask, position_ids, past_key_values, use_cache):
        assert (attention_mask.sum(1) - 1 == position_ids[:, -1]).all()
        logits = torch.zeros(*input_ids.shape, 12)
        following = torch.where(input_ids >= 6, torch.ones_like(input_ids), input_ids + 1)
        logits.scatter_(2, following[..., None], 50.0)
        return type("Out", (), {"logits": logits, "past_key_values": ()})()


class Stub:
    module = Counting()
    device = torch.device("cpu")

    class tokenizer:
        eos_id, pad_id = 1, 0
        encode_chat = staticmethod(lambda text: [int(c) for c in text])
        decode = staticmethod(lambda ids: "".join(map(str, ids)))


def test_sampling_continues_each_prompt_to_its_end():
    from optbench.tasks.sampling import sample

    spec = Rewriter(model="x", batch_size=2, max_new_tokens=9)
    assert sample(Stub, ["3", "55554", "5", "6"], rewriter=spec, seed=0) == ["456", "56", "6", ""]
    assert sample(Stub, ["2"], rewriter=Rewriter(model="x", max_new_tokens=2), seed=0) == ["34"]


def test_draws_follow_the_probabilities_and_the_seed():
    from optbench.tasks.sampling import _draw

    logits = torch.log(torch.tensor([[0.0, 0.1, 0.0, 0.6, 0.3]])).expand(20000, 5)
    drawn = _draw(logits, np.random.Generator(np.random.PCG64(0)))
    counts = torch.bincount(drawn.flatten(), minlength=5) / 20000
    torch.testing.assert_close(counts, torch.tensor([0.0, 0.1, 0.0, 0.6, 0.3]), atol=0.02, rtol=0)
    assert torch.equal(drawn, _draw(logits, np.random.Generator(np.random.PCG64(0))))


def test_a_token_without_probability_is_never_drawn():
    from optbench.tasks.sampling import _draw

    class Zero:
        def random(self, shape, dtype):
            return np.zeros(shape, dtype)

    logits = torch.log(torch.tensor([[0.0, 0.0, 0.4, 0.6]]))
    assert _draw(logits, Zero()).tolist() == [[2]]
