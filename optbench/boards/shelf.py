"""Where boards are found: in results/boards below the working directory, beside the code of a checkout, or anywhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from optbench.boards.board import Board, load_board
from optbench.errors import UserError, suggestion

FOLDER = Path("results/boards")
SUFFIXES = (".yaml", ".yml")


def folders() -> list[Path]:
    """The folders that are looked into, those that are there: below the working directory first."""
    checkout = Path(__file__).resolve().parent.parent.parent / FOLDER
    here = [FOLDER] if FOLDER.is_dir() else []
    if checkout.is_dir() and not (here and checkout.samefile(FOLDER)):
        here.append(checkout)
    return here


def board_files() -> dict[str, Path]:
    """The board files of these folders by file name without its ending; the working directory wins."""
    found: dict[str, Path] = {}
    for folder in folders():
        for file in sorted(folder.iterdir()):
            if file.suffix in SUFFIXES and file.is_file():
                found.setdefault(file.stem, file)
    return found


def boards() -> Iterator[Board]:
    """All boards, by file name. Raises UserError where there are none, and for one that cannot be read."""
    files = board_files()
    if not files:
        raise UserError(f"no boards: {_advice()}")
    for name in sorted(files):
        yield load_board(files[name])


def find_board(name: str) -> Board:
    """The board in the file `name`, or the one called so in the folders of boards.

    Raises UserError where there is none, or where it cannot be read.
    """
    path = Path(name)
    if path.suffix in SUFFIXES or path.is_file():
        return load_board(path)
    files = board_files()
    if name in files:
        return load_board(files[name])
    if not files:
        raise UserError(f"--board {name}: there are no boards: {_advice()}")
    raise UserError(f"--board {name}: no such board; {_near(name, list(files))}; `optbench compare --list` shows them")


def _near(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.4)
    # Part of a long name is how people remember it.
    holding = [known for known in names if name.lower() in known]
    return f"did you mean {(close or holding)[0]}?" if close or holding else suggestion(name, names)


def _advice() -> str:
    return f"put board files into {FOLDER} below the working directory, or name one: --board FILE.yaml"
