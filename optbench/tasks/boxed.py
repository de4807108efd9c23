r"""The answer of a solution in LaTeX: what stands in its last \boxed{}, and what is left of an answer without dress."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(\{|[^\s{])")
_DRESS = re.compile(r"\\(?:left|right|[!,;: ])|\\\$|\$|\s+")
_WORDS = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{([^{}]*)\}")
_END = re.compile(r"\.+$")


def boxed(text: str) -> str | None:
    r"""What stands in the last \boxed{...} or \fbox{...} whose braces close; None where there is none.

    `\boxed 7` holds its next character.
    """
    for box in reversed(list(_BOX.finditer(text))):
        if box[1] != "{":
            return box[1]
        depth = 1
        for place in range(box.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0) * (text[place - 1] != "\\")
            if depth == 0:
                return text[box.end() : place].strip() or None
    return None


def bare(answer: str) -> str:
    r"""An answer as text to compare: without `$`, spaces, `\left`, `\text{}` and a full stop at the end, and in lower
    case where it is a word."""
    answer = _END.sub("", _DRESS.sub("", _WORDS.sub(r"\1", answer)).replace("dfrac", "frac").replace("tfrac", "frac"))
    return answer.lower() if answer.isalpha() and len(answer) > 1 else answer
