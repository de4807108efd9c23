"""LaTeX within a paper, compiled where there is pdfLaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCUMENT = r"""\documentclass[%s]{article}
\usepackage{booktabs,graphicx}
\begin{document}
\input{body}
\end{document}
"""
CLASSES = ("", "twocolumn", "a4paper,12pt")
needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")


def check(folder: Path, text: str) -> None:
    """Compiles the text in papers of one column and of two. Fails on an error, and where something is beyond the margin
    by more than a point, is longer than a page, or has no letter in the font."""
    (folder / "body.tex").write_text(text, encoding="utf-8")
    for options in CLASSES:
        (folder / "paper.tex").write_text(DOCUMENT % options, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
        log = (folder / "paper.log").read_text(encoding="utf-8", errors="replace")
        assert done.returncode == 0, log[-2000:]
        wide = [float(points) for points in re.findall(r"Overfull \\hbox \((\d+\.\d+)pt", log)]
        assert max(wide, default=0) <= 1, (options, wide)
        assert "Float too large" not in log and "Missing character" not in log
