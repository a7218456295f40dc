"""The broker that all engines of a run share, and its topics."""

import contextlib
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


@contextlib.contextmanager
def broker(choice):
    """Yields address and description of `kafka`, `embedded`, or a broker given by its address."""
    if choice == "embedded":
        with embedded() as address:
            yield address, "embedded broker"
    elif choice == "kafka":
        with kafka() as address:
            yield address, "Apache Kafka, one broker on this machine"
    else:
        yield choice, f"the broker at {choice}"


@contextlib.contextmanager
def kafka():
    name = f"bench-{os.getpid()}"
    done = subprocess.run(
        [*KAFKA_TOOL, "start", "--name", name, "--heap", "1g"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    if done.returncode == CANNOT_RUN_HERE:
        sys.exit("bench: a real Kafka cannot run here (see above); try --broker embedded")
    if done.returncode:
        sys.exit("bench: Apache Kafka did not start; its message stands above")
    try:
        yield done.stdout.split()[-1]
    finally:
        subprocess.run([*KAFKA_TOOL, "destroy", "--name", name], stdin=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def embedded():
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*MILLSTREAM, "broker", "--data-dir", f"{folder}/data", "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )
        try:
            said = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", said)
            if not found:
                sys.exit(f"bench: the embedded broker did not say where it listens: {said!r}")
            yield found[0]
        finally:
            process.terminate()
            process.wait(30)


class Topics:
    """Topics of one partition under a name of this run, deleted at its end."""

    def __init__(self, address):
        self.address = address
        self.prefix = f"bench-{uuid.uuid4().hex[:8]}"
        self.made = 0

    def millstream(self, *arguments):
        done = subprocess.run(
            [*MILLSTREAM, "topics", *arguments, "--broker", self.address],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
        if done.returncode:
            sys.exit(f"bench: millstream topics {arguments[0]} failed:\n{done.stderr}")
        return done.stdout

    def create(self, name):
        full = f"{self.prefix}-{name}-{self.made}"
        self.made += 1
        # Records have the time of a fixed day, which the usual retention would delete as they come.
        self.millstream("create", full, "--partitions", "1", "--config", "retention.ms=-1")
        return full

    def count(self, name):
        described = json.loads(self.millstream("describe", name, "--json"))
        return sum(partition["end_offset"] for partition in described["partitions"])

    def delete(self, name):
        self.millstream("delete", name)

    def delete_all(self):
        """Those that were created here, and the changelog topics of pipelines, which bear the name of their input."""
        try:
            listed = [json.loads(line)["topic"] for line in self.millstream("list", "--json").splitlines()]
            mine = [name for name in listed if self.prefix in name]
            if mine:
                self.millstream("delete", *mine, "--if-exists")
        except SystemExit as error:
            # Said here, for why the run ended must stay the last word.
            print(f"{error}\nbench: topics with {self.prefix} in their names may be left on {self.address}", flush=True)
