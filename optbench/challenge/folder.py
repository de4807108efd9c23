"""The folder of a challenge: the code as it was, the suite, what was tuned, and what is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optbench.challenge import suite_of
from optbench.challenge.progress import progress_in
from optbench.challenge.reading import Challenge, moved
from optbench.errors import UserError
from optbench.profiling.documents import write_whole
from optbench.suite import Suite, load_suite
from optbench.tuning.overrides_file import trials_beside, write_tuned
from optbench.tuning.record import Tuned

SUITE, TUNED, PROFILE = "suite.yaml", "tuned.yaml", "profile.json"
BUNDLE, ROW, JSON, PAGE = "bundle.zip", "row.tex", "challenge.json", "index.html"
OUTPUTS = (SUITE, TUNED, "tuned.json", PROFILE, BUNDLE, ROW, JSON, PAGE)


class Folder:
    """What a challenge writes, and how far it has come. Making one makes the folder, copies the code into it (whoever
    edits the file meanwhile changes no challenge), and removes what another challenge of this name left behind."""

    def __init__(self, challenge: Challenge) -> None:
        self.path = challenge.folder
        progress = progress_in(self.path, challenge.of)
        asked = challenge.request.trials
        if asked is not None and progress.trials != asked:
            progress = progress.but(trials=asked, tuned=False)
        self.progress = progress.entered(challenge.margin)
        if not progress.spent:
            for name in OUTPUTS:
                (self.path / name).unlink(missing_ok=True)
        source = challenge.entrant.source
        self.challenge = challenge
        if source is not None:
            copy, code = self.path / _file_name(source), source.read_bytes()
            if source.resolve() != copy.resolve():
                write_whole(copy, lambda path: _write(path, code))
            self.challenge = moved(challenge, copy)
        self._code = challenge.code
        self.save(spent=dict(progress.seconds))

    def save(self, **changes: Any) -> None:
        """Keeps the progress, with changes."""
        self.progress = self.progress.but(**changes).known()
        self.progress.save(self.path)

    def write_suite(self, *, tuned: bool = False, panels: Sequence[Any] = ()) -> Suite:
        """Writes the suite file, and reads it as anybody would. Raises UserError where it is not what was meant, and
        where the code is no longer what the challenge began with."""
        if self.challenge.code != self._code:
            raise UserError(f"{self.challenge.entrant.source}: was changed meanwhile: start the challenge again")
        request, path = self.challenge.request, self.path / SUITE
        content = suite_of.content_of(
            self.challenge.suite,
            self.challenge.entrant,
            request.against,
            name=self.path.name,
            seeds=self.challenge.suite.seeds,
            tuned=TUNED if tuned else "",
            panels=panels,
        )
        self.write(SUITE, suite_of.text_of(content, request.command))
        made = load_suite(path)
        if not tuned:
            suite_of.check_same(made, self.challenge.suite)
        return made

    def write_tuned(self, tuned: Tuned) -> None:
        """Writes what was chosen, with all trials, which are complete."""
        write_tuned(tuned, self.path / TUNED, self.challenge.request.command)
        self.save(trials=min(len(study.trials) for study in tuned.studies), tuned=True)

    @property
    def is_tuned(self) -> bool:
        """Whether the trials of this challenge are there."""
        path = self.path / TUNED
        return self.progress.tuned and path.is_file() and trials_beside(path).is_file()

    def write(self, name: str, text: str) -> Path:
        """Writes a text file, whole or not at all."""
        write_whole(self.path / name, lambda path: _write(path, text.encode()))
        return self.path / name


def _file_name(source: Path) -> str:
    """The name of the file in letters that a bundle takes."""
    stem = re.sub(r"[^A-Za-z0-9_.\-]", "-", source.stem).lstrip(".-") or "optimizer"
    return f"{stem}.py"


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
