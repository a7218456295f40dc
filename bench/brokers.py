"""The brokers that a run needs, and topics on them."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[1]
KAFKA_TOOL = [sys.executable, str(ROOT / "tools" / "kafka")]
MILLSTREAM = [sys.executable, "-m", "millstream"]
CANNOT_RUN_HERE = 3


@dataclasses.dataclass(frozen=True)
class Broker:
    """A broker that answers."""

    kind: str
    """`kafka`, `embedded`, or `given` by its address."""
    address: str
    description: str
    pid: int | None
    """Its process, for what it costs; None if it is not one of this machine that is known."""


@contextlib.contextmanager
def broker(choice):
    """Yields the broker `kafka`, `embedded`, or the one with that address."""
    if choice == "embedded":
        with embedded() as started:
            yield started
    elif choice == "kafka":
        with kafka() as started:
            yield started
    else:
        yield Broker("given", choice, f"the broker at {choice}", process_of(choice))


@contextlib.contextmanager
def kafka():
    name = f"bench-{os.getpid()}"
    try:
        # In a session of its own: Ctrl-C is this program's to answer.
        done = subprocess.run(
            [*KAFKA_TOOL, "start", "--name", name, "--heap", "1g"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )
        if done.returncode == CANNOT_RUN_HERE:
            sys.exit("bench: a real Kafka cannot run here (see above); try --broker embedded")
        if done.returncode:
            sys.exit("bench: Apache Kafka did not start; its message stands above")
        address = done.stdout.split()[-1]
        yield Broker("kafka", address, "Apache Kafka, one broker on this machine", process_of(address))
    finally:
        subprocess.run(
            [*KAFKA_TOOL, "destroy", "--name", name], stdin=subprocess.DEVNULL, check=False, start_new_session=True
        )


def process_of(address):
    """The process of the broker at that address, if tools/kafka has started it."""
    said = subprocess.run([*KAFKA_TOOL, "status"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout
    rows = [line.split() for line in said.splitlines()]
    return next((int(row[4]) for row in rows if row[2:4] == [address, "pid"]), None)


@contextlib.contextmanager
def embedded():
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*MILLSTREAM, "broker", "--data-dir", f"{folder}/data", "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )
        try:
            said = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", said)
            if not found:
                sys.exit(f"bench: the embedded broker did not say where it listens: {said!r}")
            yield Broker("embedded", found[0], "the embedded broker", process.pid)
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()


class Topics:
    """Topics of a broker under a name of this run, deleted at its end."""

    def __init__(self, address):
        self.address = address
        self.prefix = f"bench-{uuid.uuid4().hex[:8]}"
        self.made = 0

    def millstream(self, command, *arguments):
        done = subprocess.run(
            [*MILLSTREAM, command, *arguments, "--broker", self.address],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True,
        )
        if done.returncode:
            sys.exit(f"bench: millstream {command} {arguments[0]} failed:\n{done.stderr}")
        return done.stdout

    def create(self, name, partitions=1):
        full = f"{self.prefix}-{name}-{self.made}"
        self.made += 1
        # Records have the time of a fixed day, which the usual retention would delete as they come.
        self.millstream("topics", "create", full, "--partitions", str(partitions), "--config", "retention.ms=-1")
        return full

    def count(self, name):
        described = json.loads(self.millstream("topics", "describe", name, "--json"))
        return sum(partition["end_offset"] for partition in described["partitions"])

    def records(self, name):
        """All records of a topic of JSON values, as dicts with `key`, `value`, `timestamp`."""
        return [json.loads(line) for line in self.millstream("consume", name, "--format", "json").splitlines()]

    def names(self):
        """The names of all topics of the broker."""
        return [json.loads(line)["topic"] for line in self.millstream("topics", "list", "--json").splitlines()]

    def delete(self, name):
        self.millstream("topics", "delete", name)

    def delete_all(self):
        """Those that were created here, and the topics of pipelines' own, which bear the name of their input."""
        try:
            mine = [name for name in self.names() if self.prefix in name]
            if mine:
                self.millstream("topics", "delete", *mine, "--if-exists")
        except SystemExit as error:
            # Said here, for why the run ended must stay the last word.
            print(f"{error}\nbench: topics with {self.prefix} in their names may be left on {self.address}", flush=True)
