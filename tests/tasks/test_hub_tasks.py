import json
import shutil

import pandas as pd
import pytest

from optbench.errors import UserError
from optbench.spec import key_of
from optbench.tasks.gsm8k import Gsm8kTask
from optbench.tasks.gsm8k_data import Gsm8kData
from optbench.tasks.mathinstruct import MathInstructTask

pytestmark = pytest.mark.filterwarnings("ignore")


def gsm8k_rows(n, start=0):
    return [
        {
            "question": f"Ann has {i} pens and buys 1000. How many?",
            "answer": f"She has {i}+1000=<<{i}+1000={i + 1000}>>{i + 1000}.\n#### {i + 1000:,}",
        }
        for i in range(start, start + n)
    ]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def gsm8k(tmp_path):
    write(tmp_path / "gsm8k" / "train.jsonl", gsm8k_rows(40))
    write(tmp_path / "gsm8k" / "test.jsonl", gsm8k_rows(10, start=100))
    return tmp_path / "gsm8k"


def test_gsm8k_reads_a_folder_and_takes_annotations_out(gsm8k):
    task = Gsm8kTask(path=str(gsm8k)).build()
    assert (len(task.train), len(task.validation), len(task.test)) == (38, 2, 10)
    example = task.test[0]
    assert example.solution == "She has 100+1000=1100.\n#### 1100"
    assert (example.answer, example.source) == ("1100", "gsm8k")
    assert task.grade("so\n#### 1,100", example).correct
    kept = Gsm8kTask(path=str(gsm8k), calculator=True).build()
    assert "<<100+1000=1100>>" in kept.test[0].solution


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_a_single_file_is_cut_into_splits(tmp_path, suffix):
    path = write(tmp_path / f"data{suffix}", gsm8k_rows(40))
    task = Gsm8kTask(path=str(path)).build()
    assert (len(task.train), len(task.validation), len(task.test)) == (34, 2, 4)
    assert Gsm8kTask(path=str(path)).num_train() == 34


def test_a_folder_with_the_configuration_as_on_the_hub_is_read(tmp_path):
    for split, n in (("train", 30), ("test", 5)):
        write(tmp_path / "main" / f"{split}-00000-of-00001.parquet", gsm8k_rows(n, start=len(split) * 100))
    write(tmp_path / "socratic" / "train-00000-of-00001.parquet", gsm8k_rows(3))
    assert len(Gsm8kTask(path=str(tmp_path)).build().test) == 5


def test_a_folder_saved_by_datasets_is_read(tmp_path):
    import datasets

    splits = {"train": gsm8k_rows(30), "test": gsm8k_rows(5, start=90)}
    datasets.DatasetDict({k: datasets.Dataset.from_list(v) for k, v in splits.items()}).save_to_disk(tmp_path / "saved")
    assert len(Gsm8kTask(path=str(tmp_path / "saved")).build().test) == 5


def test_training_questions_that_are_in_the_test_split_are_left_out(gsm8k):
    write(gsm8k / "train.jsonl", gsm8k_rows(40) + gsm8k_rows(3, start=100))
    task = Gsm8kTask(path=str(gsm8k)).build()
    assert len(task.train) + len(task.validation) == 40


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q", "answer": "just 4"}, "train row 1: the field 'answer' does not end in '#### answer'"),
        ({"question": "", "answer": "#### 4"}, "train row 1: the field 'question' is missing, empty or not text"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    path = write(tmp_path / "d.jsonl", [*gsm8k_rows(1), row])
    with pytest.raises(UserError, match=message):
        Gsm8kTask(path=str(path)).build()


def test_what_cannot_be_had_is_one_clear_message(tmp_path):
    with pytest.raises(UserError, match=r"openai/gsm8k: .*network access.*local folder as `path`"):
        Gsm8kTask().build()
    with pytest.raises(UserError, match="there is no such file or folder"):
        Gsm8kTask(path=str(tmp_path / "nothing")).build()
    (tmp_path / "d.csv").write_text("question,answer\n")
    with pytest.raises(UserError, match="not a data file; allowed: .json"):
        Gsm8kTask(path=str(tmp_path / "d.csv")).build()
    (tmp_path / "bad.jsonl").write_text('{"question": "q", "answer": "#### 3"}\n{bad\n')
    with pytest.raises(UserError, match=r"bad.jsonl: the data set cannot be loaded \(.*JSON"):
        Gsm8kTask(path=str(tmp_path / "bad.jsonl")).build()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="A folder holds train and test files"):
        Gsm8kTask(path=str(tmp_path / "empty")).build()


def test_keys_follow_content_or_commit(gsm8k, tmp_path):
    shutil.copytree(gsm8k, tmp_path / "copy")
    assert Gsm8kTask(path=str(gsm8k)).identity() == Gsm8kTask(path=str(tmp_path / "copy")).identity()
    keys = {
        key_of(Gsm8kTask(**options).identity()) for options in ({}, {"hub_revision": "other"}, {"path": str(gsm8k)})
    }
    assert len(keys) == 3


def mathinstruct_rows(n):
    outputs = ["So we add. The answer is {}.", "x = {}\nprint(x)", "Thus (B).\nThe answer is B"]
    sources = ["data/CoT/gsm_rft.json", "data/PoT/gsm_gpt4.json", "data/CoT/aqua_rat.json"]
    return [
        {"instruction": f"Add {i} and 1.", "output": outputs[i % 3].format(i + 1), "source": sources[i % 3]}
        for i in range(n)
    ]


def test_mathinstruct_trains_on_its_sources_and_is_tested_on_gsm8k(gsm8k, tmp_path):
    rows = [
        *mathinstruct_rows(60),
        {"instruction": gsm8k_rows(1, start=100)[0]["question"].upper(), "output": "leak", "source": "s"},
    ]
    path = write(tmp_path / "MathInstruct.json", rows)
    task = MathInstructTask(path=str(path), test=Gsm8kData(path=str(gsm8k))).build()
    assert (len(task.train), len(task.validation), len(task.test)) == (57, 3, 10)
    assert task.notes == {"left_out_of_training": 1}
    everything = [*task.train, *task.validation]
    assert {e.source for e in everything} == {row["source"] for row in rows[:-1]}
    assert {e.answer == "" for e in everything if "PoT" in e.source or "aqua" in e.source} == {True}
    assert all(e.answer for e in everything if "rft" in e.source)
    prompt = task.prompt_of(task.train[0])
    assert prompt.startswith("Below is an instruction that describes a task.")
    assert prompt.endswith(f"### Instruction:\n{task.train[0].question}\n\n### Response:\n")
    assert task.grade("She adds them. The answer is 1,100.", task.test[0]).correct


def test_mathinstruct_needs_a_test_split(tmp_path):
    path = write(tmp_path / "m.json", mathinstruct_rows(30))
    lonely = write(tmp_path / "gsm8k.jsonl", gsm8k_rows(5))
    with pytest.raises(UserError, match="has no test split; there are: train"):
        MathInstructTask(path=str(path), test=Gsm8kData(path=str(lonely))).build()
