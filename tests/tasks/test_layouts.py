"""Prompt and completion, conversations, and texts that nothing can grade; and whatever else stands in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from optbench.errors import UserError
from optbench.models.tokenizers import CharTokenizer, HubTokenizer
from optbench.spec import key_of
from optbench.suite import load_suite
from optbench.tasks.jsonl import JsonlTask, read_jsonl
from optbench.tasks.layouts import Fields
from optbench.tasks.own_text import OwnText
from optbench.tasks.text import TextTask

TURNS = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d e"), ("user", "thanks")]
CHAT = {"messages": [{"role": role, "content": content} for role, content in TURNS]}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def chats(count: int) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"{i}+1?"}, {"role": "assistant", "content": f"it is {i + 1}"}]}
        for i in range(count)
    ]


WORDS = ["<bos>", "<eos>", "<unk>", "user", "assistant", ":", "a", "b", "c", "d", "e", "thanks", "|"]


def with_template(template: str | None) -> HubTokenizer:
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="<eos>", bos_token="<bos>"
    )
    tokenizer.chat_template = template
    return HubTokenizer(tokenizer)


def words(ids: list[int]) -> str:
    return " ".join(WORDS[i] for i in ids)


# what is learned


def test_a_completion_follows_its_prompt_as_it_is(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}+1=", "completion": f"{i + 1}", "answer": i + 1} for i in range(20)]
    task = JsonlTask(path=write(tmp_path / "x.jsonl", rows)).build()
    assert isinstance(task, TextTask)
    example = task.train[0]
    ids, prompt = task.encode(example, CharTokenizer())
    assert CharTokenizer().decode(ids) == example.question + example.solution
    assert (example.solution, prompt) == (example.answer, len(example.question))


def test_the_last_turn_of_the_assistant_is_learned_by_the_chat_template(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ m.role }} : {{ m.content }} <eos> | {% endfor %}"
        "{% if add_generation_prompt %}assistant : {% endif %}"
    )
    task = JsonlTask(path=write(tmp_path / "x.jsonl", [CHAT, *chats(20)]), grading="nll").build()
    assert isinstance(task, OwnText)
    (example,) = (e for e in [*task.train, *task.test, *task.validation] if e.id.endswith("-1"))
    ids, prompt = task.encode(example, with_template(template))
    assert words(ids[:prompt]) == "user : a <eos> | assistant : b <eos> | user : c <eos> | assistant :"
    assert words(ids[prompt:]) == "d e <eos>"


def test_a_template_that_writes_its_last_turn_in_another_way_still_has_its_text_learned(tmp_path: Path) -> None:
    template = "{% if add_generation_prompt %}| {% endif %}{% for m in messages %}{{ m.content }} {% endfor %}"
    task = JsonlTask(path=write(tmp_path / "x.jsonl", [CHAT, *chats(20)]), grading="nll").build()
    (example,) = (e for e in [*task.train, *task.test, *task.validation] if e.id.endswith("-1"))
    ids, prompt = task.encode(example, with_template(template))
    assert (words(ids[:prompt]), words(ids[prompt:])) == ("| a b c", "d e <eos>")


def test_without_a_template_a_conversation_is_written_plainly(tmp_path: Path) -> None:
    task = JsonlTask(path=write(tmp_path / "x.jsonl", [CHAT, *chats(20)]), grading="nll").build()
    (example,) = (e for e in [*task.train, *task.test, *task.validation] if e.id.endswith("-1"))
    ids, prompt = task.encode(example, CharTokenizer())
    assert CharTokenizer().decode(ids[:prompt]) == "User: a\nAssistant: b\nUser: c\nAssistant: "
    assert CharTokenizer().decode(ids[prompt:]) == "d e"
    plain, again = with_template(None), task.encode(example, with_template(None))
    assert again[0][again[1] :] == [*plain.encode("d e"), plain.eos_id]


def test_a_template_that_refuses_a_conversation_is_blamed_with_the_example(tmp_path: Path) -> None:
    task = JsonlTask(path=write(tmp_path / "x.jsonl", chats(20)), grading="nll").build()
    with pytest.raises(UserError, match=r"train-\d+: the model's chat template refuses .*roles must alternate"):
        task.encode(task.train[0], with_template("{{ raise_exception('roles must alternate') }}"))


def test_a_conversation_that_is_too_long_ends_earlier(tmp_path: Path) -> None:
    spec = JsonlTask(path=write(tmp_path / "x.jsonl", chats(20)), grading="nll", max_length=28, too_long="truncate")
    ids, prompt = spec.build().encode(spec.build().train[0], CharTokenizer())
    assert len(ids) == 29 and CharTokenizer().decode(ids[prompt:]).startswith("it is")


# what is graded


def test_answers_of_conversations_are_asked_for_with_the_template(tmp_path: Path) -> None:
    import numpy as np
    import torch

    from optbench.models.families import Nano

    rows = [{**row, "answer": i + 1} for i, row in enumerate(chats(20))]
    task = JsonlTask(path=write(tmp_path / "x.jsonl", rows), max_new_tokens=3).build()
    assert isinstance(task, OwnText) and task.graded
    assert task.train[0].solution.endswith(f"\n#### {task.train[0].answer}")
    torch.manual_seed(0)
    model = Nano(family="llama", width=16, layers=1, heads=2).build(
        seed=0, device="cpu", precision="float32", attention="sdpa"
    )
    found = task.evaluate(task.test, model, micro_batch=8)
    assert set(found.result) >= {"test_nll", "accuracy"} and np.isfinite(found.result["test_nll"])
    assert len(task.answer(task.test, model)) == len(task.test)


def test_without_answers_the_likelihood_is_all_there_is(tmp_path: Path) -> None:
    from optbench.models.families import Nano

    rows = [{"prompt": f"{i} ", "completion": "x" * (i % 4 + 1)} for i in range(20)]
    path = write(tmp_path / "x.jsonl", rows)
    with pytest.raises(UserError, match="x.jsonl:1: the field 'answer' is missing, .* set `grading: nll`"):
        JsonlTask(path=path).build()
    spec = JsonlTask(path=path, grading="nll", rewriter={"model": "some"})
    assert not spec.asks_questions and not spec.can_rewrite
    task = spec.build()
    model = Nano(family="llama", width=16, layers=1, heads=2).build(
        seed=0, device="cpu", precision="float32", attention="sdpa"
    )
    found = task.evaluate(task.test, model, micro_batch=8)
    assert set(found.result) == {"test_nll"} and found.questions is None
    for refused in (lambda: task.answer(task.test, model), lambda: task.rewrite(task.train, 0)):
        with pytest.raises(UserError, match="`grading: nll`"):
            refused()
    lengths, supervised = spec.token_counts(CharTokenizer())
    assert len(lengths) == len(task.train) and (supervised < lengths).all()


def test_texts_that_nothing_grades_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = [{"question": "q", "solution": "s", "answer": answer} for answer in (None, ["x"], True, 4)]
    found = read_jsonl(write(tmp_path / "x.jsonl", rows), Fields(), name="line", graded=False)
    assert [(e.solution, e.answer) for e in found.examples] == [("s", ""), ("s", ""), ("s", ""), ("s", "4")]


def test_a_suite_over_such_data_loads_and_is_ranked_by_likelihood(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", chats(30))
    text = (
        "models: [llama-nano]\nstrategies: [uniform, upsample]\noptimizers: [adamw]\nbudget: {steps: 2}\n"
        "training: {batch_size: 4}\nranked_by: test_nll\n"
    )
    (tmp_path / "x.yaml").write_text(f"{text}tasks: [{{name: own, kind: jsonl, path: {path}, grading: nll}}]\n")
    assert len(load_suite(tmp_path / "x.yaml").cells()) == 2
    (tmp_path / "y.yaml").write_text(
        f"{text.replace('upsample', 'augment')}tasks: [{{name: own, kind: jsonl, path: {path}, grading: nll}}]\n"
    )
    with pytest.raises(UserError, match="cannot write any"):
        load_suite(tmp_path / "y.yaml")


# keys and refusals


def test_the_key_of_a_question_file_is_what_it_was(tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "answer": i} for i in range(20)]
    path = write(tmp_path / "x.jsonl", rows)
    assert set(JsonlTask(path=path).identity()) == {"kind", "path", "fields", "rewriter"}
    assert JsonlTask(path=path).identity()["fields"] == {}
    assert key_of(JsonlTask(path=path).identity()) == "821d899418c31fb6"
    assert key_of(JsonlTask(path=path, grading="nll").identity()) != "821d899418c31fb6"


def test_layouts_do_not_mix_between_files_nor_take_a_frame(tmp_path: Path) -> None:
    chat = write(tmp_path / "chat.jsonl", chats(20))
    other = write(tmp_path / "other.jsonl", [{"prompt": f"{i}", "completion": "c"} for i in range(20)])
    with pytest.raises(UserError, match="the test file has the layout completion, and .*chat.jsonl has messages"):
        JsonlTask(path=chat, test=other, grading="nll").build()
    with pytest.raises(UserError, match="`prompt` frames questions"):
        JsonlTask(path=chat, grading="nll", prompt="Q: {question}").build()


def test_conversations_that_read_alike_and_differ_are_refused(tmp_path: Path) -> None:
    one = [{"role": "user", "content": "a\nUser: b"}, {"role": "assistant", "content": "c"}]
    two = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]
    path = write(tmp_path / "x.jsonl", [{"messages": one}, {"messages": one}, {"messages": two}])
    with pytest.raises(UserError, match=r"x.jsonl:3: reads like a line before it"):
        read_jsonl(path, Fields(), name="line", graded=False)


# whatever stands in a file

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
NAMES = st.sampled_from(["question", "solution", "answer", "source", "prompt", "completion", "messages", "x"])
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]) | TEXT, "content": TEXT | JSON}
)
ROW = st.dictionaries(NAMES, TEXT | JSON | st.lists(MESSAGE | JSON, max_size=4), max_size=6)
LINES = st.lists(ROW.map(lambda row: json.dumps(row).encode()) | st.binary(max_size=30), max_size=6)


@settings(max_examples=200, deadline=None)
@given(lines=LINES, end=st.sampled_from([b"\n", b"\r\n", b"\r"]), graded=st.booleans(), cut=st.integers(0, 40))
def test_any_file_is_read_or_refused_with_a_reason(lines, end, graded, cut, tmp_path_factory) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "fuzzed.jsonl"
    content = end.join(lines)
    path.write_bytes(content[: max(0, len(content) - cut)])
    try:
        found = read_jsonl(str(path), Fields(), name="train", graded=graded)
    except UserError as error:
        assert str(error).startswith(str(path)) and len(str(error)) > len(str(path)) + 10
        return
    assert found.examples and len(found.examples) == len(found.lines)
    for example in found.examples:
        assert example.question.strip() and example.solution and (example.answer or not graded)
        f"{example}".encode()
    try:
        task = JsonlTask(path=str(path), grading="number" if graded else "nll", test_fraction=0.5).build()
        task.encode(task.train[0], CharTokenizer())
    except UserError as error:
        assert str(error)
