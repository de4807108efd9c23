"""Critical sharpness: how large a step of gradient descent can be before it raises the loss (arXiv 2601.16979).

    lambda_c = 2 / eta_c,   eta_c = the smallest eta with L(w - eta g) > L(w)

On a quadratic loss eta_c = 2 g^T g / g^T A g, so that lambda_c is the curvature along the gradient. Forward passes
only. The direction is that of the plain gradient, whatever the optimizer of the run, so that arms compare.
"""

from __future__ import annotations

from collections.abc import Callable

FORWARDS = 9
"""At most this many forward passes, the one at the weights not counted."""
PRECISION, ROUGHLY = 0.01, 0.05
"""The search ends with a bracket, or a change between two guesses, of the first relative size; after all forward passes
the second will do."""


def critical_step(rise: Callable[[float], float], slope: float, *, guess: float) -> tuple[float | None, int]:
    """The smallest eta with rise(eta) > 0, and the number of times that `rise` was asked.

    rise(eta) = L(w - eta g) - L(w) and slope = -g^T g < 0 its derivative at 0. None where it was not found.

    rise(eta) / eta is a straight line on a quadratic, so its root is sought, which the first extrapolation hits there:
    by false position between the last steps that fell and rose, the height of an end that stays put being halved
    (Illinois rule), each guess kept within a factor of 4 of what is known.
    """
    below, above = (0.0, slope), None
    eta, last, side = guess, 0.0, 0
    for asked in range(1, FORWARDS + 1):
        height = rise(eta) / eta
        if height <= 0:
            if side < 0 and above is not None:
                above = (above[0], above[1] / 2)
            below, side = (eta, height), -1
        else:
            if side > 0:
                below = (below[0], below[1] / 2)
            # Not a number is far beyond any step worth taking.
            above, side = (eta, height if height > 0 else float("inf")), 1
        last, eta = eta, _next(below, above)
        if above is not None and _width(below, above, last, eta) <= PRECISION:
            return eta, asked
    found = above is not None and _width(below, above, last, eta) <= ROUGHLY
    return (eta if found else None), FORWARDS


def _width(below: tuple[float, float], above: tuple[float, float], last: float, eta: float) -> float:
    """How well the root is known, relative to it: by the bracket, or by the last change of the guess."""
    return min((above[0] - below[0]) / above[0], abs(eta - last) / eta)


def _next(below: tuple[float, float], above: tuple[float, float] | None) -> float:
    if above is None:
        # Extrapolation needs the curve; from one side only the next step is larger by a fixed factor.
        return 4.0 * below[0]
    (a, low), (b, high) = below, above
    if high == float("inf"):
        return 0.5 * (a + b) if a else b / 4.0
    root = a + (b - a) * low / (low - high)
    # Never at the ends of the bracket: one end would stay for ever on a curve that bends.
    return min(max(root, a + 0.05 * (b - a)), b - 0.05 * (b - a))
