"""How lines of JSON hold examples: question and solution, prompt and completion, or the messages of a conversation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optbench.errors import UserError
from optbench.spec import Spec

Layout = Literal["question", "completion", "messages"]
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Fields(Spec):
    """What the file calls the parts of an example, whichever of the three layouts it has; no `source` is none."""

    question: str = "question"
    solution: str = "solution"
    answer: str = "answer"
    source: str = "source"
    prompt: str = "prompt"
    completion: str = "completion"
    messages: str = "messages"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file: its number from 1, where it stands as messages say it, its bytes, and what they mean."""

    number: int
    where: str
    raw: bytes
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Said:
    """What a line says: what is asked, what is learned (empty where only an answer is given), what is checked, and the
    kind of problem. `turns` are those before the last one of the assistant, for conversations alone."""

    question: str
    solution: str
    answer: str | None
    source: str | None
    turns: tuple[Turn, ...] = ()


def lines_of(path: str) -> Iterator[Line]:
    """The lines that are not blank, in order; a byte order mark is passed over.

    Raises UserError for a file that cannot be read, and for a line that is no JSON object in UTF-8.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(content.removeprefix(BYTE_ORDER_MARK).split(b"\n"), start=1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: not UTF-8 (byte 0x{line[error.start]:02x} at {error.start + 1})") from error
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not JSON ({error.msg} at character {error.pos + 1})") from error
        except RecursionError as error:
            raise UserError(f"{where}: lists or objects inside each other, too many for this reader") from error
        except ValueError as error:
            # A whole number of thousands of digits is JSON, and Python refuses to read it.
            raise UserError(f"{where}: a number that cannot be read ({error})") from error
        if not isinstance(row, dict):
            raise UserError(f"{where}: not a JSON object but {_type(row)}")
        yield Line(number, where, line, row)


def layout_of(line: Line, fields: Fields) -> Layout:
    """The layout of a line by the fields that are there; a question goes first. Raises UserError where none fits."""
    if fields.question in line.row:
        return "question"
    messages, prompt = fields.messages in line.row, fields.prompt in line.row
    if messages and prompt:
        raise UserError(
            f"{line.where}: both {fields.messages!r} and {fields.prompt!r} are there, and only one of them can be meant"
        )
    if messages or prompt:
        return "messages" if messages else "completion"
    raise UserError(
        f"{line.where}: no example: there is neither {fields.question!r} (with {fields.solution!r} or "
        f"{fields.answer!r}), nor {fields.prompt!r} (with {fields.completion!r}), nor {fields.messages!r}; "
        f"there are: {names_of(line.row)}"
    )


def said(line: Line, layout: Layout, fields: Fields, *, graded: bool) -> Said:
    """What a line of this layout says. `graded` says whether answers matter: where they do not, one that is neither
    text nor a number is passed over.

    Raises UserError naming line and field for one that is missing, empty or of another type, or of another layout.
    """
    if layout != "question" and layout_of(line, fields) != layout:
        other = layout_of(line, fields)
        raise UserError(
            f"{line.where}: here is {_field(other, fields)!r}, and the lines before have {_field(layout, fields)!r}: "
            "a file has one layout"
        )
    turns: tuple[Turn, ...] = ()
    if layout == "messages":
        turns, solution = _conversation(line, fields.messages)
        question = transcript(turns)
    elif layout == "completion":
        question, solution = (_required(line, field) for field in (fields.prompt, fields.completion))
    else:
        question, solution = _required(line, fields.question), text(line, fields.solution) or ""
    answer = _answer(line, fields.answer, lenient=not graded and bool(solution))
    if not solution and not answer:
        raise UserError(
            f"{line.where}: neither {fields.solution!r} nor {fields.answer!r} is there; there are: {names_of(line.row)}"
        )
    source = text(line, fields.source) if fields.source else None
    return Said(question, solution, answer, source, turns)


def transcript(turns: Sequence[Turn]) -> str:
    """A conversation as plain text, a turn a line: `User: ...`."""
    return "\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)


def text(line: Line, field: str, convert: Callable[[Any], Any] = lambda value: value) -> str | None:
    """The text of a field; None where it is missing or null. Raises UserError for what is no text."""
    value = convert(line.row.get(field))
    return None if value is None else _checked(value, line, f"the field {field!r}")


def names_of(row: dict[str, Any]) -> str:
    """The fields of a line as messages list them, in short: there may be thousands, and a name may be long."""
    shown = [repr(name if len(name) <= 40 else f"{name[:40]}...") for name in list(row)[:12]]
    return ", ".join([*shown, *(["..."] if len(row) > 12 else [])]) or "none"


def _checked(value: Any, line: Line, what: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{line.where}: {what} is not text but {_type(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        raise UserError(f"{line.where}: {what} has half a character ({half} at {error.start + 1})") from error
    return value


def _required(line: Line, field: str) -> str:
    found = text(line, field)
    if found is None or not found.strip():
        raise UserError(f"{line.where}: the field {field!r} is missing or empty; there are: {names_of(line.row)}")
    return found


def _answer(line: Line, field: str, *, lenient: bool) -> str | None:
    value = line.row.get(field)
    if lenient and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        return None
    return text(line, field, _number_as_text)


def _conversation(line: Line, field: str) -> tuple[tuple[Turn, ...], str]:
    """The turns before the last one of the assistant, and what that one says."""
    given = line.row[field]
    if not isinstance(given, list):
        raise UserError(f"{line.where}: the field {field!r} is not a list but {_type(given)}")
    turns = [_turn(line, f"{field}[{index}]", message) for index, message in enumerate(given)]
    last = max((index for index, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
    if last < 0:
        roles = ", ".join(dict.fromkeys(turn.role for turn in turns)) or "none"
        raise UserError(f"{line.where}: the field {field!r} has no turn of the assistant to learn; roles: {roles}")
    if last == 0:
        raise UserError(f"{line.where}: {field}[0] is the assistant's, and nothing comes before it that it answers")
    if not turns[last].content.strip():
        raise UserError(f"{line.where}: {field}[{last}].content, the assistant's last turn, is empty")
    return tuple(turns[:last]), turns[last].content


def _turn(line: Line, where: str, message: Any) -> Turn:
    if not isinstance(message, dict):
        raise UserError(f"{line.where}: {where} is not an object with role and content but {_type(message)}")
    role, content = (_checked(message.get(name), line, f"{where}.{name}") for name in ("role", "content"))
    if not role.strip():
        raise UserError(f"{line.where}: {where}.role is empty")
    return Turn(role, content)


def _field(layout: Layout, fields: Fields) -> str:
    return {"question": fields.question, "completion": fields.prompt, "messages": fields.messages}[layout]


def _number_as_text(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value.strip() if isinstance(value, str) else value
    return str(value)


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
