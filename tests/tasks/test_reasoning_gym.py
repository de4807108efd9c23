import hashlib
import os
import re
import subprocess
import sys

import pytest

from optbench.errors import UserError
from optbench.tasks.reasoning_gym import ReasoningGymTask, _gsm_symbolic
from optbench.tasks.splits import same_question

pytest.importorskip("reasoning_gym")
SMALL = {"train": 120, "validation": 20, "test": 30}


def skeleton(question):
    """A question without its numbers and names: near enough to its template."""
    return re.sub(r"\d[\d,.]*|[A-Z]\w+", "*", question)[-50:]


@pytest.fixture(scope="module")
def task():
    return ReasoningGymTask(**SMALL).build()


@pytest.mark.parametrize("data_seed", [0, 1, 2])
def test_splits_share_no_question_also_across_data_seeds_in_one_task(data_seed):
    task = ReasoningGymTask(**SMALL, data_seed=data_seed).build()
    splits = [[same_question(e.question) for e in split] for split in (task.train, task.validation, task.test)]
    everything = [question for split in splits for question in split]
    assert len(set(everything)) == len(everything) == 170


def test_neighbouring_data_seeds_are_different_data(task):
    other = ReasoningGymTask(**SMALL, data_seed=1).build()
    shared = {e.question for e in task.train} & {e.question for e in other.train}
    assert len(shared) <= 1


def test_templates_are_held_out_whole(monkeypatch):
    from random import Random

    from reasoning_gym.arithmetic.gsm_symbolic import gsm_symbolic

    used = []
    real = gsm_symbolic.GSMSymbolicDataset._load_generators

    def recording(self):
        def wrap(k, make):
            return lambda rng, difficulty: (used.append(k), make(rng, difficulty))[1]

        return {k: wrap(k, make) for k, make in real(self).items()}

    monkeypatch.setattr(gsm_symbolic.GSMSymbolicDataset, "_load_generators", recording)
    seen = {}
    for split, draw in _gsm_symbolic(0).items():
        used.clear()
        for i in range(600):
            draw(Random(i))
        seen[split] = set(used)
    assert not seen["train"] & seen["test"] and not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]
    assert sum(map(len, seen.values())) == 85


def test_every_solution_ends_in_its_answer_and_grades_as_correct(task):
    for example in (*task.train, *task.validation, *task.test):
        assert example.solution.endswith(f"\n#### {example.answer}")
        assert task.grade(example.solution, example).correct
        assert len(example.question) + len(example.solution) <= 480


def test_written_leg_counts_are_right(task):
    legs = [e for e in task.train if e.source == "leg_counting"]
    assert len(legs) == 60
    for example in legs:
        *lines, total, last = example.solution.split("\n")
        products = []
        for line in lines:
            animal, count, each, product = re.fullmatch(r"([a-z ]+): (\d+) \* (\d+) = (\d+)", line).groups()
            assert f"{count} {animal}" in example.question
            assert int(count) * int(each) == int(product)
            products.append(int(product))
        assert total == f"{' + '.join(map(str, products))} = {sum(products)}"
        assert last == f"#### {sum(products)}"


def test_the_same_in_every_process(task):
    code = (
        "import hashlib; from optbench.tasks.reasoning_gym import ReasoningGymTask;"
        "t = ReasoningGymTask(train=120, validation=20, test=30).build();"
        "print(hashlib.sha256(repr((t.train, t.validation, t.test)).encode()).hexdigest())"
    )
    here = hashlib.sha256(repr((task.train, task.validation, task.test)).encode()).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "3"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert out.stdout.strip() == here


def test_rewritten_problems_are_new_and_keep_their_source(task):
    made = task.rewrite(task.train[:30], 5)
    known = {same_question(e.question) for split in (task.train, task.validation, task.test) for e in split}
    assert [e.source for e in made] == [e.source for e in task.train[:30]]
    assert not {same_question(e.question) for e in made} & known
    assert task.rewrite(task.train[:30], 5) == made
    held_out = {skeleton(e.question) for e in task.test if e.source == "gsm_symbolic"}
    assert not {skeleton(e.question) for e in made if e.source == "gsm_symbolic"} & held_out


def test_a_limit_that_nothing_meets_is_refused():
    with pytest.raises(UserError, match="raise max_characters"):
        ReasoningGymTask(problems=("leg_counting",), max_characters=200, train=2, validation=0, test=1).build()


def test_the_order_of_generators_means_nothing():
    both = ReasoningGymTask(problems=("leg_counting", "gsm_symbolic"))
    assert both.identity() == ReasoningGymTask().identity()


def test_legs_are_counted_of_as_many_animals_as_asked_for():
    small = ReasoningGymTask(problems=("leg_counting",), **SMALL, max_animals=2, max_instances=9)
    assert small.identity() != ReasoningGymTask(problems=("leg_counting",), **SMALL).identity()
    for example in small.build().train:
        *terms, _, _ = example.solution.splitlines()
        assert len(terms) == 2
        assert all(1 <= int(re.search(r": (\d+) \*", term)[1]) <= 9 for term in terms)
