"""`MessageContext`: where the record being processed came from (parity row M-31)."""

from millstream._millstream import MessageContext

__all__ = ("MessageContext",)
