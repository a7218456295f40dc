"""aiokafka against the embedded broker: another implementation of the protocol, in Python."""

import asyncio

import pytest

aiokafka = pytest.importorskip("aiokafka")
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition  # noqa: E402
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete  # noqa: E402
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # noqa: E402
from aiokafka.errors import ProducerFenced  # noqa: E402

PATIENCE = 60


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


async def make(address, topic, partitions=1):
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1)])
    return admin


async def read(reader, count):
    messages = []
    while len(messages) < count:
        for batch in (await reader.getmany(timeout_ms=1000)).values():
            messages += batch
    return messages


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_each_compression_comes_back(address, topic, codec):
    async def scenario():
        admin = await make(address, topic)
        producer = AIOKafkaProducer(bootstrap_servers=address, compression_type=codec, enable_idempotence=True)
        await producer.start()
        sent = [await producer.send(topic, b"value %d" % n, key=b"k", headers=[("h", b"x")]) for n in range(500)]
        metadata = await asyncio.gather(*sent)
        await producer.stop()
        assert [record.offset for record in metadata] == list(range(500))
        reader = AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest")
        await reader.start()
        messages = await read(reader, 500)
        assert [message.value for message in messages] == [b"value %d" % n for n in range(500)]
        assert messages[0].headers == (("h", b"x"),)
        await reader.stop()
        await admin.close()

    run(scenario())


def test_groups_share_and_commit(address, topic, group):
    async def scenario():
        admin = await make(address, topic, partitions=4)
        options = dict(bootstrap_servers=address, group_id=group, auto_offset_reset="earliest",
                       enable_auto_commit=False)
        one = AIOKafkaConsumer(topic, **options)
        two = AIOKafkaConsumer(topic, **options)
        await one.start()
        await two.start()
        while len(one.assignment()) != 2 or len(two.assignment()) != 2:
            await asyncio.gather(one.getmany(timeout_ms=100), two.getmany(timeout_ms=100))
        assert not one.assignment() & two.assignment()
        producer = AIOKafkaProducer(bootstrap_servers=address)
        await producer.start()
        for number in range(40):
            await producer.send_and_wait(topic, b"%d" % number, partition=number % 4)
        await producer.stop()
        assert len(await read(one, 20)) == len(await read(two, 20)) == 20
        await one.commit()
        partition = next(iter(one.assignment()))
        assert await one.committed(partition) == 10
        await two.stop()
        again = await read(one, 20)
        assert len(again) == 20, "what the other one did not commit comes again"
        assert len(one.assignment()) == 4
        await one.stop()
        assert group in {name for name, _ in await admin.list_consumer_groups()}
        await admin.close()

    run(scenario())


def test_transactions(address, topic, group):
    async def scenario():
        admin = await make(address, topic, partitions=2)
        producer = AIOKafkaProducer(bootstrap_servers=address, transactional_id=topic, transaction_timeout_ms=10_000)
        await producer.start()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"first", partition=0)
            await producer.send_offsets_to_transaction({TopicPartition(topic, 1): 5}, group)
        with pytest.raises(ZeroDivisionError):
            async with producer.transaction():
                await producer.send_and_wait(topic, b"never", partition=0)
                await producer.send_offsets_to_transaction({TopicPartition(topic, 1): 9}, group)
                raise ZeroDivisionError
        async with producer.transaction():
            await producer.send_and_wait(topic, b"second", partition=0)
        reader = AIOKafkaConsumer(
            bootstrap_servers=address, group_id=group, isolation_level="read_committed", enable_auto_commit=False
        )
        await reader.start()
        partition = TopicPartition(topic, 0)
        reader.assign([partition, TopicPartition(topic, 1)])
        await reader.seek_to_beginning(partition)
        assert [message.value for message in await read(reader, 2)] == [b"first", b"second"]
        assert await reader.committed(TopicPartition(topic, 1)) == 5
        second = AIOKafkaProducer(bootstrap_servers=address, transactional_id=topic)
        await second.start()
        with pytest.raises(ProducerFenced):
            async with producer.transaction():
                await producer.send_and_wait(topic, b"zombie", partition=0)
        await second.stop()
        await producer.stop()
        await reader.stop()
        await admin.close()

    run(scenario())


def test_admin_calls(address, topic):
    async def scenario():
        admin = await make(address, topic)
        await admin.create_partitions({topic: NewPartitions(3)})
        described = await admin.describe_topics([topic])
        assert len(described[0]["partitions"]) == 3
        configs = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        names = {entry[0] for response in configs for resource in response.resources for entry in resource[4]}
        assert "retention.ms" in names
        producer = AIOKafkaProducer(bootstrap_servers=address)
        await producer.start()
        for _ in range(5):
            await producer.send_and_wait(topic, b"x", partition=0)
        await producer.stop()
        deleted = await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=3)})
        assert deleted[TopicPartition(topic, 0)] == 3
        reader = AIOKafkaConsumer(bootstrap_servers=address)
        await reader.start()
        partition = TopicPartition(topic, 0)
        assert await reader.beginning_offsets([partition]) == {partition: 3}
        assert await reader.end_offsets([partition]) == {partition: 5}
        await reader.stop()
        await admin.delete_topics([topic])
        assert topic not in await admin.list_topics()
        await admin.close()

    run(scenario())
