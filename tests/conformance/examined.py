"""Examinations of the plug-ins beside this file, each done once."""

import re
from functools import cache
from pathlib import Path

from optbench.conformance import examination
from optbench.conformance.examination import CHECKS, examine
from optbench.optim.specs import PRESETS, OptimizerSpec

PLUGINS = Path(__file__).resolve().parent / "plugins"


def target(name):
    """`file.py:Class` of a plug-in: its class is the last one of the file."""
    path = PLUGINS / f"{name}.py"
    classes = re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return f"{path}:{classes[-1]}"


def spec(where, **fields):
    return OptimizerSpec.model_validate({"rule": {"kind": "torch", "target": where, "lr": 1e-3, **fields}})


@cache
def plugin(name, averages=False):
    return by_name(examine(spec(target(name), averages=averages)))


@cache
def preset(name):
    return by_name(examine(OptimizerSpec.model_validate(PRESETS[name])))


def tried_alone(monkeypatch, *names):
    """From here on an examination tries these properties only, beside those that come first."""
    monkeypatch.setattr(examination, "CHECKS", [check for check in CHECKS if check.name in names])


def by_name(findings):
    return {finding.name: finding for finding in findings}


def failed(findings, *, required):
    return {name for name, found in findings.items() if found.required is required and not found.passed}
