"""All numbers of the sharpness panel at one look, each with its error and its cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from optbench.curvature.critical import FORWARDS, critical_step
from optbench.curvature.directions import preconditioned, second_moment, unit_
from optbench.curvature.krylov import Ritz, rayleigh, top_eigenpairs
from optbench.curvature.spectrum import Spectrum, spectrum
from optbench.curvature.split import corrections, splits
from optbench.curvature.trace import trace
from optbench.curvature.vectors import dot, flat, gaussian, norm, signs, taken, views
from optbench.oracle import shifted
from optbench.rng import stream

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.curvature.applies import Mode
    from optbench.curvature.products import Product, Products
    from optbench.oracle import Oracle

GGN_LEAST = 8
"""Products of the GGN that the search for the Hessian's top eigenvalue leaves room for."""
FRUGAL_BASIS = 3
"""Vectors of the Krylov basis where a full one is too large: a step of AdamW holds about as many beside the weights."""


DIRECTIONS = ("", "/preconditioned")
"""The ends of the column names: the isotropic direction has none."""


@dataclass(frozen=True)
class Effort:
    """How much is spent: see `optbench.panels.sharpness.Sharpness`. `budget` is in gradient-equivalents, `kept` says
    that graphs are, `frugal` holds few vectors at a time, `basis_free` keeps no Krylov basis."""

    budget: float
    kept: bool
    hessian_products: int
    ggn_products: int
    probes: int
    tolerance: float
    rho: float
    seed: int
    frugal: bool
    basis_free: bool = False


@dataclass(frozen=True)
class Prices:
    """Gradient-equivalents of a product of the Hessian, of the GGN, of what its search needs beside its products, and
    of everything that is no search, at most."""

    hessian: float
    ggn: float
    ggn_once: float
    others: float

    @classmethod
    def of(cls, mode: Mode, *, kept: bool, probes: int) -> Prices:
        """For exact products with graphs kept or not, or for finite differences."""
        # Three corrections, gradient and second moment, and the losses; then three products for each of two directions.
        once = 3 * 2 + 2 + (FORWARDS + 5) / 3
        if mode == "finite_difference":
            along = 2 * (2 + 5 / 3 + 2) + 2 / 3
            return cls(1.0, 4 / 3, 1 / 3 + 5 / 3, once + along + probes + 3)
        along = 2 * (2 + 4 / 3 + 2)
        if kept:
            return cls(2.0, 4 / 3, 1.0, once + along + 2 * probes + 4)
        return cls(3.0, 7 / 3, 0.0, once + along + 2.5 * probes + 3 + 0.5)


@dataclass(frozen=True)
class Value:
    """A number; its error (NaN where none is known) in the same unit; what it took in gradient-equivalents beyond what
    the numbers before it had brought along."""

    name: str
    value: float
    error: float
    cost: float


@dataclass
class Report:
    """The numbers in the order in which they were found, what all of them took in gradient-equivalents, and notes."""

    values: list[Value] = field(default_factory=list)
    cost: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)


class Look:
    """One look at the batch loss behind `products`, at the weights as they are.

    `groups` are oracles of equal groups of the same examples, for the preconditioner. Weights are left bit for bit as
    they were; memory and graphs of each stage are given back before the next.
    """

    def __init__(self, products: Products, groups: Sequence[Oracle], mode: Mode, effort: Effort) -> None:
        self._products, self._groups, self._mode, self._effort = products, groups, mode, effort
        self._oracle = products.oracle
        self._report = Report()
        self._charged = 0.0
        self._forwards = 0
        self._prices = Prices.of(mode, kept=effort.kept, probes=effort.probes)

    def take(self) -> Report:
        """Everything. A number that does not exist at these weights is left out, and the notes say why."""
        top = self._hessian()
        self._along(top)
        self._ggn()
        self._report.cost = self._cost
        return self._report

    @property
    def _cost(self) -> float:
        return (
            self._forwards / 3
            + self._products.cost
            + sum(group.passes * _weight(group, self._oracle) for group in self._groups)
        )

    def _add(self, name: str, value: float, error: float = math.nan) -> None:
        now = self._cost
        self._report.values.append(Value(name, value, error, now - self._charged))
        self._charged = now

    def _note(self, **said: Any) -> None:
        self._report.notes.update(said)

    def _hessian(self) -> float:
        effort, prices = self._effort, self._prices
        rest = effort.budget - prices.others - prices.ggn_once - GGN_LEAST * prices.ggn
        most = self._within(rest, prices.hessian, effort.hessian_products)
        if effort.basis_free:
            return self._hessian_without_basis(most)
        with self._products.hessian() as hessian:
            ritz, top, residual = self._top(hessian, most, "hessian")
            self._add("hessian_top", top, residual * abs(top))
            self._add("hessian_top_residual", residual)
            value, error = trace(
                hessian,
                ritz,
                lambda i: signs(stream(effort.seed, "sharpness/trace", i), ritz.vectors[0]),
                probes=effort.probes,
                at_once=1 if self._mode == "finite_difference" or effort.frugal else 2,
            )
            self._add("hessian_trace", value, error)
            self._add("hessian_trace_se", error)
        self._note(hessian_products=ritz.products, trace="hutch++", trace_probes=effort.probes)
        self._note(basis=f"{FRUGAL_BASIS}, restarted" if effort.frugal else "full", trace_space=len(ritz.vectors))
        return top

    def _hessian_without_basis(self, most: int) -> float:
        """Both ends and a first sample of the trace from one run; the other samples from a product each."""
        effort = self._effort
        like = flat(self._oracle.parameters)

        def draw(i: int) -> Tensor:
            return signs(stream(effort.seed, "sharpness/trace", i), like)

        with self._products.hessian() as hessian:
            found = self._spectrum(hessian, draw(0), most)
            self._add("hessian_top", found.largest, found.largest_residual)
            self._add("hessian_top_residual", _relative(found))
            self._add("hessian_bottom", found.smallest, found.smallest_residual)
            samples = [found.trace]
            for i in range(1, effort.probes):
                z = draw(i)
                samples.append(dot(z, hessian([z])[0]))
        error = float(np.std(samples, ddof=1) / math.sqrt(len(samples)))
        self._add("hessian_trace", float(np.mean(samples)), error)
        self._add("hessian_trace_se", error)
        self._note(hessian_products=found.products, trace="hutchinson", trace_probes=effort.probes, basis="none")
        return found.largest

    def _spectrum(self, product: Product, start: Tensor, most: int) -> Spectrum:
        return spectrum(
            lambda v, known: product([v], curvature=known)[0],
            [start],
            products=most,
            tolerance=self._effort.tolerance,
            ends="largest",
        )

    def _ggn(self) -> None:
        # Last, with all that is left: the other numbers mostly take less than was set aside for them.
        prices = self._prices
        rest = self._effort.budget - self._cost - prices.ggn_once
        most = self._within(rest, prices.ggn, self._effort.ggn_products)
        if self._effort.basis_free:
            start = signs(stream(self._effort.seed, "sharpness/ggn"), flat(self._oracle.parameters))
            with self._products.ggn() as ggn:
                found = self._spectrum(ggn, start, most)
            top, residual, done = found.largest, _relative(found), found.products
        else:
            with self._products.ggn() as ggn:
                ritz, top, residual = self._top(ggn, most, "ggn")
            done = ritz.products
        self._add("ggn_top", top, residual * abs(top))
        self._add("ggn_top_residual", residual)
        self._note(ggn_products=done)

    @staticmethod
    def _within(rest: float, price: float, most: int) -> int:
        return max(3, min(most, int(rest / price + 1e-6)))

    def _top(self, product: Product, products: int, name: str) -> tuple[Ritz, float, float]:
        effort = self._effort
        # A random start: the gradient, or the top vector of the other matrix, may hold next to nothing of this one's
        # and then the search ends at a smaller eigenvalue.
        start = gaussian(stream(effort.seed, f"sharpness/{name}"), flat(self._oracle.parameters))
        basis = FRUGAL_BASIS if effort.frugal else max(3, products)
        ritz = top_eigenpairs(
            lambda v, known: product([v], curvature=known or 0.0)[0],
            start,
            products=products,
            basis=basis,
            tolerance=effort.tolerance,
        )
        if effort.frugal:
            # Each vector is as large as the model; what follows needs the top one alone.
            ritz = replace(ritz, values=ritz.values[-1:], vectors=ritz.vectors[-1:])
        if self._mode == "exact":
            return ritz, ritz.top, ritz.residual
        # One-sided differences find the vector; its own value is taken with central ones. An error of the vector
        # enters the value by its square only.
        vector = ritz.vectors[-1]
        return ritz, *rayleigh(vector, product([vector], curvature=ritz.top, fine=True)[0])

    def _along(self, top: float) -> None:
        """Sharpness along directions, critical sharpness, and the split of H e."""
        oracle, effort = self._oracle, self._effort
        parameters = oracle.parameters
        cotangent = oracle.gradient(keep=True).cotangent
        assert cotangent is not None
        gradient = taken(parameters)
        size, here = norm(gradient), self._loss()
        self._note(loss=here, gradient_norm=size)
        random = unit_(gaussian(stream(effort.seed, "sharpness/random"), gradient)).mul_(effort.rho)
        with shifted(parameters, views(random, parameters)):
            ahead = self._loss()
        with shifted(parameters, views(random.neg_(), parameters)):
            # Of both ends: along one alone the slope, a matter of chance, would hide the curvature.
            self._add("sam_sharpness/random", (ahead + self._loss()) / 2 - here)
        del random
        if size == 0:
            self._note(left_out="the gradient is zero: it has no direction")
            return
        self._critical(gradient, size, here)
        chunks = [[name] for name in DIRECTIONS] if effort.frugal else [list(DIRECTIONS)]
        unexplained: dict[str, float] = {}
        for names in chunks:
            unexplained |= self._split(names, gradient, cotangent, here, top)
        self._note(unexplained=unexplained)

    def _split(
        self, names: Sequence[str], gradient: Tensor, cotangent: Sequence[Tensor], here: float, top: float
    ) -> dict[str, float]:
        """Sharpness and split along these directions; what the fits leave unexplained. All vectors die with it."""
        oracle, rho = self._oracle, self._effort.rho
        directions = [self._direction(name, gradient) for name in names]
        unexplained: dict[str, float] = {}
        found = splits(self._products, directions, abs(top))
        for name, e in zip(names, directions, strict=True):
            split = found.pop(0)
            for word, number in split.numbers().items():
                if word != "split_error" or not name:
                    self._add(word + name, number)
                else:
                    self._note(split_error_preconditioned=number)
            parts = split.logit, split.functional
            del split  # H e itself is not needed any more, and as large as the model.
            made = corrections(oracle, parts, e, gradient, cotangent, rho)
            small = corrections(oracle, parts, e, gradient, cotangent, rho / 10) if not name else None
            del parts
            with shifted(oracle.parameters, views(e.mul_(rho), oracle.parameters)):
                self._add("sam_sharpness" + name, self._loss() - here)
            for word, number in made.numbers.items():
                self._add(word + name, number)
            for word, number in small.numbers.items() if small else ():
                self._add(f"{word}/tenth", number)
            unexplained["fsam" + name] = made.unexplained
        return unexplained

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        if not name:
            return unit_(gradient.clone())
        return unit_(preconditioned(gradient, second_moment(self._groups), self._oracle.parameters))

    @torch.no_grad()
    def _loss(self) -> float:
        """The loss, summed in float64: differences of losses are small, and float32 would leave few digits of them."""
        self._forwards += 1
        model, batch, losses = self._oracle.model, self._oracle.batch, self._oracle.losses
        sums = [losses(model.outputs(part), part.targets).double().sum() for part in batch.parts]
        return float(sum(sums)) / batch.num_supervised

    def _critical(self, gradient: Tensor, size: float, here: float) -> None:
        oracle = self._oracle

        def rise(eta: float) -> float:
            with shifted(oracle.parameters, views(gradient * -eta, oracle.parameters)):
                return self._loss() - here

        eta, asked = critical_step(rise, -(size**2), guess=self._effort.rho / size)
        self._note(critical_forwards=asked)
        if eta is None:
            self._note(critical_sharpness="left out: the smallest step that raises the loss was not found")
        else:
            self._add("critical_sharpness", 2.0 / eta)


def _relative(found: Spectrum) -> float:
    return found.largest_residual / max(abs(found.largest), np.finfo(np.float64).tiny)


def _weight(group: Oracle, whole: Oracle) -> float:
    """The part of the batch that a group is: a gradient of it costs that part of a gradient of the batch."""
    return group.batch.num_tokens / whole.batch.num_tokens
