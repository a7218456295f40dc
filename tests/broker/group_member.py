"""One consumer as a process that a test can kill: prints `owns 0,1` and `saw PARTITION OFFSET`, commits as it goes.

A fourth argument, `consumer`, chooses the protocol of KIP-848, where the broker decides about times.
"""

import sys

from confluent_kafka import Consumer, KafkaError, KafkaException

address, group, topic, *protocol = sys.argv[1:]
times = {"group.protocol": "consumer"} if protocol else {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
reader = Consumer({
    "bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
    **times,
})
# The partition has gone to another member meanwhile, who sees the record again.
TOO_LATE = {KafkaError.STALE_MEMBER_EPOCH, KafkaError.UNKNOWN_MEMBER_ID} if protocol else set()
owned = set()


def say(text):
    print(text, flush=True)


def assigned(_, partitions):
    owned.update(partition.partition for partition in partitions)
    say("owns " + ",".join(map(str, sorted(owned))))


def revoked(_, partitions):
    owned.difference_update(partition.partition for partition in partitions)
    say("owns " + ",".join(map(str, sorted(owned))))


reader.subscribe([topic], on_assign=assigned, on_revoke=revoked)
while True:
    message = reader.poll(0.2)
    if message is None:
        continue
    if message.error():
        sys.exit(str(message.error()))
    say(f"saw {message.partition()} {message.offset()}")
    try:
        reader.commit(message, asynchronous=False)
    except KafkaException as error:
        if error.args[0].code() not in TOO_LATE:
            raise
