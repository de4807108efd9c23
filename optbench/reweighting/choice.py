"""Which examples weigh more: the very strategies of the suite, on a file of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optbench import cost
from optbench.commands.tables import duration
from optbench.errors import UserError, is_out_of_memory
from optbench.reweighting.lines import OwnFile
from optbench.reweighting.proxies import Proxy, readable, tokenizer_of
from optbench.reweighting.recorded import empty_clusters_allowed
from optbench.strategies.base import Plan, Rewrite, Trajectories
from optbench.strategies.clusters import LaterLearned
from optbench.strategies.later_learned import Augment, RandomAugment, RandomUpsample, Upsample
from optbench.strategies.probe import ProbeRun
from optbench.strategies.probe_spec import ProbeSpec
from optbench.strategies.rewrites import Rewriting
from optbench.tasks.base import Example
from optbench.tasks.grading import grader
from optbench.tasks.jsonl import prompt_of
from optbench.tasks.own_text import OwnText
from optbench.tasks.rewriter import Rewriter
from optbench.tasks.text import TextTask, token_counts

REVISION = 2
"""Raised when the same file and settings give other losses."""
NO_REWRITER = Rewriter()


@dataclass(frozen=True)
class Settings:
    """How the examples are judged, and where the probe is kept: below `results`, by content."""

    proxy: Proxy
    epochs: int
    batch_size: int
    lr: float
    factor: int
    select: LaterLearned
    seed: int
    results: Path

    @property
    def probe(self) -> ProbeSpec:
        """The probe of the strategies, with a look at all examples after each epoch: a file may be small, and losses
        noted in passing are then compared with those of a few others only."""
        return ProbeSpec.model_validate(
            {
                "optimizer": {"rule": {"kind": "adamw", "lr": self.lr}, "max_norm": 1.0},
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "micro_batch": self.proxy.micro_batch,
                "record": "losses",
                "seed": self.seed,
            }
        )


def epochs_of(count: int) -> str:
    """`1 epoch`, `3 epochs`."""
    return f"{count} epoch{'s' if count != 1 else ''}"


@dataclass(frozen=True)
class Choice:
    """What was found: the later-learned examples and the control's, bool [n]; new examples made of each, in the order
    of the file; the probe, and whether it was there before; the seconds that writing new examples took."""

    later: np.ndarray
    control: np.ndarray
    probe: Trajectories
    was_kept: bool
    added: Sequence[Example] = ()
    control_added: Sequence[Example] = ()
    rewrite_seconds: float = 0.0


@dataclass
class Judge:
    """Judges the examples of a file by a proxy, once. `say` is told what is about to happen."""

    file: OwnFile
    settings: Settings
    say: Callable[[str], None]
    was_kept: bool = field(init=False, default=False)

    def upsampled(self) -> Choice:
        """The later-learned examples and as many at random. Raises UserError where that would be all of them."""
        given = {"factor": self.settings.factor, "probe": self.settings.probe, "select": self.settings.select}
        plan, control, found = self._plans(Upsample(**given), RandomUpsample(**given), text_task(self.file), _none)
        later = plan.repeats > 1
        if later.all():
            raise UserError(
                "every example came out later-learned, so that there is nothing to choose: train longer (--epochs), "
                "cluster all examples together (no --source), or lower --min-source"
            )
        return Choice(later, control.repeats > 1, found, self.was_kept)

    def augmented(self, rewriter: Rewriter, grading: Any) -> Choice:
        """The same, and `factor` - 1 new examples for each of them, with a solution that is checked by its answer."""
        given = {"factor": self.settings.factor, "probe": self.settings.probe, "select": self.settings.select}
        task = text_task(self.file, rewriter, grading)
        answers = [example.answer for example in self.file.own.examples]
        # Asked for first: a rewriter that cannot be had is told before the probe is paid for.
        content = {"own_data": self.file.hash, "answers": answers, "rewriter": rewriter.identity(), "grading": grading}
        rewriting = Rewriting(task, content, self.settings.results)
        which = self.upsampled()
        kept = self.was_kept
        asked = 2 * int(which.later.sum()) * (self.settings.factor - 1)
        self.say(f"writing {asked} new solutions with {rewriter.model}, half of them for the control")
        plan, control, found = self._plans(Augment(**given), RandomAugment(**given), task, rewriting)
        count = len(self.file.sources)
        new, other = plan.examples[count:], control.examples[count:]
        return Choice(which.later, which.control, found, kept, new, other, rewriting.seconds)

    def _plans(self, strategy: Any, control: Any, task: TextTask, rewrite: Rewrite) -> tuple[Plan, Plan, Trajectories]:
        found = self.probe()
        with empty_clusters_allowed():
            plans = [s.plan(task, lambda: found, rewrite, seed=self.settings.seed) for s in (strategy, control)]
        return plans[0], plans[1], found

    def probe(self) -> Trajectories:
        """The losses of the examples along a training of the proxy, run now or kept from before.

        Raises UserError for a probe that diverges, does not fit into memory, or was damaged since it was kept.
        """
        settings, proxy = self.settings, self.settings.proxy
        content = {"own_data": self.file.hash, "revision": REVISION, "max_length": proxy.max_length}
        run = ProbeRun(settings.probe, proxy.spec, content, "float32", "sdpa")
        kept = _kept(run, settings.results, len(self.file.sources))
        self.was_kept = kept is not None
        if kept is not None:
            return kept
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        flops = 4 / 3 * training_flops(self.file, proxy, settings)
        pace = cost.NANO_PACE if proxy.spec.is_small else cost.FULL_PACE
        about = f", about {duration(flops / pace / torch.get_num_threads())} here" if device == "cpu" else ""
        self.say(
            f"training {proxy.name} on {len(self.file.sources)} examples for {epochs_of(settings.epochs)} on {device}: "
            f"{flops / 1e12:.3g} TFLOPs{about}"
        )
        try:
            found = run.run(readable_task(self.file, proxy), settings.results, device=device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"{proxy.name} does not fit into the memory of {device} with batches of {settings.batch_size} examples "
                f"of up to {proxy.max_length} tokens: lower --max-length or --batch-size, or take a smaller --model"
            ) from error
        except OSError as error:
            raise UserError(f"--results {settings.results}: the probe cannot be kept there ({error})") from error
        if not np.isfinite(found.losses).all():
            raise UserError(f"the probe diverged: its losses tell nothing; give it a lower --lr than {settings.lr:g}")
        return found


def text_task(
    file: OwnFile, rewriter: Rewriter = NO_REWRITER, grading: Any = "number", max_length: int = 512
) -> TextTask:
    """The examples of a file as training data alone: nothing is held out, for nothing is measured."""
    grade = grader(grading)
    return TextTask(
        train=file.own.examples,
        validation=[],
        test=[],
        prompt=prompt_of(file.own.layout),
        grade=grade,
        rewriter=rewriter.function(grade),
        max_new_tokens=1,
        max_length=max_length,
        too_long="truncate",
    )


def readable_task(file: OwnFile, proxy: Proxy) -> Any:
    """The task as the proxy reads it: conversations by its chat template, where it has one."""
    task = text_task(file, max_length=proxy.max_length)
    spelled_out = readable(task, tokenizer_of(proxy.spec))
    return OwnText(task, file.own.turns, graded=False) if file.own.turns and spelled_out is task else spelled_out


def lengths_of(file: OwnFile, proxy: Proxy) -> tuple[np.ndarray, np.ndarray]:
    """Input tokens and supervised positions of examples, of 4096 evenly spaced ones at most."""
    return token_counts(readable_task(file, proxy), tokenizer_of(proxy.spec))


def training_flops(file: OwnFile, proxy: Proxy, settings: Settings) -> float:
    """Operations of training a model on the file as it is for the same number of epochs."""
    lengths, supervised = lengths_of(file, proxy)
    count = len(file.sources)
    pairs = np.square(lengths.astype(np.float64))
    work = cost.Work(*(float(count * x.mean()) for x in (lengths, pairs, supervised)))
    steps = -(-count // settings.batch_size)
    optimizer = settings.probe.optimizer
    return settings.epochs * cost.training_flops(proxy.spec.dimensions(), optimizer, work, steps=steps)


def _kept(run: ProbeRun, results: Path, count: int) -> Trajectories | None:
    try:
        found = run.cached(results)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{run.folder(results)}: damaged probe; delete the folder to run it again") from error
    if found is not None and (found.losses.shape != (count, run.spec.epochs) or not np.isfinite(found.losses).all()):
        raise UserError(f"{run.folder(results)}: damaged probe; delete the folder to run it again")
    return found


def _none(examples: Sequence[Example], seed: int) -> list[Example]:
    raise AssertionError("upsampling writes nothing new")
