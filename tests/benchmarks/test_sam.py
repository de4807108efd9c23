"""What SAM and Functional-SAM cost beside AdamW with the same output layer, in time and in memory."""

import subprocess
import sys
from pathlib import Path

import pytest
from ratios import ratio

sys.path.insert(0, str(Path(__file__).parent))

from steps import SHAPES, llama, ours, public_pattern

pytestmark = pytest.mark.benchmark
HERE = Path(__file__).parent


def compared(name, variant, *, rounds=12):
    """The step of the variant over that of AdamW, each on its own copy of the model."""
    shape = SHAPES[name]
    return ratio(ours(shape, variant, llama(shape)), ours(shape, "adamw", llama(shape)), rounds=rounds)


def peak(name, variant):
    """The peak of resident memory, in a process of its own."""
    found = subprocess.run(
        [sys.executable, str(HERE / "steps.py"), name, variant], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


@pytest.mark.parametrize("name", ["16k", "32k"])
def test_a_kept_cotangent(row, name):
    share = SHAPES[name].head_share
    target = 2 - share / 3 + 0.07
    found = compared(name, "kept")
    row(f"functional_sam step, cotangent kept, V {name}, h {share:.2f}", "adamw", f"<= {target:.3f}", found.words)
    assert found.quick <= target


@pytest.mark.parametrize("name", ["16k", "128k"])
def test_a_rebuilt_cotangent(row, name):
    found = compared(name, "rebuilt")
    row(f"functional_sam step, cotangent rebuilt, V {name}", "adamw", "<= 2.07", found.words)
    assert found.quick <= 2.07


def test_the_momentum_ascent(row):
    found = compared("16k", "momentum")
    row("functional_sam step, momentum ascent, V 16k", "adamw", "<= 1.40", found.words)
    assert found.quick <= 1.40


def test_sam(row):
    found = compared("16k", "sam")
    row("sam step, 512 tokens, V 16k", "adamw", "<= 2.10", found.words)
    assert found.quick <= 2.10


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
    assert found.quick >= 1.4
    assert memory <= 0.65
