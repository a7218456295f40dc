"""State of user functions (parity rows ST-01 to ST-58)."""

from millstream._millstream import State

__all__ = ("State",)
