"""The brokers that tests talk to: the embedded one as a process of its own, and a real Apache Kafka.

They are started here and nowhere else in `tests/`, so that no test waits for ever for a broker that hangs at its start
or at its end, and so that none is left behind.

Two kinds of real Kafka: `shared_kafka` is the one that `make test` runs for everybody (MILLSTREAM_TEST_KAFKA), whose
topics and groups need names of their own; `KafkaCluster` is one for a single test, which may kill its brokers.
"""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
MILLSTREAM = [sys.executable, "-m", "millstream"]
# Another program can stand in for ours; it must take --data-dir and --listen, and print where it listens.
BROKER = shlex.split(os.environ.get("MILLSTREAM_BROKER_CMD", "")) or [*MILLSTREAM, "broker"]
KAFKA_TOOL = [sys.executable, str(ROOT / "tools" / "kafka")]
CANNOT_RUN_HERE = 3

PATIENCE_SECONDS = 60
# The first start on a machine fetches Kafka's jars.
KAFKA_START_SECONDS = 600


def read_line(process, what, seconds=PATIENCE_SECONDS):
    """The next line of a process's standard output, which it must print in time: a process that is silent is killed."""
    lines = []
    reader = threading.Thread(target=lambda: lines.append(process.stdout.readline()), daemon=True)
    reader.start()
    reader.join(seconds)
    if reader.is_alive():
        process.kill()
        pytest.fail(f"waited {seconds} s in vain for {what}")
    return lines[0]


def wait_for(condition, what, seconds=PATIENCE_SECONDS):
    """What `condition` gives once that is true; the test fails with `what` if that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s in vain for {what}")
        time.sleep(0.05)
    return found


class EmbeddedBroker:
    """A broker process on a data directory that outlives it. As a context it is started and stopped."""

    def __init__(self, directory):
        self.data_dir = pathlib.Path(directory) / "data"
        self.log = pathlib.Path(directory) / "broker.log"
        self.address = None
        # What it printed when it was ready.
        self.said = ""
        self.process = None

    def start(self, *options):
        # The same port again after a restart: clients keep their bootstrap address.
        listen = self.address or "127.0.0.1:0"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*BROKER, "--data-dir", str(self.data_dir), "--listen", listen, *options],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            )
        said = read_line(self.process, "the embedded broker to say where it listens")
        found = re.search(r"127\.0\.0\.1:\d+", said)
        if not found:
            self.kill()
            pytest.fail(f"the broker did not say where it listens: {said!r}\n{self.last_words()}")
        self.address = found[0]
        self.said = said
        return self

    def last_words(self):
        return self.log.read_text(errors="replace")[-3000:]

    def is_alive(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """Ends it as a user would. One that has ended already may stay ended: a test may have killed it."""
        if not self.is_alive():
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the broker did not end within {PATIENCE_SECONDS} s of SIGTERM:\n{self.last_words()}")
        self.process.stdout.close()

    def pause(self):
        """It keeps its connections and answers nothing, as a broker behind a cut cable does."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def embedded_brokers_of(directory):
    """The processes of brokers that applications and commands in that directory have started by themselves.

    They outlive who started them. Their data directory is in their command line, relative to where they run or not.
    """
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            place = (entry / "cwd").readlink()
        except OSError:
            continue
        in_words = any(word.startswith(bytes(directory)) for word in words)
        if b"broker" in words and (in_words or place == pathlib.Path(directory)):
            yield int(entry.name)


def end_embedded_brokers_of(directory):
    for pid in embedded_brokers_of(directory):
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not list(embedded_brokers_of(directory)), f"the brokers of {directory} to end after SIGTERM")


def shared_kafka():
    """The address of the real Kafka that all tests share; skips the test where there is none."""
    address = os.environ.get("MILLSTREAM_TEST_KAFKA")
    if not address:
        pytest.skip("NO REAL KAFKA: MILLSTREAM_TEST_KAFKA is not set (make test sets it)")
    return address


def kafka_tool(*arguments, text=None, seconds=PATIENCE_SECONDS):
    """Runs `tools/kafka`; skips the test where it cannot run, whatever it was to do."""
    given = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
    done = subprocess.run([*KAFKA_TOOL, *arguments], capture_output=True, text=True, timeout=seconds, **given)
    if done.returncode == CANNOT_RUN_HERE:
        pytest.skip(f"NO REAL KAFKA HERE: {done.stderr.strip().splitlines()[-1]}")
    return done


class KafkaCluster:
    """A real Kafka for one test, which may stop and kill its brokers. As a context it is started and destroyed."""

    def __init__(self, purpose, brokers=1, heap="768m"):
        self.name = f"{purpose}-{uuid.uuid4().hex[:8]}"
        self.brokers = brokers
        self.heap = heap
        self.address = None

    def __enter__(self):
        try:
            self.address = self.tool(
                "start", "--brokers", str(self.brokers), "--heap", self.heap, seconds=KAFKA_START_SECONDS
            ).split()[-1]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.tool("destroy")

    def tool(self, verb, *arguments, seconds=PATIENCE_SECONDS * 3):
        """One of `start`, `stop`, `kill`, `restart`, `destroy`; what it printed."""
        done = kafka_tool(verb, "--name", self.name, *arguments, seconds=seconds)
        assert done.returncode == 0, f"tools/kafka {verb} {shlex.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def node(self, verb, number):
        """The same for one of the brokers, from 1."""
        return self.tool(verb, "--node", str(number))

    def pids(self):
        """The processes of the brokers that run, by the brokers' numbers."""
        rows = [line.split() for line in kafka_tool("status").stdout.splitlines()]
        return {
            int(row[1].removeprefix("node-")): int(row[4]) for row in rows if row[0] == self.name and row[3] == "pid"
        }

    def pause(self):
        """As the embedded broker's."""
        for pid in self.pids().values():
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.pids().values():
            os.kill(pid, signal.SIGCONT)


def own_broker(kind, directory):
    """A broker without topics for one test, "embedded" or "kafka": a context, with the broker as its value."""
    return EmbeddedBroker(directory) if kind == "embedded" else KafkaCluster("test")
