"""Tokens and keys that a person has in the environment appear in nothing that is written or said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from optbench.cli import main

SECRETS = {
    "HF_TOKEN": "hf_Secret0Of1The2Hub",
    "HUGGING_FACE_HUB_TOKEN": "hf_Secret1Of2The3Hub",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef5ec3e700",
    "OPENAI_API_KEY": "sk-Secret3Of4Others",
    "AWS_SECRET_ACCESS_KEY": "Secret4Of5Clouds",
}
SUITE = """\
models: [{name: tiny, kind: nano, family: llama, width: 16, layers: 1, heads: 2}]
tasks: [{preset: arithmetic, train: 60, validation: 10, test: 10}]
strategies: [upsample]
optimizers: [adamw, {name: broken, preset: adamw, rule: {lr: 1e30}}]
budget: {steps: 3}
training: {batch_size: 8}
execution: {workers: 1, threads: 1}
"""


def test_no_secret_is_written_or_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(SUITE, encoding="utf-8")
    rows = [{"prompt": f"{i} ", "completion": "x" * (i % 3 + 1)} for i in range(12)]
    Path("x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def ran(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["optbench", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    assert ran("run", "x.yaml") == 0
    assert ran("report", "x.yaml", "--html", "page") == 0
    assert ran("upsample", "x.jsonl", "-o", "out.jsonl", "--epochs", "2", "--threads", "1") == 0
    assert ran("upsample", "x.jsonl", "-o", "no.jsonl", "--model", "some/model") == 2
    said = "".join(capfd.readouterr())
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    names = {path.name for path in written}
    assert {"record.json", "index.html", "out.jsonl", "out.control.jsonl", "probe.json"} <= names
    assert "some/model: this checkpoint cannot be loaded" in said
    for name, secret in SECRETS.items():
        assert secret not in said, name
        assert not [path for path, content in written.items() if secret.encode() in content], name
        assert not [path for path in tmp_path.rglob("*") if secret in path.name], name
