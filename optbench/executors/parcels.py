"""What a job reads and what it leaves behind, as bytes: for machines that do not share the results folder."""

from __future__ import annotations

from pathlib import Path

from optbench.executors.jobs import Job, cell_of, probes_of
from optbench.store import PANELS, RECORD, Store, panels_in, write_whole

Parcel = dict[str, dict[str, bytes]]
"""Folders by their path below the results folder, each as the contents of its files by their path in it."""
_WHOLE = "*/[!.]*"
"""Folders that are written whole lie below one for the first digits of their keys; temporary ones begin with a dot."""


def inputs_of(job: Job, store: Store) -> Parcel:
    """What a machine that sees nothing of the store needs for the job: its probes, the new examples that were written
    for its strategy and, for panels of a recorded cell, the record with what was kept beside it."""
    folders = [] if job.kind == "probe" else [probe.folder(store.root) for probe in probes_of(job)]
    if cell_of(job).strategy.rewrites:
        folders += sorted((store.root / "rewrites").glob(_WHOLE))
    if job.kind == "panels":
        folders.append(store.folder(job.key))
    return {str(folder.relative_to(store.root)): _packed(folder) for folder in folders if folder.is_dir()}


def results_of(root: Path, sent: Parcel) -> Parcel:
    """What is below `root` now and was not `sent` there, the records last: they may depend on the rest."""
    records = [path.parent for path in sorted(root.glob(f"[0-9a-f][0-9a-f]/[!.]*/{RECORD}"))]
    folders = [*sorted((root / "rewrites").glob(_WHOLE)), *sorted((root / "probes").glob(_WHOLE)), *records]
    new = [folder for folder in folders if str(folder.relative_to(root)) not in sent]
    for record in records:
        known = sent.get(str(record.relative_to(root)))
        if known is not None:
            panels = [record / PANELS / name for name in panels_in(record)]
            new += [panel for panel in panels if not any(name.startswith(f"{PANELS}/{panel.name}/") for name in known)]
    return {str(folder.relative_to(root)): _packed(folder) for folder in new}


def unpack(parcel: Parcel, root: Path) -> None:
    """Writes each folder of the parcel below `root`, whole or not at all; what is there already stays."""
    for place, files in parcel.items():

        def fill(folder: Path, files: dict[str, bytes] = files) -> None:
            for name, content in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

        write_whole(root / place, fill)


def _packed(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
