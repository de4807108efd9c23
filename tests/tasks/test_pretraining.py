"""Documents from files and streams, sequences packed out of them, held-out documents, and models with a tokenizer."""

import gzip
import json
import math
import shutil
import string

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from optbench.cell import CellSpec, Training
from optbench.errors import UserError
from optbench.models.decoder import KEPT, Decoder
from optbench.models.specs import PRESETS
from optbench.runner import run_cell
from optbench.store import Store
from optbench.suite import load_suite
from optbench.tasks import documents as reading
from optbench.tasks.documents import documents, streamed
from optbench.tasks.packed import TOKENS, Packed, start_of
from optbench.tasks.pretraining import PretrainingTask

TEXTS = ["".join(string.ascii_lowercase[(i * i + 3 * d) % 26] for i in range(5 + 7 * d % 11)) for d in range(40)]
EOS, BOS = 1, 0


def read(path, **fields):
    given = {"name": "", "split": "train", "hub_revision": "", "field": "text", **fields}
    return list(documents(str(path), **given))


def as_lines(texts, field="text"):
    return "".join(json.dumps({field: text, "url": "u"}) + "\n" for text in texts)


def tokenizer_folder(folder, *, bos=False):
    letters = {c: i + 3 for i, c in enumerate(string.ascii_letters + " .")}
    backend = Tokenizer(models.WordLevel({"<s>": BOS, "</s>": EOS, "<unk>": 2, **letters}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizers")
    return {bos: tokenizer_folder(root / str(bos), bos=bos) for bos in (False, True)}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text(as_lines(TEXTS))
    return path


def task(path, tmp_path, **fields):
    own = {"length": 8, "train_sequences": 20, "test_documents": 4, "validation_documents": 3, **fields}
    return PretrainingTask(path=str(path), cache=str(tmp_path / "cache"), **own)


def model(folder, **fields):
    sizes = {"width": 8, "layers": 1, "heads": 2, "kv_heads": 2, "max_length": 16, "init_std": 0.5, **fields}
    spec = Decoder(tokenizer_path=folder, **sizes)
    return spec.build(seed=0, device="cpu", precision="float32", attention="sdpa")


# documents


def test_every_kind_of_file_gives_its_documents_in_order(tmp_path):
    texts = ["one", "two\nlines \u2028 and an odd one", "three"]
    (tmp_path / "a.jsonl").write_text(as_lines([*texts, "  \n"]))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(as_lines(texts).encode()))
    pd.DataFrame({"text": texts, "n": [1, 2, 3]}).to_parquet(tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.json.gz", "c.parquet"):
        assert read(tmp_path / name) == texts
    (tmp_path / "README.md").write_text("not data")
    assert read(tmp_path) == [*texts, *texts, *texts]


def test_a_text_file_is_cut_at_ends_of_lines_and_loses_nothing(tmp_path):
    lines = [f"line {i} of a long text\n" for i in range(1000)]
    (tmp_path / "long.txt").write_bytes(b"\xef\xbb\xbf" + "".join(lines).encode())
    found = read(tmp_path / "long.txt")
    assert "".join(found) == "".join(lines)
    assert all(reading.PIECE <= len(text) < reading.PIECE + 40 and text.endswith("\n") for text in found[:-1])
    (tmp_path / "long.txt.gz").write_bytes(gzip.compress("".join(lines).encode()))
    assert read(tmp_path / "long.txt.gz") == found


def test_a_data_set_is_streamed_and_read_no_further_than_asked(tmp_path, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text(as_lines(TEXTS))
    (folder / "validation.jsonl").write_text(as_lines(["held out"]))
    read_so_far = []

    def counting(*given, **options):
        assert options["streaming"] is True
        return (read_so_far.append(row) or row for row in load(*given, **options))

    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", counting)
    where = {"name": "", "hub_revision": "", "field": "text"}
    stream = streamed(str(folder), split="train", **where)
    assert [next(stream) for _ in range(3)] == TEXTS[:3]
    assert len(read_so_far) == 3
    assert list(streamed(str(folder), split="validation", **where)) == ["held out"]


def test_held_out_documents_of_a_hub_may_come_from_a_split_of_their_own(tmp_path, folders, monkeypatch):
    asked = []

    def load_dataset(path, name, *, split, revision, streaming):
        asked.append((path, name, split, revision, streaming))
        texts = TEXTS if split == "train" else ["held one", TEXTS[5], "held three", "held four", "held five"]
        return iter([{"text": text} for text in texts])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    own = {"test_documents": 3, "validation_documents": 2, "length": 8, "train_sequences": 20}
    spec = PretrainingTask(held_out_split="validation", cache=str(tmp_path), **own)
    built = spec.build()
    assert [e.solution for e in built.test] == ["held one", TEXTS[5], "held three"]
    assert [e.solution for e in built.validation] == ["held four", "held five"]
    packed = built.prepare(built.train, model(folders[False]))
    # All of the training split is learned, but for the document that is held out.
    expected = [token for text in [*TEXTS[:5], *TEXTS[6:]] for token in ids_of(text)]
    assert packed.tokens.tolist() == [EOS, *expected][: 20 * 8 + 1]
    commit = "1588ec454efa1a09f29cd18ddd04fe05fc8653a2"
    assert asked == [("allenai/c4", "en", split, commit, True) for split in ("validation", "train")]
    assert spec.identity()["path"] == {"hub": "allenai/c4", "commit": commit} and "cache" not in spec.identity()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"txt": 1}\n', r"a.jsonl:2: the field 'text' is missing or not text"),
        ("a.jsonl", b'{"text": "x"}\n{"text": ', r"a.jsonl:2: not JSON"),
        ("a.jsonl", b"[1]\n", r"a.jsonl:1: the field 'text' is missing"),
        ("a.txt", b"good\nb\xff\n", r"a.txt:2: not UTF-8 \(byte 0xff\)"),
        ("a.txt.gz", b"no gzip", r"a.txt.gz: cannot be read"),
        ("a.parquet", b"no parquet at all", r"a.parquet: not parquet"),
        ("a.csv", b"text\nx\n", r"not a file of text; allowed: .txt"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        read(tmp_path / name)


def test_a_place_without_text_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no text in this folder"):
        read(tmp_path)
    with pytest.raises(UserError, match="there is no such file or folder"):
        read("./nowhere.txt")
    with pytest.raises(UserError, match="^some/set: the data set cannot be streamed .*network.*local file"):
        read("some/set")


# packing


def ids_of(text):
    return [ord(c) - ord("a") + 3 for c in text] + [EOS]


@pytest.mark.parametrize("bos", [False, True])
def test_every_token_of_every_document_is_predicted_once_in_order(corpus, tmp_path, folders, bos):
    built, of = task(corpus, tmp_path).build(), model(folders[bos])
    assert start_of(of.tokenizer) == ([BOS] if bos else [])
    packed = built.prepare(built.train, of)
    assert (len(packed), packed.lengths.tolist(), packed.supervised.tolist()) == (20, [8] * 20, [8] * 20)
    batch = packed.batch(np.arange(20), micro_batch=7)
    assert [len(part.inputs["input_ids"]) for part in batch.parts] == [7, 7, 6]
    assert (batch.num_tokens, batch.num_supervised) == (160, 160)
    expected = [token for text in TEXTS[7:] for token in ([BOS] if bos else []) + ids_of(text)]
    if not bos:
        expected = [EOS, *expected]
    inputs = [token for part in batch.parts for row in part.inputs["input_ids"].tolist() for token in row]
    targets = [token for part in batch.parts for token in part.targets.tolist()]
    assert inputs == expected[:160] and targets == expected[1:161]
    for part in batch.parts:
        assert part.inputs["input_ids"].dtype == part.targets.dtype == torch.int64
        assert part.positions.tolist() == list(range(part.inputs["input_ids"].numel()))
    some = built.prepare([built.train[i] for i in (3, 0)], of).batch(np.array([0, 1]), micro_batch=2)
    assert some.parts[0].inputs["input_ids"].flatten().tolist() == expected[24:32] + expected[:8]
    part = built.prepare(built.train[5:7], of).batch(np.array([1]), micro_batch=1).parts[0]
    assert part.inputs["input_ids"].flatten().tolist() == expected[48:56]


def test_tokens_lie_on_disk_and_are_made_once_for_each_tokenizer(corpus, tmp_path, folders, monkeypatch):
    spec = task(corpus, tmp_path)
    built, of = spec.build(), model(folders[False])
    packed = built.prepare(built.train, of)
    assert isinstance(packed, Packed) and isinstance(packed.tokens, np.memmap) and packed.tokens.dtype == np.uint16
    made = list((tmp_path / "cache").rglob(TOKENS))
    assert len(made) == 1 and made[0].stat().st_size == 128 + 2 * (20 * 8 + 1)
    built.prepare(built.train, model(folders[True]))
    assert len(list((tmp_path / "cache").rglob(TOKENS))) == 2
    # From now on the corpus itself is not read.
    monkeypatch.setattr("optbench.tasks.pretraining.documents", None)
    again = spec.build()
    assert [e.solution for e in again.test] == [e.solution for e in built.test] == TEXTS[:4]
    assert again.prepare(again.train, of).tokens.tolist() == packed.tokens.tolist()


def test_large_vocabularies_take_four_bytes(corpus, tmp_path, folders):
    built = task(corpus, tmp_path).build()
    packed = built.prepare(built.train, model(folders[False], vocabulary=70_000))
    assert packed.tokens.dtype == np.uint32


def test_held_out_documents_are_not_learned(tmp_path, folders):
    path = tmp_path / "twice.jsonl"
    path.write_text(as_lines([*TEXTS[:7], *TEXTS[:7], *TEXTS[7:]]))
    built = task(path, tmp_path).build()
    assert [e.solution for e in built.validation] == TEXTS[4:7]
    packed = built.prepare(built.train, model(folders[False]))
    assert packed.tokens.tolist()[1 : len(TEXTS[7]) + 2] == ids_of(TEXTS[7])


def test_a_corpus_that_ends_early_is_refused_and_nothing_is_left(corpus, tmp_path, folders):
    built = task(corpus, tmp_path, train_sequences=1000).build()
    learned = 1 + sum(len(text) + 1 for text in TEXTS[7:])
    with pytest.raises(UserError, match=rf"33 documents make {(learned - 1) // 8} sequences .* 1,000 are asked for"):
        built.prepare(built.train, model(folders[False]))
    assert not list((tmp_path / "cache").rglob(TOKENS))
    with pytest.raises(UserError, match="has 40 documents, and 103 are to be held out"):
        task(corpus, tmp_path, test_documents=100).build()


def test_held_out_loss_is_that_of_each_document_alone(corpus, tmp_path, folders):
    built, of = task(corpus, tmp_path).build(), model(folders[False])
    found = built.evaluate(built.test, of, micro_batch=2).result
    of.module.eval()
    nats, tokens, size = 0.0, 0, 0
    for text in TEXTS[:4]:
        ids = [EOS, *ids_of(text)]
        for start in range(0, len(ids) - 1, 8):
            piece = torch.tensor(ids[start : start + 9])
            with torch.no_grad():
                logits = of.module(input_ids=piece[None, :-1]).logits[0].double()
            nats += float(torch.nn.functional.cross_entropy(logits, piece[1:], reduction="sum"))
        tokens, size = tokens + len(ids) - 1, size + len(text)
    assert found["test_nll"] == pytest.approx(nats / tokens, rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_characters_in_ascii_suit_a_model_that_reads_characters(tmp_path):
    path = tmp_path / "typeset.jsonl"
    path.write_text(as_lines([f"caf\u00e9 {i} \u2018x\u2019" for i in range(60)]))
    built = task(path, tmp_path, characters="ascii").build()
    assert built.test[0].solution == "cafe 0 'x'"
    of = Decoder(width=8, layers=1, heads=2, kv_heads=2).build(
        seed=0, device="cpu", precision="float32", attention="sdpa"
    )
    assert of.tokenizer.decode(built.prepare(built.train, of).tokens[1:11].tolist()) == "cafe 7 'x'"


def test_sequences_longer_than_the_model_reads_are_refused(corpus, tmp_path, folders):
    built = task(corpus, tmp_path, length=32, train_sequences=2).build()
    with pytest.raises(UserError, match="sequences have 32 tokens, and the model has positions for 16"):
        built.prepare(built.train, model(folders[False]))


# models with a tokenizer


def test_a_tokenizer_enters_a_key_by_its_content_wherever_it_lies(folders, tmp_path):
    before = Decoder(tokenizer_path=folders[False]).identity()
    moved = shutil.copytree(folders[False], tmp_path / "elsewhere")
    (moved / "model.safetensors").write_bytes(b"weights say nothing about a tokenizer")
    assert Decoder(tokenizer_path=str(moved)).identity() == before
    assert Decoder(tokenizer_path=folders[True]).identity() != before
    assert "tokenizer_path" not in Decoder().identity()
    with pytest.raises(UserError, match="no tokenizer there"):
        Decoder(tokenizer_path=str(tmp_path)).identity()


def test_sizes_budgets_and_keys_are_known_before_a_pinned_tokenizer_is_fetched():
    spec = Decoder.model_validate(PRESETS["decoder-24m"])
    assert spec.dimensions().vocabulary == 32128
    assert spec.identity()["tokenizer_path"]["commit"] == spec.tokenizer_revision
    lengths, supervised = PretrainingTask(length=128).token_counts(spec.tokenizer())
    assert lengths.mean() == supervised.mean() == 128
    with pytest.raises(UserError, match="google-t5/t5-base"):
        spec.tokenizer().encode("now it is needed")


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(folders):
    with pytest.raises(UserError, match="has 57 tokens, and the model's vocabulary is 40"):
        model(folders[False], vocabulary=40)


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("decoder-24m", 23_887_872),
        ("decoder-42m", 42_467_328),
        ("decoder-118m", 117_964_800),
        ("decoder-1.2b", 1_207_959_552),
    ],
)
def test_presets_have_twelve_layers_width_squared_entries(name, entries):
    spec = Decoder.model_validate(PRESETS[name])
    found = spec.dimensions().hidden_parameters
    assert entries == 12 * spec.layers * spec.width**2
    assert found == pytest.approx(entries, rel=1e-3)
    assert spec.dimensions().head_dim == 64 and spec.is_small is False
    assert spec.dimensions().matrix_parameters - found == 32128 * spec.width


def test_small_decoders_keep_their_weights(folders):
    assert Decoder(tokenizer_path=folders[False], width=64).is_small
    assert Decoder(width=512).dimensions().matrix_parameters > KEPT and not Decoder(width=512).is_small


def test_a_cell_pretrains_and_is_recorded(corpus, tmp_path, folders):
    cell = CellSpec(
        model={
            "kind": "decoder",
            "tokenizer_path": folders[False],
            "width": 16,
            "layers": 1,
            "heads": 2,
            "kv_heads": 2,
        },
        task=task(corpus, tmp_path).dump(),
        strategy={"kind": "uniform"},
        optimizer={"rule": {"kind": "adamw", "lr": 0.01}},
        training=Training(steps=30, batch_size=5),
        seed=0,
    )
    record = run_cell(cell, Store(tmp_path / "results"))
    assert record.outcome == "completed" and record.result["tokens"] == 30 * 5 * 8
    assert record.result["test_nll"] < math.log(57) and record.result["bits_per_byte"] > 0


SUITE = """\
question: Which?
models: [{{kind: decoder, name: tiny, tokenizer_path: {folder}, width: 16, layers: 1, heads: 2, kv_heads: 2}}]
tasks: [{{name: own, kind: pretraining, path: {path}, length: 8, train_sequences: 20}}]
strategies: [uniform]
optimizers: [adamw]
budget: [{{steps: 3}}, {{tokens: 800}}]
training: {{batch_size: 5}}
"""


def test_a_suite_reads_neither_data_nor_tokenizer_for_a_budget_of_tokens(tmp_path):
    (tmp_path / "corpus.jsonl").write_text("")
    path = tmp_path / "own.yaml"
    path.write_text(SUITE.format(folder=tmp_path / "no-tokenizer-yet", path=tmp_path / "corpus.jsonl"))
    assert [arm.training.steps for arm in load_suite(path).arms] == [3, 20]
