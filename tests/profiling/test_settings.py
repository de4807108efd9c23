"""Models, optimizers and batches from the words of the command line."""

import json

import pytest
from profiles import settings

from optbench.errors import UserError
from optbench.optim.specs import PRESETS, OptimizerSpec
from optbench.profiling.settings import batch_and_length, check_fractions, optimizers_of
from optbench.profiling.shapes import shapes_of


def test_names_and_groups():
    assert [s.name for s in shapes_of("nano")] == ["phi-nano", "llama-nano", "gemma-nano", "qwen-nano"]
    assert [s.name for s in shapes_of("all")] == ["phi-2", "llama-3.2-1b", "gemma-3-1b-pt", "qwen3-0.6b-base"]
    assert [s.name for s in shapes_of(" qwen-nano , nano")] == ["qwen-nano", "phi-nano", "llama-nano", "gemma-nano"]
    assert shapes_of("llama-3.2-1b")[0].dimensions.layers == 16


def test_fewer_layers_keep_the_rest():
    (shape,) = shapes_of("gemma-nano")
    one = shape.with_layers(1)
    assert one.dimensions.layers == 1 and len(one.config["layer_types"]) == 1
    assert one.dimensions.width == shape.dimensions.width
    assert shape.dimensions.layers == 2 and len(shape.config["layer_types"]) == 2


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ("lama-nano", "did you mean llama-nano"),
        ("linear-attention", "is no language model"),
        (",", "--models is empty"),
    ],
)
def test_an_unknown_model_is_an_error_with_a_suggestion(models, says):
    with pytest.raises(UserError, match=says):
        shapes_of(models)


def test_a_folder_gives_its_shape_and_needs_no_weights(tmp_path):
    text = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 50, "head_dim": 16}
    text |= {"intermediate_size": 96, "num_key_value_heads": 2, "tie_word_embeddings": False, "pad_token_id": 3}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "dtype": "bfloat16", **text}))
    (shape,) = shapes_of(str(tmp_path))
    built = shape.with_layers(2).build(seed=0, device="cpu", precision="float32")
    entries = sum(p.numel() for p in built.module.parameters() if p.dim() > 1)
    assert entries == shape.with_layers(2).dimensions.matrix_parameters
    assert {p.dtype.itemsize for p in built.module.parameters()} == {4}


@pytest.mark.parametrize(
    ("content", "says"),
    [("{", "cannot be read"), ("[]", "names no model_type"), ('{"model_type": "llama"}', "config.json has no")],
)
def test_a_folder_with_a_bad_config_is_an_error(tmp_path, content, says):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=says):
        shapes_of(str(tmp_path))


def test_a_model_that_transformers_does_not_know_is_an_error(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "of-my-own", **sizes}))
    with pytest.raises(UserError, match="transformers builds no causal model"):
        shapes_of(str(tmp_path))[0].build(seed=0, device="cpu", precision="float32")


def test_the_baseline_is_always_there_and_first():
    assert list(optimizers_of("sam,muon")) == ["adamw", "sam", "muon"]
    assert list(optimizers_of("sam,adamw")) == ["adamw", "sam"]
    assert optimizers_of("sam")["sam"] == OptimizerSpec.model_validate(PRESETS["sam"])


def test_optimizers_as_mappings():
    found = optimizers_of('mine={"rule": {"kind": "muon", "ns_steps": 3}, "max_norm": 1.0},gd')
    assert list(found) == ["adamw", "mine", "gd"]
    assert (found["mine"].rule.ns_steps, found["mine"].max_norm) == (3, 1.0)
    text = '{"rule": {"kind": "gd", "momentum": 0.9}}'
    assert optimizers_of(text)[text].rule.momentum == 0.9


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sma", "did you mean sam"),
        ("", "is empty"),
        ("sam,sam", "named twice"),
        ('sam={"rule": {"kind": "adamw"}}', "sam is a preset"),
        ('x={"preset": "samm"}', "no preset is named 'samm'; did you mean"),
        ('x={"rule": {"kind": "adamw", "lr": -1}}', "x: rule.adamw.lr"),
        ('x={"rule"', "is not JSON"),
        ('adamw={"rule": {"kind": "gd"}}', "adamw is a preset; give .* another name"),
    ],
)
def test_bad_optimizers(text, says):
    with pytest.raises(UserError, match=says):
        optimizers_of(text)


@pytest.mark.parametrize(
    ("given", "batch", "length"),
    [
        ((2048, None, None), 8, 256),
        ((None, None, None), 8, 256),
        ((300, None, None), 2, 150),
        ((None, 3, 40), 3, 40),
        ((None, 4, None), 4, 512),
        ((512, None, 128), 4, 128),
    ],
)
def test_batches(given, batch, length):
    if length > 256:
        assert batch_and_length(*given, shapes_of("qwen3-0.6b-base")) == (batch, length)
    else:
        assert batch_and_length(*given, shapes_of("nano")) == (batch, length)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((100, 3, 40), "no multiple of --batch 3"),
        ((257, None, None), "each needs two"),
        ((1000, None, 300), "no multiple"),
        ((512, 1, 512), "reads 256 tokens at most"),
    ],
)
def test_batches_that_do_not_fit(given, says):
    with pytest.raises(UserError, match=says):
        batch_and_length(*given, shapes_of("nano"))


@pytest.mark.parametrize(("share", "length", "count"), [(0.5, 16, 8), (1.0, 16, 15), (0.0, 16, 1), (0.3, 10, 3)])
def test_supervised_positions(share, length, count):
    assert settings(supervised=share, length=length, batch=3).positions == 3 * count


def test_a_mapping_may_start_from_a_preset():
    found = optimizers_of('part={"preset": "functional_sam", "estimator": {"ascent_fraction": 0.25}}')["part"]
    assert found.estimator.functional and found.estimator.ascent_fraction == 0.25 and found.rule.kind == "adamw"
    check_fractions({"part": found}, 8)
    with pytest.raises(UserError, match="0.25 of 1 example is no number of examples"):
        check_fractions({"part": found}, 1)
