"""Exceptions of the operator graph, at the paths Quix Streams has them."""

from .exceptions import InvalidOperation, InvalidTopology

__all__ = ("InvalidOperation", "InvalidTopology")
