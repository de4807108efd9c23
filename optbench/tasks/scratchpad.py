"""The independent check of a written arithmetic problem: reads the text, computes, and compares every step.

It shares no code with `optbench.tasks.problems`, so that a mistake there does not pass here.
"""

from __future__ import annotations

import operator
import re

_STEP = re.compile(r"(\d+)([-+])(\d+)")
_COMPARISON = re.compile(r"(\d)([<=>])(\d)")
_HOLDS = {"<": operator.lt, "=": operator.eq, ">": operator.gt}


def fault(question: str, solution: str) -> str:
    """What is wrong with the worked solution of a question such as `47+38=`; empty where nothing is."""
    steps, colon, answer = solution.rpartition(":")
    if not colon:
        return f"{solution!r} has no ':' before its answer"
    terms = [int(term) for term in re.findall(r"\d+", question)]
    signs = "".join(re.findall(r"[-+*?]", question))
    if re.fullmatch(r"\d\d\?\d\d=", question):
        return _fault_of_comparison(terms, steps, answer)
    if not re.fullmatch(r"\d+([-+*]\d+)+=", question) or signs not in ("+", "-", "*", "++", "+-"):
        return f"{question!r} is no question of this task"
    value = terms[0]
    for sign, term in zip(signs, terms[1:], strict=True):
        value = {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign](value, term)
    if answer != str(value):
        return f"{question}{solution}: the answer is {value}"
    wanted = _wanted(signs, terms)
    if wanted is None:
        return "" if steps == "" else f"{question}{solution}: one-digit sums have no steps"
    step = _STEP.fullmatch(steps)
    if step is None:
        return f"{question}{solution}: {steps!r} is not one step"
    given = (int(step[1]), step[2], int(step[3]))
    total = given[0] + given[2] if given[1] == "+" else given[0] - given[2]
    if given != wanted or total != value:
        return f"{question}{solution}: the step should be {''.join(map(str, wanted))}"
    return ""


def _wanted(signs: str, terms: list[int]) -> tuple[int, str, int] | None:
    """The step that leads to the answer; None where the answer is written at once."""
    a, b = terms[0], terms[1]
    if len(signs) == 2:
        return (a + b, signs[1], terms[2])
    if signs == "*":
        small, ones = (a, b % 10)
        return (small * ones, "+", small * (b - ones))
    if signs == "-":
        return (a - (b - b % 10), "-", b % 10)
    if a < 10 and b < 10:
        return None
    return (a % 10 + b % 10, "+", (a - a % 10) + (b - b % 10))


def _fault_of_comparison(terms: list[int], steps: str, answer: str) -> str:
    a, b = terms
    places = [divmod(a, 10), divmod(b, 10)]
    depth = 2 if places[0][0] == places[1][0] else 1
    parts = steps.split(",")
    if len(parts) != depth:
        return f"{a}?{b}: {steps!r} should compare {depth} place(s)"
    for place, part in enumerate(parts):
        said = _COMPARISON.fullmatch(part)
        if said is None or (int(said[1]), int(said[3])) != (places[0][place], places[1][place]):
            return f"{a}?{b}: {part!r} does not compare the digits at place {place}"
        if not _HOLDS[said[2]](int(said[1]), int(said[3])):
            return f"{a}?{b}: {part!r} is false"
    if answer not in _HOLDS or not _HOLDS[answer](a, b):
        return f"{a}?{b}: {answer!r} is false"
    return ""
