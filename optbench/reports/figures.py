"""How a number of a column is written in a table."""

from __future__ import annotations

import math

from optbench.metrics.columns import column

NOTHING = "-"


def figure(value: float, metric: str, *, digits: int = 3) -> str:
    """A value of a column without its unit; fractions in percent, other numbers with `digits` significant digits."""
    fraction = column(metric).unit == "fraction" and math.isfinite(value)
    return f"{100 * value:.1f}" if fraction else compact(value, digits=digits)


def compact(value: float, *, digits: int = 3) -> str:
    """A number with `digits` significant digits, in scientific notation where it is very large or very small."""
    if math.isnan(value):
        return NOTHING
    if value == 0 or math.isinf(value):
        return f"{value:.0f}"
    if not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    # Rounded first: 9.996 with three digits is 10.0, not 10.00.
    rounded = float(f"{value:.{digits - 1}e}")
    return f"{rounded:.{max(0, digits - 1 - math.floor(math.log10(abs(rounded))))}f}"
