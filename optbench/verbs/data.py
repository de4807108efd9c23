"""Verbs that re-weight data of one's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from optbench.verbs.options import RESULTS, json_text, say

Data = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="One JSON object a line: question/solution, prompt/completion or chat messages."
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE", help="The file to write; OUT.control.jsonl is written beside it.")
]
Model = Annotated[str, typer.Option(help="What judges: a folder, a hub id, or a preset such as llama-nano.")]
Target = Annotated[
    str, typer.Option(help="The model that will be trained, with which the price is compared; --model unless said.")
]
FieldNames = Annotated[
    str, typer.Option("--fields", metavar="NAME=FIELD,...", help="Other names, as in question=problem,answer=gold.")
]
Source = Annotated[str, typer.Option(metavar="FIELD", help="Cluster the examples of each value of FIELD apart.")]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1, max=1000, help="Epochs of the probe; 3 for checkpoints, for nano models as many as make 300 steps."
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Examples of a step of the probe.")]
Rate = Annotated[
    float | None, typer.Option("--lr", help="Learning rate of the probe; 3e-3 for nano models, 2e-5 for checkpoints.")
]
MaxLength = Annotated[
    int | None,
    typer.Option(min=2, help="Tokens of an example that are read; 1024 (characters) for nano models, else 512."),
]
Factor = Annotated[int, typer.Option(min=2, max=100, help="How often later-learned examples count.")]
Trajectory = Annotated[Literal["raw", "ratio"], typer.Option(help="Cluster losses, or each loss by the one before it.")]
Clusters = Annotated[int, typer.Option(min=2, max=100, help="Clusters; that of the highest mean is later-learned.")]
MinSource = Annotated[int, typer.Option(min=1, help="With --source: smaller sources are taken whole.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the probe and of the random control.")]
Limit = Annotated[int, typer.Option(min=0, help="Only the first so many examples, to try it out; 0 is all.")]
Shuffle = Annotated[
    int | None, typer.Option(min=0, metavar="SEED", help="Shuffle the lines; otherwise repeats follow one another.")
]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="Threads of a CPU; by default all.")]
Probes = Annotated[Path, typer.Option(help="Where probes are kept: the same file and settings are judged once.")]
Force = Annotated[bool, typer.Option("--force", help="Write over files that are there.")]
Text = Annotated[Literal["text", "json"], typer.Option(help="Of what is said.")]


def upsample(
    data: Data,
    *,
    out: Out,
    model: Model = "llama-nano",
    target: Target = "",
    fields: FieldNames = "",
    source: Source = "",
    epochs: Epochs = None,
    batch_size: BatchSize = 16,
    lr: Rate = None,
    max_length: MaxLength = None,
    factor: Factor = 2,
    trajectory: Trajectory = "raw",
    clusters: Clusters = 2,
    min_source: MinSource = 78,
    seed: Seed = 0,
    limit: Limit = 0,
    shuffle: Shuffle = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Every line once with a field `weight`, instead of repeating.")
    ] = False,
    threads: Threads = None,
    results: Probes = RESULTS,
    force: Force = False,
    format: Text = "text",
) -> None:
    """Repeat the examples of a file that are learned later, and write the matched random control beside it."""
    options = dict(locals())

    def work(tell: Callable[[str], None]) -> dict[str, Any]:
        from optbench.commands.upsample import upsample as upsampled

        return upsampled(_request(options), weights=weights, say=tell)

    _answer(work, format)


def augment(
    data: Data,
    *,
    out: Out,
    rewriter: Annotated[str, typer.Option(help="The instruct model that writes solutions: a folder or a hub id.")] = "",
    attempts: Annotated[int, typer.Option(min=1, help="Samples of a solution until one is right.")] = 4,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a new solution.")] = 400,
    grading: Annotated[
        Literal["exact", "number", "last_number", "math_verify"], typer.Option(help="How answers are checked.")
    ] = "number",
    model: Model = "llama-nano",
    target: Target = "",
    fields: FieldNames = "",
    source: Source = "",
    epochs: Epochs = None,
    batch_size: BatchSize = 16,
    lr: Rate = None,
    max_length: MaxLength = None,
    factor: Factor = 2,
    trajectory: Trajectory = "raw",
    clusters: Clusters = 2,
    min_source: MinSource = 78,
    seed: Seed = 0,
    limit: Limit = 0,
    shuffle: Shuffle = None,
    threads: Threads = None,
    results: Probes = RESULTS,
    force: Force = False,
    format: Text = "text",
) -> None:
    """Join the examples of a file that are learned later by new, checked solutions; needs answers and a --rewriter."""
    options = dict(locals())

    def work(tell: Callable[[str], None]) -> dict[str, Any]:
        from optbench.commands.augment import augment as augmented
        from optbench.tasks.rewriter import Rewriter

        writer = Rewriter(model=rewriter, attempts=attempts, max_new_tokens=max_new_tokens)
        return augmented(_request(options), rewriter=writer, grading=grading, say=tell)

    _answer(work, format)


def _request(options: dict[str, Any]) -> Any:
    from dataclasses import fields

    from optbench.reweighting.request import Request

    return Request(**{field.name: options[field.name] for field in fields(Request)})


def _answer(work: Callable[[Callable[[str], None]], dict[str, Any]], format: str) -> None:
    from optbench.reweighting.sentences import five_lines

    with _interruptible():
        content = work(lambda text: print(text, file=sys.stderr, flush=True))
    say(json_text(content) if format == "json" else five_lines(content))


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(130) from None
