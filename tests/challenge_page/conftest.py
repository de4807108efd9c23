"""One finished challenge for all tests of its page."""

from __future__ import annotations

import pytest
from challenge_page.contents import content_of

from optbench.challenge.content import Content
from optbench.challenge.page import write_page


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """Muon against adamw and sam, on llama-nano over 13 seeds."""
    return content_of(tmp_path_factory.mktemp("challenge"))


@pytest.fixture(scope="session")
def text(content: Content) -> str:
    """Its page, with its figures."""
    return write_page(content, content.files["LaTeX row"].parent).read_text(encoding="utf-8")
