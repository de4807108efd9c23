import json

import pandas as pd
import pytest
from pydantic import ValidationError

from optbench.errors import UserError
from optbench.spec import key_of
from optbench.tasks.evaluation_sets import EvaluationSet
from optbench.tasks.gsm8k import Gsm8kTask
from optbench.tasks.gsm8k_data import Gsm8kData
from optbench.tasks.mathinstruct import MathInstructTask
from optbench.tasks.published_sets import PUBLISHED

pytestmark = pytest.mark.filterwarnings("ignore")

GSM8K = [{"question": f"Ann has {i} pens and buys 2.", "answer": f"<<{i}+2={i + 2}>>\n#### {i + 2}"} for i in range(4)]
MATH = [
    {"problem": "Half of $1$?", "level": "Level 1", "type": "Algebra", "solution": r"It is $\boxed{\frac{1}{2}}$."},
    {
        "problem": "Solve.",
        "level": "Level 5",
        "type": "Geometry",
        "solution": r"First \boxed{3}, so \boxed{(3, \infty)}.",
    },
]
SVAMP = [
    {
        "ID": "chal-1",
        "Body": "Ann has 8 pens. ",
        "Question": "How many?",
        "Equation": "( 8.0 )",
        "Answer": 8.0,
        "Type": "x",
    },
    {
        "ID": "chal-2",
        "Body": "Ben has 1.5.",
        "Question": "How many?",
        "Equation": "( 1.5 )",
        "Answer": 1.5,
        "Type": "x",
    },
]
NUMGLUE = [
    {"question": "How many?", "answer": 7},
    {"question": "Which?", "answer": "Option 2"},
    {"question": "P?", "answer": 0.10},
]
MATHEMATICS = "Solve 2*x = 4 for x.\n2\nIs 3 prime?\nTrue\n"
SIMULEQ = [{"question": "The sum of two numbers is 9 ...", "answer": "4.0"}]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".txt":
        path.write_text(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def files(tmp_path):
    return {
        "gsm8k": write(tmp_path / "gsm8k.jsonl", GSM8K),
        "math": write(tmp_path / "math.parquet", MATH),
        "numglue": write(tmp_path / "numglue.json", NUMGLUE),
        "svamp": write(tmp_path / "SVAMP.json", SVAMP),
        "mathematics": write(tmp_path / "deepmind.txt", MATHEMATICS),
        "simuleq": write(tmp_path / "simuleq.json", SIMULEQ),
    }


def test_each_set_reads_in_its_published_layout(files):
    found = {name: EvaluationSet(set=name, path=path).examples() for name, path in files.items()}
    assert {name: [e.answer for e in examples] for name, examples in found.items()} == {
        "gsm8k": ["2", "3", "4", "5"],
        "math": [r"\frac{1}{2}", r"(3, \infty)"],
        "numglue": ["7", "Option 2", "0.1"],
        "svamp": ["8", "1.5"],
        "mathematics": ["2", "True"],
        "simuleq": ["4"],
    }
    assert found["svamp"][0].question == "Ann has 8 pens. How many?"
    assert found["math"][1].solution == MATH[1]["solution"]
    assert found["gsm8k"][0].solution == "\n#### 2"
    assert found["simuleq"][0].solution == "The answer is 4."
    for name, examples in found.items():
        assert {e.source for e in examples} == {name}
        assert [e.id for e in examples] == [f"{name}-{i}" for i in range(len(examples))]


def test_math_reads_answers_with_and_without_a_number_beside_them(tmp_path):
    rows = [
        {"question": "a?", "answer": ["72", 72]},
        {"question": "b?", "answer": [r"\pi", None]},
        {"question": "c?", "answer": "5"},
    ]
    path = write(tmp_path / "MATH.json", rows)
    assert [e.answer for e in EvaluationSet(set="math", path=path).examples()] == ["72", r"\pi", "5"]


def test_a_folder_as_on_the_hub_is_read_whole(tmp_path):
    for subject in ("algebra", "geometry"):
        for split, rows in (("train", MATH[:1]), ("test", MATH[1:])):
            write(tmp_path / "math" / subject / f"{split}-00000-of-00001.parquet", rows)
    assert len(EvaluationSet(set="math", path=str(tmp_path / "math")).examples()) == 2
    for split, rows in (("train", SVAMP[:1]), ("test", SVAMP[1:])):
        write(tmp_path / "svamp" / f"{split}.jsonl", [{**row, "Answer": str(row["Answer"])} for row in rows])
    svamp = EvaluationSet(set="svamp", path=str(tmp_path / "svamp")).examples()
    assert [e.answer for e in svamp] == ["8", "1.5"]
    write(tmp_path / "half" / "train.jsonl", SVAMP)
    with pytest.raises(UserError, match="has no test split; there are: train"):
        EvaluationSet(set="svamp", path=str(tmp_path / "half")).examples()


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("numglue", "a.json", [{"question": "q", "answer": None}], "row 0: the field 'answer' is missing or empty"),
        (
            "numglue",
            "a.json",
            [{"question": "q", "answer": 1}, {"answer": 1}],
            "row 1: the field 'question' is missing",
        ),
        ("numglue", "a.json", [], "no questions"),
        ("numglue", "a.json", [3], "item 0 is no JSON object"),
        (
            "math",
            "a.jsonl",
            [{"problem": "p", "solution": "no box"}],
            r"row 0: the field 'solution' has no .boxed answer",
        ),
        ("svamp", "a.json", [{"Body": "b", "Answer": 1}], "row 0: the field 'Question' is missing"),
        ("mathematics", "a.txt", "one\n2\nthree\n", "3 lines, so that the last question has no answer"),
    ],
)
def test_a_bad_row_is_named(tmp_path, name, file, content, message):
    path = write(tmp_path / file, content)
    with pytest.raises(UserError, match=message) as raised:
        EvaluationSet(set=name, path=path).examples()
    assert str(path) in str(raised.value)


def test_files_that_do_not_read_are_named(tmp_path):
    for file, content, message in (
        ("a.json", b"[{]", "not JSON"),
        ("a.jsonl", b'{"question": "q", "answer": 1}\n{bad\n', "a.jsonl:2: not JSON"),
        ("a.json", b"\xff\xfe", "cannot be read"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.parquet", b"no", "not a parquet file"),
    ):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(UserError, match=message):
            EvaluationSet(set="numglue", path=str(tmp_path / file)).examples()
    with pytest.raises(UserError, match="there is no such file"):
        EvaluationSet(set="numglue", path=str(tmp_path / "none.json")).examples()


@pytest.mark.parametrize("name", ["numglue", "mathematics", "simuleq"])
def test_a_set_without_a_known_place_asks_for_a_file(name):
    with pytest.raises(ValidationError, match=f"{name}: no place on the hub is known for it; give the local file"):
        EvaluationSet(set=name)


def test_a_hub_id_needs_its_commit():
    with pytest.raises(ValidationError, match="needs its commit as `hub_revision`"):
        EvaluationSet(set="numglue", path="someone/numglue")
    assert EvaluationSet(set="numglue", path="someone/numglue", hub_revision="c0ffee").identity()["path"] == {
        "hub": "someone/numglue",
        "commit": "c0ffee",
    }


@pytest.mark.parametrize("name", ["gsm8k", "math", "svamp"])
def test_known_places_are_pinned_and_fail_with_a_remedy_without_the_hub(name):
    published = PUBLISHED[name]
    assert len(published.commit) == 40 and int(published.commit, 16)
    assert EvaluationSet(set=name).identity()["path"] == {"hub": published.hub, "commit": published.commit}
    with pytest.raises(UserError, match=rf"{published.hub}: .*network access.*local folder as `path`"):
        EvaluationSet(set=name).examples()


def test_the_papers_sizes_are_kept():
    sizes = {"gsm8k": 1319, "math": 5000, "numglue": 1042, "svamp": 1000, "mathematics": 1000, "simuleq": 514}
    assert {name: published.size for name, published in PUBLISHED.items()} == sizes


def test_keys_follow_content_sets_and_grading(files, tmp_path):
    one = EvaluationSet(set="numglue", path=files["numglue"])
    copy = write(tmp_path / "copy" / "other.json", NUMGLUE)
    assert one.identity() == EvaluationSet(set="numglue", path=copy).identity()
    assert one.identity() == EvaluationSet(set="numglue", path=copy, grading="marked_or_last").identity()
    others = [
        EvaluationSet(set="simuleq", path=copy),
        EvaluationSet(set="numglue", path=copy, grading="number"),
        EvaluationSet(set="numglue", path=files["simuleq"]),
        EvaluationSet(set="numglue", path="missing.json"),
    ]
    assert len({key_of(s.identity()) for s in (one, *others)}) == 5


def test_a_task_without_sets_keeps_its_key():
    # The identities of the two tasks before there were sets: a record of either is found again.
    assert "evaluate_on" not in Gsm8kTask().identity() and "programs" not in MathInstructTask().identity()
    assert key_of(Gsm8kTask().identity()) == "769c1352c543cb7a"
    assert key_of(MathInstructTask().identity()) == "d42cd7262d226a82"
    assert key_of(Gsm8kTask(programs="on").identity()) != key_of(Gsm8kTask().identity())


def mathinstruct(tmp_path, files, **options):
    rows = [
        {"instruction": f"Add {i} and 1.", "output": f"So. The answer is {i + 1}.", "source": "cot"} for i in range(40)
    ]
    rows.append({"instruction": SVAMP[0]["Body"] + SVAMP[0]["Question"].upper(), "output": "leak", "source": "cot"})
    rows.append({"instruction": GSM8K[0]["question"], "output": "leak", "source": "cot"})
    asked_for = GSM8K[1]["question"] + " Let's write a Python program."
    rows.append({"instruction": asked_for, "output": "print('leak')", "source": "pot"})
    path = write(tmp_path / "MathInstruct.json", rows)
    sets = [{"set": name, "path": path} for name, path in files.items()]
    return MathInstructTask(path=path, **{"evaluate_on": sets, **options})


def test_training_is_tested_on_all_sets_and_sees_none_of_their_questions(tmp_path, files):
    task = mathinstruct(tmp_path, files).build()
    assert [e.source for e in task.test] == ["gsm8k"] * 4 + ["math"] * 2 + ["numglue"] * 3 + ["svamp"] * 2 + [
        "mathematics",
        "mathematics",
        "simuleq",
    ]
    assert len(task.train) + len(task.validation) == 40
    assert task.notes["left_out_of_training"] == 3
    assert task.notes["evaluated_on"]["svamp"] == {"asked": 2, "published": 1000}
    assert task.prompt_of(task.test[0]).endswith("### Instruction:\nAnn has 0 pens and buys 2.\n\n### Response:\n")


def test_each_question_is_graded_as_its_set(tmp_path, files):
    spec = mathinstruct(tmp_path, {name: files[name] for name in ("gsm8k", "math", "numglue")})
    task = spec.build()
    gsm8k, half = task.test[0], task.test[4]
    assert task.grade("so it is 2", gsm8k).correct  # no mark: the last number
    assert not task.grade("so it is 2", task.train[0]).correct  # the task's own grading wants a mark
    assert task.grade(r"so $\boxed{0.5}$", half).correct
    assert task.grade("The answer is option 2.", task.test[7]).correct
    strict = mathinstruct(tmp_path, {}, evaluate_on=[{"set": "gsm8k", "path": files["gsm8k"], "grading": "number"}])
    assert not strict.build().grade("so it is 2", gsm8k).correct


def test_gsm8k_training_is_tested_on_other_sets_and_leaves_its_own_test_split_out(tmp_path, files):
    train = [{"question": f"Q{i}?", "answer": f"#### {i}"} for i in range(30)]
    write(tmp_path / "own" / "train.jsonl", [*train, GSM8K[1], {"question": "How many?", "answer": "#### 7"}])
    write(tmp_path / "own" / "test.jsonl", GSM8K)
    spec = Gsm8kTask(path=str(tmp_path / "own"), evaluate_on=[{"set": "numglue", "path": files["numglue"]}])
    task = spec.build()
    assert [e.source for e in task.test] == ["numglue"] * 3
    assert len(task.train) + len(task.validation) == 30


def test_sets_are_named_once_and_by_name():
    found = MathInstructTask(evaluate_on=["gsm8k", {"set": "math"}])
    assert found.evaluate_on == (EvaluationSet(set="gsm8k"), EvaluationSet(set="math"))
    with pytest.raises(ValidationError, match="gsm8k is named more than once"):
        MathInstructTask(evaluate_on=["gsm8k", {"set": "gsm8k", "grading": "number"}])
    with pytest.raises(ValidationError, match="'gsm8k', 'math', 'numglue'"):
        MathInstructTask(evaluate_on=["gsmk8"])
    assert MathInstructTask(test=Gsm8kData()).evaluate_on == ()
    for odd in ("gsm8k", [3], [{"set": ["gsm8k"]}], {"set": "gsm8k"}, [{"set": "gsm8k", "path": 3}]):
        with pytest.raises(ValidationError):
            MathInstructTask(evaluate_on=odd)


def test_numbers_are_kept_as_they_are_written(tmp_path):
    path = tmp_path / "numglue.json"
    path.write_text('[{"question": "a?", "answer": 0.10}, {"question": "b?", "answer": 12345678901234567890.5}]')
    answers = [e.answer for e in EvaluationSet(set="numglue", path=str(path)).examples()]
    assert answers == ["0.10", "12345678901234567890.5"]
