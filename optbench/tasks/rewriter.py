"""New worked solutions for the same questions: sampled from an instruct model, kept only where they are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from optbench.rng import stream_seed
from optbench.spec import Spec
from optbench.tasks.base import Example, Grade
from optbench.tasks.text import Rewrite, refuse_rewriting

if TYPE_CHECKING:
    from optbench.models.language_model import LanguageModel

Sample = Callable[[Sequence[str], int], list[str]]
"""One sampled text for each prompt, a function of the prompts and a seed."""

NO_REWRITER = (
    "this task cannot write new solutions: name a local instruct model on it, for instance "
    "`rewriter: {model: ./my-instruct-model}`, or choose a strategy without augmentation"
)


class Rewriter(Spec):
    """The instruct model (a directory or a hub id) that writes new solutions, and how it is sampled.

    An empty `model` is none: augmentation is then refused. A question whose `attempts` samples are all wrong keeps
    its own solution.
    """

    model: str = ""
    hub_revision: str = "main"
    instruction: str = "Solve this problem step by step. End with a line '#### ' followed by the final answer only."
    max_new_tokens: Annotated[int, Field(ge=1)] = 400
    temperature: Annotated[float, Field(gt=0.0)] = 0.8
    attempts: Annotated[int, Field(ge=1)] = 4
    batch_size: Annotated[int, Field(ge=1)] = 32

    def identity(self) -> dict[str, Any]:
        """The fields, with the model by its content or commit."""
        content = Spec.identity(self)
        if not self.model:
            return content
        from optbench.models.pretrained import Pretrained

        content.pop("hub_revision", None)
        return {**content, "model": Pretrained(path=self.model, hub_revision=self.hub_revision).identity()}

    def function(self, grade: Callable[[str, Example], Grade]) -> Rewrite:
        """What `Task.rewrite` does; the model is loaded at the first call. Refuses where no model is named."""
        if not self.model:
            return refuse_rewriting(NO_REWRITER)

        def apply(examples: Sequence[Example], seed: int) -> list[Example]:
            prompts = [f"{self.instruction}\n\n{example.question}" for example in examples]
            return rewritten(examples, prompts, self._sampler(), grade, attempts=self.attempts, seed=seed)

        return apply

    def _sampler(self) -> Sample:
        import torch

        from optbench.models.pretrained import Pretrained
        from optbench.tasks.sampling import sample

        device = "cuda" if torch.cuda.is_available() else "cpu"
        spec = Pretrained(path=self.model, hub_revision=self.hub_revision)
        model: LanguageModel = spec.build(seed=0, device=device, precision="float32", attention="sdpa")
        return lambda prompts, seed: sample(model, prompts, rewriter=self, seed=seed)


def rewritten(
    examples: Sequence[Example],
    prompts: Sequence[str],
    sample: Sample,
    grade: Callable[[str, Example], Grade],
    *,
    attempts: int,
    seed: int,
) -> list[Example]:
    """For each example its question with a sampled solution whose graded answer is right and whose text is new.

    Where none of `attempts` samples is, the example's own solution is repeated; its id then ends in `-repeated`, so
    that repeats can be counted.
    """
    found: dict[int, str] = {}
    open_rows = [row for row, example in enumerate(examples) if example.answer]
    for attempt in range(attempts):
        texts = sample([prompts[row] for row in open_rows], stream_seed(seed, "rewriter", attempt)) if open_rows else []
        for row, text in zip(open_rows, texts, strict=True):
            solution = text.strip()
            if grade(solution, examples[row]).correct and solution != examples[row].solution:
                found[row] = solution
        open_rows = [row for row in open_rows if row not in found]
    return [_with_solution(example, row, found, seed) for row, example in enumerate(examples)]


def _with_solution(example: Example, row: int, found: dict[int, str], seed: int) -> Example:
    name = f"rewritten-{seed}-{row}"
    if row in found:
        return Example(name, example.question, found[row], example.answer, example.source)
    return Example(f"{name}-repeated", example.question, example.solution, example.answer, example.source)
