"""`ApplicationConfig`: the settings of an application (parity row A-38)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from millstream.kafka.configuration import ConnectionConfig, masked
from millstream.kafka.consumer import AutoOffsetReset
from millstream.state.rocksdb.options import RocksDBOptions

__all__ = ("ApplicationConfig", "ProcessingGuarantee", "StateRecoveryOffsetReset")

ProcessingGuarantee = Literal["at-least-once", "exactly-once"]
ClientName = Literal["librdkafka", "millstream"]
StateRecoveryOffsetReset = Literal["earliest", "latest", "match"]

# librdkafka's default.
_MAX_POLL_INTERVAL_MS = 300_000


@dataclass(frozen=True, repr=False)
class ApplicationConfig:
    """The settings of an application; see the arguments of `Application`. It cannot be changed, only copied.

    >>> config = ApplicationConfig(ConnectionConfig(bootstrap_servers="kafka-1:9092"), "orders")
    >>> config.copy(commit_interval=1.0).commit_interval
    1.0
    """

    broker_address: ConnectionConfig
    consumer_group: str
    consumer_group_prefix: str = ""
    auto_offset_reset: AutoOffsetReset = "latest"
    commit_interval: float = 5.0
    commit_every: int = 0
    producer_extra_config: dict[str, Any] = field(default_factory=dict)
    consumer_extra_config: dict[str, Any] = field(default_factory=dict)
    processing_guarantee: ProcessingGuarantee = "at-least-once"
    consumer_poll_timeout: float = 1.0
    producer_poll_timeout: float = 0.0
    auto_create_topics: bool = True
    request_timeout: float = 30
    topic_create_timeout: float = 60
    state_dir: Path = Path("state")
    rocksdb_options: RocksDBOptions | None = None
    use_changelog_topics: bool = True
    auto_recover_from_source_offset_out_of_range: bool = True
    state_recovery_offset_reset: StateRecoveryOffsetReset = "earliest"
    max_partition_buffer_size: int = 10_000

    def __post_init__(self) -> None:
        self._one_of("auto_offset_reset", "earliest", "latest", "error")
        self._one_of("processing_guarantee", "at-least-once", "exactly-once")
        self._one_of("state_recovery_offset_reset", "earliest", "latest", "match")

    def _one_of(self, name: str, *allowed: str) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")

    def copy(self, **overrides: Any) -> ApplicationConfig:
        """A copy with some settings changed.

        Raises:
            TypeError: there is no such setting.
            ValueError: a setting cannot have this value.
        """
        return replace(self, **overrides)

    @property
    def flush_timeout(self) -> float:
        """Seconds that a checkpoint waits for deliveries: `max.poll.interval.ms`, 300 s by default."""
        return int(self.consumer_extra_config.get("max.poll.interval.ms", _MAX_POLL_INTERVAL_MS)) / 1000

    @property
    def exactly_once(self) -> bool:
        """Whether the processing guarantee is `"exactly-once"`."""
        return self.processing_guarantee == "exactly-once"

    def __repr__(self) -> str:
        shown = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in ("producer_extra_config", "consumer_extra_config"):
            shown[name] = masked(shown[name])
        return f"ApplicationConfig({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
