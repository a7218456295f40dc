"""Lengths of time as users write them (parity row W-08)."""

from datetime import timedelta

__all__ = ("ensure_milliseconds",)

_MILLISECOND = timedelta(milliseconds=1)


def ensure_milliseconds(delta: int | timedelta) -> int:
    """Milliseconds of an `int` (as it is) or a `timedelta` (to the nearest, exactly).

    Raises:
        TypeError: neither; floats are refused because they are too easily seconds.

    >>> ensure_milliseconds(timedelta(seconds=1, milliseconds=1))
    1001
    """
    if isinstance(delta, timedelta):
        # Integer arithmetic: 1001 ms is not 1000 because a float was cut.
        whole, rest = divmod(delta, _MILLISECOND)
        return whole + (2 * rest >= _MILLISECOND)
    if isinstance(delta, int):
        return delta
    raise TypeError(
        f"a length of time must be whole milliseconds (int) or a datetime.timedelta, not {type(delta).__name__}"
        f" ({delta!r})"
    )
