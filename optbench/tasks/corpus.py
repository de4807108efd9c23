"""A corpus: running text from a file or from the package, its alphabet, and its three parts."""

from __future__ import annotations

import gzip
import hashlib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from optbench.errors import UserError

EMBEDDED = Path(__file__).parent / "corpora" / "pride_and_prejudice.txt.gz"
EMBEDDED_SHA256 = "dfc684d4f857fa938268f9ab9c5567b64bd0691251eca959644adeabe6287a4d"
"""Of the unpacked text. Its source and licence are in corpora/README.md."""

_TYPOGRAPHIC = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2039\u203a", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
    **dict.fromkeys("\u00ad\u2010\u2011\u2012\u2013\u2212", "-"),
    **dict.fromkeys("\u2014\u2015", "--"),
    **{"\u00c6": "AE", "\u00e6": "ae", "\u0152": "OE", "\u0153": "oe", "\u00df": "ss", "\u00d8": "O", "\u00f8": "o"},
    "\t": " ",
}


@dataclass(frozen=True)
class Parts:
    """Three parts of a text that share no character: training from its start, test at its end, validation before it."""

    train: str
    validation: str
    test: str


def read_corpus(path: str) -> str:
    """The text of a UTF-8 file, with line ends as newlines; of the embedded corpus where `path` is empty.

    Raises UserError for a file that is not UTF-8, and RuntimeError where the embedded corpus is damaged.
    """
    if not path:
        content = gzip.decompress(EMBEDDED.read_bytes())
        found = hashlib.sha256(content).hexdigest()
        if found != EMBEDDED_SHA256:
            raise RuntimeError(f"{EMBEDDED.name} has the SHA-256 {found} in place of {EMBEDDED_SHA256}: install again")
        return content.decode("ascii")
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte 0x{error.object[error.start]:02x} at {error.start})") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def as_ascii(text: str) -> str:
    """The text in printable ASCII and newlines, each character by itself, so that no context decides.

    Typographic quotes, dashes and ligatures become what a typewriter has for them; an accent is dropped from its letter
    (by the compatibility decomposition of Unicode, which also spells out an ellipsis); a tab is a space; what then is
    still not printable ASCII becomes `?`.
    """
    return text.translate({ord(c): _ascii(c) for c in set(text) if not _printable(c)})


def split(text: str, *, train: int, validation: int, test: int, length: int, name: str) -> Parts:
    """The last `test` characters, the `validation` before them, and up to `train` from the start of the rest.

    Raises UserError where the rest is not one sequence of `length` characters.
    """
    rest = len(text) - test - validation
    if rest < length:
        raise UserError(
            f"{name} has {len(text)} characters; {validation} for validation and {test} for test leave {max(rest, 0)} "
            f"for training, less than one sequence of {length}: lower validation_characters and test_characters"
        )
    return Parts(text[: min(train, rest)], text[rest : rest + validation], text[rest + validation :])


def _printable(character: str) -> bool:
    return character == "\n" or " " <= character <= "~"


def _ascii(character: str) -> str:
    written = _TYPOGRAPHIC.get(character) or unicodedata.normalize("NFKD", character)
    kept = "".join(c for c in written if not unicodedata.combining(c))
    return "".join(c if _printable(c) else "?" for c in kept)
