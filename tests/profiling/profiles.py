"""Shapes, settings and hand-made profiles that these tests share."""

from optbench.models.dimensions import of_config
from optbench.models.families import Nano
from optbench.profiling.rows import Profile, Row
from optbench.profiling.settings import Settings
from optbench.profiling.shapes import Shape


def shape(family="llama", *, width=64, layers=4, vocabulary=96):
    spec = Nano(family=family, width=width, layers=layers, heads=4, kv_heads=2)
    config = {**spec._config(), "vocab_size": vocabulary}
    return Shape(f"{family}-small", config, of_config(config, where=family), family)


def settings(**fields):
    return Settings(**{"batch": 2, "length": 16, "supervised": 0.5, "device": "cpu", "precision": "float32", **fields})


def row(model="m", optimizer="adamw", **fields):
    known = {
        "status": "measured",
        "layers": 28,
        "measured_layers": (28,),
        "tokens": 2048,
        "step_seconds": 0.5,
        "step_seconds_p95": 0.75,
        "ratio": 1.0,
        "ratio_low": 1.0,
        "ratio_high": 1.0,
        "tokens_per_second": 4096.0,
        "break_even_percent": 0.0,
        "flops": 1e12,
        "fits": "yes",
        "memory_peak": 7e9,
        "memory": dict.fromkeys(
            (
                "weights",
                "gradients",
                "state",
                "copy",
                "cotangent",
                "activations",
                "output_layer",
                "working",
            ),
            1e9,
        ),
        "split": {
            "first_pass": 0.9,
            "second_pass": 0.0,
            "perturbation": 0.0,
            "rule": 0.08,
            "newton_schulz": 0.0,
            "other": 0.02,
        },
    }
    return Row(model, optimizer, **{**known, **fields})


def profile(*rows):
    conditions = {
        "device": "cpu",
        "device_name": "A processor",
        "usable_bytes": 16e9,
        "precision": "float32",
        "threads": 2,
        "tokens": 2048,
        "batch": 8,
        "length": 256,
        "positions": 1024,
        "versions": {"torch": "2", "transformers": "5"},
    }
    return Profile(conditions, list(rows))
