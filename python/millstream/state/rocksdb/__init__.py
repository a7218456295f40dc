"""Stores on disk: settings and exceptions (parity rows ST-20 to ST-30, ST-40)."""

from .exceptions import IncompatibleStateStoreError, RocksDBCorruptedError, RocksDBOpenAborted
from .options import RocksDBOptions, RocksDBOptionsType
from .store import RocksDBStore

__all__ = (
    "IncompatibleStateStoreError",
    "RocksDBCorruptedError",
    "RocksDBOpenAborted",
    "RocksDBOptions",
    "RocksDBOptionsType",
    "RocksDBStore",
)
