"""All tasks by kind, and the presets that suites name."""

from __future__ import annotations

from typing import Any

from optbench.plugins import one_of, with_entry_points
from optbench.spec import Spec
from optbench.tasks.arithmetic import ArithmeticTask
from optbench.tasks.gsm8k import Gsm8kTask
from optbench.tasks.icl_regression import IclRegressionTask
from optbench.tasks.jsonl import JsonlTask
from optbench.tasks.language import LanguageTask
from optbench.tasks.mathinstruct import MathInstructTask
from optbench.tasks.pretraining import PretrainingTask
from optbench.tasks.reasoning_gym import ReasoningGymTask

TASKS: dict[str, type[Spec]] = with_entry_points(
    "tasks",
    {
        "arithmetic": ArithmeticTask,
        "jsonl": JsonlTask,
        "gsm8k": Gsm8kTask,
        "mathinstruct": MathInstructTask,
        "reasoning_gym": ReasoningGymTask,
        "icl_regression": IclRegressionTask,
        "language": LanguageTask,
        "pretraining": PretrainingTask,
    },
)

TaskSpec: Any = one_of(TASKS)

PRESETS: dict[str, dict[str, Any]] = {
    "arithmetic": {"kind": "arithmetic"},
    "gsm8k": {"kind": "gsm8k"},
    "mathinstruct": {"kind": "mathinstruct"},
    "icl-regression": {"kind": "icl_regression"},
    "language": {"kind": "language"},
    "c4": {"kind": "pretraining", "held_out_split": "validation"},
    "word-problems": {"kind": "reasoning_gym"},
    "leg-counting": {"kind": "reasoning_gym", "problems": ["leg_counting"]},
}
