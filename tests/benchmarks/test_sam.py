"""What SAM and Functional-SAM cost beside AdamW with the same output layer, in time and in memory."""

import subprocess
import sys
from pathlib import Path

import pytest
from ratios import NOISE, ratio, ratios

sys.path.insert(0, str(Path(__file__).parent))

from steps import SHAPES, llama, ours, public_pattern

pytestmark = pytest.mark.benchmark
HERE = Path(__file__).parent
WORDS = {
    "kept": "functional_sam, cotangent kept",
    "rebuilt": "functional_sam, cotangent rebuilt",
    "momentum": "functional_sam, momentum ascent",
    "sam": "sam",
}


def peak(name, variant):
    """The peak of resident memory, in a process of its own."""
    found = subprocess.run(
        [sys.executable, str(HERE / "steps.py"), name, variant], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


def targets(name):
    """What each variant may cost; h is the output layer's share, every position being supervised."""
    return {"kept": 2 - SHAPES[name].head_share / 3 + 0.07, "rebuilt": 2.07, "momentum": 1.40, "sam": 2.10}


@pytest.mark.parametrize(
    ("name", "variants", "rounds"),
    [("16k", ["kept", "rebuilt", "momentum", "sam"], 30), ("32k", ["kept"], 20), ("128k", ["rebuilt"], 16)],
)
def test_steps(row, name, variants, rounds):
    shape = SHAPES[name]
    sides = {variant: ours(shape, variant, llama(shape)) for variant in variants}
    found = ratios(sides, ours(shape, "adamw", llama(shape)), rounds=rounds)
    for variant in variants:
        target = targets(name)[variant]
        where = f"V {name}, h {shape.head_share:.2f}, {shape.tokens} tokens"
        row(f"{WORDS[variant]}, step, {where}", "adamw, same head", f"<= {target:.3f}", found[variant].words)
    for variant in variants:
        assert found[variant].median <= NOISE * targets(name)[variant]


@pytest.mark.parametrize("name", ["128k", "256k"])
def test_memory_of_a_rebuilt_cotangent(row, name):
    found = peak(name, "rebuilt") / peak(name, "adamw")
    row(f"functional_sam peak memory, cotangent rebuilt, V {name}", "adamw", "<= 1.25", f"{found:.3f}")
    assert found <= 1.25


def test_the_public_pattern(row):
    shape = SHAPES["16k"]
    found = ratio(public_pattern(shape), ours(shape, "kept"), rounds=7)
    memory = peak("16k", "kept") / peak("16k", "public")
    row("public create_graph pattern, step", "functional_sam", ">= 1.4", found.words)
    row("functional_sam peak memory, V 16k", "public create_graph pattern", "<= 0.65", f"{memory:.3f}")
    assert found.median >= 1.4 / NOISE
    assert memory <= 0.65
