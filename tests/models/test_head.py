"""The output layer, found or not, gives the gradients of transformers' own loss, for every family and any padding."""

import pytest
import torch
import transformers

from optbench.models.head import Head
from optbench.oracle import Oracle

VOCABULARY = 17
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.3,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
SLIDING = {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8}
PLAIN = {
    "Phi": {"num_key_value_heads": 2},
    "Llama": {"tie_word_embeddings": True},
    "Gemma3": SLIDING,
    "Qwen3": {"head_dim": 8, "tie_word_embeddings": True},
    "GPTNeoX": {},
}
CHANGED = {
    "Cohere": {"logit_scale": 0.25, "tie_word_embeddings": True},
    "Granite": {"logits_scaling": 4.0},
    "Gemma3 with a cap": {**SLIDING, "final_logit_softcapping": 5.0},
}


def _model(name: str, **fields):
    family = name.split()[0]
    config_class = "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config"
    config = getattr(transformers, config_class)(**{**SIZES, **{**PLAIN, **CHANGED}[name], **fields})
    # In float64 the eager attention of transformers gives NaN where all that a position may see is padding.
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        return getattr(transformers, f"{family}ForCausalLM")(config).double()


def _batch(side: str) -> dict[str, torch.Tensor]:
    ids_BT = torch.randint(0, VOCABULARY, (4, 9), generator=torch.Generator().manual_seed(1))
    mask_BT, labels_BT = torch.ones_like(ids_BT), ids_BT.clone()
    for row, (padding, prompt) in enumerate([(0, 3), (2, 1), (4, 2), (1, 5)]):
        padded = slice(0, padding) if side == "left" else slice(9 - padding, 9)
        mask_BT[row, padded] = 0
        labels_BT[row, : prompt + (padding if side == "left" else 0)] = -100
    labels_BT[mask_BT == 0] = -100
    return {"input_ids": ids_BT, "attention_mask": mask_BT, "labels": labels_BT}


def _gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", PLAIN)
def test_the_four_families_and_the_proxy_have_a_head(name):
    assert Head.of(_model(name)) is not None


@pytest.mark.parametrize("name", CHANGED)
def test_a_model_that_scales_or_caps_its_logits_has_no_head(name):
    assert Head.of(_model(name)) is None


def test_a_cap_far_above_the_first_logits_is_noticed():
    assert Head.of(_model("Gemma3 with a cap", final_logit_softcapping=1e3, initializer_range=1e-3)) is None


def test_a_head_of_zeros_is_looked_through():
    for name, expected in (("Llama", True), ("Granite", False)):
        model = _model(name, tie_word_embeddings=False)
        torch.nn.init.zeros_(model.lm_head.weight)
        assert (Head.of(model) is not None) == expected


def test_looking_for_the_head_leaves_the_model_as_it_was():
    model = _model("Llama").train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    Head.of(model)
    assert model.training
    assert not model.lm_head._forward_hooks
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in model.named_parameters())


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", [*PLAIN, *CHANGED])
def test_loss_and_gradient_are_those_of_transformers_own_loss(name, side):
    model, batch = _model(name), _batch(side)
    loss = model(**batch).loss
    loss.backward()
    expected = _gradients(model)

    found = Oracle.from_batch(model, batch).gradient()

    # transformers takes its loss in float32, whatever the model computes in.
    torch.testing.assert_close(found.loss.double(), loss.detach().double(), rtol=1e-6, atol=1e-6)
    for gradient_name, gradient in _gradients(model).items():
        torch.testing.assert_close(gradient, expected[gradient_name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*PLAIN, *CHANGED])
def test_pulling_back_the_kept_cotangent_gives_the_gradient_again(name):
    model = _model(name)
    oracle = Oracle.from_batch(model, _batch("right"))
    kept = oracle.gradient(keep=True)
    expected = _gradients(model)
    oracle.gradient(cotangent=kept.cotangent)
    for gradient_name, gradient in _gradients(model).items():
        torch.testing.assert_close(gradient, expected[gradient_name], rtol=1e-5, atol=1e-6)
