"""An exact log of admitted requests: how many of them lie in one window."""

from fractions import Fraction


def is_longer(earlier: float, later: float, span: float) -> bool:
    """Whether `later - earlier > span`, exactly: the float difference tells, unless rounding made it equal."""
    difference = later - earlier
    if difference != span:
        return difference > span
    return Fraction(later) - Fraction(earlier) > Fraction(span)


def most_in_any_window(admitted: list[float], window: float) -> int:
    """The most that lie in any closed interval of that length: one that holds the most can start at one of them."""
    most = first = 0
    for last, moment in enumerate(admitted):
        while is_longer(admitted[first], moment, window):
            first += 1
        most = max(most, last - first + 1)
    return most
