"""`RocksDBOptions`: settings of the stores on disk (parity row ST-30)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Literal, get_args

from millstream._millstream import json_dumps, json_loads

__all__ = ("RocksDBOptions", "RocksDBOptionsType")

_WITHOUT_EFFECT = (
    "open_max_retries",
    "open_retry_backoff",
    "legacy_records_ttl",
    "legacy_backfill_chunk_size",
    "ttl_rollback",
    "ttl_force_flip",
)

CompressionType = Literal["none", "snappy", "zlib", "bz2", "lz4", "lz4hc", "zstd"]


@dataclass(frozen=True)
class RocksDBOptions:
    """Settings of the stores on disk. Sizes are in bytes.

    Attributes:
        write_buffer_size: size of one write buffer.
        target_file_size_base: size that files of the first level are aimed at.
        max_write_buffer_number: how many write buffers a store may hold.
        block_cache_size: cache for blocks, shared by all stores of the process.
        bloom_filter_bits_per_key: size of the Bloom filters.
        enable_pipelined_write: overlap log and memory writes.
        compression_type: `"none"`, `"snappy"`, `"zlib"`, `"bz2"`, `"lz4"`, `"lz4hc"` or `"zstd"`.
        wal_dir, db_log_dir: other directories for the write-ahead log and for RocksDB's own log.
        max_total_wal_size: size of the write-ahead log at which buffers are flushed.
        dumps, loads: write and read keys and values of `State`, in place of JSON (ST-06).
        open_max_retries, open_retry_backoff: how often, and every how many seconds, to try a store that another
            process holds.
        use_fsync: `fsync` rather than `fdatasync`.
        on_corrupted_recreate: rebuild a damaged store from its changelog (ST-23).
        max_evictions_per_flush: how many expired entries a checkpoint deletes at most, each store partition (ST-54).
        ttl_changelog_tombstones: delete expired entries from the changelog, too. Without, a restore brings them back,
            unseen, and they are deleted again.
        legacy_records_ttl, legacy_backfill_chunk_size, ttl_rollback, ttl_force_flip: steer a migration that
            Millstream's stores do not need: entries with and without ttl live side by side, and those without stay.
            Accepted and without effect (ST-55, ST-58).

    Raises:
        ValueError: an unknown compression, a time or a size that is not positive, or `ttl_rollback` together with
            `ttl_force_flip`.

    >>> RocksDBOptions(compression_type="zstd").compression_type
    'zstd'
    """

    write_buffer_size: int = 64 * 1024 * 1024
    target_file_size_base: int = 64 * 1024 * 1024
    max_write_buffer_number: int = 3
    block_cache_size: int = 1024 * 1024 * 1024
    bloom_filter_bits_per_key: int = 10
    enable_pipelined_write: bool = False
    compression_type: CompressionType = "lz4"
    wal_dir: str | None = None
    max_total_wal_size: int | None = 128 * 1024 * 1024
    db_log_dir: str | None = None
    dumps: Callable[[Any], bytes] = json_dumps
    loads: Callable[[bytes], Any] = json_loads
    open_max_retries: int = 10
    open_retry_backoff: float = 3.0
    use_fsync: bool = True
    on_corrupted_recreate: bool = True
    max_evictions_per_flush: int = 150_000
    legacy_records_ttl: timedelta | None = None
    legacy_backfill_chunk_size: int = 150_000
    ttl_changelog_tombstones: bool = True
    ttl_rollback: bool = False
    ttl_force_flip: bool = False

    def __post_init__(self) -> None:
        if self.compression_type not in get_args(CompressionType):
            raise ValueError(
                f"compression_type must be one of {', '.join(get_args(CompressionType))}, not {self.compression_type!r}"
            )
        if self.legacy_records_ttl is not None and self.legacy_records_ttl <= timedelta(0):
            raise ValueError("legacy_records_ttl must be positive")
        if self.legacy_backfill_chunk_size <= 0:
            raise ValueError("legacy_backfill_chunk_size must be positive")
        if self.max_evictions_per_flush <= 0:
            raise ValueError("max_evictions_per_flush must be positive")
        if self.ttl_rollback and self.ttl_force_flip:
            raise ValueError("ttl_rollback and ttl_force_flip exclude each other")

    def _without_effect(self) -> list[str]:
        """The options that were set and do nothing here."""
        return [
            field.name
            for field in fields(self)
            if field.name in _WITHOUT_EFFECT and getattr(self, field.name) != field.default
        ]

    def to_options(self) -> dict[str, Any]:
        """The settings as the engine takes them, by name."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.dumps is json_dumps:
            del options["dumps"]
        if self.loads is json_loads:
            del options["loads"]
        return options


RocksDBOptionsType = RocksDBOptions
"""The name that Quix Streams uses in signatures."""
