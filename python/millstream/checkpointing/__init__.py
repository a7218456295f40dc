"""Checkpoints: their exceptions (parity row E-16)."""

from .exceptions import InvalidStoredOffset

__all__ = ("InvalidStoredOffset",)
