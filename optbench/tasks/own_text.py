"""A text task over conversations, or over texts whose answers nothing can check: see `tasks.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optbench.errors import UserError
from optbench.models.tokenizers import HubTokenizer
from optbench.tasks.base import Evaluation, Example, Grade
from optbench.tasks.layouts import Turn
from optbench.tasks.text import Encoded, TextTask

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.models.language_model import LanguageModel, Tokenizer

PLAIN = "{question}\nAssistant: "
"""How a conversation is put to a model without a chat template; its turns are lines, see `layouts.transcript`."""


@dataclass(frozen=True)
class OwnText:
    """A text task that reads conversations by the model's own chat template, or asks nothing that could be graded.

    `turns` are those before the supervised one, by the question that they were written out as; empty for plain text.
    Without `graded` there is no accuracy: the likelihood of the reference texts is all that is measured.
    """

    text: TextTask
    turns: Mapping[str, Sequence[Turn]]
    graded: bool

    @property
    def train(self) -> Sequence[Example]:
        """What is learned."""
        return self.text.train

    @property
    def validation(self) -> Sequence[Example]:
        """What choices are made on."""
        return self.text.validation

    @property
    def test(self) -> Sequence[Example]:
        """What is reported."""
        return self.text.test

    def prepare(self, examples: Sequence[Example], model: LanguageModel) -> Encoded:
        """The examples encoded once. Raises UserError for one that is too long, or that the chat template refuses."""
        assert model.tokenizer is not None, "a text task needs a tokenizer"
        return Encoded.of([self.encode(example, model.tokenizer) for example in examples], model)

    def encode(self, example: Example, tokenizer: Tokenizer) -> tuple[list[int], int]:
        """The token ids of prompt, solution and end of sequence, and how many of them are the prompt."""
        if not self.turns:
            return self.text.encode(example, tokenizer)
        prompt, solution = self._rendered(example, tokenizer)
        ready = _Ready(tokenizer, {self.text.prompt_of(example): prompt}, {example.solution: solution})
        return self.text.encode(example, ready)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The cross entropy [N] in nats of each supervised token: logits [N, V], targets [N]."""
        return self.text.losses(outputs, targets)

    def answer(self, examples: Sequence[Example], model: LanguageModel) -> list[Grade]:
        """Greedy answers, graded. Raises UserError where there is nothing to grade them by."""
        if not self.graded:
            raise UserError("with `grading: nll` no answer can be right or wrong: look at test_nll instead")
        assert model.tokenizer is not None, "a text task needs a tokenizer"
        if self.turns:
            prompts = {self.text.prompt_of(e): self._rendered(e, model.tokenizer)[0] for e in examples}
            model = replace(model, tokenizer=_Ready(model.tokenizer, prompts, {}))
        return self.text.answer(examples, model)

    def evaluate(self, examples: Sequence[Example], model: LanguageModel, *, micro_batch: int) -> Evaluation:
        """Likelihood of the reference solutions, and accuracy where answers can be checked."""
        import numpy as np

        from optbench.metrics import accuracy

        nll = accuracy.solution_nll(model, self, examples, micro_batch=micro_batch)
        if not self.graded or not np.isfinite(nll):
            return Evaluation({"test_nll": nll})
        answered, questions = accuracy.answers(model, self, examples)
        return Evaluation({"test_nll": nll, **answered}, questions)

    def rewrite(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """For each example a verified one of the same kind. Raises UserError where the task has no means to."""
        if not self.graded:
            raise UserError("with `grading: nll` no new solution can be told right from wrong: upsample instead")
        return self.text.rewrite(examples, seed)

    def _rendered(self, example: Example, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
        """The token ids of a conversation up to its last turn, and of that turn, the end of sequence left out."""
        template = chat_template_of(tokenizer)
        if template is None:
            return tokenizer.encode_prompt(self.text.prompt_of(example)), tokenizer.encode(example.solution)
        turns = [{"role": turn.role, "content": turn.content} for turn in self.turns[example.question]]
        last = {"role": "assistant", "content": example.solution}
        prompt = _applied(template, turns, example, add_generation_prompt=True)
        whole = _applied(template, [*turns, last], example, add_generation_prompt=False)
        # A template may write its last turn in another way than those before; then the bare text is what is learned.
        rest = tokenizer.encode(whole.removeprefix(prompt) if whole.startswith(prompt) else example.solution)
        ends = [place for place, token in enumerate(rest) if token == tokenizer.eos_id]
        return tokenizer.encode(prompt), rest[: ends[-1]] if ends else rest


def chat_template_of(tokenizer: Tokenizer) -> Any:
    """The transformers tokenizer whose chat template writes conversations; None where there is no template."""
    return tokenizer.with_chat_template if isinstance(tokenizer, HubTokenizer) else None


def _applied(template: Any, turns: list[dict[str, str]], example: Example, *, add_generation_prompt: bool) -> str:
    from jinja2.exceptions import TemplateError

    try:
        written: str = template.apply_chat_template(turns, add_generation_prompt=add_generation_prompt, tokenize=False)
    except (TemplateError, TypeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{example.id}: the model's chat template refuses this conversation ({reason})") from error
    return written


@dataclass
class _Ready:
    """A tokenizer for which some texts were encoded before: a conversation is more than its text."""

    tokenizer: Tokenizer
    prompts: Mapping[str, list[int]]
    texts: Mapping[str, list[int]]

    def __post_init__(self) -> None:
        self.eos_id, self.pad_id = self.tokenizer.eos_id, self.tokenizer.pad_id

    def encode(self, text: str) -> list[int]:
        return self.texts[text]

    def encode_prompt(self, text: str) -> list[int]:
        return self.prompts[text]

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids)
