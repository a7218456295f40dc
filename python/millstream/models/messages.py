"""`KafkaMessage`: a record ready to be produced, or read back (parity rows T-03, T-04)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .types import Headers

__all__ = ("KafkaMessage",)


@dataclass(slots=True)
class KafkaMessage:
    """Key, value, headers and timestamp of one record.

    Attributes:
        key, value: serialized after `Topic.serialize()`, objects after `Topic.deserialize()`.
        headers: as given, or as they were on the record.
        timestamp: ms since the epoch, or `None`.
    """

    key: Any
    value: Any
    headers: Headers | None
    timestamp: int | None = None
