"""Apache Kafka's own command-line tools (the Java clients) against the embedded broker."""

import concurrent.futures
import json
import pathlib
import time

import pytest
from brokers import wait_for

pytestmark = pytest.mark.slow
TRANSACTIONS = pathlib.Path(__file__).with_name("Transactions.java")
WORD_COUNT = pathlib.Path(__file__).with_name("WordCount.java")


@pytest.fixture
def tool(kafka_tool, address):
    def run(name, *arguments, **options):
        return kafka_tool(name, "--bootstrap-server", address, *arguments, **options)

    return run


def test_topics(tool, topic):
    made = tool("topics", "--create", "--topic", topic, "--partitions", "3", "--config", "retention.ms=5000")
    assert f"Created topic {topic}" in made
    assert topic in tool("topics", "--list").split()
    described = tool("topics", "--describe", "--topic", topic)
    assert "PartitionCount: 3" in described and "retention.ms=5000" in described
    tool("topics", "--alter", "--topic", topic, "--partitions", "4")
    assert "PartitionCount: 4" in tool("topics", "--describe", "--topic", topic)
    tool("topics", "--delete", "--topic", topic)
    assert topic not in tool("topics", "--list").split()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_console_producer_and_consumer(tool, topic, codec):
    tool("topics", "--create", "--topic", topic)
    lines = [f"line {number}" for number in range(200)]
    tool("console-producer", "--topic", topic, "--compression-codec", codec, text="\n".join(lines) + "\n")
    out = tool("console-consumer", "--topic", topic, "--from-beginning", "--max-messages", "200",
               "--timeout-ms", "60000")
    assert out.splitlines() == lines


def test_read_committed_sees_everything(tool, topic):
    tool("topics", "--create", "--topic", topic)
    tool("console-producer", "--topic", topic, text="a\nb\n")
    out = tool("console-consumer", "--topic", topic, "--from-beginning", "--max-messages", "2",
               "--timeout-ms", "60000", "--isolation-level", "read_committed")
    assert out.split() == ["a", "b"]


def test_consumer_groups(tool, topic, group):
    tool("topics", "--create", "--topic", topic)
    tool("console-producer", "--topic", topic, text="x\n" * 10)
    tool("console-consumer", "--topic", topic, "--group", group, "--from-beginning", "--max-messages", "10",
         "--timeout-ms", "60000")
    assert group in tool("consumer-groups", "--list").split()
    described = tool("consumer-groups", "--describe", "--group", group)
    row = next(line.split() for line in described.splitlines() if topic in line)
    assert row[3:6] == ["10", "10", "0"]
    state = tool("consumer-groups", "--describe", "--state", "--group", group)
    assert "Empty" in state
    reset = tool("consumer-groups", "--group", group, "--topic", topic, "--reset-offsets", "--to-offset", "4",
                 "--execute")
    assert reset.split()[-1] == "4"
    out = tool("console-consumer", "--topic", topic, "--group", group, "--max-messages", "6", "--timeout-ms", "60000")
    assert len(out.split()) == 6
    tool("consumer-groups", "--group", group, "--delete-offsets", "--topic", topic)
    tool("consumer-groups", "--group", group, "--delete")
    assert group not in tool("consumer-groups", "--list").split()


def test_consumer_groups_of_the_new_protocol(tool, topic, group):
    tool("topics", "--create", "--topic", topic, "--partitions", "3")
    new = ["--topic", topic, "--group", group, "--command-property", "group.protocol=consumer", "--timeout-ms", "60000"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        reading = pool.submit(tool, "console-consumer", *new, "--from-beginning", "--max-messages", "20")

        def describe(what):
            # The tool fails as long as there is no such group.
            return tool("consumer-groups", "--describe", what, "--group", group, check=False)

        wait_for(lambda: "Stable" in describe("--state"), "the group to be stable")
        state = next(line.split() for line in describe("--state").splitlines() if "Stable" in line)
        assert state[0] == group and "uniform" in state and state[-1] == "1"
        members = describe("--members")
        assert "console-consumer" in members, members
        offsets = describe("--offsets")
        assert sum(topic in line for line in offsets.splitlines()) == 3, offsets
        tool("console-producer", "--topic", topic, text="x\n" * 20)
        assert reading.result() == "x\n" * 20
    listed = tool("consumer-groups", "--list", "--type", "consumer")
    assert group in listed.split()
    described = tool("consumer-groups", "--describe", "--group", group)
    rows = [line.split() for line in described.splitlines() if topic in line]
    assert sum(int(row[3]) for row in rows) == 20
    # Nobody is there any more: the old protocol may have the group.
    tool("console-producer", "--topic", topic, text="y\n")
    out = tool("console-consumer", "--topic", topic, "--group", group, "--max-messages", "1", "--timeout-ms", "60000")
    assert out == "y\n"
    assert group in tool("consumer-groups", "--list", "--type", "classic").split()


def test_configs(tool, topic):
    tool("topics", "--create", "--topic", topic)
    topics = ["--entity-type", "topics", "--entity-name", topic]
    tool("configs", "--alter", *topics, "--add-config", "retention.ms=777,cleanup.policy=[compact,delete]")
    described = tool("configs", "--describe", *topics)
    assert "retention.ms=777" in described and "cleanup.policy=compact,delete" in described
    tool("configs", "--alter", *topics, "--delete-config", "retention.ms")
    every = tool("configs", "--describe", "--all", *topics)
    assert "retention.ms=604800000" in every and every.count("sensitive=") == 33
    broker = ["--entity-type", "brokers", "--entity-name", "1"]
    assert tool("configs", "--describe", "--all", *broker).count("sensitive=") == 340
    tool("configs", "--alter", *broker, "--add-config", "log.retention.ms=123456789")
    assert "retention.ms=123456789" in tool("configs", "--describe", "--all", *topics)
    tool("configs", "--alter", *broker, "--delete-config", "log.retention.ms")
    refused = tool("configs", "--alter", *topics, "--add-config", "retention.ms=never", check=False)
    assert "retention.ms=never" not in tool("configs", "--describe", "--all", *topics), refused


def test_records_are_deleted_and_offsets_listed(tool, topic, tmp_path):
    tool("topics", "--create", "--topic", topic)
    tool("console-producer", "--topic", topic, text="x\n" * 10)
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 6}]}))
    tool("delete-records", "--offset-json-file", str(plan))
    assert f"{topic}:0:6" in tool("get-offsets", "--topic", topic, "--time", "earliest")
    assert f"{topic}:0:10" in tool("get-offsets", "--topic", topic, "--time", "latest")


def test_the_log_is_kafkas_own_format(kafka_tool, own_broker, topic):
    """Kafka's own reader of segment files accepts ours."""
    address = own_broker.address
    kafka_tool("topics", "--bootstrap-server", address, "--create", "--topic", topic)
    kafka_tool("console-producer", "--bootstrap-server", address, "--topic", topic, text="x\n" * 10)
    own_broker.stop()
    log, = (own_broker.data_dir / "topics").glob("*/0/00000000000000000000.log")
    dumped = kafka_tool("dump-log", "--files", str(log), "--deep-iteration", "--print-data-log")
    assert dumped.count("payload: x") == 10 and "isvalid: true" in dumped and "isvalid: false" not in dumped


def test_a_java_program_that_is_exactly_once(kafka_program, tool, address, topic):
    """Kafka's own client speaks the second version of transactions (KIP-890), with a static member."""
    source, target = f"{topic}-in", f"{topic}-out"
    for name in (source, target):
        tool("topics", "--create", "--topic", name)
    lines = [f"line {number}" for number in range(100)]
    tool("console-producer", "--topic", source, text="\n".join(lines) + "\n")
    said = kafka_program(TRANSACTIONS, address, source, target, "100")
    assert said.split("\n")[:2] == ["committed 100", "fenced"]
    out = tool("console-consumer", "--topic", target, "--from-beginning", "--max-messages", "101",
               "--timeout-ms", "60000", "--isolation-level", "read_committed")
    assert out.splitlines() == [*lines, "last"]
    row, = (line.split() for line in tool("transactions", "list").splitlines() if target in line)
    assert row[0] == target and row[3] == "CompleteCommit"


def test_kafka_streams_counts_each_word_once_over_a_kill_of_the_broker(kafka_program, own_broker, topic, tmp_path):
    """An unmodified Kafka Streams application, exactly_once_v2, while the broker dies and comes back."""
    confluent_kafka = pytest.importorskip("confluent_kafka")
    from confluent_kafka.admin import AdminClient, NewTopic

    address, source, target = own_broker.address, f"{topic}-in", f"{topic}-out"
    admin = AdminClient({"bootstrap.servers": address})
    for made in admin.create_topics([NewTopic(source, 2, 1), NewTopic(target, 1, 1)]).values():
        made.result(60)
    producer = confluent_kafka.Producer({"bootstrap.servers": address, "enable.idempotence": True})

    def write(count):
        for number in range(count):
            producer.produce(source, b"alpha beta gamma" if number % 2 else b"alpha delta", partition=number % 2)
        assert producer.flush(60) == 0

    def counts():
        reader = confluent_kafka.Consumer({
            "bootstrap.servers": address, "group.id": "reader", "isolation.level": "read_committed",
            "enable.auto.commit": False,
        })
        reader.assign([confluent_kafka.TopicPartition(target, 0, 0)])
        latest = {}
        while (message := reader.poll(3)) is not None:
            if not message.error():
                latest[message.key().decode()] = int(message.value())
        reader.close()
        return latest

    write(200)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(kafka_program, WORD_COUNT, address, source, target, str(tmp_path / "state"), "40")
        until = time.monotonic() + 30
        while not counts() and time.monotonic() < until:
            pass
        write(100)
        own_broker.kill()
        own_broker.start()
        write(100)
        assert running.result(120).split()[-1] == "RUNNING"
    assert counts() == {"alpha": 400, "beta": 200, "gamma": 200, "delta": 200}


def test_transactions_are_listed_described_and_aborted(tool, address, topic):
    confluent_kafka = pytest.importorskip("confluent_kafka")
    tool("topics", "--create", "--topic", topic)
    settings = {"bootstrap.servers": address, "transactional.id": topic, "transaction.timeout.ms": 600_000}
    producer = confluent_kafka.Producer(settings)
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, b"hangs")
    assert producer.flush(60) == 0
    listed = tool("transactions", "list", "--duration-filter", "1")
    row, = (line.split() for line in listed.splitlines() if topic in line)
    assert row[3] == "Ongoing"
    assert topic not in tool("transactions", "list", "--duration-filter", "3600000")
    assert "Ongoing" in tool("transactions", "describe", "--transactional-id", topic)
    described = tool("transactions", "describe-producers", "--topic", topic, "--partition", "0")
    producer_id, epoch, coordinator_epoch, sequence, _, start = described.splitlines()[-1].split()
    assert (producer_id, epoch, coordinator_epoch, sequence, start) == (row[2], "0", "-1", "0", "0")
    read = ["--topic", topic, "--partition", "0", "--offset", "earliest", "--isolation-level", "read_committed",
            "--max-messages", "1", "--timeout-ms", "8000"]
    tool("console-producer", "--topic", topic, text="waits\n")
    assert tool("console-consumer", *read, check=False) == ""
    tool("transactions", "abort", "--topic", topic, "--partition", "0", "--start-offset", "0")
    assert tool("console-consumer", *read, check=False).split() == ["waits"]
    described = tool("transactions", "describe-producers", "--topic", topic, "--partition", "0")
    assert described.splitlines()[-1].split()[-1] == "None", "no transaction is open any more"
    producer.abort_transaction(60)
    assert tool("console-consumer", *read, check=False).split() == ["waits"]


def test_the_markers_and_their_index_are_kafkas_own_format(kafka_tool, own_broker, topic):
    confluent_kafka = pytest.importorskip("confluent_kafka")
    address = own_broker.address
    kafka_tool("topics", "--bootstrap-server", address, "--create", "--topic", topic)
    settings = {"bootstrap.servers": address, "transactional.id": topic, "transaction.timeout.ms": 600_000}
    producer = confluent_kafka.Producer(settings)
    producer.init_transactions(60)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce(topic, b"x")
        producer.flush(60)
        end(60)
    own_broker.stop()
    log, = (own_broker.data_dir / "topics").glob("*/0/00000000000000000000.log")
    dumped = kafka_tool("dump-log", "--files", str(log), "--deep-iteration", "--print-data-log")
    assert "endTxnMarker: COMMIT coordinatorEpoch: 0" in dumped and "endTxnMarker: ABORT" in dumped
    assert "isvalid: false" not in dumped
    index = log.with_suffix(".txnindex")
    dumped = kafka_tool("dump-log", "--files", str(index))
    assert "firstOffset: 2" in dumped and "lastOffset: 3" in dumped and "lastStableOffset: 4" in dumped, dumped
