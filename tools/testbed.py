"""The brokers that Rust's tests run on, the variables by which they find them, and the program of the client's tests."""

import contextlib
import functools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
KAFKA_TOOL = [sys.executable, str(ROOT / "tools" / "kafka")]
CANNOT_RUN_HERE = 3
# As many tests can put a proxy between themselves and the same brokers at a time.
LANES = 4


def cargo_test():
    features = os.environ.get("MILLSTREAM_CARGO_FEATURES")
    # The crate of the Python module has its tests in Python: cargo would want a libpython to link.
    # TLS is a feature that tools/native asks for where it can be built; it must not come in by default.
    command = ["cargo", "test", "--locked", "--no-fail-fast", "--workspace", "--exclude", "millstream-python",
               "--no-default-features"]
    return command + (["--features", features] if features else [])


@functools.cache
def client_tests():
    """The program with the integration tests of millstream-kafka, built as the suite `rust` builds it."""
    done = subprocess.run(
        [*cargo_test(), "--no-run", "--message-format", "json-render-diagnostics"],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )
    for line in done.stdout.splitlines():
        said = json.loads(line)
        if said.get("executable") and said["target"]["name"] == "it" and "millstream-kafka" in said["package_id"]:
            return said["executable"]
    return None


class Cluster:
    """Clusters of Apache Kafka, ended with the context.

    Where this machine cannot run them, `why_not` says what is missing.
    """

    def __init__(self, name):
        self.name = name
        self.variables = {}
        self.why_not = ""

    def start_cluster(self, name, *arguments):
        """The address of a new cluster, or None."""
        done = subprocess.run(
            [*KAFKA_TOOL, "start", "--name", name, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
        sys.stderr.write(done.stderr)
        if done.returncode == CANNOT_RUN_HERE:
            self.why_not = done.stderr.strip().splitlines()[-1]
            return None
        if done.returncode:
            sys.exit("test: a real Kafka did not start, though this machine has what it needs; see above")
        return done.stdout.split()[-1]

    def start_secure(self, *arguments):
        """Starts one with TLS, SASL and lanes; returns the variables that tell of it, or None."""
        address = self.start_cluster(self.name, "--secure", "--lanes", str(LANES), *arguments)
        if not address:
            return None
        hosts = [pair.split(":") for pair in address.split(",")]
        # The folder of a cluster is the last word of its line.
        folder = next(line.split()[-1] for line in self.ask("status") if line.split()[0] == self.name)
        return {
            "MILLSTREAM_TEST_BROKERS": address,
            "MILLSTREAM_TEST_LANES": " ".join(self.ask("lanes", "--name", self.name)),
            "MILLSTREAM_TEST_SECURE_BROKERS": ",".join(f"{host}:{int(port) + 1000}" for host, port in hosts),
            "MILLSTREAM_TEST_CA": f"{folder}/ca.pem",
        }

    def ask(self, *arguments):
        return subprocess.run(
            [*KAFKA_TOOL, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.splitlines()

    def command(self, verb, name):
        return f"{shlex.join(KAFKA_TOOL)} {verb} --name {name}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([*KAFKA_TOOL, "destroy", "--name", self.name], stdin=subprocess.DEVNULL, check=False)


class RealKafka(Cluster):
    """Two clusters of one broker each: one for everybody, with TLS and SASL as well, and one to be taken down."""

    def __enter__(self):
        print("=== starting a real Apache Kafka", flush=True)
        outage = f"{self.name}-outage"
        try:
            if variables := self.start_secure():
                self.variables = variables | {
                    "MILLSTREAM_TEST_KAFKA": variables["MILLSTREAM_TEST_BROKERS"],
                    "MILLSTREAM_TEST_OUTAGE_BROKERS": self.start_cluster(outage, "--heap", "512m"),
                    "MILLSTREAM_TEST_BROKER_STOP": self.command("stop", outage),
                    "MILLSTREAM_TEST_BROKER_START": self.command("restart", outage),
                }
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        super().__exit__()
        subprocess.run([*KAFKA_TOOL, "destroy", "--name", f"{self.name}-outage"], stdin=subprocess.DEVNULL, check=False)


class ThreeBrokers(Cluster):
    """One cluster of three brokers, which tests kill one by one or take down as a whole. Runs from `start` on."""

    def start(self):
        """The variables that tell of it, the same at each call; none where no Kafka can run."""
        if not self.variables and not self.why_not:
            print("=== starting three brokers of Apache Kafka", flush=True)
            if variables := self.start_secure("--brokers", "3", "--heap", "384m"):
                self.variables = variables | {
                    "MILLSTREAM_TEST_NODE_KILL": self.command("kill", self.name) + " --node",
                    "MILLSTREAM_TEST_NODE_START": self.command("restart", self.name) + " --node",
                    "MILLSTREAM_TEST_OUTAGE_BROKERS": variables["MILLSTREAM_TEST_BROKERS"],
                    "MILLSTREAM_TEST_BROKER_STOP": self.command("stop", self.name),
                    "MILLSTREAM_TEST_BROKER_START": self.command("restart", self.name),
                }
        return self.variables


@contextlib.contextmanager
def embedded_broker():
    """The variables that tell of an embedded broker with an empty data directory. Its lanes are brokers of their own."""
    with tempfile.TemporaryDirectory() as folder:
        broker = subprocess.Popen(
            [sys.executable, "-m", "millstream", "broker", "--data-dir", f"{folder}/data", "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )
        try:
            said = broker.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", said)
            if not found:
                sys.exit(f"test: the embedded broker did not say where it listens: {said!r}")
            yield {"MILLSTREAM_TEST_BROKERS": found[0], "MILLSTREAM_TEST_LANES": "embedded"}
        finally:
            broker.terminate()
            broker.wait(30)
