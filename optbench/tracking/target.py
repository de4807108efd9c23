"""Where runs of Weights & Biases go: mode, folder, project and entity, said before the first of them."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from optbench.errors import UserError

Mode = Literal["online", "offline"]
PROJECT = "optbench"
SERVER = "https://api.wandb.ai"
HELD = "/\\#?%:"
"""Characters that W&B allows in no name of a project."""


@dataclass(frozen=True)
class Target:
    """Where runs go. `folder` holds `wandb/`, in which offline runs and the ledger lie; an empty `entity` is the
    account's own; `server` is the address of the service that online runs go to."""

    mode: Mode
    folder: Path
    project: str = PROJECT
    entity: str = ""
    server: str = SERVER

    @property
    def runs(self) -> Path:
        """The folder of offline runs."""
        return self.folder / "wandb"


def target_of(mode: Mode, records: Path, environment: Mapping[str, str]) -> Target:
    """The target for the records at `records`: a folder, or an archive in one.

    Honours WANDB_PROJECT, WANDB_ENTITY, WANDB_DIR and WANDB_BASE_URL. Nothing is written and nobody is asked anything.
    Raises UserError for a folder that cannot be written to, a project that W&B would refuse, and online without
    credentials.
    """
    project = environment.get("WANDB_PROJECT") or PROJECT
    if any(letter in HELD for letter in project) or len(project) > 128:
        raise UserError(
            f"WANDB_PROJECT={project}: is no name of a project; it has at most 128 characters, none of {HELD}"
        )
    given = environment.get("WANDB_DIR")
    folder = Path(given) if given else records.parent if records.is_file() else records
    _check_writable(folder, f"WANDB_DIR={given}" if given else "--wandb")
    server = (environment.get("WANDB_BASE_URL") or SERVER).rstrip("/")
    if mode == "online" and not _has_credentials(server, environment):
        raise UserError(
            f"--wandb online: no credentials for {server}: set WANDB_API_KEY or run `wandb login` first; "
            "--wandb offline needs none, and its runs can be uploaded later"
        )
    return Target(mode, folder, project, environment.get("WANDB_ENTITY", ""), server)


def _check_writable(folder: Path, asked: str) -> None:
    there = folder / "wandb"
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"{asked}: {there} cannot be written to; WANDB_DIR=FOLDER puts the runs elsewhere")


def _has_credentials(server: str, environment: Mapping[str, str]) -> bool:
    """Whether there is a key or a token, where `wandb` itself looks for them; whether they are valid only the server
    knows."""
    if environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    home = Path(environment.get("HOME") or Path.home())
    given = environment.get("NETRC")
    for path in [Path(given)] if given else [home / ".netrc", home / "_netrc"]:
        try:
            if netrc.netrc(path).authenticators(urlsplit(server).netloc):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
