"""Critical sharpness: how large a step of gradient descent can be before it raises the loss (arXiv 2601.16979).

    lambda_c = 2 / eta_c,   eta_c = the smallest eta with L(w - eta g) > L(w)

On a quadratic loss eta_c = 2 g^T g / g^T A g, so that lambda_c is the curvature along the gradient. Forward passes
only. The direction is that of the plain gradient, whatever the optimizer of the run, so that arms compare.
"""

from __future__ import annotations

from collections.abc import Callable

FORWARDS = 9
"""At most this many forward passes, the one at the weights not counted."""
PRECISION = 0.01
"""The search ends with a bracket, or a change between two guesses, of this relative size."""


def critical_step(rise: Callable[[float], float], slope: float, *, guess: float) -> tuple[float | None, int]:
    """The smallest eta with rise(eta) > 0, and the number of times that `rise` was asked.

    rise(eta) = L(w - eta g) - L(w) and slope = -g^T g < 0 its derivative at 0. None where no bracket was found.

    rise(eta) / eta is a straight line on a quadratic, so its root is sought, which the first extrapolation hits there:
    by the rule of false position between the last steps that fell and rose, each guess kept within a factor of 4 of
    what is known.
    """
    below, above = (0.0, slope), None
    eta, asked, last = guess, 0, 0.0
    while asked < FORWARDS:
        asked += 1
        height = rise(eta) / eta
        side = (eta, height)
        if not height > 0:
            if not height <= 0:  # Not a number: far beyond any step worth taking.
                above = (eta, float("inf"))
            else:
                below = side
        else:
            above = side
        last = eta
        eta = _next(below, above)
        if above is not None and (abs(eta - last) <= PRECISION * eta or above[0] - below[0] <= PRECISION * above[0]):
            return eta, asked
    return (None if above is None else eta), asked


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
