"""Which model judges, for how long, and what it can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from optbench.errors import UserError
from optbench.models.tokenizers import CharTokenizer
from optbench.reweighting.proxies import proxy_of, spelled


def test_random_weights_are_trained_until_they_can_read_and_checkpoints_as_the_papers_do(tmp_path: Path) -> None:
    nano, checkpoint = proxy_of("llama-nano", max_length=None), proxy_of(str(tmp_path), max_length=None)
    assert [nano.epochs(count, 16) for count in (8, 300, 1600, 100_000)] == [300, 16, 3, 3]
    assert [checkpoint.epochs(count, 16) for count in (8, 300, 100_000)] == [3, 3, 3]
    assert (nano.lr, checkpoint.lr) == (3e-3, 2e-5)
    assert (nano.max_length, checkpoint.max_length) == (1024, 512)


def test_a_nano_model_has_as_many_positions_as_examples_have_tokens() -> None:
    assert proxy_of("llama-nano", max_length=None).spec.max_length == 1024
    assert proxy_of("llama-nano", max_length=2000).spec.max_length == 2000
    assert proxy_of("llama-nano", max_length=50).spec.max_length == 256


@pytest.mark.parametrize("name", ["owner/model", "./folder", "/folder"])
def test_hub_ids_and_folders_are_checkpoints(name: str) -> None:
    assert (proxy_of(name, max_length=9).spec.kind, proxy_of(name, max_length=9).spec.path) == ("pretrained", name)


def test_a_name_that_is_nothing_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean llama-nano"):
        proxy_of("lama-nano", max_length=None)


def test_every_text_is_spelled_in_what_nano_models_read_and_differs_where_it_differed() -> None:
    texts = ["plain\ntext", "caf\u00e9", "cafe", "\u4e2d", "\t", "\r", "\x00", "\U0001f600", "\x7f"]
    assert spelled(texts[0]) == texts[0]
    assert spelled(texts[1]) == "caf\\xe9"
    for text in texts:
        CharTokenizer().encode(spelled(text))
    assert len({spelled(text) for text in texts}) == len(texts)
