"""What a record's timestamp stands for (parity row T-08)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ("MessageTimestamp", "TimestampType")


class TimestampType(enum.IntEnum):
    """Who set a record's timestamp."""

    TIMESTAMP_NOT_AVAILABLE = 0
    """Nobody: the topic has none."""
    TIMESTAMP_CREATE_TIME = 1
    """The producer."""
    TIMESTAMP_LOG_APPEND_TIME = 2
    """The broker, when it wrote the record."""


@dataclass(frozen=True, slots=True)
class MessageTimestamp:
    """A timestamp in ms since the epoch with its type."""

    milliseconds: int
    type: TimestampType

    @classmethod
    def create(cls, timestamp_type: int, milliseconds: int) -> MessageTimestamp:
        """Makes one of what `message.timestamp()` gives.

        >>> MessageTimestamp.create(1, 1_700_000_000_000).type.name
        'TIMESTAMP_CREATE_TIME'
        """
        return cls(milliseconds, TimestampType(timestamp_type))
