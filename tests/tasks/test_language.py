"""The corpus and its parts, sequences and what is predicted of them, scores, refusals."""

import gzip
import hashlib
import math
import string

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from optbench.errors import UserError
from optbench.evaluation import example_losses
from optbench.models.families import Nano
from optbench.models.tokenizers import CharTokenizer, HubTokenizer
from optbench.spec import content_hash
from optbench.suite import load_suite
from optbench.tasks import corpus
from optbench.tasks.language import LanguageTask, encoded
from optbench.tasks.specs import TASKS

TEXT = "".join(string.ascii_letters[(i * i + i // 7) % 52] for i in range(1000))
SIZES = {"length": 16, "train_characters": 400, "validation_characters": 100, "test_characters": 200}


def model(**fields):
    small = {"width": 8, "layers": 1, "heads": 2, "kv_heads": 1, "max_length": 16, "init_std": 0.5, **fields}
    built = Nano(family="llama", **small).build(seed=0, device="cpu", precision="float32", attention="sdpa")
    built.module.double().eval()
    return built


def own(tmp_path, text=TEXT, **fields):
    path = tmp_path / "own.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return LanguageTask(path=str(path), **{**SIZES, **fields})


def whole(pieces):
    return "".join(piece.solution for piece in pieces)


def test_the_embedded_corpus_is_the_one_that_is_described():
    content = gzip.decompress(corpus.EMBEDDED.read_bytes())
    assert hashlib.sha256(content).hexdigest() == corpus.EMBEDDED_SHA256
    about = (corpus.EMBEDDED.parent / "README.md").read_text()
    assert corpus.EMBEDDED_SHA256 in about and "public domain" in about
    text = corpus.read_corpus("")
    assert text.encode() == content and len(text) == 684_768
    assert text.startswith("PRIDE AND PREJUDICE\n\nBy Jane Austen\n")
    assert "gutenberg" not in text.lower()
    # Every character has a token of the nano models, so that nothing has to be changed.
    assert len(CharTokenizer().encode(text)) == len(text)
    assert corpus.as_ascii(text) == text


def test_a_damaged_corpus_is_not_trained_on(tmp_path, monkeypatch):
    broken = tmp_path / "novel.txt.gz"
    broken.write_bytes(gzip.compress(b"PRIDE AND PREJUDICE"))
    monkeypatch.setattr(corpus, "EMBEDDED", broken)
    with pytest.raises(RuntimeError, match="novel.txt.gz has the SHA-256"):
        corpus.read_corpus("")


def test_the_parts_are_disjoint_stretches_of_the_text_in_order(tmp_path):
    task = own(tmp_path).build()
    # What is left over of a part that is no whole number of sequences is not used.
    assert [len(part) for part in (task.train, task.validation, task.test)] == [25, 6, 12]
    assert whole(task.train) == TEXT[:400]
    assert whole(task.validation) == TEXT[700:796]
    assert whole(task.test) == TEXT[800:992]
    assert [task.train[i].id for i in (0, 24, -1)] == ["train-0", "train-24", "train-24"]
    assert [e.id for e in task.test[3:5]] == ["test-3", "test-4"] and len(task.test[3:5]) == 2
    ids = {e.id for part in (task.train, task.validation, task.test) for e in part}
    assert len(ids) == 25 + 6 + 12


def test_training_takes_all_that_is_left_where_it_may(tmp_path):
    assert whole(own(tmp_path, train_characters=10_000).build().train) == TEXT[:688]
    default = LanguageTask().build()
    assert [len(part) for part in (default.train, default.validation, default.test)] == [4581, 256, 512]
    assert LanguageTask().num_train() == 4581


def test_no_held_out_sequence_of_the_embedded_corpus_is_in_its_training_text():
    task = LanguageTask().build()
    learned = whole(task.train)
    for split in (task.validation, task.test):
        assert not [e.id for e in split if e.solution[:64] in learned or e.solution[64:] in learned]


def test_every_character_is_predicted_from_those_before_it_and_no_other(tmp_path):
    task, tokenizer = own(tmp_path).build(), CharTokenizer()
    prepared = task.prepare(task.train, model())
    assert (prepared.lengths == 16).all() and (prepared.supervised == 16).all()
    batch = prepared.batch(np.array([3, 0]), micro_batch=2)
    assert (batch.num_tokens, batch.num_supervised) == (32, 32)
    (part,) = batch.parts
    targets = [tokenizer.encode(task.train[row].solution) for row in (3, 0)]
    assert part.targets.tolist() == targets[0] + targets[1]
    assert part.inputs["input_ids"].tolist() == [[tokenizer.eos_id, *ids[:-1]] for ids in targets]
    assert part.positions.tolist() == list(range(32))


def hub(*, bos):
    letters = {c: i + 3 for i, c in enumerate(string.ascii_letters)}
    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, **letters}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return HubTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>"))


@pytest.mark.parametrize(("bos", "start"), [(True, 0), (False, 1)])
def test_a_sequence_starts_as_the_tokenizer_starts_a_text_or_after_an_end(tmp_path, bos, start):
    example = own(tmp_path).build().train[0]
    tokenizer = hub(bos=bos)
    assert encoded(example, tokenizer) == [start, *tokenizer.encode(example.solution)]
    counts, supervised = own(tmp_path).token_counts(tokenizer)
    assert counts.tolist() == supervised.tolist() == [16] * 25


def test_the_score_is_the_mean_over_all_characters_in_nats_and_in_bits_per_byte(tmp_path):
    task, one = own(tmp_path).build(), model()
    nats = []
    for example in task.test:
        ids = torch.tensor([encoded(example, one.tokenizer)])
        with torch.no_grad():
            chances = torch.log_softmax(one.module(ids[:, :-1]).logits[0], dim=1)
        nats += (-chances[torch.arange(16), ids[0, 1:]]).tolist()
    found = task.evaluate(task.test, one, micro_batch=5)
    assert found.questions is None and set(found.result) == {"test_nll", "bits_per_byte"}
    assert found.result["test_nll"] == pytest.approx(np.mean(nats), rel=1e-9)
    assert found.result["bits_per_byte"] == pytest.approx(np.mean(nats) / math.log(2), rel=1e-9)


def test_tokens_are_averaged_one_by_one_and_bytes_are_those_of_the_text(tmp_path):
    text = "".join("\u00e9" if (i * i) % 23 < i % 5 else c for i, c in enumerate(TEXT))
    task, one = own(tmp_path, text).build(), model(max_length=64)

    class TwoTokens(CharTokenizer):
        def encode(self, text):
            return super().encode(text.replace("\u00e9", "'e"))

    object.__setattr__(one, "tokenizer", TwoTokens())
    prepared = task.prepare(task.test, one)
    accents = np.array([e.solution.count("\u00e9") for e in task.test])
    assert len(set(accents)) > 2
    assert prepared.supervised.tolist() == (16 + accents).tolist()
    nats = (example_losses(one, task, prepared) * prepared.supervised).sum()
    result = task.evaluate(task.test, one, micro_batch=64).result
    assert result["test_nll"] == pytest.approx(nats / (16 + accents).sum(), rel=1e-12)
    assert result["bits_per_byte"] == pytest.approx(nats / math.log(2) / (16 + accents).sum(), rel=1e-12)
    one_byte = task.evaluate(own(tmp_path, text, characters="ascii").build().test, one, micro_batch=64).result
    assert one_byte["bits_per_byte"] == pytest.approx(one_byte["test_nll"] / math.log(2), rel=1e-12)


def test_a_file_enters_by_its_content_and_the_embedded_corpus_as_if_it_were_a_file(tmp_path):
    task = own(tmp_path)
    before = task.identity()
    assert before["path"] == content_hash(tmp_path / "own.txt")
    (tmp_path / "copy.txt").write_text(TEXT)
    assert LanguageTask(path=str(tmp_path / "copy.txt"), **SIZES).identity() == before
    (tmp_path / "own.txt").write_text(TEXT + "x")
    assert task.identity() != before
    (tmp_path / "novel.txt").write_text(corpus.read_corpus(""))
    assert LanguageTask().identity() == LanguageTask(path=str(tmp_path / "novel.txt")).identity()
    for change in ({"length": 64}, {"characters": "ascii"}, {"train_characters": 1000}, {"test_characters": 300}):
        assert LanguageTask(**change).identity() != LanguageTask().identity()


def test_line_ends_and_a_byte_order_mark_are_not_text(tmp_path):
    lines = TEXT[:300] + "\n" + TEXT[300:]
    expected = whole(own(tmp_path, lines).build().train)
    assert "\n" in expected
    for ends in ("\r\n", "\r"):
        assert whole(own(tmp_path, b"\xef\xbb\xbf" + lines.replace("\n", ends).encode()).build().train) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ~!\n", "plain ~!\n"),
        ("\u201cIt\u2019s\u201d \u2014 caf\u00e9\u2026", '"It\'s" -- cafe...'),
        ("\ufb01ne\u00a0\u00e6on \u0152uvre stra\u00dfe S\u00f8r", "fine aeon OEuvre strasse Sor"),
        ("e\u0301 1\u20132\tx", "e 1-2 x"),
        ("\u4f60 \u00a3 \x07", "? ? ?"),
    ],
)
def test_ascii_is_written_character_by_character(text, expected):
    assert corpus.as_ascii(text) == expected
    assert "".join(map(corpus.as_ascii, text)) == expected


def test_a_character_without_a_token_is_named_with_the_remedy(tmp_path):
    text = TEXT[:500] + "\u00e9" + TEXT[500:]
    kept, ascii_ = own(tmp_path, text, train_characters=700), own(tmp_path, text, characters="ascii")
    with pytest.raises(UserError, match=r"U\+00E9.*`characters: ascii`"):
        kept.token_counts(CharTokenizer())
    with pytest.raises(UserError, match=r"U\+00E9.*`characters: ascii`"):
        kept.build().prepare(kept.build().train, model())
    assert whole(ascii_.build().train) == TEXT[:400]
    assert len(ascii_.token_counts(CharTokenizer())[0]) == 25


def test_what_cannot_be_a_corpus_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"own.txt: not UTF-8 \(byte 0xff at 3\)"):
        own(tmp_path, b"abc\xff").build()
    with pytest.raises(UserError, match=r"own.txt has 315 characters; 100 .* leave 15 for training.* sequence of 16"):
        own(tmp_path, TEXT[:315]).build()
    assert len(own(tmp_path, TEXT[:316]).build().train) == 1
    with pytest.raises(ValidationError, match="there is no file"):
        LanguageTask(path=str(tmp_path / "none.txt"))
    for name in ("train_characters", "validation_characters", "test_characters"):
        with pytest.raises(ValidationError, match=rf"{name} \(15\) is less than one sequence \(length: 16\)"):
            LanguageTask(**{**SIZES, name: 15})


def test_a_sequence_longer_than_the_model_is_refused(tmp_path):
    task = own(tmp_path, length=17).build()
    with pytest.raises(UserError, match="17 tokens, and the model has positions for 16"):
        task.prepare(task.train, model())


def test_a_sequence_without_tokens_is_refused(tmp_path):
    class Blind(CharTokenizer):
        def encode(self, text):
            return []

    with pytest.raises(UserError, match="no token for the sequence train-2"):
        encoded(own(tmp_path).build().train[2], Blind())


def test_nothing_is_graded_and_nothing_is_written_anew(tmp_path):
    spec = own(tmp_path)
    task = spec.build()
    assert not spec.can_rewrite and not spec.asks_questions
    with pytest.raises(UserError, match="asks no questions that could be graded"):
        task.answer(task.test, model())
    with pytest.raises(UserError, match="writes no new text"):
        task.rewrite(task.train[:2], 0)


def test_augmentation_is_refused_when_the_suite_is_read(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "models: [llama-nano]\ntasks: [language]\nstrategies: [augment]\noptimizers: [adamw]\n"
        "budget: {steps: 5}\nseeds: 1\n"
    )
    with pytest.raises(UserError, match=r"s.yaml:3: .*augment needs new examples"):
        load_suite(path)


def test_the_same_task_is_built_again():
    one, two = LanguageTask().build(), LanguageTask().build()
    assert one == two
    assert TASKS["language"] is LanguageTask


def test_a_panel_of_right_and_wrong_answers_is_refused(tmp_path):
    axes = "models: [llama-nano]\ntasks: [language]\nstrategies: [uniform]\noptimizers: [adamw]\n"
    text = axes + "budget: {steps: 4}\npanels: [%s]\n"
    path = tmp_path / "own.yaml"
    path.write_text(text % "simplicity")
    with pytest.raises(UserError, match="simplicity tells right from wrong answers"):
        load_suite(path)
    path.write_text(text % "sharpness")
    assert load_suite(path).panels
