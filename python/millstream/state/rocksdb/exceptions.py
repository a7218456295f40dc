"""Exceptions of the stores on disk (parity row ST-40)."""

from millstream.state.exceptions import IncompatibleStateStoreError, StateError

__all__ = ("IncompatibleStateStoreError", "RocksDBCorruptedError", "RocksDBOpenAborted")


class RocksDBCorruptedError(StateError):
    """A store's files are damaged and may not be rebuilt (ST-23)."""


class RocksDBOpenAborted(StateError):
    """The application stopped while it waited for a locked store (ST-22)."""
