"""The README's code runs, and its commands and files exist."""

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from optbench.cli import app
from optbench.optim.specs import RuleSpec
from optbench.suite import load_suite

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def block(language, containing):
    (found,) = [text for kind, text in BLOCKS if kind == language and containing in text]
    return found


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny Llama with a tokenizer of its own, as a directory."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["[PAD]", "[EOS]", "[UNK]", *"0123456789+= "])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]"
    ).save_pretrained(tmp_path)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=len(words)
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    return tmp_path


def test_functional_sam_in_ten_lines(checkpoint, capsys):
    code = block("python", "make_optimizer").replace("models/smollm2", str(checkpoint)).replace("2e-5", "1e-2")
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(lines) <= 10
    exec(compile(code, "README.md", "exec"), {})
    losses = [float(line) for line in capsys.readouterr().out.split()]
    assert len(losses) == 3
    assert losses[2] < losses[0]


def test_the_example_suite_is_valid(checkpoint, tmp_path, monkeypatch):
    data = tmp_path / "my.jsonl"
    data.write_text(
        "".join(f'{{"question": "{i}+1=", "solution": "{i + 1}", "answer": "{i + 1}"}}\n' for i in range(60))
    )
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        block("yaml", "models: [llama-nano").replace("models/smollm2", str(checkpoint)).replace("my.jsonl", str(data))
    )
    loaded = load_suite(suite)
    assert len(loaded.cells()) == 2 * 2 * 3 * 4 * 3
    assert len({cell.key for cell in loaded.cells()}) == len(loaded.cells())


def test_the_example_rule_is_a_rule_and_trains(monkeypatch):
    class SignSGD(torch.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(p.grad.sign(), alpha=group["lr"])

    monkeypatch.setitem(sys.modules, "my_package", types.SimpleNamespace(SignSGD=SignSGD))
    code = block("python", "class SignGD")
    assert len(code.splitlines()) <= 24
    names = {"__name__": "sign_gd"}
    exec(compile(code, "README.md", "exec"), names)
    from support import TinyLM, oracle, parameters

    from optbench.optim.base import Optimizer
    from optbench.optim.estimators import SharpnessAware

    module = TinyLM()
    params = parameters(module)
    spec = names["SignGD"](lr=0.01)
    optimizer = Optimizer(SharpnessAware(functional=True), spec.build(params), params)
    losses = [float(optimizer.step(oracle(module)).loss) for _ in range(10)]
    assert losses[-1] < losses[0]
    assert spec.identity() == {"kind": "sign_gd", "lr": 0.01}


def test_the_example_optimizers_by_dotted_path_are_valid(tmp_path, monkeypatch):
    from pydantic import TypeAdapter
    from ruamel.yaml import YAML

    monkeypatch.chdir(tmp_path)
    Path("my_opt.py").write_text("import torch\n\n\nclass MyOpt(torch.optim.SGD):\n    pass\n")
    entries = YAML(typ="safe").load(block("yaml", "pytorch_optimizer"))["optimizers"]
    for entry in entries:
        rule = TypeAdapter(RuleSpec).validate_python(entry["rule"])
        from support import TinyLM, parameters

        assert rule.build(parameters(TinyLM())).claims()


@pytest.mark.parametrize(
    ("name", "words", "results"),
    [
        ("quick_seeds", (), "quick_seeds/records.zip"),
        ("claims_nano", ("--only", "model=llama-nano,model=qwen-nano"), ""),
        ("quick", (), "quick/records.zip"),
    ],
)
def test_tables_are_what_the_committed_records_give(name, words, results):
    """Line by line: what a reader sees in the README is what the command prints."""
    shown = next(text for _, text in BLOCKS if text.startswith(f"{name}: "))
    (ROOT / "results" / "reference" / results).resolve(strict=True)
    argv = ["report", f"suites/{name}.yaml", *words, "--results", f"results/reference/{results}"]
    done = subprocess.run(
        [sys.executable, "-m", "optbench", *argv], cwd=ROOT, capture_output=True, text=True, check=True
    )
    printed = done.stdout.splitlines()
    lines = [line for line in shown.splitlines() if not line.startswith("...")]
    assert len(lines) > 10
    assert not [line for line in lines if line not in printed]


def test_commands_that_are_named_exist():
    runner = CliRunner()
    for verb in {verb for _, text in BLOCKS for verb in re.findall(r"^optbench (\w+)", text, flags=re.MULTILINE)}:
        assert runner.invoke(app, [verb, "--help"]).exit_code == 0, verb
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make (\w+)`?", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_files_that_are_named_exist():
    for name in set(re.findall(r"`?((?:suites|docs|optbench|results)/[\w./]+\.\w+)`?", README)):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", sorted((ROOT / "suites").glob("*.yaml")), ids=lambda path: path.name)
def test_every_suite_loads(path):
    assert load_suite(path).arms
