"""SIGKILL, again and again, into a group of two processes while a producer writes.

Two arrangements. *Shared*: both processes have one state directory, and most restarts find their
state on disk. *Apart*: each has a directory of its own, which is empty at every start, so that all
state comes back from changelogs; and some of the processes are not killed but stopped for longer
than their session lasts, so that they wake up as owners of partitions which have other owners.

What must hold afterwards, on the embedded broker and on Apache Kafka:

* every record is in the output at least once (at-least-once, CK-08);
* per key, the outputs of one process run come in the order of the input (A-60);
* the counts in state equal the input exactly: nothing is lost from state and nothing counts twice
  (CK-08, CK-32);
* every closed window's count equals the input, however often it was written.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

HERE = pathlib.Path(__file__).resolve().parent
RECORDS = int(os.environ.get("MILLSTREAM_CRASH_RECORDS", 200_000))
KILLS = int(os.environ.get("MILLSTREAM_CRASH_KILLS", 20))
RECORDS_APART = 60_000
KILLS_APART = 9
# Longer than the session of 6 s.
STOPPED_S = 8
KEYS = 60
PARTITIONS = 6
WINDOW_MS = 1000
# Event time of record 0, ms; a timestamp of 0 means "now" to the producer.
EPOCH_MS = 1_000_000
SEED = int(os.environ.get("MILLSTREAM_CRASH_SEED", 20131))


class Group:
    """Two processes of the program, and the means to kill one of them."""

    def __init__(self, broker, directory, apart=False):
        self.directory = directory
        self.apart = apart
        self.command = [sys.executable, str(HERE / "counting_app.py"), "--broker", broker]
        self.members = [None, None]
        self.started = 0

    def start(self, index):
        log = open(self.directory / f"run-{self.started}.log", "wb")
        self.started += 1
        state = self.directory / (f"state-{index}" if self.apart else "state")
        if self.apart:
            shutil.rmtree(state, ignore_errors=True)
        more = ["--state-dir", str(state), "--commit-interval", "0.1" if self.apart else "0.5"]
        self.members[index] = subprocess.Popen(
            [*self.command, *more], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory
        )

    def kill(self, index):
        self.members[index].kill()
        self.members[index].wait()

    def sleep(self, index):
        """Stops a process for so long that the group goes on without it, then lets it go on."""
        self.members[index].send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)
        self.members[index].send_signal(signal.SIGCONT)

    def check_alive(self):
        for member in self.members:
            if member is not None and member.poll() is not None:
                pytest.fail(f"a process ended by itself ({member.returncode}):\n{self.last_logs()}")

    def last_logs(self):
        logs = sorted(self.directory.glob("run-*.log"), key=lambda p: p.stat().st_mtime)[-2:]
        return "\n".join(f"--- {p.name}\n{p.read_text(errors='replace')[-3000:]}" for p in logs)

    def stop(self):
        for member in self.members:
            if member is not None and member.poll() is None:
                member.terminate()
        for member in self.members:
            if member is not None:
                try:
                    member.wait(60)
                except subprocess.TimeoutExpired:
                    member.kill()
                    pytest.fail("a process did not end within 60 s of SIGTERM")


class Feed(threading.Thread):
    """Writes numbered records: some at once, the rest spread over the kills."""

    def __init__(self, broker, records, chunks):
        super().__init__(daemon=True)
        # Idempotent, or a batch that is sent again (a new leader, a lost answer) would come behind
        # younger ones or twice: the test counts on an input that is in order and has no doubles.
        self.producer = Producer({
            "bootstrap.servers": broker, "linger.ms": 20, "enable.idempotence": True,
        })
        self.records = records
        self.chunk = -(-records // chunks)
        self.allowed = threading.Semaphore(0)
        self.sent = 0

    def allow(self, chunks=1):
        self.allowed.release(chunks)

    def run(self):
        while self.sent < self.records:
            self.allowed.acquire()
            for _ in range(min(self.chunk, self.records - self.sent)):
                write(self.producer, self.sent, {"n": self.sent, "probe": False})
                self.sent += 1
        self.producer.flush()


def write(producer, n, value, key=None, timestamp=None):
    key = key if key is not None else f"key-{n % KEYS}"
    while True:
        try:
            producer.produce(
                "numbers", json.dumps(value).encode(), key=key.encode(),
                timestamp=EPOCH_MS + n if timestamp is None else timestamp,
            )
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)


class Reader:
    """Reads a topic from its beginning, in one go or bit by bit."""

    def __init__(self, broker, topic, partitions):
        self.consumer = Consumer({
            "bootstrap.servers": broker, "group.id": f"check-{topic}",
            "enable.auto.commit": False, "auto.offset.reset": "earliest",
        })
        self.consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        self.messages = []

    def poll(self, seconds):
        until = time.monotonic() + seconds
        before = len(self.messages)
        while time.monotonic() < until:
            for message in self.consumer.consume(5000, 0.2):
                assert not message.error(), message.error()
                self.messages.append((message.key().decode(), json.loads(message.value())))
        return len(self.messages) - before


    def read_to_end(self):
        """Reads what there is now: to the watermarks, for a quiet second may just be a slow one."""
        partitions = self.consumer.assignment()
        ends = {tp.partition: self.consumer.get_watermark_offsets(tp, timeout=30)[1] for tp in partitions}
        until = time.monotonic() + 120
        while any(tp.offset < ends[tp.partition] for tp in self.consumer.position(partitions) if ends[tp.partition]):
            assert time.monotonic() < until, "the topic could not be read to its end within 120 s"
            self.poll(0.2)


def wait_for(condition, seconds, what, group):
    until = time.monotonic() + seconds
    while not condition():
        group.check_alive()
        if time.monotonic() > until:
            pytest.fail(f"{what} did not happen within {seconds} s\n{group.last_logs()}")
        time.sleep(0.05)


def create_topics(broker):
    admin = AdminClient({"bootstrap.servers": broker})
    topics = [
        NewTopic(name, PARTITIONS, 1, config={"retention.ms": "-1"})
        for name in ("numbers", "counted", "windows")
    ]
    for future in admin.create_topics(topics).values():
        future.result(30)


def test_two_processes_killed_twenty_times(crash_broker, tmp_path):
    def kill(group, dice):
        time.sleep(dice.random())
        victim = dice.randrange(2)
        group.kill(victim)
        group.start(victim)

    torment(crash_broker, Group(crash_broker, tmp_path), RECORDS, KILLS, kill)


def test_two_processes_apart_killed_and_stopped(crash_broker, tmp_path):
    rounds = iter(range(KILLS_APART))

    def kill_or_stop(group, dice):
        time.sleep(dice.random())
        victim = dice.randrange(2)
        if next(rounds) % 3 == 1:
            group.sleep(victim)
        else:
            group.kill(victim)
            group.start(victim)

    group = Group(crash_broker, tmp_path, apart=True)
    torment(crash_broker, group, RECORDS_APART, KILLS_APART, kill_or_stop)
    logs = "".join(log.read_text(errors="replace") for log in tmp_path.glob("run-*.log"))
    assert "restoring from" in logs, "no state came back from a changelog: this tests nothing"


def torment(broker, group, records, rounds, strike):
    """Runs the group over `records` records, strikes `rounds` times, and checks what is left."""
    create_topics(broker)
    feed = Feed(broker, records, rounds + 1)
    counted = Reader(broker, "counted", PARTITIONS)
    dice = random.Random(SEED)
    feed.start()
    try:
        for index in range(2):
            group.start(index)
        feed.allow()
        wait_for(lambda: counted.poll(0.3) > 0, 60, "the first output", group)
        for number in range(rounds):
            feed.allow()
            # In the middle of work: outputs are coming, the time since is random.
            wait_for(lambda: counted.poll(0.3) > 0, 60, f"output before strike {number}", group)
            strike(group, dice)
        feed.join(120)
        assert feed.sent == records, "the producer did not finish"

        def everything_out():
            counted.poll(0.5)
            return len({value["n"] for _, value in counted.messages if not value["probe"]}) >= records

        wait_for(everything_out, 180, "the last output", group)
        probes = probe_state(broker, counted, group, records)
    finally:
        group.stop()
    check_input(broker, records)
    check_outputs(counted.messages, records)
    check_counts(probes, records)
    check_windows(broker, records)


def probe_state(broker, counted, group, records):
    """Asks the state of every key for its count, by a record that does not count."""
    producer = Producer({"bootstrap.servers": broker})
    for key in range(KEYS):
        write(producer, 0, {"n": -1, "probe": True}, key=f"key-{key}",
              timestamp=EPOCH_MS + records)
    producer.flush()

    def answers():
        counted.poll(0.3)
        found = {key: value["count"] for key, value in counted.messages if value["probe"]}
        return found if len(found) == KEYS else None

    wait_for(answers, 60, "an answer to every probe", group)
    return answers()


def check_input(broker, records):
    """What the other checks take for granted; if it fails, the program under test is not to blame."""
    reader = Reader(broker, "numbers", PARTITIONS)
    reader.read_to_end()
    written = defaultdict(list)
    for key, value in reader.messages:
        if not value["probe"]:
            written[key].append(value["n"])
    assert written == {f"key-{k}": list(range(k, records, KEYS)) for k in range(KEYS)}


def check_outputs(messages, records):
    real = [(key, value) for key, value in messages if not value["probe"]]
    missing = set(range(records)) - {value["n"] for _, value in real}
    assert not missing, f"{len(missing)} records never came out, e.g. {sorted(missing)[:5]}"
    last, seen = defaultdict(lambda: -1), defaultdict(set)
    for key, value in real:
        assert key == f"key-{value['n'] % KEYS}"
        # A run that loses its partitions and gets them back may repeat what it did not commit;
        # within one stretch the numbers of a key only go up.
        run = (value["run"], key)
        if value["n"] <= last[run]:
            assert value["n"] in seen[run], f"{key}: {value['n']} came after {last[run]}"
        seen[run].add(value["n"])
        last[run] = value["n"]



def check_counts(probes, records):
    expected = Counter(f"key-{n % KEYS}" for n in range(records))
    wrong = {key: (probes[key], expected[key]) for key in expected if probes[key] != expected[key]}
    assert not wrong, f"counts in state (found, expected): {wrong}"


def start_of(n):
    return (EPOCH_MS + n) // WINDOW_MS * WINDOW_MS


def check_windows(broker, records):
    reader = Reader(broker, "windows", PARTITIONS)
    reader.read_to_end()
    expected = Counter((f"key-{n % KEYS}", start_of(n)) for n in range(records))
    found = defaultdict(set)
    for key, value in reader.messages:
        found[key, value["start"]].add(value["count"])
    wrong = {
        window: counts for window, counts in found.items() if counts != {expected[window]}
    }
    assert not wrong, f"windows with a wrong count: {dict(list(wrong.items())[:5])}"
    # The windows that each key's last record closed.
    last = {f"key-{k}": max(range(k, records, KEYS)) for k in range(KEYS)}
    due = {(key, at) for key, at in expected if at + WINDOW_MS <= EPOCH_MS + last[key]}
    assert due <= set(found), f"{len(due - set(found))} closed windows were never written"
