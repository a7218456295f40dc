"""Topics, their manager and their admin: T-01 to T-31."""

import pytest

from millstream.models import MessageContext, Row, TimestampType, Topic, TopicConfig, TopicManager
from millstream.models.serializers import Deserializer, IgnoreMessage, JSONSerializer, SerializationError
from millstream.models.topics import TopicType
from millstream.models.topics.exceptions import (
    CreateTopicFailure,
    TopicConfigurationError,
    TopicConfigurationMismatch,
    TopicNameLengthExceeded,
    TopicNotFoundError,
    TopicPartitionsMismatch,
)
from millstream.testing import MemoryAdmin, MemoryApplication


class FakeMessage:
    """A message as a consumer gives it, without a broker."""

    def __init__(self, key=None, value=None, headers=None, timestamp=(1, 7)):
        self.parts = key, value, headers, timestamp

    def key(self):
        return self.parts[0]

    def value(self):
        return self.parts[1]

    def headers(self):
        return self.parts[2]

    def timestamp(self):
        return self.parts[3]

    def topic(self):
        return "in"

    def partition(self):
        return 2

    def offset(self):
        return 30

    def leader_epoch(self):
        return 4

    def error(self):
        return None

    def __len__(self):
        return 11


def manager(group="g", **settings):
    return TopicManager(MemoryAdmin(), group, **settings)


def topic_with(partitions=1, name="in", replicas=1, **settings):
    topic = Topic(name)
    topic.broker_config = TopicConfig(partitions, replicas, settings)
    return topic


class TestTopic:
    def test_alone(self):
        """T-01"""
        topic = Topic("t")
        assert (topic.name, topic.quix_name) == ("t", "t")
        assert topic.is_regular and not topic.is_changelog and not topic.is_repartition
        assert topic.create_config is None
        with pytest.raises(TopicConfigurationError, match=r"app\.topic\('t'\)"):
            topic.broker_config  # noqa: B018 - asking is what raises

    def test_config(self):
        """T-02"""
        assert TopicConfig(3, 2, {"a": "b"}).as_dict() == {
            "num_partitions": 3, "replication_factor": 2, "extra_config": {"a": "b"},
        }

    def test_serialize(self):
        """T-03: `None` goes through the serializers, too."""
        message = Topic("t").serialize(key=b"k", value={"a": 1}, headers={"h": b"1"}, timestamp_ms=5)
        assert (message.key, message.value, message.headers, message.timestamp) == (b"k", b'{"a":1}', {"h": b"1"}, 5)
        empty = Topic("t", key_serializer="json").serialize()
        assert (empty.key, empty.value) == (b"null", b"null")
        empty = Topic("t", key_serializer="str", value_serializer="int").serialize()
        assert (empty.key, empty.value) == (None, None)

    def test_deserialize(self):
        """T-04"""
        topic = Topic("t", key_deserializer="str")
        message = topic.deserialize(FakeMessage(b"k", b'{"a":1}', [("h", b"1")]))
        assert (message.key, message.value, message.headers, message.timestamp) == ("k", {"a": 1}, [("h", b"1")], 7)
        message = topic.deserialize(FakeMessage())
        assert (message.key, message.value) == (None, None)

    def test_row_deserialize(self):
        """T-05"""
        row = Topic("t").row_deserialize(FakeMessage(b"k", b"[1]", [("h", b"1")]))
        assert (row.value, row.key, row.timestamp, row.headers) == ([1], b"k", 7, [("h", b"1")])
        assert (row.topic, row.partition, row.offset, row.size, row.leader_epoch) == ("in", 2, 30, 11, 4)
        assert Topic("t").row_deserialize(FakeMessage()).value is None

    def test_ignored_and_split(self):
        """T-05, T-51, T-64"""

        class Lines(Deserializer):
            split_values = True

            def __call__(self, value, ctx):
                assert (ctx.topic, ctx.field) == ("in", "value")
                if value == b"skip":
                    raise IgnoreMessage
                return value.split()

        topic = Topic("t", value_deserializer=Lines())
        assert topic.row_deserialize(FakeMessage(value=b"skip")) is None
        assert [row.value for row in topic.row_deserialize(FakeMessage(value=b"a b"))] == [b"a", b"b"]
        assert topic.row_deserialize(FakeMessage(value=b"")) == []

    def test_timestamp_extractor(self):
        """T-07: each item gets the message's own timestamp; T-08."""
        seen = []

        def extract(value, headers, timestamp, kind):
            seen.append((value, headers, timestamp, kind))
            return timestamp + 100

        class Split(Deserializer):
            split_values = True

            def __call__(self, value, ctx):
                return list(value)

        topic = Topic("t", value_deserializer=Split(), timestamp_extractor=extract)
        rows = topic.row_deserialize(FakeMessage(value=b"\1\2", headers=[("h", b"x")]))
        assert [row.timestamp for row in rows] == [107, 107]
        assert seen == [
            (1, [("h", b"x")], 7, TimestampType.TIMESTAMP_CREATE_TIME),
            (2, [("h", b"x")], 7, TimestampType.TIMESTAMP_CREATE_TIME),
        ]

    def test_row_serialize(self):
        """T-06"""

        class Marked(JSONSerializer):
            extra_headers = {"a": b"new", "z": b"1"}

        row = Row(None, b"k", 5, MessageContext("in", 0, 0, 0), [("a", b"old"), ("b", b"2"), ("a", b"older")])
        message = Topic("t", value_serializer=Marked(), key_serializer="json").row_serialize(row, None)
        assert (message.key, message.value) == (None, b"null")
        assert message.headers == [("b", b"2"), ("a", b"new"), ("z", b"1")]

    @pytest.mark.parametrize("name", ["", None, 5])
    def test_names_that_are_none(self, name):
        with pytest.raises(ValueError, match="name must be a text"):
            Topic(name)

    def test_wrong_bytes(self):
        with pytest.raises(SerializationError):
            Topic("t").deserialize(FakeMessage(value=b"{"))


class TestManager:
    def test_declaring_creates_once(self):
        """T-10, T-11, T-14"""
        topics = manager()
        first = topics.topic("t")
        assert first.broker_config.num_partitions == 1
        assert first.broker_config.replication_factor == 1
        again = topics.topic("t", create_config=TopicConfig(9, 1))
        assert again.broker_config.num_partitions == 1, "existing topics are never altered"
        assert topics.topics == {"t": again}, "A-30: the registration is replaced"

    def test_what_is_read_back(self):
        """T-13"""
        topic = manager().topic("t", create_config=TopicConfig(2, 1, {"retention.ms": "5", "segment.ms": "9"}))
        assert topic.broker_config == TopicConfig(
            2, 1, {"retention.ms": "5", "retention.bytes": "-1", "cleanup.policy": "delete"}
        )

    def test_not_created(self):
        """T-10"""
        with pytest.raises(TopicNotFoundError, match="millstream topics create missing"):
            manager(auto_create_topics=False).topic("missing")

    @pytest.mark.parametrize("name", ["a b", "a/b", "..", "ä", "x" * 250])
    def test_names_that_kafka_refuses(self, name):
        """T-12"""
        with pytest.raises(CreateTopicFailure, match="use at most 249 letters"):
            manager().topic(name)

    def test_names_that_are_too_long(self):
        """T-12"""
        with pytest.raises(TopicNameLengthExceeded, match="256 characters"):
            manager().topic("x" * 256)

    @pytest.mark.parametrize(
        ("stream_id", "expected"),
        [
            ("orders", "changelog__g--orders--default"),
            ("repartition__g--orders--user", "changelog__g--repartition.orders.user--default"),
            (None, "changelog__g--default"),
        ],
    )
    def test_internal_names(self, stream_id, expected):
        """T-20"""
        assert manager().changelog_topic(stream_id, "default", TopicConfig(1, 1)).name == expected

    def test_changelogs(self):
        """T-23, T-24"""
        topics = manager()
        topic = topics.changelog_topic("orders", "default", TopicConfig(2, 1, {"retention.ms": "5"}))
        assert topic.is_changelog
        assert topic.broker_config.extra_config["cleanup.policy"] == "compact"
        assert topics.changelog_topics == {"orders": {"default": topic}}
        assert topics.changelog_topics_list == [topic]
        with pytest.raises(TopicConfigurationMismatch, match="has 2 partitions and needs 3"):
            topics.changelog_topic("orders", "default", TopicConfig(3, 1))

    def test_repartition_topics(self):
        """T-20"""
        topics = manager()
        topic = topics.repartition_topic("user", "orders", TopicConfig(2, 1))
        assert topic.name == "repartition__g--orders--user"
        assert topic.is_repartition
        assert topics.non_changelog_topics == {topic.name: topic}

    def test_stream_ids(self):
        """T-21"""
        assert manager().stream_id_from_topics([Topic("b"), Topic("a"), Topic("b")]) == "a--b"
        with pytest.raises(ValueError):
            manager().stream_id_from_topics([])

    @pytest.mark.parametrize(
        ("settings", "ms", "size"),
        [
            ([{"retention.ms": "5", "retention.bytes": "7"}, {"retention.ms": "6"}], "6", "-1"),
            ([{"retention.ms": "5", "retention.bytes": "7"}, {"retention.ms": "-1", "retention.bytes": "9"}], "-1", "9"),
            ([{}], "604800000", "-1"),
        ],
    )
    def test_derived_settings(self, settings, ms, size):
        """T-22"""
        topics = [topic_with(n + 1, replicas=3 - n, **values) for n, values in enumerate(settings)]
        config = TopicManager.derive_topic_config(topics)
        assert config.extra_config == {"retention.ms": ms, "retention.bytes": size}
        assert (config.num_partitions, config.replication_factor) == (len(settings), 3)

    def test_copartitioning(self):
        """T-25"""
        TopicManager.ensure_topics_copartitioned(topic_with(2), topic_with(2, "b"))
        with pytest.raises(TopicPartitionsMismatch, match="'in': 2, 'b': 3"):
            TopicManager.ensure_topics_copartitioned(topic_with(2), topic_with(3, "b"))


class TestInternalTopicsOfAnApplication:
    def names(self, app):
        return {
            "changelog": sorted(topic.name for topic in app._topic_manager.changelog_topics_list),
            "repartition": sorted(app._topic_manager.repartition_topics),
        }

    def test_a_window_behind_a_group_by(self):
        """T-10, T-20: declared as soon as the step is written."""
        app = MemoryApplication(consumer_group="g")
        sdf = app.dataframe(app.topic("orders", config=TopicConfig(2, 1)))
        sdf = sdf.group_by("user")
        assert self.names(app) == {"changelog": [], "repartition": ["repartition__g--orders--user"]}
        assert sdf.stream_id == "repartition__g--orders--user"
        sdf.apply(lambda value: value["amount"]).tumbling_window(60000).sum().final()
        assert self.names(app) == {
            "changelog": ["changelog__g--repartition.orders.user--tumbling_window_60000_sum"],
            "repartition": ["repartition__g--orders--user"],
        }
        config = app._topic_manager.repartition_topics["repartition__g--orders--user"].broker_config
        assert config.num_partitions == 2
        assert config.extra_config["retention.ms"] == "-1", "T-23"

    def test_a_stateful_function(self):
        """D-23"""
        app = MemoryApplication(consumer_group="g")
        sdf = app.dataframe(app.topic("orders", config=TopicConfig(3, 1)))
        sdf.apply(lambda value, state: value, stateful=True)
        (changelog,) = app._topic_manager.changelog_topics_list
        assert changelog.name == "changelog__g--orders--default"
        assert changelog.broker_config.num_partitions == 3
        assert changelog.broker_config.extra_config["cleanup.policy"] == "compact"

    def test_no_changelogs(self):
        """A-15"""
        app = MemoryApplication(use_changelog_topics=False)
        app.dataframe(app.topic("orders")).apply(lambda value, state: value, stateful=True)
        assert app._topic_manager.changelog_topics_list == []

    def test_a_changelog_of_another_size(self):
        """T-24"""
        admin = MemoryAdmin()
        topics = TopicManager(admin, "g")
        admin.create_topics([Topic("changelog__g--in--default", TopicType.CHANGELOG, TopicConfig(2, 1))])
        app = MemoryApplication(consumer_group="g", topic_manager=topics)
        sdf = app.dataframe(app.topic("in"))
        with pytest.raises(TopicConfigurationMismatch, match="has 2 partitions and needs 1"):
            sdf.apply(lambda value, state: value, stateful=True)


def test_on_a_broker(broker):
    """T-10 to T-13: the same by asking a broker."""
    app = broker.application()
    topic = broker.topic("made", partitions=3)
    assert topic.broker_config.num_partitions == 3
    assert topic.broker_config.replication_factor == 1
    assert topic.broker_config.extra_config == {
        "retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete",
    }
    plain = app.topic(f"{topic.name}-plain")
    assert plain.broker_config.extra_config["retention.ms"] == "604800000"
    assert app.topic(topic.name).broker_config == topic.broker_config
    with pytest.raises(CreateTopicFailure, match="use at most 249 letters"):
        app.topic("a b")
    names = app._topic_manager._admin.list_topics(timeout=10)
    assert len(names[topic.name].partitions) == 3
