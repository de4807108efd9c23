r"""From generated text to an answer, and from an answer to a verdict.

exact           what follows the last `####` (or `The answer is`), or else the whole text, is the answer, letter by
                letter
number          the same place holds a number that equals the answer's: 1,200 = 1200.0 = $1,200
last_number     the last number of the text, wherever it stands, equals the answer's
marked_or_last  the first number of the same place, or else the last number of the text, equals the answer's to nine
                digits; an answer that is no number is compared as text with the same place or else the last line
math_verify     what math-verify extracts (fractions, sets, LaTeX) is equivalent to the answer
boxed           what stands in the last \boxed{}, or else in the same place, equals the answer as text or number, or is
                equivalent to it for math-verify; a text with neither is searched as a whole
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

from optbench.tasks.base import Example, Grade
from optbench.tasks.boxed import bare, boxed

Grading = Literal["exact", "number", "last_number", "marked_or_last", "math_verify", "boxed"]
Extract = Callable[[str], str | None]
MINUS = "\u2212"
"""The typographic minus sign, which means the same as the hyphen that stands for it."""
LONGEST = 400
"""Characters of an answer that is still looked at as an expression."""

_MARK = re.compile(r"####|the (?:final )?answer is:?", re.IGNORECASE)
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?![\d])|-?\.\d+")
_WHOLE = re.compile(r"[$€£]?\s*(-?\s*[$€£]?[\d,]*\.?\d+(?:/\d+)?)\s*%?\.?")
_PRINTED = re.compile(r"-?(?=\.?\d)(?:\d{1,3}(?:,\d{3})+(?!\d)|\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?(?:/\d+)?")
_CLOSE = Fraction(1, 10**9)
_EXPLOSIVE = re.compile(r"(\^|\*\*)[^+=,;]{0,40}(\^|\*\*)|(\^|\*\*)\s*[{(]?\s*-?\d{4,}|\d{4,}\s*!|\d\s*!\s*!|binom")


def grader(grading: Grading) -> Callable[[str, Example], Grade]:
    """The function from a generated text and its example to the verdict."""
    if grading == "math_verify":
        return _grade_by_math_verify
    if grading == "boxed":
        return _grade_boxed
    if grading == "marked_or_last":
        return _grade_marked_or_last
    if grading == "exact":
        return lambda text, example: _verdict(text, _exact(text), example, _same_text)
    extract = marked_number if grading == "number" else last_number
    return lambda text, example: _verdict(text, extract(text), example, same_number)


def marked(text: str) -> str | None:
    """The rest of the line after the last `####` or `The answer is`; None where there is neither, or nothing after."""
    text = text.replace(MINUS, "-")
    places = list(_MARK.finditer(text))
    if not places:
        return None
    rest = text[places[-1].end() :].strip().split("\n")[0].strip()
    return rest or None


def marked_number(text: str) -> str | None:
    """The number that begins what is marked, or that is the whole text; None where there is none."""
    rest = marked(text)
    if rest is None:
        return text.strip() if _WHOLE.fullmatch(text.strip()) else None
    found = _NUMBER.match(re.sub(r"^(?:[A-Za-z]\s*=)?[\s$€£*:\\(]+|^[A-Za-z]\s*=", "", rest))
    return found[0] if found else None


def last_number(text: str) -> str | None:
    """The last number of the text; None where there is none. A hyphen after a digit or letter is no sign: 3-5 ends in
    5."""
    text = text.replace(MINUS, "-")
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    last = numbers[-1]
    glued = last[0].startswith("-") and last.start() > 0 and text[last.start() - 1].isalnum()
    return last[0].removeprefix("-") if glued else last[0]


def value_of(number: str) -> Fraction | None:
    """The exact value of a written number, currency and thousands separators aside; None where it is none."""
    found = _WHOLE.fullmatch(number.strip())
    if found is None:
        return None
    try:
        return Fraction(re.sub(r"[\s,$€£]", "", found[1]))
    except (ValueError, ZeroDivisionError):
        return None


def same_number(answer: str, reference: str) -> bool:
    """Whether both are numbers of equal value, or else the same text."""
    value = value_of(reference)
    return _same_text(answer, reference) if value is None else value_of(answer) == value


def _same_text(answer: str, reference: str) -> bool:
    return answer.strip() == reference.strip()


def _exact(text: str) -> str | None:
    if _MARK.search(text):
        return marked(text)
    return text.strip() or None


def _verdict(text: str, answer: str | None, example: Example, same: Callable[[str, str], bool]) -> Grade:
    if answer is None:
        return Grade(text, None, correct=False, format_error=True)
    return Grade(text, answer, correct=same(answer, example.answer), format_error=False)


def _grade_by_math_verify(text: str, example: Example) -> Grade:
    import logging

    from math_verify import parse, verify

    # Its own time limits need signals, which only a main thread may use; it warns once that they are off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    rest = marked(text)
    said = text if rest is None else rest
    if _EXPLOSIVE.search(said):
        # 9^9^9^9 is soon written and never computed: no reference answer looks like that.
        return Grade(text, said.strip()[:200], correct=False, format_error=False)
    found = parse(said, parsing_timeout=None)
    if not found:
        return _verdict(text, rest, example, _same_text)
    reference = parse(example.answer, parsing_timeout=None) or parse(f"${example.answer}$", parsing_timeout=None)
    if not reference:
        return Grade(text, str(found[-1]), correct=_same_text(said, example.answer), format_error=False)
    correct = bool(verify(reference, found, timeout_seconds=None))
    return Grade(text, str(found[-1]), correct=correct, format_error=False)


def _grade_marked_or_last(text: str, example: Example) -> Grade:
    rest, reference = marked(text), _value(example.answer)
    if reference is None:
        said = rest if rest is not None else next(iter(text.strip().splitlines()[::-1]), "").strip()
        correct = said != "" and bare(said).lower() == bare(example.answer).lower()
        return Grade(text, said or None, correct=correct, format_error=not said)
    found = _PRINTED.search(rest.replace("$", "")) if rest is not None else None
    answer = found[0] if found else last_number(text) if rest is None else rest
    value = None if answer is None else _value(answer)
    correct = value is not None and abs(value - reference) <= _CLOSE * abs(reference)
    return Grade(text, answer, correct=correct, format_error=answer is None)


def _value(number: str) -> Fraction | None:
    """The value of a written number, also one that a program printed (1e-05); None where it is none."""
    value = value_of(number)
    if value is None and _PRINTED.fullmatch(number.strip()):
        try:
            return Fraction(number.strip().replace(",", ""))
        except (ValueError, ZeroDivisionError):
            return None
    return value


def _grade_boxed(text: str, example: Example) -> Grade:
    inside = boxed(text)
    said = marked(text) if inside is None else inside
    if said is None:
        return _grade_by_math_verify(text, example)
    said = bare(said)
    reference = bare(example.answer)
    value, other = _value(said), _value(reference)
    if said == reference or (value is not None and other is not None):
        return Grade(text, said, correct=said == reference or value == other, format_error=False)
    return Grade(text, said, correct=_equivalent(said, reference), format_error=False)


def _equivalent(said: str, reference: str) -> bool:
    import logging

    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    if _EXPLOSIVE.search(said) or len(said) > LONGEST:
        return False
    # What a program prints has Python's powers and products.
    said = said.replace("**", "^").replace("*", r" \cdot ")
    found = parse(f"${said}$", parsing_timeout=None)
    expected = parse(f"${reference}$", parsing_timeout=None)
    return bool(found and expected and verify(expected, found, timeout_seconds=None))
