"""The native module. Private: users import from `millstream` and its documented sub-modules.

Everything here is thin: arguments are checked by the Python layer, meaning lives in the engine. Names of
exceptions that these functions raise are the classes of the Python layer (`millstream.dataframe.exceptions`,
`millstream.models.serializers`, `millstream.kafka.exceptions`, ...), looked up by their import path when first
needed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from logging import Logger
from typing import Any, Final, Literal, final

__version__: Final[str]

_Headers = list[tuple[str, bytes | None]] | None
_OutputTuple = tuple[Any, Any, int, Any]

# ----------------------------------------------------------------------------------------------
# Records as users see them
# ----------------------------------------------------------------------------------------------

@final
class MessageContext:
    """Where the record being processed came from (M-31)."""

    def __new__(
        cls, topic: str, partition: int, offset: int, size: int, leader_epoch: int | None = None
    ) -> MessageContext: ...
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def leader_epoch(self) -> int | None: ...
    def __eq__(self, value: object, /) -> bool: ...

def message_context() -> MessageContext:
    """The context of the record being processed (M-30), inside a callable; else `MessageContextNotSetError`."""

def set_message_context(context: MessageContext | None) -> None:
    """Sets what `message_context()` returns in the current `contextvars` context."""

@final
class Row:
    """A deserialized record, as error callbacks (E-02, E-03) and `Topic.row_deserialize` give it."""

    def __new__(
        cls,
        value: Any,
        key: Any,
        timestamp: int,
        context: MessageContext,
        headers: _Headers = None,
    ) -> Row: ...
    value: Any
    key: Any
    timestamp: int
    headers: Any
    context: MessageContext
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def leader_epoch(self) -> int | None: ...

@final
class State:
    """A user's state, scoped to the key of the record being processed (ST-01 to ST-05, ST-50 to ST-57).

    Functions with `stateful=True` get one as last argument. Keys and values are written as JSON, so a tuple
    comes back as a list (ST-04). It works while the record is being processed; later use raises `RuntimeError`.

    A value that is set with a `ttl` reads as missing once the time of the store partition has reached the timestamp of
    the record that set it, plus the ttl. That time is event time, never the clock's: the greatest timestamp of the
    records whose functions read or wrote the store since a value was first given a ttl (ST-50).

    >>> from millstream.testing import MemoryApplication
    >>> app = MemoryApplication()
    >>> sdf = app.dataframe(app.topic("visits"))
    >>> def count(value, state):
    ...     total = state.get("total", 0) + 1
    ...     state.set("total", total)
    ...     return total
    >>> sdf = sdf.apply(count, stateful=True)
    >>> [sdf.test({}, key=key)[0][0] for key in (b"ann", b"bob", b"ann")]
    [1, 1, 2]
    """

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of a key, or `default` if it has none. A stored `None` is a value (ST-01).

        Raises:
            StateSerializationError: the key has no JSON form, or the stored bytes are no JSON.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("visits"))
        >>> sdf = sdf.apply(lambda value, state: state.get("seen", "never"), stateful=True)
        >>> sdf.test({})[0][0]
        'never'
        """
    def set(self, key: Any, value: Any, ttl: timedelta | None = None) -> None:
        """Sets the value of a key (ST-02).

        Args:
            key, value: anything that JSON has. A key of type `bytes` is taken as it is.
            ttl: the value expires that long after the record's timestamp, by event time; `None`: never (ST-50, ST-52).

        Raises:
            StateSerializationError: the key or the value has no JSON form. The checkpoint fails then, also if the
                error is suppressed (ST-04).
            ValueError: the ttl is not positive, or leads beyond the year 33658. The checkpoint fails as well (ST-51).
            TypeError: the ttl is no `timedelta`.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("visits"))
        >>> def swap(value, state):
        ...     before = state.get("city")
        ...     state.set("city", value["city"])
        ...     return before
        >>> sdf = sdf.apply(swap, stateful=True)
        >>> [sdf.test({"city": city})[0][0] for city in ("Bern", "Chur")]
        [None, 'Bern']
        """
    def get_bytes(self, key: Any, default: Any = None) -> Any:
        """The stored bytes of a key, or `default` if it has none (ST-05). Of what `set()` wrote, its JSON.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("visits"))
        >>> def raw(value, state):
        ...     state.set("city", "Chur")
        ...     return state.get_bytes("city")
        >>> sdf.apply(raw, stateful=True).test({})[0][0]
        b'"Chur"'
        """
    def set_bytes(self, key: Any, value: bytes, ttl: timedelta | None = None) -> None:
        r"""Sets the value of a key to bytes, as they are (ST-05).

        Args:
            key: as in `set()`.
            value: `bytes`.
            ttl: the value expires that long after the record's timestamp, by event time; `None`: never (ST-50, ST-52).

        Raises:
            StateSerializationError: the value is no `bytes`; as in `set()`.

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("visits"))
        >>> def keep(value, state):
        ...     state.set_bytes("image", bytes([0, 255]))
        ...     return state.get_bytes("image")
        >>> sdf.apply(keep, stateful=True).test({})[0][0]
        b'\x00\xff'
        """
    def exists(self, key: Any) -> bool:
        """Whether a key has a value, be it `None` (ST-03).

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("visits"))
        >>> def first(value, state):
        ...     known = state.exists("known")
        ...     state.set("known", None)
        ...     return not known
        >>> sdf = sdf.filter(first, stateful=True)
        >>> len(sdf.test({})), len(sdf.test({}))
        (1, 0)
        """
    def delete(self, key: Any) -> None:
        """Removes a key and its value; fine if there is none (ST-03).

        >>> from millstream.testing import MemoryApplication
        >>> app = MemoryApplication()
        >>> sdf = app.dataframe(app.topic("visits"))
        >>> def forget(value, state):
        ...     state.set("city", "Chur")
        ...     state.delete("city")
        ...     return state.get("city")
        >>> sdf.apply(forget, stateful=True).test({})[0][0] is None
        True
        """

# ----------------------------------------------------------------------------------------------
# Serializers
# ----------------------------------------------------------------------------------------------

@final
class NativeSerializer:
    """A serializer that the engine can run. A Python class that stands for a built-in one keeps it in an
    attribute `_native`; wherever this module takes a serializer it looks there first, and otherwise wraps the
    object: `object(value, SerializationContext) -> str | bytes | None`, its `extra_headers` (T-51)."""

    def __new__(
        cls, kind: Literal["str", "bytes", "int", "double", "json"]
    ) -> NativeSerializer: ...
    def __call__(
        self, value: Any, topic: str = "", field: Literal["key", "value"] = "value", headers: Any = None
    ) -> bytes | None: ...

@final
class NativeDeserializer:
    """A deserializer that the engine can run; see `NativeSerializer`. Python ones are called
    `object(bytes, SerializationContext)`, may raise `IgnoreMessage`, and make several records of one with
    `split_values`."""

    def __new__(
        cls, kind: Literal["str", "bytes", "int", "double", "json"]
    ) -> NativeDeserializer: ...
    def __call__(
        self, value: bytes, topic: str = "", field: Literal["key", "value"] = "value", headers: Any = None
    ) -> Any: ...

def librdkafka_version() -> str | None:
    """The version of librdkafka that `client="librdkafka"` brings; `None` in a build without it."""

def connection_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a client's settings that are about connections, for an admin client beside it."""

def json_dumps(value: Any) -> bytes:
    """`value` as JSON by the rules of T-44. Raises `TypeError` for what has no JSON form."""

def json_loads(data: bytes | bytearray | memoryview | str) -> Any:
    """The object that JSON text stands for (T-45). Raises `ValueError`, with the position, for bad text."""

# ----------------------------------------------------------------------------------------------
# Column expressions
# ----------------------------------------------------------------------------------------------

_BinaryOperator = Literal[
    "+", "-", "*", "/", "%", "//", "**", "==", "!=", "<", "<=", ">", ">=", "in", "is"
]

@final
class Expr:
    """A column expression. Immutable; operands are expressions or constants of any type."""

    @staticmethod
    def column(name: str) -> Expr:
        """A column of the record's value, with the errors of S-01."""
    @staticmethod
    def whole() -> Expr:
        """The record's value itself."""
    @staticmethod
    def constant(value: Any) -> Expr: ...
    @staticmethod
    def has_keys(keys: Iterable[Any]) -> Expr:
        """Whether all of these are in the record's value (D-36)."""
    def item(self, index: Any) -> Expr:
        """`self[index]`, with the plain errors (S-02); `index` may be an expression."""
    def binary(self, op: _BinaryOperator, other: Any, reflected: bool = False) -> Expr:
        """`self op other`, or `other op self` if `reflected` (S-03, S-04, S-07 to S-09)."""
    def logical_and(self, other: Any, reflected: bool = False) -> Expr: ...
    def logical_or(self, other: Any, reflected: bool = False) -> Expr: ...
    def logical_not(self) -> Expr: ...
    def negate(self) -> Expr: ...
    def absolute(self) -> Expr: ...
    def is_null(self) -> Expr: ...
    def not_null(self) -> Expr: ...
    def apply(self, function: Callable[[Any], Any]) -> Expr: ...
    @property
    def needs_host(self) -> bool:
        """Whether evaluating it enters the interpreter, whatever the record."""
    def evaluate(
        self,
        value: Any,
        key: Any = None,
        timestamp: int = 0,
        headers: Any = None,
        context: MessageContext | None = None,
    ) -> Any:
        """Evaluates it on one value (S-12)."""

# ----------------------------------------------------------------------------------------------
# Topology
# ----------------------------------------------------------------------------------------------

@final
class TopicSpec:
    """A topic as the engine needs to know it: name, size, settings and formats.

    `configs` are the topic's settings as read from or asked of the broker (`retention.ms`, ...).
    (De)serializers: see `NativeSerializer`, `NativeDeserializer`; `None` stands for `bytes`.
    """

    def __new__(
        cls,
        name: str,
        *,
        partitions: int = 1,
        replication_factor: int = 1,
        configs: Mapping[str, str | None] | None = None,
        key_deserializer: Any = None,
        value_deserializer: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        timestamp_extractor: Callable[..., int] | None = None,
    ) -> TopicSpec: ...
    @property
    def name(self) -> str: ...
    @property
    def partitions(self) -> int: ...
    @property
    def replication_factor(self) -> int: ...
    @property
    def configs(self) -> dict[str, str]: ...

@final
class InternalTopic:
    """A repartition or changelog topic that must exist before the topology runs."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["repartition", "changelog"]: ...
    @property
    def partitions(self) -> int: ...
    @property
    def replication_factor(self) -> int: ...
    @property
    def configs(self) -> dict[str, str]: ...

@final
class Aggregation:
    """One column of a window's result (W-20 to W-29)."""

    @staticmethod
    def builtin(
        kind: Literal[
            "sum", "count", "mean", "min", "max", "first", "last", "earliest", "latest", "collect"
        ],
        column: str | None = None,
    ) -> Aggregation: ...
    @staticmethod
    def reduce(
        reducer: Callable[[Any, Any], Any],
        initializer: Callable[[Any], Any],
        merger: Callable[[Any, Any], Any] | None = None,
    ) -> Aggregation: ...
    @staticmethod
    def custom(aggregator: Any) -> Aggregation:
        """A `BaseAggregator`: `initialize`, `agg`, `result`, `state_suffix`."""
    @staticmethod
    def custom_collector(collector: Any) -> Aggregation:
        """A `BaseCollector`: `column`, `result`."""

@final
class Topology:
    """A finished topology; immutable."""

    def describe(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def internal_topics(self) -> list[InternalTopic]: ...
    @property
    def needs_host(self) -> bool:
        """Whether records enter the interpreter at all."""

@final
class TopologyBuilder:
    """Builds a topology node by node. Nodes are small integers; methods that add a node return it.

    Raises at declaration: `GroupByNestingLimit`, `GroupByDuplicate`, `StreamingDataFrameDuplicate`,
    `InvalidOperation`, `StoreAlreadyRegisteredError`, `TopicPartitionsMismatch`, `ValueError`.
    """

    def __new__(cls, consumer_group: str, *, use_changelog_topics: bool = True) -> TopologyBuilder: ...
    def source(self, topic: TopicSpec) -> int: ...
    def apply(
        self,
        parent: int,
        func: Callable[..., Any],
        *,
        expand: bool = False,
        metadata: bool = False,
        stateful: bool = False,
    ) -> int: ...
    def update(
        self, parent: int, func: Callable[..., Any], *, metadata: bool = False, stateful: bool = False
    ) -> int: ...
    def filter(
        self, parent: int, func: Callable[..., Any], *, metadata: bool = False, stateful: bool = False
    ) -> int: ...
    def filter_expr(self, parent: int, expr: Expr) -> int: ...
    def filter_chain(self, parent: int, chain: int) -> int:
        """Keeps records for which the chain of `apply` nodes that ends at `chain` gives something true
        (D-33); the chain must start at `parent` and is cut off."""
    def assign_expr(self, parent: int, column: Any, expr: Expr) -> int: ...
    def assign_constant(self, parent: int, column: Any, value: Any) -> int: ...
    def assign_chain(self, parent: int, column: Any, chain: int) -> int: ...
    def select(self, parent: int, expr: Expr) -> int:
        """Replaces the value by the expression's."""
    def project(self, parent: int, columns: Sequence[Any]) -> int: ...
    def drop(self, parent: int, columns: Sequence[str], ignore_missing: bool = False) -> int: ...
    def fill(self, parent: int, columns: Sequence[tuple[str, Any]]) -> int: ...
    def set_timestamp(self, parent: int, func: Callable[[Any, Any, int, Any], int]) -> int: ...
    def set_headers(self, parent: int, func: Callable[[Any, Any, int, Any], Any]) -> int: ...
    def print(self, parent: int, pretty: bool = True, metadata: bool = False) -> int: ...
    def group_by(
        self,
        parent: int,
        operation: str,
        key: str | Callable[[Any], Any],
        *,
        key_serializer: Any = None,
        value_serializer: Any = None,
        key_deserializer: Any = None,
        value_deserializer: Any = None,
    ) -> int: ...
    def window(
        self,
        parent: int,
        *,
        duration_ms: int,
        grace_ms: int = 0,
        name: str | None = None,
        aggregations: Sequence[tuple[str, Aggregation]],
        shortcut: str | None = None,
        emit: Literal["current", "final"] = "final",
        closing_strategy: Literal["key", "partition"] = "key",
        on_late: Callable[..., bool] | None = None,
        before_update: Callable[..., bool] | None = None,
        after_update: Callable[..., bool] | None = None,
    ) -> int:
        """A tumbling window by duration. `shortcut` names the single function (`"sum"`, ...) of a
        shortcut, whose result field is `value`; the store's name follows W-09."""
    def to_topic(
        self,
        parent: int,
        topic: TopicSpec | Callable[[Any, Any, int, Any], TopicSpec],
        key: Callable[[Any], Any] | None = None,
    ) -> int: ...
    def set_expiry(self, *, max_evictions_per_flush: int, changelog_tombstones: bool) -> None:
        """How stores declared from here on remove values that expired (ST-54)."""
    def register_store(self, node: int, *, in_memory: bool = False) -> None:
        """Registers the default state store of the node's stream; the first registration counts (ST-41)."""
    def roll_back(self) -> None:
        """Undoes the last call that added a node or a store. Once: there is no second step back."""
    def repartition_found(self, topic: str, partitions: int) -> None:
        """Tells the size of a repartition topic that was there already (T-10)."""
    def stream_id(self, node: int) -> str: ...
    def internal_topics(self) -> list[InternalTopic]:
        """What must exist for what was declared so far."""
    def build(self) -> Topology: ...

# ----------------------------------------------------------------------------------------------
# Running
# ----------------------------------------------------------------------------------------------

@final
class Runner:
    """Runs topologies against Kafka. One per application; `run` may be called again after it returned."""

    def __new__(
        cls,
        *,
        broker_address: str,
        consumer_group: str,
        auto_offset_reset: str = "latest",
        consumer_config: Mapping[str, str] | None = None,
        producer_config: Mapping[str, str] | None = None,
        commit_interval_ms: int = 5000,
        commit_every: int = 0,
        state_dir: str = "state",
        use_changelog_topics: bool = True,
        consumer_poll_timeout_ms: int = 1000,
        request_timeout_ms: int = 30000,
        broker_availability_timeout_ms: int = 120000,
        source_gap: Literal["fail", "earliest", "latest"] = "earliest",
        rocksdb_options: Mapping[str, Any] | None = None,
        on_consumer_error: Callable[[Exception, Any, Logger], bool] | None = None,
        on_processing_error: Callable[[Exception, Row | None, Logger], bool] | None = None,
        on_producer_error: Callable[[Exception, Row | None, Logger], bool] | None = None,
        on_message_processed: Callable[[str, int, int], None] | None = None,
        on_consumer_statistics: Callable[[str], object] | None = None,
        on_producer_statistics: Callable[[str], object] | None = None,
    ) -> Runner: ...
    def run(
        self,
        topology: Topology,
        *,
        timeout_ms: int = 0,
        count: int = 0,
        collect: bool = True,
        metadata: bool = False,
    ) -> list[dict[Any, Any]]:
        """Runs until stopped, limited, or failed. Releases the GIL while it waits. In the main thread it
        handles SIGINT and SIGTERM (A-56)."""
    def stop(self, fail: bool = False) -> None:
        """Asks the run to end (A-34). Callable from any thread, and from user functions."""
    @property
    def running(self) -> bool: ...

@final
class TestDriver:
    """Runs a topology without Kafka, in memory (M-01); behind `sdf.test()` and `millstream.testing`."""

    def __new__(
        cls,
        topology: Topology,
        *,
        on_consumer_error: Callable[[Exception, Any, Logger], bool] | None = None,
        on_processing_error: Callable[[Exception, Row | None, Logger], bool] | None = None,
        on_producer_error: Callable[[Exception, Row | None, Logger], bool] | None = None,
        on_message_processed: Callable[[str, int, int], None] | None = None,
        dumps: Callable[[Any], bytes | str] | None = None,
        loads: Callable[[bytes], Any] | None = None,
    ) -> TestDriver:
        """`dumps` and `loads` stand for JSON in `State` (ST-06)."""
    def process(
        self,
        topic: str,
        value: Any,
        key: Any = None,
        timestamp: int = 0,
        headers: Any = None,
        context: MessageContext | None = None,
    ) -> list[_OutputTuple]:
        """Runs one record, given as objects, through everything that reads `topic`; returns the leaf outputs
        in order of execution (D-60)."""
    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        timestamp: int = 0,
        headers: Any = None,
        partition: int = 0,
    ) -> None:
        """Hands in one record as bytes; `run()` processes what is queued, through repartition topics too."""
    def run(self) -> list[_OutputTuple]: ...
    def checkpoint(self) -> None: ...
    def crash(self) -> None:
        """Loses everything since the last checkpoint, as a killed process would (stores reopened, caches, stream
        times and queues gone), and queues the records sent since then again; `run()` processes them."""
    def tick(self, now_ms: int) -> None: ...
    def outputs(self, topic: str | None = None) -> list[dict[str, Any]]:
        """Records produced since the last call: `topic, partition, key, value, timestamp, headers` (bytes)."""
    def close(self) -> None: ...

# ----------------------------------------------------------------------------------------------
# Kafka clients
# ----------------------------------------------------------------------------------------------

@final
class KafkaError:
    """An error of the Kafka client; methods as `confluent_kafka.KafkaError` has them."""

    def __new__(
        cls, code: int, reason: str | None = None, fatal: bool = False, retriable: bool = False
    ) -> KafkaError: ...
    def code(self) -> int: ...
    def name(self) -> str: ...
    def str(self) -> str: ...
    def fatal(self) -> bool: ...
    def retriable(self) -> bool: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class TopicPartition:
    """A partition, with an offset or not."""

    def __new__(
        cls,
        topic: str,
        partition: int = -1,
        offset: int = -1001,
        metadata: str | None = None,
        leader_epoch: int | None = None,
    ) -> TopicPartition: ...
    topic: str
    partition: int
    offset: int
    metadata: str | None
    leader_epoch: int | None
    error: KafkaError | None
    def __eq__(self, value: object, /) -> bool: ...
    def __lt__(self, value: object, /) -> bool: ...
    def __le__(self, value: object, /) -> bool: ...
    def __gt__(self, value: object, /) -> bool: ...
    def __ge__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Message:
    """A record read from, or delivered to, Kafka."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def leader_epoch(self) -> int | None: ...
    def error(self) -> KafkaError | None: ...
    def latency(self) -> float | None: ...
    def __len__(self) -> int: ...

@final
class KafkaProducer:
    def __new__(
        cls, config: Mapping[str, str], stats_cb: Callable[[str], object] | None = None
    ) -> KafkaProducer: ...
    def produce(
        self,
        topic: str,
        value: bytes | str | None = None,
        key: bytes | str | None = None,
        headers: Any = None,
        partition: int | None = None,
        timestamp: int | None = None,
        on_delivery: Callable[[KafkaError | None, Message], None] | None = None,
    ) -> None:
        """Raises `BufferError` when the queue is full."""
    def poll(self, timeout: float = 0.0, statistics: bool = True) -> int: ...
    def flush(self, timeout: float | None = None) -> int: ...
    def purge(self) -> None: ...
    def __len__(self) -> int: ...
    def close(self) -> None: ...

@final
class KafkaConsumer:
    def __new__(
        cls, config: Mapping[str, str], stats_cb: Callable[[str], object] | None = None
    ) -> KafkaConsumer: ...
    def subscribe(
        self,
        topics: Sequence[str],
        on_assign: Callable[[list[TopicPartition]], None] | None = None,
        on_revoke: Callable[[list[TopicPartition]], None] | None = None,
        on_lost: Callable[[list[TopicPartition]], None] | None = None,
    ) -> None: ...
    def unsubscribe(self) -> None: ...
    def assign(self, partitions: Sequence[TopicPartition]) -> None: ...
    def unassign(self) -> None: ...
    def assignment(self) -> list[TopicPartition]: ...
    def poll(self, timeout: float | None = None) -> Message | None: ...
    def consume(self, num_messages: int = 1, timeout: float | None = None) -> list[Message]: ...
    def store_offsets(
        self, message: Message | None = None, offsets: Sequence[TopicPartition] | None = None
    ) -> None: ...
    def commit(
        self,
        message: Message | None = None,
        offsets: Sequence[TopicPartition] | None = None,
        asynchronous: bool = True,
    ) -> list[TopicPartition] | None: ...
    def committed(
        self, partitions: Sequence[TopicPartition], timeout: float | None = None
    ) -> list[TopicPartition]: ...
    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]: ...
    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float | None = None, cached: bool = False
    ) -> tuple[int, int]: ...
    def offsets_for_times(
        self, partitions: Sequence[TopicPartition], timeout: float | None = None
    ) -> list[TopicPartition]: ...
    def seek(self, partition: TopicPartition) -> None: ...
    def pause(self, partitions: Sequence[TopicPartition]) -> None: ...
    def resume(self, partitions: Sequence[TopicPartition]) -> None: ...
    def memberid(self) -> str | None: ...
    def close(self) -> None: ...

@final
class KafkaAdmin:
    """Cluster metadata and administration. Times in seconds. Errors: `KafkaError` inside `KafkaException`
    of `millstream.kafka.exceptions`; a cluster that does not answer: `KafkaBrokerUnavailableError`."""

    def __new__(cls, config: Mapping[str, str]) -> KafkaAdmin: ...
    def list_topics(self, timeout: float = 30.0) -> dict[str, int]:
        """Topic names with their numbers of partitions."""
    def inspect_topics(
        self, names: Sequence[str], timeout: float = 30.0
    ) -> dict[str, tuple[int, int, dict[str, str | None]] | None]:
        """Per name: partitions, replication factor and all settings; `None` where there is no such topic."""
    def create_topics(
        self,
        topics: Sequence[tuple[str, int, int, Mapping[str, str]]],
        timeout: float = 30.0,
    ) -> dict[str, KafkaError | None]:
        """Creates topics (name, partitions, replication factor, settings); the answer per name."""
    def delete_topics(
        self, names: Sequence[str], timeout: float = 30.0
    ) -> dict[str, KafkaError | None]: ...
    def close(self) -> None: ...

# ----------------------------------------------------------------------------------------------
# The process
# ----------------------------------------------------------------------------------------------

def ensure_broker(data_dir: str, command: Sequence[str]) -> str:
    """Finds or starts the embedded broker of that data directory, as a process of its own, and returns its
    address. `command` starts it, e.g. `[sys.executable, "-m", "millstream", "broker"]`; the options that make it
    the embedded one are appended. It has 60 s to answer."""

def cli_main(argv: Sequence[str]) -> int:
    """The command line program; `argv` without the program's name. Returns the exit status."""

def set_log_level(level: int) -> None:
    """From which level of `logging` on native log events are handed to Python's loggers `millstream.…`."""
