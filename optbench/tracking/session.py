"""One run of W&B while it is written: the only module that knows wandb.

What wandb would collect by itself is switched off: host, user, command line, packages, git, code, console, loads of
the machine. What it leaves on the disk holds no path of this machine either, so that the folder of offline runs can be
moved to where there is a network.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import wandb

    from optbench.tracking.content import Content, Table
    from optbench.tracking.labels import Labels
    from optbench.tracking.target import Target

START_SECONDS, END_SECONDS = 60.0, 300.0
"""How long an online run may wait for the server at its start, and for its last upload."""


class Session:
    """A run that has begun. It ends with `complete`, or with `drop`."""

    def __init__(self, target: Target, labels: Labels, config: Mapping[str, Any], *, notes: str = "") -> None:
        """Begins the run, or the one of this id once more. Raises whatever wandb raises."""
        # wandb reports its own crashes and timings to its makers, offline too where it can.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        target.folder.mkdir(parents=True, exist_ok=True)
        self._target, self._labels = target, labels
        settings = _settings(target)
        # The service of wandb starts here, and files of artifacts are found, and shown, relative to where it starts.
        with chdir(target.folder):
            # What wandb says before a run has begun, it says by the settings of the process.
            wandb.setup(settings=settings)
            self._run = wandb.init(
                project=target.project,
                entity=target.entity or None,
                id=labels.id,
                name=labels.name,
                group=labels.group,
                job_type=labels.job_type,
                tags=list(labels.tags),
                notes=notes,
                config=dict(config),
                # Online, steps that are there stay, and the rest is overwritten. An offline run that is uploaded again
                # replaces what is there: to resume would put all its steps behind them.
                resume="allow" if target.mode == "online" else None,
                reinit="create_new",
                settings=settings,
            )
        self._folder = Path(self._run.settings.sync_dir)
        # By itself wandb would copy the last point of each curve to the summary, which is for results.
        self._run.define_metric("*", summary="none")

    @property
    def folder(self) -> str:
        """The name of the run's folder in `Target.runs`."""
        return self._folder.name

    def log(self, row: Mapping[str, float], step: int) -> None:
        """A row of the curves; steps rise."""
        self._run.log(dict(row), step=step)

    def complete(self, content: Content, *, logged: int = 0) -> None:
        """Writes what is not there yet, `logged` rows of the curve being there, and ends the run. Raises whatever wandb
        raises, and TimeoutError where an upload takes longer than five minutes."""
        self._run.config.update(dict(content.config), allow_val_change=True)  # type: ignore[no-untyped-call]
        for step, row in enumerate(content.curve[logged:], start=logged):
            self.log(row, step)
        shown = self._attached(content) if content.tables or content.files else {}
        self._run.summary.update({**content.summary, **shown})
        self._run.finish()
        self._tidy()

    def drop(self) -> None:
        """Ends a run whose cell has no record: it counts as failed. Raises whatever wandb raises."""
        try:
            self._run.finish(exit_code=1)
        finally:
            self._tidy()

    def _attached(self, content: Content) -> dict[str, Any]:
        """Logs tables and files as an artifact; returns them as what the page of the run shows."""
        import wandb

        artifact = wandb.Artifact(f"{content.artifact}-{self._labels.id}", type=content.artifact)
        shown: dict[str, Any] = {}
        for name, table in content.tables.items():
            shown[name] = _shown_table(table)
            entry = artifact.add(shown[name], name)
            # wandb has put a copy into a folder of the user's, where it would stay for good.
            staged = Path(str(entry.local_path))
            self._settle(entry, self._kept(entry.path, staged.read_bytes()))
            staged.unlink()
            shown[name].bind_to_run(self._run, name, "summary")
        for name, data in content.files.items():
            path = self._kept(name, data)
            self._settle(artifact.add_file(str(path), name=name, policy="immutable"), path)
            stem, _, kind = Path(name).name.rpartition(".")
            if kind == "png":
                shown[stem] = wandb.Image(str(path), caption=content.captions.get(name))
            elif kind == "html":
                shown[stem] = wandb.Html(str(path), inject=False)
        self._run.log_artifact(artifact)
        return shown

    def _kept(self, name: str, data: bytes) -> Path:
        path = self._folder / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def _settle(self, entry: wandb.sdk.artifacts.artifact_manifest_entry.ArtifactManifestEntry, path: Path) -> None:
        """Says where a file of an artifact lies: relative to the folder that the service, or `wandb sync`, starts in,
        for where that is is written to the log and uploaded."""
        entry.local_path = os.path.relpath(path, self._target.folder)
        entry.skip_cache = True

    def _tidy(self) -> None:
        """Offline the logs of wandb go, which are full of paths; online everything goes, for the server has it."""
        if self._target.mode == "online":
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        for name in ("logs", "tmp"):
            shutil.rmtree(self._folder / name, ignore_errors=True)


def close_service() -> None:
    """Ends the process that wandb started beside this one."""
    import wandb

    wandb.teardown()


def _settings(target: Target) -> wandb.Settings:
    import wandb

    return wandb.Settings(
        mode=target.mode,
        root_dir=str(target.folder.absolute()),
        base_url=target.server,
        # Never a question: a run without a terminal would wait for the answer.
        force=True,
        silent=True,
        quiet=True,
        console="off",
        symlink=False,
        host="",
        username="",
        program="optbench",
        program_relpath="optbench",
        disable_git=True,
        disable_code=True,
        save_code=False,
        disable_job_creation=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
        init_timeout=START_SECONDS,
        finish_timeout=END_SECONDS,
        finish_timeout_raises=True,
    )


def _shown_table(table: Table) -> wandb.Table:
    import wandb

    return wandb.Table(columns=list(table.columns), data=[list(row) for row in table.rows], allow_mixed_types=True)
