"""`claims`: what the records say of the sentences of the papers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from optbench.archive import open_store
from optbench.claims.claim import load_claims
from optbench.claims.evaluation import judge
from optbench.claims.rendering import json_text, markdown_text, table_text
from optbench.errors import UserError

Format = Literal["table", "markdown", "json"]


def claims(paths: Sequence[Path], results: Path, format: Format, *, details: bool = False, width: int = 100) -> str:
    """The verdicts as text; with the details of the claims whose files are among `paths`, or of all.

    Raises UserError for claims or records that cannot be read, and where nothing is at `results`.
    """
    loaded = load_claims(paths)
    if not os.path.lexists(results):
        raise UserError(
            f"--results {results}: is not there; it is a folder of runs, or an archive (*.jsonl) or a folder of them"
        )
    judgements = judge(loaded, open_store(results))
    detailed = {claim.name for claim in loaded if details or claim.path in paths}
    match format:
        case "table":
            return table_text(judgements, width=width, detailed=detailed)
        case "markdown":
            return markdown_text(judgements, detailed=detailed)
        case "json":
            return json_text(judgements)
