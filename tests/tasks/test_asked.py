import numpy as np
import pandas as pd
import pytest

from optbench.models import generation
from optbench.tasks import asked
from optbench.tasks.asked import PRINTED, STOP, SUFFIX, AskedTask, before, with_printed_answers
from optbench.tasks.base import Example
from optbench.tasks.evaluation_sets import EvaluationSet, grade_by_set
from optbench.tasks.grading import grader
from optbench.tasks.text import refuse_rewriting
from optbench.verification.grades import wrong_grades, wrong_questions

QUESTIONS = [
    Example("gsm8k-0", "Two and three?", "#### 5", "5", "gsm8k"),
    Example("gsm8k-1", "Four and four?", "#### 8", "8", "gsm8k"),
    Example("math-0", "Half?", r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", "math"),
    Example("math-1", "Root?", r"\boxed{7}", "7", "math"),
]
SAID = {
    "Two and three?": "It is 5.\n### Instruction: 7",
    "Four and four?": "#### 9",
    "Half?": "The answer is 0.5.",
    "Root?": "no idea",
}
PROGRAMS = {
    "Two and three?": "print(2 + 3)",
    "Four and four?": "x = 4\nprint(x +",
    "Half?": "from fractions import Fraction\nprint(Fraction(1, 2))",
    "Root?": "The answer is 6.",
}


def task(**options):
    sets = [EvaluationSet(set="gsm8k"), EvaluationSet(set="math")]
    given = {"numbers": {"gsm8k"}, "stop": STOP, "grade": grade_by_set(sets, grader("number")), **options}
    rest = {"max_new_tokens": 9, "max_length": 99, "too_long": "error", "rewriter": refuse_rewriting("no")}
    return AskedTask(train=[], validation=[], test=QUESTIONS, prompt="Q: {question}\nA: ", **rest, **given)


@pytest.fixture
def prompts(monkeypatch):
    """What the model was asked; it answers from the two tables above."""
    found = []

    def generate(model, prompts, *, max_new_tokens):
        found.append(list(prompts))
        questions = [prompt.removeprefix("Q: ").removesuffix("\nA: ") for prompt in prompts]
        return [PROGRAMS[q.removesuffix(SUFFIX)] if q.endswith(SUFFIX) else SAID[q] for q in questions]

    monkeypatch.setattr(generation, "generate", generate)
    monkeypatch.setattr("optbench.metrics.accuracy.solution_nll", lambda *_, **__: 1.5)
    return found


def evaluated(of):
    found = of.evaluate(QUESTIONS, None, micro_batch=2)
    return dict(found.result), found.questions


def test_accuracy_is_told_by_set_and_over_all_questions(prompts):
    result, table = evaluated(task())
    assert result == {
        "test_nll": 1.5,
        "questions": 4.0,
        "questions/gsm8k": 2.0,
        "questions/math": 2.0,
        "accuracy": 0.5,
        "format_error": 0.25,
        "accuracy/gsm8k": 0.5,
        "accuracy/math": 0.5,
        "accuracy_strict": 0.0,
        "accuracy_strict/gsm8k": 0.0,
        "accuracy_flexible": 0.5,
        "accuracy_flexible/gsm8k": 0.5,
    }
    assert table.text.tolist()[0] == "It is 5.\n"
    assert table.flexible.tolist() == [True, False, pd.NA, pd.NA]
    assert len(prompts) == 1


def test_without_sources_of_numbers_nothing_is_added(prompts):
    result, table = evaluated(task(numbers=()))
    assert not any("strict" in name for name in result)
    assert list(table) == ["id", "source", "question", "reference", "text", "answer", "correct", "format_error"]


def test_programs_are_asked_for_first_and_the_plain_way_is_the_back_up(prompts):
    result, table = evaluated(task(programs=True))
    assert prompts[0] == [f"Q: {e.question}{SUFFIX}\nA: " for e in QUESTIONS]
    assert prompts[1] == ["Q: Four and four?\nA: ", "Q: Root?\nA: "]
    assert table.by_program.tolist() == [True, False, True, False]
    assert table.text.tolist() == [
        "print(2 + 3)" + PRINTED + "5",
        "#### 9",
        PROGRAMS["Half?"] + PRINTED + "1/2",
        "no idea",
    ]
    assert table.correct.tolist() == [True, False, True, False]
    assert (result["by_program"], result["accuracy"]) == (0.5, 0.5)
    assert (result["accuracy_strict"], result["accuracy_flexible"]) == (0.5, 0.5)
    assert table.question.tolist() == [e.question for e in QUESTIONS]


def test_answers_alone_go_the_same_way(prompts):
    grades = task(programs=True).answer(QUESTIONS, None)
    assert [g.correct for g in grades] == [True, False, True, False]
    assert task(programs=True).answer([], None) == []


def test_programs_are_run_only_where_they_are_switched_on(prompts, monkeypatch):
    monkeypatch.setattr(asked, "run_programs", lambda programs: pytest.fail("a program was run"))
    monkeypatch.setitem(SAID, "Root?", "print(7)")
    evaluated(task())


def test_a_model_without_a_finite_loss_is_asked_nothing(prompts, monkeypatch):
    monkeypatch.setattr("optbench.metrics.accuracy.solution_nll", lambda *_, **__: float("nan"))
    found = task(programs=True).evaluate(QUESTIONS, None, micro_batch=2)
    assert np.isnan(found.result["test_nll"]) and found.questions is None and prompts == []


def test_a_record_is_graded_again_from_its_texts_alone(prompts, monkeypatch):
    of = task(programs=True)
    result, table = evaluated(of)
    monkeypatch.setattr(asked, "run_programs", lambda programs: pytest.fail("a program was run"))
    assert list(wrong_grades(table, of.grade)) == []
    assert list(wrong_questions({"result": result}, table)) == []
    for name in ("strict", "flexible"):
        edited = table.copy()
        edited.loc[0, name] = False
        assert any(f"its column {name} is not what its text says" in said for said in wrong_grades(edited, of.grade))
        assert any(f"result.accuracy_{name}" in said for said in wrong_questions({"result": result}, edited))
    assert any(
        "questions/math" in said for said in wrong_questions({"result": {**result, "questions/math": 3.0}}, table)
    )
    edited = table.copy()
    edited.loc[1, "by_program"] = True
    assert any("result.by_program" in said for said in wrong_questions({"result": result}, edited))


def test_the_reference_of_a_program_is_what_it_prints():
    rows = [
        Example("a", "q", "x = 3\nprint(x)\nprint(4)", "", "PoT"),
        Example("b", "q", "So. The answer is 5.", "5", "CoT"),
        Example("c", "q", "print(", "", "PoT"),
        Example("d", "q", "The answer is B", "", "aqua"),
        Example("e", "q", "print(6)", "7", "PoT"),
    ]
    assert [e.answer for e in with_printed_answers(rows)] == ["3", "5", "", "", "7"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [("5\nQuestion: 6", "5"), ("5 ### Response: 6### Instruction: 7", "5 "), ("5", "5"), ("", "")],
)
def test_a_text_ends_before_another_example(text, kept):
    assert before(text, STOP) == kept
    assert before(text, ()) == text


def test_a_cell_trained_on_mathinstruct_records_every_set(tmp_path):
    import json

    from cells import CELL

    from optbench.runner import run_cell
    from optbench.store import Store
    from optbench.tasks.mathinstruct import MathInstructTask
    from optbench.verification.grades import grader_of

    rows = [{"instruction": f"{i}+1?", "output": f"The answer is {i + 1}.", "source": "cot"} for i in range(30)]
    (tmp_path / "m.json").write_text(json.dumps(rows))
    (tmp_path / "g.jsonl").write_text(
        '{"question": "2+2?", "answer": "#### 4"}\n{"question": "3+3?", "answer": "#### 6"}'
    )
    (tmp_path / "n.json").write_text('[{"question": "Which?", "answer": "first"}]')
    sets = [{"set": "gsm8k", "path": str(tmp_path / "g.jsonl")}, {"set": "numglue", "path": str(tmp_path / "n.json")}]
    spec = MathInstructTask(path=str(tmp_path / "m.json"), evaluate_on=sets, programs="on", max_new_tokens=6)
    cell = CELL.model_copy(update={"task": spec, "training": CELL.training.model_copy(update={"steps": 2})})
    store = Store(tmp_path / "results")
    record = run_cell(cell, store)
    table = store.questions(cell.key)
    assert record.outcome == "completed"
    assert (record.result["questions"], record.result["questions/gsm8k"]) == (3.0, 2.0)
    assert record.result["accuracy"] == float(table.correct.sum()) / 3
    assert {"accuracy/gsm8k", "accuracy/numglue", "accuracy_strict", "by_program"} <= set(record.result)
    assert list(wrong_questions(record.content(), table)) == []
    assert list(wrong_grades(table, grader_of(cell.task))) == []
