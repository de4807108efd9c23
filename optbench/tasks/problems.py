"""The kinds of arithmetic problems: which problems there are, and how each is written with its worked solution.

A question ends in `=`; a solution is a scratchpad, a colon and the answer, as terse as a person would jot it down:

    compare   37?52=   3<5:<          two digits each; tens first, then ones: 37?35= is 3=3,7>5:>
    add1      7+8=     :15            two or three one-digit numbers: 7+8+4= is 15+4:19
    chain     7+8-6=   15-6:9         one-digit numbers, from left to right
    add2      47+38=   15+70:85       10 to 49: ones, then tens, then both
    sub2      55-38=   25-8:17        10 to 59, the larger first: tens off, then ones
    mul       7*48=    56+280:336     one digit by two digits: ones, then tens, then both

Problems that say the same in another order (3+4 and 4+3) form one group, so that a split by groups leaks nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations

Operands = tuple[int, ...]
Group = tuple[Operands, ...]
"""Problems that say the same: knowing one of them is knowing them all."""


@dataclass(frozen=True)
class Written:
    """A problem in words: the solution is `scratchpad:answer`."""

    question: str
    scratchpad: str
    answer: str


@dataclass(frozen=True)
class Kind:
    """A kind of problem: all its groups, in a fixed order, and how the problem of some operands is written."""

    groups: Callable[[], list[Group]]
    write: Callable[..., Written]


def _comparisons() -> list[Group]:
    return [_orders(pair) for pair in combinations_with_replacement(range(10, 100), 2)]


def _one_digit_sums() -> list[Group]:
    return [_orders(terms) for n in (2, 3) for terms in combinations_with_replacement(range(10), n)]


def _chains() -> list[Group]:
    return [
        tuple((*order, c) for order in _orders(pair))
        for pair in combinations_with_replacement(range(10), 2)
        for c in range(1, 10)
        if sum(pair) >= c
    ]


def _two_digit_sums() -> list[Group]:
    return [_orders(pair) for pair in combinations_with_replacement(range(10, 50), 2)]


def _two_digit_differences() -> list[Group]:
    return [((a, b),) for a in range(10, 60) for b in range(10, a + 1)]


def _products() -> list[Group]:
    return [((a, b),) for a in range(2, 10) for b in range(10, 100)]


def _orders(operands: Operands) -> Group:
    return tuple(sorted(set(permutations(operands))))


def _sign(a: int, b: int) -> str:
    return "<" if a < b else ">" if a > b else "="


def _compare(a: int, b: int) -> Written:
    tens, ones = _sign(a // 10, b // 10), _sign(a % 10, b % 10)
    first = f"{a // 10}{tens}{b // 10}"
    steps = f"{first},{a % 10}{ones}{b % 10}" if tens == "=" else first
    return Written(f"{a}?{b}=", steps, _sign(a, b))


def _add1(*terms: int) -> Written:
    steps = "" if len(terms) == 2 else f"{terms[0] + terms[1]}+{terms[2]}"
    return Written("+".join(map(str, terms)) + "=", steps, str(sum(terms)))


def _chain(a: int, b: int, c: int) -> Written:
    return Written(f"{a}+{b}-{c}=", f"{a + b}-{c}", str(a + b - c))


def _add2(a: int, b: int) -> Written:
    ones, tens = a % 10 + b % 10, a // 10 * 10 + b // 10 * 10
    return Written(f"{a}+{b}=", f"{ones}+{tens}", str(a + b))


def _sub2(a: int, b: int) -> Written:
    return Written(f"{a}-{b}=", f"{a - b // 10 * 10}-{b % 10}", str(a - b))


def _mul(a: int, b: int) -> Written:
    return Written(f"{a}*{b}=", f"{a * (b % 10)}+{a * (b // 10) * 10}", str(a * b))


KINDS: dict[str, Kind] = {
    "compare": Kind(_comparisons, _compare),
    "add1": Kind(_one_digit_sums, _add1),
    "chain": Kind(_chains, _chain),
    "add2": Kind(_two_digit_sums, _add2),
    "sub2": Kind(_two_digit_differences, _sub2),
    "mul": Kind(_products, _mul),
}
