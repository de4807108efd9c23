"""`claims`: what the records say of the sentences of the papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from optbench.archive import open_store
from optbench.claims.claim import load_claims
from optbench.claims.evaluation import judge
from optbench.claims.rendering import json_text, markdown_text, table_text

Format = Literal["table", "markdown", "json"]


def claims(paths: Sequence[Path], results: Path, format: Format, *, width: int = 100) -> str:
    """The verdicts as text. Raises UserError for claims or records that cannot be read."""
    judgements = judge(load_claims(paths), open_store(results))
    match format:
        case "table":
            return table_text(judgements, width=width)
        case "markdown":
            return markdown_text(judgements)
        case "json":
            return json_text(judgements)
