"""Strict and flexible extraction, as lm-evaluation-harness defines them for GSM8K (task gsm8k 3.0, lm-eval 0.4.13).

strict    the number after the first `#### ` of the text
flexible  the last number of the text, wherever it stands

Both are compared with the reference as text, after commas, dollar signs, everything up to the last `#### ` and a full
stop at the end are taken out of either, whatever the letter case. A text without a number is wrong.

These verdicts stand beside a task's own and are never what accuracy counts: they are what others report, so that
numbers can be compared. They differ from comparing values: 72.0 is not 72 here, and `$18.00` is not 18.
"""

from __future__ import annotations

import re

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = (re.compile(","), re.compile(r"\$"), re.compile(r"(?s).*#### "), re.compile(r"\.$"))
_INVALID = "[invalid]"


def strict(text: str, reference: str) -> bool:
    """Whether the strict extraction of a generated text equals the reference."""
    found = _STRICT.search(text)
    return _same(_INVALID if found is None else found[1].strip(), reference)


def flexible(text: str, reference: str) -> bool:
    """Whether the flexible extraction of a generated text equals the reference."""
    found = list(_FLEXIBLE.finditer(text))
    return _same(found[-1][0].strip() if found else _INVALID, reference)


def _same(answer: str, reference: str) -> bool:
    return _bare(answer) == _bare(reference)


def _bare(text: str) -> str:
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return text.lower()
