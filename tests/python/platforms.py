"""The same pipeline on the test driver and on brokers."""

import dataclasses
import time
import uuid
from typing import Any

from millstream import Application
from millstream.kafka import Consumer, TopicPartition
from millstream.models import TopicConfig
from millstream.testing import MemoryApplication, TopologyTestDriver
from millstream.testing.driver import _read_back, _written

# How long a run goes on after the last record: long enough for a repartition topic's records to come round.
QUIET_S = 1.5
# The records of the tests are from 1970: with a retention the broker deletes them as soon as it looks.
FOR_EVER = {"retention.ms": "-1"}
BEGINNING = -2


@dataclasses.dataclass(frozen=True)
class Input:
    """A record to hand in; value and key as bytes, or as objects that the topic's counterpart writes."""

    topic: Any
    value: Any = None
    key: Any = None
    # Not 0, which is "now" to a producer.
    timestamp: int = 1
    headers: Any = None
    partition: int | None = None


@dataclasses.dataclass(frozen=True)
class Output:
    """A record that came out. `key` and `value` are read back, `raw_*` are bytes."""

    key: Any
    value: Any
    timestamp: int
    headers: list
    partition: int
    raw_key: bytes | None
    raw_value: bytes | None


class DriverPlatform:
    """Runs pipelines on the test driver."""

    address = None

    def __init__(self):
        self._driver = None
        self._seen = {}

    def application(self, **settings):
        settings = {"consumer_group": "tests", "auto_offset_reset": "earliest", **settings}
        self.app = MemoryApplication(**settings)
        return self.app

    def topic(self, name, partitions=1, **formats):
        return self.app.topic(name, config=TopicConfig(partitions, 1, FOR_EVER), **formats)

    def run(self, *inputs):
        """Processes these records; may be called again."""
        if self._driver is None:
            self._driver = TopologyTestDriver(self.app)
        for record in inputs:
            self._driver.pipe_input(
                record.topic, record.value, record.key, record.timestamp, record.headers, record.partition
            )

    def output(self, topic):
        """What was written to a topic since the start, partition by partition."""
        records = self._seen.setdefault(topic.name, [])
        if self._driver is not None:
            records.extend(
                Output(o.key, o.value, o.timestamp, o.headers, o.partition, o.raw_key, o.raw_value)
                for o in self._driver.read_outputs(topic)
            )
        return sorted(records, key=lambda record: record.partition)


class BrokerPlatform:
    """Runs pipelines on a broker. Topics get names of their own, so that tests share it."""

    def __init__(self, directory, address):
        self.address = address
        self._directory = directory
        self._suffix = uuid.uuid4().hex[:8]

    def application(self, **settings):
        settings = {
            "consumer_group": f"tests-{self._suffix}",
            "auto_offset_reset": "earliest",
            "commit_interval": 0.2,
            "state_dir": self._directory / "state",
            "loglevel": None,
            **settings,
        }
        self.app = Application(self.address, **settings)
        return self.app

    def topic(self, name, partitions=1, **formats):
        return self.app.topic(f"{name}-{self._suffix}", config=TopicConfig(partitions, 1, FOR_EVER), **formats)

    def produce(self, *inputs):
        with self.app.get_producer() as producer:
            for record in inputs:
                topic = record.topic
                producer.produce(
                    topic.name,
                    value=_written(record.value, topic._value_deserializer, topic.name, "value"),
                    key=_written(record.key, topic._key_deserializer, topic.name, "key"),
                    headers=record.headers,
                    partition=record.partition,
                    timestamp=record.timestamp,
                )

    def run(self, *inputs, **arguments):
        """Writes these records, and runs the application until all is quiet."""
        self.produce(*inputs)
        return self.app.run(timeout=QUIET_S, **arguments)

    def output(self, topic):
        """What stands in a topic, partition by partition."""
        records = []
        with Consumer(self.address, f"reader-{uuid.uuid4().hex}", "earliest", auto_commit_enable=False) as consumer:
            for partition in range(topic.broker_config.num_partitions):
                records.extend(self._partition(consumer, topic, partition))
        return records

    @staticmethod
    def _partition(consumer, topic, partition):
        _, end = consumer.get_watermark_offsets(TopicPartition(topic.name, partition), timeout=10)
        consumer.assign([TopicPartition(topic.name, partition, BEGINNING)])
        deadline = time.monotonic() + 20
        position = 0
        while position < end:
            assert time.monotonic() < deadline, f"{topic.name}[{partition}] could not be read up to {end}"
            message = consumer.poll(timeout=1)
            if message is None:
                continue
            assert message.error() is None, message.error()
            position = message.offset() + 1
            yield Output(
                _read_back(message.key(), topic._key_serializer, topic.name, "key"),
                _read_back(message.value(), topic._value_serializer, topic.name, "value"),
                message.timestamp()[1],
                message.headers() or [],
                partition,
                message.key(),
                message.value(),
            )
