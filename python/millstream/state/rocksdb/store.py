"""`RocksDBStore` (parity row ST-21)."""

__all__ = ("RocksDBStore",)


class RocksDBStore:
    """Names the kind of store that is kept on disk, for `StreamingDataFrame.register_store`; the default."""
