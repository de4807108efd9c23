import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from optbench.errors import UserError
from optbench.models.tokenizers import CharTokenizer, HubTokenizer

WORDS = ["<s>", "</s>", "<pad>", "<unk>", "a", "one", "two", "three", "user", ":", "model"]


def fast(*, adds=(), **special):
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if adds:
        single = " ".join(["<s>"] * ("bos" in adds) + ["$A"] + ["</s>"] * ("eos" in adds))
        backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **special)


def test_characters_come_back_as_they_were():
    tokenizer = CharTokenizer()
    text = "".join(map(chr, range(32, 127))) + "\n"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(set(ids)) == len(text)
    assert max(ids) < tokenizer.vocabulary
    assert not {tokenizer.pad_id, tokenizer.eos_id} & set(ids)


def test_padding_and_end_have_no_text():
    tokenizer = CharTokenizer()
    assert tokenizer.decode([tokenizer.pad_id, *tokenizer.encode("7"), tokenizer.eos_id]) == "7"


@pytest.mark.parametrize("character", ["\t", "×", "é", "\x7f"])
def test_an_unknown_character_is_named(character):
    with pytest.raises(UserError, match="nano models read printable ASCII") as caught:
        CharTokenizer().encode(f"3 {character} 4")
    assert repr(character) in str(caught.value)
    assert f"U+{ord(character):04X}" in str(caught.value)


def test_an_empty_prompt_is_refused_where_nothing_comes_before_it():
    with pytest.raises(UserError, match="empty prompt"):
        CharTokenizer().encode_prompt("")
    with pytest.raises(UserError, match="empty prompt"):
        HubTokenizer(fast(eos_token="</s>")).encode_prompt("")


@pytest.mark.parametrize(("adds", "start"), [((), []), (("bos",), [0]), (("bos", "eos"), [0]), (("eos",), [])])
def test_a_prompt_starts_as_the_tokenizer_starts_a_text_and_never_ends(adds, start):
    tokenizer = HubTokenizer(fast(adds=adds, bos_token="<s>", eos_token="</s>"))
    assert tokenizer.encode_prompt("one two") == [*start, 5, 6]
    assert tokenizer.encode("one two") == [5, 6]


def test_padding_falls_back_to_the_end_of_sequence():
    assert HubTokenizer(fast(eos_token="</s>")).pad_id == 1
    assert HubTokenizer(fast(eos_token="</s>", pad_token="<pad>")).pad_id == 2


def test_a_tokenizer_without_end_of_sequence_is_refused():
    with pytest.raises(UserError, match="end-of-sequence"):
        HubTokenizer(fast(bos_token="<s>"))


def test_special_tokens_are_left_out_of_text():
    tokenizer = HubTokenizer(fast(bos_token="<s>", eos_token="</s>"))
    assert tokenizer.decode([0, 5, 6, 1]).split() == ["one", "two"]


def test_a_conversation_follows_the_chat_template_where_there_is_one():
    backend = fast(adds=("bos",), bos_token="<s>", eos_token="</s>")
    assert HubTokenizer(backend).encode_chat("one") == [0, 5]
    backend.chat_template = "{% for m in messages %}{{ m.role }} : {{ m.content }}{% endfor %} model :"
    assert HubTokenizer(backend).encode_chat("one") == [8, 9, 5, 10, 9]
