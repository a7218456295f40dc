"""`Row`: a record as error callbacks see it (parity rows T-05, E-02, E-03)."""

from millstream._millstream import Row

__all__ = ("Row",)
