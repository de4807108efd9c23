import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from optbench.errors import UserError
from optbench.spec import key_of
from optbench.tasks.jsonl import Fields, JsonlTask, read_jsonl
from optbench.tasks.splits import same_question


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def rows(n, start=0):
    return [
        {"question": f"What is {i} + 1?", "solution": f"{i} + 1 = {i + 1}", "answer": i + 1}
        for i in range(start, start + n)
    ]


GOOD = b'{"question": "1+1?", "answer": "2"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"question": "2+2?" "answer": 4}', r":3: not JSON \(.* at character 21\)"),
        (b"[1, 2]", ":3: not a JSON object but a list"),
        (b"17", ":3: not a JSON object but a number"),
        (b'{"answer": 4}', ":3: the field 'question' is missing or empty; there are: 'answer'"),
        (b'{"question": " ", "answer": 4}', ":3: the field 'question' is missing or empty"),
        (b'{"question": 4, "answer": 4}', ":3: the field 'question' is not text but a number"),
        (b'{"question": ["a"], "answer": 4}', ":3: the field 'question' is not text but a list"),
        (b'{"question": "a", "answer": [4]}', ":3: the field 'answer' is not text but a list"),
        (b'{"question": "a", "answer": true}', ":3: the field 'answer' is not text but true or false"),
        (b'{"question": "a", "answer": 4, "source": 3}', ":3: the field 'source' is not text but a number"),
        (b'{"question": "a"}', ":3: neither 'solution' nor 'answer' is there"),
        (
            b'{"question": "a", "solution": "so it is 4"}',
            ":3: the field 'answer' is missing, and the solution has no '####",
        ),
        (
            b'{"question": "a", "solution": "#### 4", "answer": 5}',
            ":3: the solution ends in '#### 4', but the answer is '5'",
        ),
        (b'{"question": "caf\xe9", "answer": 4}', r":3: not UTF-8 \(byte 0xe9 at 18\)"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line, message):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join([GOOD, b"", line, GOOD]))
    with pytest.raises(UserError, match="data.jsonl" + message):
        read_jsonl(str(path), Fields(), name="train", graded=True)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_refused(tmp_path, content):
    (tmp_path / "data.jsonl").write_bytes(content)
    with pytest.raises(UserError, match="data.jsonl: no examples"):
        read_jsonl(str(tmp_path / "data.jsonl"), Fields(), name="train", graded=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD)
    path.chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        read_jsonl(str(path), Fields(), name="train", graded=True)


def test_a_folder_or_nothing_is_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "nothing.jsonl"):
        with pytest.raises(ValidationError, match="there is no file"):
            JsonlTask(path=str(path))
    with pytest.raises(UserError, match="cannot be read"):
        read_jsonl(str(tmp_path), Fields(), name="train", graded=True)


@pytest.mark.parametrize(
    ("row", "solution", "answer"),
    [
        ({"solution": "so 4", "answer": 4}, "so 4\n#### 4", "4"),
        ({"solution": "so 4\n#### 4"}, "so 4\n#### 4", "4"),
        ({"solution": "so\n#### 1,200", "answer": "1200"}, "so\n#### 1,200", "1200"),
        ({"answer": " B "}, "B", "B"),
        ({"solution": "B", "answer": "B"}, "B", "B"),
        ({"solution": "", "answer": 0.5}, "0.5", "0.5"),
    ],
)
def test_what_is_learned_ends_in_what_is_graded(tmp_path, row, solution, answer):
    path = write(tmp_path / "d.jsonl", [{"question": "q", **row}])
    (example,) = read_jsonl(path, Fields(), name="train", graded=True).examples
    assert (example.solution, example.answer, example.source, example.id) == (solution, answer, "data", "train-1")


def test_fields_may_have_other_names(tmp_path):
    path = write(tmp_path / "d.jsonl", [{"problem": "q", "cot": "s", "gold": 4, "topic": "algebra"}])
    fields = Fields(question="problem", solution="cot", answer="gold", source="topic")
    (example,) = read_jsonl(path, fields, name="train", graded=True).examples
    assert (example.question, example.solution, example.answer, example.source) == ("q", "s\n#### 4", "4", "algebra")


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path):
    (tmp_path / "d.jsonl").write_bytes(b"\xef\xbb\xbf" + GOOD + b"\r\n" + GOOD + b"\r\n")
    assert len(read_jsonl(str(tmp_path / "d.jsonl"), Fields(), name="train", graded=True).examples) == 2


@pytest.mark.parametrize("data_seed", [0, 1, 2])
def test_duplicates_never_straddle_splits(tmp_path, data_seed):
    data = rows(60) + [{**row, "question": row["question"].upper().replace(" ", "  ")} for row in rows(60)]
    task = JsonlTask(path=write(tmp_path / "d.jsonl", data), data_seed=data_seed).build()
    splits = [{same_question(e.question) for e in split} for split in (task.train, task.validation, task.test)]
    assert not splits[0] & splits[1] and not splits[0] & splits[2] and not splits[1] & splits[2]
    assert (len(task.test), len(task.validation)) == (6, round(54 * 0.05))
    assert len(task.train) == 120 - 2 * (len(task.test) + len(task.validation))


def test_splits_depend_on_the_seed_and_not_on_the_order_of_lines(tmp_path):
    one = write(tmp_path / "one.jsonl", rows(50))
    two = write(tmp_path / "two.jsonl", rows(50)[::-1])

    def test_questions(path, **options):
        return {e.question for e in JsonlTask(path=path, **options).build().test}

    assert test_questions(one) == test_questions(two)
    assert test_questions(one) != test_questions(one, data_seed=1)


def test_given_files_are_the_splits_and_what_they_hold_leaves_training(tmp_path):
    task = JsonlTask(
        path=write(tmp_path / "train.jsonl", rows(30)),
        validation=write(tmp_path / "validation.jsonl", rows(6, start=27)),
        test=write(tmp_path / "test.jsonl", rows(5, start=25)),
    ).build()
    assert len(task.train) == 25
    assert len(task.test) == 5
    assert len(task.validation) == 3
    assert task.notes == {"left_out_of_training": 5}
    assert len({e.id for split in (task.train, task.validation, task.test) for e in split}) == 33


def test_too_few_questions_to_hold_any_out_are_refused(tmp_path):
    with pytest.raises(UserError, match="too few to hold out"):
        JsonlTask(path=write(tmp_path / "d.jsonl", rows(1))).build()


def test_the_key_follows_the_content_and_not_the_place(tmp_path):
    here, there = write(tmp_path / "a.jsonl", rows(5)), write(tmp_path / "b.jsonl", rows(5))
    assert key_of(JsonlTask(path=here).identity()) == key_of(JsonlTask(path=there).identity())
    before = key_of(JsonlTask(path=here).identity())
    with Path(here).open("a") as file:
        file.write(json.dumps(rows(1, start=9)[0]) + "\n")
    assert key_of(JsonlTask(path=here).identity()) != before


def test_a_prompt_needs_a_place_for_the_question(tmp_path):
    with pytest.raises(ValidationError, match="prompt"):
        JsonlTask(path=write(tmp_path / "d.jsonl", rows(5)), prompt="Solve this:")


def test_augmentation_without_a_model_is_refused_politely(tmp_path):
    spec = JsonlTask(path=write(tmp_path / "d.jsonl", rows(20)))
    task = spec.build()
    assert not spec.can_rewrite
    with pytest.raises(UserError, match="rewriter: {model:"):
        task.rewrite(task.train, 0)
