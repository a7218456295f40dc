"""One consumer as a process that a test can kill: prints `owns 0,1` and `saw PARTITION OFFSET`, commits as it goes."""

import sys

from confluent_kafka import Consumer

address, group, topic = sys.argv[1:]
reader = Consumer({
    "bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest",
    "enable.auto.commit": False, "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
})
owned = set()


def say(text):
    print(text, flush=True)


def assigned(_, partitions):
    owned.update(partition.partition for partition in partitions)
    say("owns " + ",".join(map(str, sorted(owned))))


def revoked(_, partitions):
    owned.difference_update(partition.partition for partition in partitions)


reader.subscribe([topic], on_assign=assigned, on_revoke=revoked)
while True:
    message = reader.poll(0.2)
    if message is None:
        continue
    if message.error():
        sys.exit(str(message.error()))
    say(f"saw {message.partition()} {message.offset()}")
    reader.commit(message, asynchronous=False)
