import hashlib
import os
import subprocess
import sys
from collections import Counter

import pytest

from optbench.errors import UserError
from optbench.models.tokenizers import CharTokenizer
from optbench.tasks.arithmetic import ArithmeticTask, grade
from optbench.tasks.base import Example
from optbench.tasks.problems import KINDS
from optbench.tasks.scratchpad import fault
from optbench.tasks.specs import PRESETS, TASKS


def meaning(question):
    """What a question asks, whatever the order of what commutes; written without the task's own groups."""
    body = question.removesuffix("=")
    if "?" in body or "*" in body:
        return tuple(sorted(body.replace("?", "*").split("*"))), "?" in body
    gains, *losses = body.split("-")
    return tuple(sorted(gains.split("+"))), tuple(losses)


@pytest.fixture(scope="module")
def task():
    return ArithmeticTask().build()


@pytest.mark.parametrize("data_seed", [0, 1, 7, 123456789])
@pytest.mark.parametrize("sizes", [{}, {"train": 6000, "validation": 120, "test": 240}])
def test_splits_share_no_problem_in_any_order(data_seed, sizes):
    task = ArithmeticTask(data_seed=data_seed, **sizes).build()
    splits = [{meaning(e.question) for e in split} for split in (task.train, task.validation, task.test)]
    assert not splits[0] & splits[1]
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]


def test_sizes_are_as_asked_and_kinds_balanced(task):
    for split, size in ((task.train, 2048), (task.validation, 256), (task.test, 512)):
        assert len(split) == size
        counts = Counter(e.source for e in split)
        assert set(counts) == set(KINDS)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_ids_are_unique_and_test_questions_too(task):
    everything = [*task.train, *task.validation, *task.test]
    assert len({e.id for e in everything}) == len(everything)
    assert len({e.question for e in task.test}) == len(task.test)


def test_every_solution_passes_the_independent_check(task):
    for example in [*task.train, *task.validation, *task.test]:
        assert fault(example.question, example.solution) == ""
        assert example.solution.rpartition(":")[2] == example.answer


def test_examples_are_short(task):
    tokenizer = CharTokenizer()
    lengths, supervised = ArithmeticTask().token_counts(tokenizer)
    assert lengths.mean() + 1 <= 20
    assert (supervised < lengths).all()
    assert all(len(tokenizer.encode(e.solution)) < task.max_new_tokens for e in task.test)


def test_other_data_seeds_give_other_problems(task):
    other = ArithmeticTask(data_seed=1).build()
    assert {e.question for e in other.test} != {e.question for e in task.test}


def test_more_training_problems_leave_the_test_split_alone(task):
    larger = ArithmeticTask(train=2400).build()
    assert {e.question for e in task.test if e.source == "sub2"} == {
        e.question for e in larger.test if e.source == "sub2"
    }


def test_the_same_in_every_process(task):
    code = (
        "import hashlib; from optbench.tasks.arithmetic import ArithmeticTask; t = ArithmeticTask().build();"
        "print(hashlib.sha256(repr((t.train, t.validation, t.test, t.rewrite(t.train[:99], 3))).encode()).hexdigest())"
    )
    here = repr((task.train, task.validation, task.test, task.rewrite(task.train[:99], 3)))
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert out.stdout.strip() == hashlib.sha256(here.encode()).hexdigest()


def test_training_repeats_where_problems_run_out_and_says_how_often():
    task = ArithmeticTask(kinds=("add1",), train=3000, validation=20, test=40).build()
    distinct = len({e.question for e in task.train})
    assert distinct < 1100
    assert len({e.id for e in task.train}) == 3000
    assert task.notes == {"repeated": {"add1": 3000 - distinct}}
    assert ArithmeticTask().build().notes == {"repeated": {}}


def test_a_test_split_that_would_repeat_is_refused():
    with pytest.raises(UserError, match="kind 'add1', but without repeating"):
        ArithmeticTask(kinds=("add1",), train=10, test=2000).build()


def test_unknown_kinds_are_refused_and_their_order_means_nothing():
    with pytest.raises(ValueError, match="did you mean add2"):
        ArithmeticTask(kinds=("ad2",))
    assert ArithmeticTask(kinds=("mul", "add1")) == ArithmeticTask(kinds=("add1", "mul"))


@pytest.mark.parametrize("data_seed", [0, 5])
def test_rewritten_examples_are_new_verified_and_of_the_same_kind(data_seed):
    task = ArithmeticTask(data_seed=data_seed).build()
    asked = [e for e in task.train if e.source in ("add2", "sub2", "mul", "compare")][:800]
    made = task.rewrite(asked, 11)
    known = {meaning(e.question) for split in (task.train, task.validation, task.test) for e in split}
    assert [e.source for e in made] == [e.source for e in asked]
    assert not {meaning(e.question) for e in made} & known
    assert len({e.question for e in made}) == len(made)
    assert not {e.id for e in made} & {e.id for e in task.train}
    assert all(fault(e.question, e.solution) == "" for e in made)


def test_where_new_problems_run_out_training_ones_return_but_never_held_out_ones():
    task = ArithmeticTask(kinds=("mul",), train=500, validation=50, test=100).build()
    made = task.rewrite([task.train[0]] * 400, 1)
    held_out = {meaning(e.question) for e in (*task.validation, *task.test)}
    training = {e.question for e in task.train}
    assert not {meaning(e.question) for e in made} & held_out
    assert len({e.question for e in made} - training) == 720 - 650
    assert len({e.id for e in made}) == 400


def test_rewriting_depends_on_its_seed_alone(task):
    asked = task.train[:60]
    assert task.rewrite(asked, 1) == task.rewrite(asked, 1)
    assert [e.question for e in task.rewrite(asked, 1)] != [e.question for e in task.rewrite(asked, 2)]


@pytest.mark.parametrize(
    ("question", "good", "bad"),
    [
        ("37?52=", "3<5:<", ["3<5:>", "3>5:>", "7>2:<", "3<5,7>2:<", "3=5:<", ":<", "3<5"]),
        ("37?35=", "3=3,7>5:>", ["3=3,7>5:<", "3=3:>", "7>5:>", "3=3,7<5:>", "7>5,3=3:>"]),
        ("44?44=", "4=4,4=4:=", ["4=4:=", "4=4,4=4:<"]),
        ("7+8=", ":15", [":16", "15:15", "15", ":015"]),
        ("7+8+4=", "15+4:19", ["15+4:18", "16+3:19", "7+12:19", ":19", "15-4:19"]),
        ("7+8-6=", "15-6:9", ["15-6:8", "14-5:9", "15+6:9", ":9"]),
        ("47+38=", "15+70:85", ["15+70:75", "5+80:85", "70+15:85", "15+70", "15+70:85:", ":85"]),
        ("55-38=", "25-8:17", ["25-8:18", "24-7:17", "47-30:17", "25+8:17", ":17"]),
        ("7*48=", "56+280:336", ["56+280:335", "55+281:336", "280+56:336", "56+280:", ":336"]),
        ("48?", "", [":1"]),
    ],
)
def test_a_corrupted_scratchpad_is_caught(question, good, bad):
    assert not good or fault(question, good) == ""
    for solution in bad:
        assert fault(question, solution), solution


def test_any_changed_character_of_a_solution_is_caught(task):
    for example in task.test[:60]:
        for place, character in enumerate(example.solution):
            for other in "0123456789<=>:+-,":
                if other != character:
                    changed = example.solution[:place] + other + example.solution[place + 1 :]
                    assert fault(example.question, changed), (example.question, changed)


@pytest.mark.parametrize(
    ("text", "answer", "correct"),
    [
        ("15+70:85", "85", True),
        ("nonsense: 85 ", "85", True),
        ("1:2:85", "85", True),
        ("15+70:84", "84", False),
        ("15+70:085", "085", False),
        ("15+70:", None, False),
        ("85", None, False),
        ("", None, False),
        ("15+70:8 5", None, False),
        ("15+70:<", None, False),
        ("15+70:85x", None, False),
        ("15+70:85:", None, False),
        ("15+70:-85", None, False),
    ],
)
def test_grading_reads_what_stands_after_the_last_colon(text, answer, correct):
    found = grade(text, Example("x", "47+38=", "15+70:85", "85", "add2"))
    assert (found.text, found.answer, found.correct, found.format_error) == (text, answer, correct, answer is None)


@pytest.mark.parametrize(
    ("text", "answer", "correct"), [("3<5:<", "<", True), ("3<5:>", ">", False), (":3", None, False)]
)
def test_a_comparison_is_answered_by_a_sign(text, answer, correct):
    found = grade(text, Example("x", "37?52=", "3<5:<", "<", "compare"))
    assert (found.answer, found.correct, found.format_error) == (answer, correct, answer is None)


def test_presets_are_valid_and_state_their_kind():
    for name, preset in PRESETS.items():
        assert TASKS[preset["kind"]](**preset).kind == preset["kind"], name
