"""The verb as a user runs it, in a process of its own."""

import json
import subprocess
import sys

import pytest

WITHOUT = """
import importlib.abc, importlib.machinery, sys

NAMES = {"wandb", "datasets", "pandas", "pyarrow", "scipy", "sklearn", "seaborn", "matplotlib", "ruamel", "math_verify"}


class Without(importlib.machinery.PathFinder):
    '''Finds nothing of those packages, as if they were not installed.'''

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in NAMES else super().find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, context=importlib.machinery.PathFinder):
        found = importlib.machinery.PathFinder.find_distributions(context)
        return (d for d in found if (d.metadata["Name"] or "").lower().replace("-", "_") not in NAMES)


sys.meta_path = [Without if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
sys.argv = ["optbench", "profile", *sys.argv[1:]]
from optbench.cli import main

main()
"""


def run(*words, code="from optbench.cli import main; main()"):
    if code is not WITHOUT:
        words = ("profile", *words)
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_verb_needs_no_more_than_it_uses(tmp_path):
    output = tmp_path / "p.json"
    words = ("--models", "qwen-nano", "--optimizers", "adamw,sam", "--tokens", "256", "--rounds", "2", "--steps", "1")
    status, out, err = run(*words, "--format", "json", "--output", str(output), code=WITHOUT)
    assert status == 0, err[-2000:]
    found = json.loads(out)
    assert json.loads(output.read_text()) == found
    assert [(r["optimizer"], r["status"]) for r in found["rows"]] == [("adamw", "measured"), ("sam", "measured")]
    adamw, sam = found["rows"]
    # How large the ratio is, two steps on a busy machine cannot say: tests/benchmarks asks that.
    assert adamw["ratio"] == 1.0 and sam["ratio"] > 0 and sam["passes"] == 2.0
    assert sam["tokens_per_second"] == pytest.approx(256 / sam["step_seconds"])
    assert sam["timed_steps"] == 2 and sam["shift_cosine"] > 0.99 and sam["mfu"] is None
    assert found["conditions"]["versions"].keys() == {"python", "optbench", "torch", "transformers"}
    assert "round 2 of 2" in err
    # A figure alone needs matplotlib.
    status, _, err = run(*words, "--plot", str(tmp_path / "p.png"), code=WITHOUT)
    assert (status, err) == (2, "--plot needs matplotlib, which is not installed\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--models", "qwen-nan"), "did you mean qwen-nano?"),
        (("--optimizers", "samm"), "did you mean sam?"),
        (("--models", "nano", "--tokens", "257"), "each needs two"),
        (("--models", "nano", "--batch", "3", "--tokens", "256"), "no multiple"),
        (("--plot", "x.doc"), "allowed endings"),
        (("--layers", "1"), "--layers"),
        (("--format", "latex"), "'latex' is not one of"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(words, says):
    status, out, err = run(*words)
    assert status == 2 and not out
    assert says in err and "Traceback" not in err


def test_a_missing_gpu_is_one_message():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    status, _, err = run("--device", "cuda")
    assert status == 2 and "torch sees no CUDA device here" in err
