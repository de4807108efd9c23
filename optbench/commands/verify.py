"""`verify`: whether records are whole, agree with themselves, make the tables that are shown, and can be repeated."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optbench.archive import open_store
from optbench.cell import CellSpec
from optbench.errors import UserError, suggestion
from optbench.reading import stated_at
from optbench.reports.escape import plain
from optbench.sequential.journal import with_added
from optbench.suite import Suite, load_suite
from optbench.verification.evidence import Evidence, evidence_in
from optbench.verification.problem import Findings
from optbench.verification.replay import Replay, check_is_that_cell, compared
from optbench.verification.verify import Verdict, verify_records, verify_suite
from optbench.verification.walk import evidence_at

SUITES = (".yaml", ".yml")
KINDS = (*SUITES, ".jsonl", ".zip")


@dataclass(frozen=True)
class Outcome:
    """A verdict and the replays that were asked for."""

    verdict: Verdict
    replays: list[Replay] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether no problem was found and every replay supports its record."""
        return not self.verdict.problems and all(replay.is_well for replay in self.replays)


def verify(
    target: Path,
    results: Path,
    *,
    replay: str = "",
    device: str = "auto",
    overrides: Sequence[str] = (),
    model: str = "",
    say: Callable[[str], None] = print,
) -> Outcome:
    """Verifies the records of a suite file in `results`, or all that lie at `target`. `replay` names cells to train
    again: a key (or its beginning), an arm, or how many. `overrides` and `model` as for `load_suite`.

    Raises UserError where nothing is there, for a replay that names no record, and for options that choose cells where
    there is no suite to choose of.
    """
    if target.is_file() and target.suffix not in KINDS:
        raise UserError(
            f"{target}: nothing to verify; allowed: a suite ({' or '.join(SUITES)}), a folder, *.jsonl, *.zip"
        )
    is_suite = target.suffix in SUITES
    if not is_suite:
        for option, given in (("--overrides", overrides), ("--model", model)):
            if given:
                raise UserError(
                    f"{option}: chooses the cells of a suite, and {target} holds records: name the suite file, and "
                    f"--results {target}"
                )
    place = results if is_suite else target
    with stated_at(place):
        suite = with_added(load_suite(target, overrides, model), open_store(results)) if is_suite else None
        verdict = verify_suite(suite, place) if suite is not None else verify_records(place)
        there = _readable(place, suite) if replay else {}
    # Training takes the checkpoint itself.
    replays = []
    wanted = _chosen(replay, there, suite) if replay else ()
    for chosen in wanted:
        check_is_that_cell(chosen)
    for chosen in wanted:
        say(f"training {chosen.key} again ...")
        replays.append(_replayed(chosen, there, suite, device))
    return Outcome(verdict, replays)


def text_of(outcome: Outcome) -> str:
    """One line for each problem and replay, what could not be checked, and a summary."""
    verdict, lines = outcome.verdict, [*outcome.verdict.findings.lines()]
    lines += [replay.line() for replay in outcome.replays]
    for why, count in sorted(verdict.findings.unchecked.items()):
        lines.append(f"not checked here ({count} {_plural(count, 'record')}): {plain(why)}")
    for checkpoint, count in sorted(verdict.findings.stated.items()):
        lines.append(f"checkpoint as stated, not read here ({count} {_plural(count, 'record')}): {plain(checkpoint)}")
    if verdict.tables:
        lines.append(f"tables were not recounted: {verdict.tables}")
    return "\n".join([*lines, summary_of(outcome)])


def summary_of(outcome: Outcome) -> str:
    """What was looked at and what was found, in one line."""
    verdict = outcome.verdict
    parts = [f"{verdict.records} {_plural(verdict.records, 'record')} verified"]
    if verdict.cells:
        parts.append(f"{verdict.missing} of {verdict.cells} cells have none")
    if verdict.unsealed:
        parts.append(f"unsealed: {verdict.unsealed}")
    if verdict.archived:
        parts.append(f"lines of archives, which hold numbers alone: {verdict.archived}")
    if verdict.figures:
        parts.append(f"{verdict.figures:,} figures of tables recounted")
    if outcome.replays:
        good = sum(replay.is_well for replay in outcome.replays)
        parts.append(f"{good} of {len(outcome.replays)} {_plural(len(outcome.replays), 'replay')} agree")
    problems = verdict.problems
    parts.append(f"{problems} {_plural(problems, 'problem')}" if problems else "no problems")
    return "; ".join(parts)


def content_of(outcome: Outcome) -> dict[str, Any]:
    """The same as JSON data."""
    verdict = outcome.verdict
    return {
        "records": verdict.records,
        "unsealed": verdict.unsealed,
        "archived": verdict.archived,
        "cells": verdict.cells,
        "missing": verdict.missing,
        "figures_recounted": verdict.figures,
        "tables_not_recounted": verdict.tables,
        "not_checked": dict(sorted(verdict.findings.unchecked.items())),
        "checkpoints_as_stated": dict(sorted(verdict.findings.stated.items())),
        "problems": [{"path": p.path, "what": p.what, "then": p.then} for p in verdict.findings.problems],
        "replays": [
            {
                "key": own.key,
                "arm": own.name,
                "verdict": own.word,
                "why": own.why,
                "differences": own.differences,
                "versions": own.versions,
            }
            for own in outcome.replays
        ],
        "well": outcome.is_well,
    }


def _readable(place: Path, suite: Suite | None) -> dict[str, Evidence]:
    """The records that can be trained again, by key; tables are read while a bundle is open."""
    keys = None if suite is None else {cell.key for cell in suite.cells()}
    found = {}
    for evidence in evidence_at(place, Findings(), keys):
        content = evidence.content
        if content is not None and isinstance(content.get("cell"), dict) and isinstance(content.get("result"), dict):
            found[evidence.key] = evidence
    return found


def _chosen(replay: str, there: dict[str, Evidence], suite: Suite | None) -> Sequence[Evidence]:
    keys = sorted(there)
    if not keys:
        raise UserError(f"--replay {replay}: there is no record to train again")
    named = [key for key in keys if key.startswith(replay)] if re.fullmatch(r"[0-9a-f]{4,16}", replay) else []
    if len(named) == 1:
        return [there[named[0]]]
    if len(named) > 1:
        raise UserError(f"--replay {replay}: {len(named)} keys begin so: {', '.join(named[:5])}")
    if replay.isdigit() and len(replay) < 4:
        count = int(replay)
        if not 1 <= count <= len(keys):
            raise UserError(f"--replay {replay}: there are {len(keys)} records; ask for 1 to {len(keys)}")
        # Spread evenly over the keys, which are as good as random, and the same every time.
        return [there[keys[place * len(keys) // count]] for place in range(count)]
    arms = [] if suite is None else [cell for cell in suite.cells() if cell.arm.name == replay and cell.key in there]
    if arms:
        return [there[arms[0].key]]
    names = [] if suite is None else [arm.name for arm in suite.arms]
    raise UserError(
        f"--replay {replay}: neither a key, nor an arm, nor a number; {suggestion(replay, [*names, *keys])}"
    )


def _replayed(chosen: Evidence, there: dict[str, Evidence], suite: Suite | None, device: str) -> Replay:
    """Trains a cell in a folder that goes afterwards, without panels, which move no number."""
    import torch

    from optbench.runner import run_cell
    from optbench.store import Store

    content = chosen.content
    assert content is not None
    cell = CellSpec.model_validate(content["cell"])
    made = content["measured"].get("provenance", {})
    if device == "auto":
        device = "cuda" if made.get("device_type") == "cuda" and torch.cuda.is_available() else "cpu"
    threads, before = made.get("threads"), torch.get_num_threads()
    try:
        # The number of threads splits sums: another one moves last bits.
        torch.set_num_threads(threads if isinstance(threads, int) and threads > 0 else 1)
        with tempfile.TemporaryDirectory(prefix="optbench-replay-") as folder:
            store = Store(folder)
            run_cell(cell, store, device=device)
            again = evidence_in(store.folder(cell.key), str, Findings(), root=store.root)
    finally:
        torch.set_num_threads(before)
    rest = {name: value for name, value in content["cell"].items() if name != "seed"}
    others = [
        own.content
        for own in there.values()
        if own.content is not None
        and own.key != chosen.key
        and {name: value for name, value in own.content["cell"].items() if name != "seed"} == rest
    ]
    arm = next((found.arm.name for found in suite.cells() if found.key == chosen.key), "") if suite else ""
    ranked = suite.ranked_by if suite else "accuracy"
    score = ranked if ranked in content["result"] else "test_nll"
    name = f"{arm} seed {cell.seed}" if arm else f"{cell.model.kind}, {cell.task.kind}, seed {cell.seed}"
    return compared(name, chosen, again, others, score)


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"
