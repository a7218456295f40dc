"""What DescribeConfigs says, compared with a real Apache Kafka (MILLSTREAM_TEST_KAFKA): names, defaults, who may change
what. Every difference stands here."""

import os

import pytest

confluent_kafka = pytest.importorskip("confluent_kafka")
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource, NewTopic, ResourceType  # noqa: E402

pytestmark = pytest.mark.kafka
PATIENCE = 60

# What the embedded broker sets differently, and Kafka's default; NOT_IMPLEMENTED.md says so as well.
DIFFERENT_DEFAULTS = {
    "auto.create.topics.enable": ("false", "true"),
    "broker.id": ("1", "-1"),
    "group.consumer.migration.policy": ("disabled", "bidirectional"),
    "group.coordinator.rebalance.protocols": ("classic,consumer", "classic,consumer,streams"),
    "group.initial.rebalance.delay.ms": ("0", "3000"),
    "offsets.topic.num.partitions": ("1", "50"),
    "offsets.topic.replication.factor": ("1", "3"),
    "share.coordinator.state.topic.min.isr": ("1", "2"),
    "share.coordinator.state.topic.replication.factor": ("1", "3"),
    "transaction.state.log.min.isr": ("1", "2"),
    "transaction.state.log.replication.factor": ("1", "3"),
}
# Where it listens: each its own.
ADDRESS = {"listeners"}


def describe(address, kind, name):
    admin = AdminClient({"bootstrap.servers": address})
    resource = ConfigResource(kind, name)
    return admin.describe_configs([resource])[resource].result(PATIENCE)


def default_of(entry):
    """The value that nobody has set: of the entry itself, or of the last of those that it goes back to."""
    if entry.source == ConfigSource.DEFAULT_CONFIG.value:
        return entry.value
    defaults = [s.value for s in entry.synonyms.values() if s.source == ConfigSource.DEFAULT_CONFIG.value]
    return defaults[0] if defaults else None


@pytest.fixture(scope="module")
def kafka():
    address = os.environ.get("MILLSTREAM_TEST_KAFKA")
    if not address:
        pytest.skip("NO REAL KAFKA: MILLSTREAM_TEST_KAFKA is not set (make test sets it)")
    return address


@pytest.fixture
def both(kafka, address, topic):
    """The settings of a new topic, ours and Kafka's."""
    for bootstrap in (address, kafka):
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(PATIENCE)
    yield describe(address, ResourceType.TOPIC, topic), describe(kafka, ResourceType.TOPIC, topic)
    admin.delete_topics([topic])[topic].result(PATIENCE)


def test_topics_have_kafkas_settings_and_defaults(both):
    ours, theirs = both
    assert set(ours) == set(theirs)
    different = {name: (ours[name].value, default_of(entry)) for name, entry in theirs.items()
                 if entry.source == ConfigSource.DEFAULT_CONFIG.value and ours[name].value != entry.value}
    assert different == {}
    assert {name for name in theirs if theirs[name].is_sensitive != ours[name].is_sensitive} == set()


def test_the_broker_has_kafkas_settings_and_defaults(kafka, address):
    admin = AdminClient({"bootstrap.servers": kafka})
    brokers = admin.list_topics(timeout=PATIENCE).brokers
    ours = describe(address, ResourceType.BROKER, "1")
    described = describe(kafka, ResourceType.BROKER, str(next(iter(brokers))))
    # Kafka lists what a listener was given beside the settings that every broker has.
    theirs = {name: entry for name, entry in described.items() if not name.startswith("listener.name.")}
    assert set(ours) == set(theirs)
    # What a test cluster was given goes back to a default, too; what has none (its address) is its own.
    defaults = {name: default_of(entry) for name, entry in theirs.items()}
    different = {name: (ours[name].value, default) for name, default in defaults.items()
                 if default is not None and name not in ADDRESS and ours[name].value != default}
    assert {name for name in theirs if theirs[name].is_read_only != ours[name].is_read_only} == set()
    assert {name for name in theirs if theirs[name].is_sensitive != ours[name].is_sensitive} == set()
    assert different == DIFFERENT_DEFAULTS
