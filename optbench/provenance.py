"""What a record was made with: versions, commit, device, precision, threads."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("optbench", "torch", "transformers", "datasets", "numpy", "scipy")


def provenance(*, device: str, precision: str, attention: str) -> dict[str, Any]:
    """The circumstances of a run as JSON data; nothing that names a person, a path or a machine."""
    import torch

    cuda = device.startswith("cuda")
    return {
        "versions": {name: version_of(name) for name in PACKAGES},
        "python": platform.python_version(),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "device": torch.cuda.get_device_name() if cuda else _processor(),
        "device_type": "cuda" if cuda else device,
        "precision": precision,
        "attention": attention,
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def version_of(name: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    """What git says of the folder that this code lies in; None where that is no checkout."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
