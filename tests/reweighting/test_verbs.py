"""`upsample` and `augment` on small files of three layouts: what is written, what is said, what is refused."""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optbench.cli import main
from optbench.models.specs import PRESETS
from optbench.strategies.probe import ProbeRun
from optbench.tasks.rewriter import Rewriter

QUICK = ("--epochs", "2", "--batch-size", "16", "--threads", "1")


class Said:
    """What a verb said, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Call = Callable[..., Said]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("train.jsonl", problems(24))
    return tmp_path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def called(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["optbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return called


def problems(count: int) -> list[dict[str, Any]]:
    """Every third is a product, the others are told by heart."""
    rng = random.Random(0)
    rows: list[dict[str, Any]] = []
    for i in range(count):
        a, b = rng.randint(12, 99), rng.randint(3, 9)
        row = {"question": f"{a}*{b}?", "solution": f"{a * b}", "answer": a * b, "source": "hard"}
        rows.append(
            row if i % 3 == 0 else {"question": f"say {a}", "solution": "yes.", "answer": "yes.", "source": "easy"}
        )
        rows[-1]["n"] = i
    return rows


def write(path: str, rows: list[dict[str, Any]]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def as_completion(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": f"{row['question']} ", "completion": row["solution"], "n": row["n"]}


def as_messages(row: dict[str, Any]) -> dict[str, Any]:
    turns = [("system", "Be short."), ("user", "hi"), ("assistant", "hi"), ("user", row["question"])]
    turns.append(("assistant", row["solution"]))
    return {"messages": [{"role": role, "content": content} for role, content in turns], "n": row["n"]}


# what is written


@pytest.mark.parametrize("layout", [dict, as_completion, as_messages])
def test_every_line_is_there_and_some_stand_twice_and_the_control_is_as_large(layout: Any, call: Call) -> None:
    write("train.jsonl", [layout(row) for row in problems(24)])
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", *QUICK)
    assert said.code == 0, said.err
    original = Path("train.jsonl").read_bytes().splitlines(keepends=True)
    made = {name: Path(name).read_bytes().splitlines(keepends=True) for name in ("out.jsonl", "out.control.jsonl")}
    for lines in made.values():
        assert list(dict.fromkeys(lines)) == original
        assert set(Counter(lines).values()) == {1, 2}
    assert len(made["out.jsonl"]) == len(made["out.control.jsonl"])
    assert made["out.jsonl"] != made["out.control.jsonl"]
    assert sorted(os.listdir()) == ["out.control.jsonl", "out.jsonl", "results", "train.jsonl"]


def test_it_says_in_five_lines_what_it_did_and_the_same_as_json(call: Call) -> None:
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", "--source", "source", "--min-source", "8", *QUICK)
    lines = said.out.splitlines()
    assert len(lines) == 5
    assert "training llama-nano on 24 examples for 2 epochs on cpu" in said.err
    again = call(
        *("upsample", "train.jsonl", "-o", "again.jsonl", "--source", "source", "--min-source", "8", *QUICK),
        *("--format", "json"),
    )
    assert again.err == ""
    content = json.loads(again.out)
    twice = Counter(line["n"] for line in read("out.jsonl"))
    later = [n for n, count in twice.items() if count == 2]
    assert content["later_learned"] == len(later)
    assert content["later_learned_lines"] == [n + 1 for n in sorted(later)]
    by_source = content["later_learned_by_source"]
    assert {name: group["examples"] for name, group in by_source.items()} == {"hard": 8, "easy": 16}
    assert by_source["hard"]["later_learned"] == sum(n % 3 == 0 for n in later)
    price = content["price"]
    assert price["kept"] and price["share_of_training"] == pytest.approx(4 / 3)
    loss = content["mean_loss"]
    assert len(loss["looks"]) == 2
    both = loss["later_learned_at_end"] * len(later) + loss["others_at_end"] * (24 - len(later))
    assert both / 24 == pytest.approx(loss["looks"][-1])
    assert f"mean loss is {loss['looks'][0]:.3g} after the first and {loss['looks'][1]:.3g} after the last" in lines[0]
    assert f"later-learned: {len(later)} of 24" in lines[1]
    assert f"a loss of {loss['later_learned_at_end']:.3g} at the end against {loss['others_at_end']:.3g}" in lines[1]
    assert f"hard {by_source['hard']['later_learned']} of 8" in lines[1]
    assert f"out.jsonl: {24 + len(later)} lines" in lines[2] and f"those {len(later)} stand there 2 times" in lines[2]
    assert lines[3].startswith("price: ") and "133% of training llama-nano on the file for 2 epochs" in lines[3]
    assert "out.control.jsonl" in lines[4] and "as many of each source at random" in lines[4]


def test_a_probe_that_does_not_learn_is_told(call: Call) -> None:
    still = call("upsample", "train.jsonl", "-o", "out.jsonl", *QUICK, "--lr", "1e-9")
    learns = call("upsample", "train.jsonl", "-o", "other.jsonl", *QUICK, "--lr", "1e-2", "--epochs", "6")
    wild = call("upsample", "train.jsonl", "-o", "wild.jsonl", *QUICK, "--lr", "30", "--epochs", "4")
    assert (still.code, learns.code, wild.code) == (0, 0, 0), still.err + learns.err + wild.err
    assert "it rose, so that they tell nothing" in wild.out.splitlines()[0]
    assert "each hardly moved" in still.out.splitlines()[0]
    assert "hardly" not in learns.out and "rose" not in learns.out
    assert "easy 0 of 16" in learns.out and "hard 8 of 8" in learns.out, "late looks are not noise of their own size"


def test_the_control_has_as_many_of_each_source(call: Call) -> None:
    apart = ("--source", "source", "--min-source", "8")
    call("upsample", "train.jsonl", "-o", "out.jsonl", "--factor", "3", *apart, *QUICK)
    counts = [Counter(row["source"] for row in read(name)) for name in ("out.jsonl", "out.control.jsonl")]
    assert counts[0] == counts[1]
    assert set(Counter(row["n"] for row in read("out.jsonl")).values()) == {1, 3}


def test_weights_and_an_order_of_ones_own(call: Call) -> None:
    call("upsample", "train.jsonl", "-o", "out.jsonl", *QUICK)
    said = call("upsample", "train.jsonl", "-o", "w.jsonl", "--weights", "--shuffle", "3", *QUICK)
    assert said.code == 0
    weights = {row["n"]: row["weight"] for row in read("w.jsonl")}
    assert weights == Counter(row["n"] for row in read("out.jsonl"))
    assert [row["n"] for row in read("w.jsonl")] != list(range(24))
    plain = [{name: row[name] for name in row if name != "weight"} for row in read("w.jsonl")]
    assert sorted(plain, key=lambda row: row["n"]) == read("train.jsonl")


def test_other_names_of_fields_are_given_by_the_user(call: Call) -> None:
    write("train.jsonl", [{"problem": row["question"], "cot": row["solution"], "n": row["n"]} for row in problems(24)])
    assert call("upsample", "train.jsonl", "-o", "out.jsonl", *QUICK).code == 2
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", "--fields", "question=problem,solution=cot", *QUICK)
    assert said.code == 0, said.err


def test_text_that_nano_models_have_no_letters_for_is_read_all_the_same(call: Call) -> None:
    rows = [{"prompt": f"\u95ee {i}\t\u00e9?", "completion": "\u7b54" * (i % 3 + 1)} for i in range(12)]
    Path("train.jsonl").write_bytes(
        b"\xef\xbb\xbf" + b"\r\n".join(json.dumps(row, ensure_ascii=i % 2 == 0).encode() for i, row in enumerate(rows))
    )
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", *QUICK)
    assert said.code == 0, said.err
    made = Path("out.jsonl").read_bytes().split(b"\r\n")
    assert made.pop() == b""
    assert list(dict.fromkeys(made)) == Path("train.jsonl").read_bytes()[3:].split(b"\r\n")


def test_a_limit_tries_it_out_on_the_first_lines(call: Call) -> None:
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", "--limit", "12", *QUICK)
    assert "the first 12 of 24 examples" in said.out
    assert {row["n"] for row in read("out.jsonl")} == set(range(12))


def test_the_price_is_compared_with_the_model_that_will_be_trained(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "deep-nano", {"kind": "nano", "family": "llama", "layers": 4})
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", "--target", "deep-nano", "--format", "json", *QUICK)
    price = json.loads(said.out)["price"]
    assert price["training"] == "deep-nano"
    # Twice the layers, and an output layer of its own size.
    assert 0.6 < price["share_of_training"] < 0.8


def test_the_harder_kind_is_what_is_chosen(call: Call) -> None:
    """Products take longer to learn than one word, and two thirds of the file say that word."""
    write("train.jsonl", problems(90))
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", "--epochs", "8", "--threads", "1", "--format", "json")
    by_source = json.loads(said.out)["later_learned_by_source"]
    assert by_source["hard"]["later_learned"] >= 24
    assert by_source["easy"]["later_learned"] <= 6


# what is kept


def test_the_probe_is_run_once_for_a_file_and_its_settings(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    train = ProbeRun._train

    def counting(self: ProbeRun, *arguments: Any, **options: Any) -> Any:
        ran.append(self.key)
        return train(self, *arguments, **options)

    monkeypatch.setattr(ProbeRun, "_train", counting)
    call("upsample", "train.jsonl", "-o", "a.jsonl", *QUICK)
    call("upsample", "train.jsonl", "-o", "b.jsonl", "--factor", "3", "--trajectory", "ratio", "--source", "n", *QUICK)
    call("upsample", "train.jsonl", "-o", "a.jsonl", "--force", *QUICK)
    assert len(ran) == 1
    call("upsample", "train.jsonl", "-o", "c.jsonl", "--seed", "1", *QUICK)
    Path("train.jsonl").write_bytes(Path("train.jsonl").read_bytes().replace(b"yes.", b"yes!", 1))
    call("upsample", "train.jsonl", "-o", "d.jsonl", *QUICK)
    assert len(set(ran)) == 3


@pytest.mark.parametrize("damage", ["losses.npy", "probe.json"])
def test_a_damaged_probe_is_named(call: Call, damage: str) -> None:
    call("upsample", "train.jsonl", "-o", "a.jsonl", *QUICK)
    (file,) = Path("results").rglob(damage)
    file.write_bytes(file.read_bytes()[:-40])
    said = call("upsample", "train.jsonl", "-o", "b.jsonl", *QUICK)
    assert said.code == 2 and "damaged probe; delete the folder" in said.err
    assert not Path("b.jsonl").exists()


# what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "train.jsonl"), "is the file that is read"),
        (("-o", "train.jsonl", "--force"), "is the file that is read"),
        (("-o", "linked.jsonl", "--force"), "is the file that is read"),
        (("-o", "there.jsonl"), "is there already; --force writes over it"),
        (("-o", "half.jsonl"), "half.control.jsonl is there already"),
        (("-o", "results"), "is a folder"),
        (("-o", "no/out.jsonl"), "there is no folder no"),
        (("-o", "o.jsonl", "--results", "train.jsonl"), "--results train.jsonl: probes cannot be kept"),
        (("-o", "o.jsonl", "--lr", "nan"), "--lr nan: must be above 0"),
        (("-o", "o.jsonl", "--lr", "0"), "--lr 0.0: must be above 0"),
        (("-o", "o.jsonl", "--trajectory", "ratio", "--epochs", "1"), "takes --epochs 2 at least"),
        (("-o", "o.jsonl", "--model", "lama-nano"), "did you mean llama-nano?"),
        (("-o", "o.jsonl", "--model", "./nowhere"), "./nowhere: no checkpoint there"),
        (("-o", "o.jsonl", "--model", "linear-attention"), "reads no text"),
        (("-o", "o.jsonl", "--max-length", "9000"), "nano models read 8192 characters at most"),
        (("-o", "o.jsonl", "--source", "kind"), "train.jsonl:1: the field 'kind' of --source is missing"),
        (("-o", "o.jsonl", "--source", "source"), "the largest of 2 sources has 16 examples"),
        (("-o", "o.jsonl", "--clusters", "13"), "--clusters 13: too many for 24 examples"),
        (("-o", "o.jsonl", "--fields", "questions=x"), "did you mean question?"),
        (("-o", "o.jsonl", "--fields", "question"), "must be NAME=FIELD"),
        (("-o", "o.jsonl", "--limit", "3"), "telling early from late takes 8"),
    ],
)
def test_bad_options_are_refused_before_anything_is_trained(options: tuple[str, ...], message: str, call: Call) -> None:
    Path("results").mkdir()
    os.link("train.jsonl", "linked.jsonl")
    Path("there.jsonl").write_text("mine")
    Path("half.control.jsonl").write_text("mine")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    said = call("upsample", "train.jsonl", *options)
    assert said.code == 2
    assert message in said.err and "Traceback" not in said.err and said.out == ""
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.jsonl: no examples"),
        (b"\xef\xbb\xbf\n \n", "x.jsonl: no examples"),
        (b"\xff\xfe{\x00", "x.jsonl:1: not UTF-8"),
        (b"\x1f\x8b\x08", "x.jsonl:1: not UTF-8"),
        (b'{"question": "a", "solution": "b"}', "x.jsonl: 1 example(s)"),
        (b'{"text": "a"}', "x.jsonl:1: no example: there is neither 'question'"),
        (b'{"prompt": "a", "completion": "b"}\n{"question": "a", "answer": "b"}', "x.jsonl:2: here is 'question', and"),
        (b'{"prompt": "a", "messages": []}', "x.jsonl:1: both 'messages' and 'prompt'"),
        (b'{"messages": [{"role": "user", "content": "a"}]}', "x.jsonl:1: the field 'messages' has no turn of the as"),
        (b'{"messages": [{"role": "assistant", "content": "a"}]}', "x.jsonl:1: messages[0] is the assistant's"),
        (b'{"messages": [{"role": "user", "content": [1]}]}', "x.jsonl:1: messages[0].content is not text but a list"),
        (b'{"prompt": "a", "completion": " "}', "x.jsonl:1: the field 'completion' is missing or empty"),
        (
            b'{"prompt": "\\ud800", "completion": "b"}',
            "x.jsonl:1: the field 'prompt' has half a character (\\ud800 at 1",
        ),
        (b'{"prompt": "a", "completion": ' + b"9" * 5000 + b"}", "x.jsonl:1: a number that cannot be read"),
        (b"[" * 100_000, "x.jsonl:1: lists or objects inside each other"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_and_line(content: bytes, message: str, call: Call) -> None:
    Path("x.jsonl").write_bytes(content)
    said = call("upsample", "x.jsonl", "-o", "out.jsonl")
    assert said.code == 2
    assert message in said.err and "Traceback" not in said.err
    assert sorted(os.listdir()) == ["train.jsonl", "x.jsonl"]


def test_no_file_is_refused(call: Call) -> None:
    said = call("upsample", "nothing.jsonl", "-o", "out.jsonl")
    assert said.code == 2 and "nothing.jsonl: there is no such file" in said.err


def test_a_disk_that_is_full_leaves_nothing_behind(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call("upsample", "train.jsonl", "-o", "a.jsonl", *QUICK)
    kept = sorted(os.listdir())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = call("upsample", "train.jsonl", "-o", "b.jsonl", *QUICK)
    assert said.code == 2 and "b.jsonl: cannot be written (No space left on device)" in said.err
    assert sorted(os.listdir()) == kept


def test_a_choice_that_is_none_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from optbench.strategies.clusters import LaterLearned

    monkeypatch.setattr(LaterLearned, "find", lambda self, losses, sources, *, seed: np.ones(len(sources), dtype=bool))
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", *QUICK)
    assert said.code == 2 and "every example came out later-learned" in said.err
    assert not Path("out.jsonl").exists()


def test_a_probe_that_diverges_writes_nothing(call: Call) -> None:
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", "--lr", "1e30", *QUICK)
    assert said.code == 2 and "the probe diverged" in said.err and "Traceback" not in said.err
    assert not Path("out.jsonl").exists()


def test_an_interrupted_probe_writes_nothing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: ProbeRun, *arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(ProbeRun, "_train", interrupted)
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", *QUICK)
    assert said.code == 130 and "interrupted; nothing was written" in said.err
    assert os.listdir() == ["train.jsonl"]


def test_lines_that_are_all_the_same_leave_nothing_to_choose(call: Call) -> None:
    Path("train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 12)
    said = call("upsample", "train.jsonl", "-o", "out.jsonl", *QUICK)
    assert said.code == 2 and "every example came out later-learned" in said.err and "Warning" not in said.err


# augment


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A rewriter that finds the right answer to products, and to nothing else."""
    asked: list[list[str]] = []

    def sampler(self: Rewriter) -> Callable[[list[str], int], list[str]]:
        def sample(prompts: list[str], seed: int) -> list[str]:
            asked.append(prompts)
            texts = [prompt.splitlines()[-1] for prompt in prompts]
            return [f"It is so.\n#### {eval(text[:-1])}" if "*" in text else "no idea" for text in texts]

        return sample

    monkeypatch.setattr(Rewriter, "_sampler", sampler)
    monkeypatch.setattr(Rewriter, "identity", lambda self: {"model": self.model})
    return asked


def test_augment_joins_new_solutions_that_are_right(call: Call, writer: list[list[str]]) -> None:
    said = call("augment", "train.jsonl", "-o", "out.jsonl", "--rewriter", "x", "--grading", "number", *QUICK)
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) == 5
    assert call("upsample", "train.jsonl", "-o", "up.jsonl", *QUICK).code == 0
    up, out, original = read("up.jsonl"), read("out.jsonl"), read("train.jsonl")
    assert [row["n"] for row in out] == [row["n"] for row in up]
    assert [row for row in out if row in original] != out
    new = [row for row in out if row["solution"] == "It is so."]
    assert new and all(row["source"] == "hard" for row in new)
    assert f"{len(new)} solutions are new" in said.out
    assert len(read("out.control.jsonl")) == len(out)
    count = len(writer)
    assert call("augment", "train.jsonl", "-o", "out.jsonl", "--rewriter", "x", "--force", *QUICK).code == 0
    assert len(writer) == count, "what was written once is kept"


def test_augment_needs_a_rewriter_and_answers(call: Call, writer: list[list[str]]) -> None:
    said = call("augment", "train.jsonl", "-o", "out.jsonl")
    assert said.code == 2 and "name one with --rewriter" in said.err and "upsample` needs none" in said.err
    write("train.jsonl", [as_completion(row) for row in problems(24)])
    said = call("augment", "train.jsonl", "-o", "out.jsonl", "--rewriter", "x")
    assert said.code == 2 and "train.jsonl:1: no answer that a new solution could be checked by" in said.err
    assert not Path("results").exists()


def test_augment_without_its_rewriter_is_refused_before_the_probe(call: Call) -> None:
    said = call("augment", "train.jsonl", "-o", "out.jsonl", "--rewriter", "./nowhere")
    assert said.code == 2 and "./nowhere: no checkpoint there" in said.err
    assert not Path("results").exists()
