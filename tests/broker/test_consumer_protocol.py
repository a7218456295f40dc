"""The protocol of KIP-848 (`group.protocol=consumer`) as librdkafka speaks it."""

import pytest
from brokers import wait_for

confluent_kafka = pytest.importorskip("confluent_kafka")
from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupType, KafkaException, Producer  # noqa: E402
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # noqa: E402

PATIENCE = 60


def make(address, topic, partitions):
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(PATIENCE)


def produce(address, topic, values, partition):
    producer = Producer({"bootstrap.servers": address})
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(PATIENCE) == 0


def describe(address, group):
    admin = AdminClient({"bootstrap.servers": address})
    return admin.describe_consumer_groups([group])[group].result(PATIENCE)


class Member:
    """A consumer and all that it has read."""

    def __init__(self, address, group, *topics, **config):
        self.consumer = Consumer({
            "bootstrap.servers": address, "group.id": group, "group.protocol": "consumer",
            "auto.offset.reset": "earliest", "enable.auto.commit": False,
            **{name.replace("_", "."): value for name, value in config.items()},
        })
        self.values = []
        self.consumer.subscribe(list(topics))

    def poll(self):
        for message in self.consumer.consume(100, 0.1):
            if not message.error():
                self.values.append(message.value().decode())

    def owned(self):
        return sorted((partition.topic, partition.partition) for partition in self.consumer.assignment())

    def close(self):
        self.consumer.close()


@pytest.fixture
def members():
    made = []
    yield made
    for member in made:
        member.close()


def poll_until(members, condition, what):
    def step():
        for member in members:
            member.poll()
        return condition()

    wait_for(step, what)


def sizes(members):
    return sorted(len(member.owned()) for member in members)


def test_members_share_what_there_is(address, topic, group, members):
    make(address, topic, 6)
    members.append(Member(address, group, topic))
    poll_until(members, lambda: sizes(members) == [6], "all partitions")
    kept = set(members[0].owned())
    members.append(Member(address, group, topic))
    poll_until(members, lambda: sizes(members) == [3, 3], "three partitions each")
    assert set(members[0].owned()) < kept, "what it has is of what it had"
    described = describe(address, group)
    assert (described.state, described.type) == (ConsumerGroupState.STABLE, ConsumerGroupType.CONSUMER)
    assert (described.partition_assignor, len(described.members)) == ("uniform", 2)

    # A topic that grows is shared anew.
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_partitions([NewPartitions(topic, 8)])[topic].result(PATIENCE)
    poll_until(members, lambda: sizes(members) == [4, 4], "four partitions each")
    members.pop().close()
    poll_until(members, lambda: sizes(members) == [8], "all partitions again")


def test_offsets_are_committed_and_found(address, topic, group, members):
    make(address, topic, 1)
    produce(address, topic, ["a", "b", "c"], 0)
    members.append(Member(address, group, topic))
    poll_until(members, lambda: members[0].values == ["a", "b", "c"], "three records")
    members[0].consumer.commit(asynchronous=False)
    members.pop().close()
    produce(address, topic, ["d"], 0)
    members.append(Member(address, group, topic))
    poll_until(members, lambda: members[0].values == ["d"], "the fourth record, and no other")


def test_a_static_member_gets_back_what_it_had(address, topic, group, members):
    make(address, topic, 4)
    members.append(Member(address, group, topic, group_instance_id="one"))
    members.append(Member(address, group, topic, group_instance_id="two"))
    poll_until(members, lambda: sizes(members) == [2, 2], "two partitions each")
    had, kept = members[0].owned(), members[1].owned()
    members.pop(0).close()
    for _ in range(20):
        members[0].poll()
        assert members[0].owned() == kept, "nothing moves while the other one is away"
    members.append(Member(address, group, topic, group_instance_id="one"))
    poll_until(members, lambda: members[1].owned() == had, "what it had")


def test_a_regular_expression_finds_topics_that_come_later(address, topic, group, members):
    make(address, f"{topic}-1", 1)
    members.append(Member(address, group, f"^{topic}-.*"))
    poll_until(members, lambda: members[0].owned() == [(f"{topic}-1", 0)], "the first topic")
    make(address, f"{topic}-2", 1)
    poll_until(members, lambda: len(members[0].owned()) == 2, "the second topic")
    with pytest.raises(KafkaException):
        wrong = Member(address, f"{group}-wrong", "^(")
        members.append(wrong)
        for _ in range(100):
            for message in wrong.consumer.consume(1, 0.1):
                raise KafkaException(message.error())


def test_a_group_goes_on_after_a_kill_of_the_broker(own_broker, topic, group, members):
    make(own_broker.address, topic, 4)
    members.extend(Member(own_broker.address, group, topic) for _ in range(2))
    poll_until(members, lambda: sizes(members) == [2, 2], "two partitions each")
    had = [member.owned() for member in members]
    own_broker.kill()
    own_broker.start()
    for partition in range(4):
        produce(own_broker.address, topic, [f"{partition}"], partition)
    poll_until(members, lambda: sorted(members[0].values + members[1].values) == list("0123"), "all records")
    assert [member.owned() for member in members] == had, "they have kept what they had"
    # Nobody had to join again: the ids are the same, and so is the state.
    assert describe(own_broker.address, group).state == ConsumerGroupState.STABLE
