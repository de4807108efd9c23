"""What keeps a page of other people's texts harmless: no foreign script, no address outside, no path of a machine."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optbench.reports.escape import plain

_PATH = re.compile(
    r"(?<![\w/\\.:~-])(?:file://)?(?:~(?=/)|[A-Za-z]:(?=[/\\]))?(?:[/\\]{1,2}[^\s/\\\"'<>|:;,()\[\]{}]+){2,}[/\\]?"
)
"""An absolute path of two parts or more, also inside a sentence; `/adamw` in a heading is none."""
_IN_SCRIPT = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def shown(text: str) -> str:
    """One line of text without control characters and without the folders of a machine; still to be escaped."""
    return _PATH.sub(lambda found: f"…/{_last(found.group(0))}", plain(text))


def shown_path(path: str) -> str:
    """A path as it may be shown: relative ones as they are, of absolute ones the last part alone."""
    clean = plain(path)
    return _last(clean) if Path(clean).is_absolute() or clean.startswith("~") else clean


def shown_data(value: Any) -> Any:
    """JSON data with every text of it, keys too, passed through `shown`."""
    if isinstance(value, str):
        # As a value, a path may hold spaces, so it goes to the end of the text.
        return shown(shown_path(value) if Path(value).is_absolute() and len(Path(value).parts) > 2 else value)
    if isinstance(value, Mapping):
        return {shown(str(key)): shown_data(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [shown_data(item) for item in value]
    return value


def script_json(value: Any) -> str:
    """JSON for a data block: nothing in it can end the script element, open a comment or be a line end of JavaScript.

    Raises ValueError for a number that is not finite.
    """
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).translate(_IN_SCRIPT)


def inlined(code: str) -> str:
    """Script or style text of ours, to stand in the page as it is. Raises ValueError where it would end its element."""
    if "\r" in code or re.search(r"</(script|style)|<!--", code, flags=re.IGNORECASE):
        raise ValueError("inlined code holds what would end its element, or a line end that browsers rewrite")
    return code


def policy_of(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """The Content-Security-Policy of a page of exactly these scripts and styles: nothing is fetched, nothing else runs.

    Pictures are data URIs. Style attributes and event attributes in text are refused by it as well.
    """
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
