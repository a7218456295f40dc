"""Exceptions of the operator graph (parity row E-14)."""

from millstream.exceptions import MillstreamException

__all__ = ("InvalidOperation", "InvalidTopology")


class InvalidOperation(MillstreamException):
    """An operation that the dataframe or series cannot do, found where it is written."""


class InvalidTopology(MillstreamException):
    """The operator graph has a shape that cannot run."""
