"""One training step of an optimizer on a Llama-like model; run as a program it prints its own peak of memory.

python tests/benchmarks/steps.py MODEL VARIANT     peak resident memory in bytes, of the whole process
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel

from optbench.models.language_model import LanguageModel, batch_of_labels, cross_entropy
from optbench.models.roles import parameters_of
from optbench.optim.specs import OptimizerSpec
from optbench.oracle import Oracle


@dataclass(frozen=True)
class Shape:
    """A Llama-like model with a tied output layer, and the tokens of its batch, all of them supervised."""

    width: int
    layers: int
    vocabulary: int
    tokens: int
    length: int = 128

    @property
    def head_share(self) -> float:
        """h: the output layer's share of the products of a pass (all positions are supervised)."""
        body = self.layers * (4 * self.width**2 + 3 * self.width * self.inner)
        head = self.vocabulary * self.width
        return head / (body + head)

    @property
    def inner(self) -> int:
        return 8 * round(self.width * 8 / 3 / 8)


SHAPES = {
    "16k": Shape(384, 6, 16_384, 512),
    "32k": Shape(384, 6, 32_000, 512),
    "128k": Shape(256, 4, 128_256, 1024),
    "256k": Shape(128, 4, 262_144, 1024),
}
SAM = {"kind": "sharpness_aware", "rho": 0.05}
VARIANTS = {
    "adamw": {},
    "sam": {"estimator": SAM},
    "kept": {"estimator": {**SAM, "functional": True, "cotangent": "kept"}},
    "rebuilt": {"estimator": {**SAM, "functional": True, "cotangent": "rebuilt"}},
    "momentum": {"estimator": {**SAM, "functional": True, "ascent": "momentum"}},
}


def llama(shape, *, attention="sdpa"):
    config = transformers.LlamaConfig(
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.width // 64,
        num_key_value_heads=shape.width // 64,
        intermediate_size=shape.inner,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=True,
        attn_implementation=attention,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        return transformers.LlamaForCausalLM(config)


def batch(shape):
    rows = shape.tokens // shape.length
    ids_BT = torch.randint(0, shape.vocabulary, (rows, shape.length + 1), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids_BT[:, :-1], "targets": ids_BT[:, 1:]}


def ours(shape, variant, model=None):
    """A function that takes one step."""
    model = llama(shape) if model is None else model
    data = batch(shape)
    # transformers compares the output at t with the label at t + 1: shifted back, so that every position counts.
    labels_BT = torch.cat([data["input_ids"][:, :1], data["targets"]], dim=1)
    ids_BT = torch.cat([data["input_ids"], data["targets"][:, -1:]], dim=1)
    view, of = LanguageModel.of(model), batch_of_labels({"input_ids": ids_BT, "labels": labels_BT})
    optimizer = OptimizerSpec.model_validate({**VARIANTS[variant], "rule": {"kind": "adamw", "lr": 1e-4}}).build(
        parameters_of(model)
    )
    return lambda: optimizer.step(Oracle(view, cross_entropy, of))


def public_pattern(shape):
    """Functional-SAM as it is found in public code: the clean graph is kept, the perturbed loss is differentiated with
    `create_graph`, and then a vector-Jacobian product is taken; attention as plain mathematics, for second derivatives.
    """
    model, data = llama(shape), batch(shape)
    params = list(model.parameters())
    adam = torch.optim.AdamW(params, lr=1e-4, weight_decay=0.0, fused=True)

    def forward():
        logits = model(input_ids=data["input_ids"], use_cache=False).logits
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), data["targets"].flatten())

    def step():
        with sdpa_kernel([SDPBackend.MATH]):
            adam.zero_grad()
            logits, loss = forward()
            loss.backward(retain_graph=True)
            (cotangent,) = torch.autograd.grad(loss, logits, retain_graph=True)
            old = [p.detach().clone() for p in params]
            with torch.no_grad():
                norm = torch.nn.utils.get_total_norm([p.grad for p in params])
                for p in params:
                    p.add_(p.grad, alpha=0.05 / float(norm))
            adam.zero_grad()
            shifted_logits, shifted_loss = forward()
            torch.autograd.grad(shifted_loss, params, create_graph=True)
            found = torch.autograd.grad(shifted_logits, params, cotangent, retain_graph=True)
            with torch.no_grad():
                for p, before, g in zip(params, old, found, strict=True):
                    p.copy_(before)
                    p.grad = g.clone()
            adam.step()

    return step


def main() -> None:
    """Prints the peak of resident memory over three steps."""
    torch.set_num_threads(1)
    shape = SHAPES[sys.argv[1]]
    step = public_pattern(shape) if sys.argv[2] == "public" else ours(shape, sys.argv[2])
    for _ in range(3):
        step()
    with open("/proc/self/status", encoding="utf-8") as status:
        print(next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")))


if __name__ == "__main__":
    main()
