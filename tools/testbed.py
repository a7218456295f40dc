"""The brokers that Rust's tests run on, the variables by which they find them, and the program of the client's tests."""

import contextlib
import functools
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
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
    # librdkafka is a feature that tools/native asks for if it is told to, as `make test` does; bench-raw always has it.
    command = ["cargo", "test", "--locked", "--no-fail-fast", "--workspace", "--exclude", "millstream-python"]
    return command + (["--features", features] if features else ["--exclude", "bench-raw"])


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
        self.destroy(self.name)

    @staticmethod
    def destroy(name):
        subprocess.run([*KAFKA_TOOL, "destroy", "--name", name], stdin=subprocess.DEVNULL, check=False)


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
        self.destroy(f"{self.name}-outage")


class ThreeBrokers(Cluster):
    """One cluster of three brokers, which tests kill one by one or take down as a whole; runs from `start` to `end`."""

    def start(self):
        """The variables that tell of it, the same at each call; none where no Kafka can run."""
        if not self.variables and not self.why_not:
            print("=== starting three brokers of Apache Kafka", flush=True)
            # A broker that is killed is missed earlier than after the nine seconds that Kafka gives it.
            quick = ["broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500"]
            if variables := self.start_secure("--brokers", "3", "--heap", "384m", *quick):
                self.variables = variables | {
                    "MILLSTREAM_TEST_NODE_KILL": self.command("kill", self.name) + " --node",
                    "MILLSTREAM_TEST_NODE_START": self.command("restart", self.name) + " --node",
                    "MILLSTREAM_TEST_OUTAGE_BROKERS": variables["MILLSTREAM_TEST_BROKERS"],
                    "MILLSTREAM_TEST_BROKER_STOP": self.command("stop", self.name),
                    "MILLSTREAM_TEST_BROKER_START": self.command("restart", self.name),
                }
        return self.variables

    def end(self):
        if self.variables:
            self.destroy(self.name)
            self.variables = {}


class EmbeddedBrokers:
    """Two embedded brokers, as processes: one for everybody, with TLS and SASL as well, and one to be taken down.

    Their lanes lead to embedded brokers of the tests' own.
    """

    program = [sys.executable, "-m", "millstream", "broker", "--data-dir"]

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        try:
            self.variables = self.start()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def start(self):
        secure, security = self.security()
        said = self.launch("own", "127.0.0.1:0", *security)
        address = self.launch("outage", "127.0.0.1:0")[0]
        again = shlex.join([*self.program, f"{self.folder}/outage", "--listen", address])
        pid = f"{self.folder}/outage.pid"
        if secure:
            secure["MILLSTREAM_TEST_SECURE_BROKERS"] = said[1]
        return secure | {
            "MILLSTREAM_TEST_BROKERS": said[0],
            "MILLSTREAM_TEST_LANES": "embedded",
            "MILLSTREAM_TEST_OUTAGE_BROKERS": address,
            # As a crash would; nothing is left to wait for.
            "MILLSTREAM_TEST_BROKER_STOP": f"kill -9 $(cat {pid})",
            "MILLSTREAM_TEST_BROKER_START": f"{again} >/dev/null 2>&1 & echo $! >{pid}",
        }

    def security(self):
        """Variables and options of a listener with TLS and SASL; none where `openssl` cannot make a certificate."""
        if not shutil.which("openssl"):
            return {}, []
        certificate, key, users = (f"{self.folder}/{name}" for name in ("ca.pem", "own.key", "users"))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days",
             "2", "-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-addext",
             "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            check=True, capture_output=True,
        )
        with open(os.open(users, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("alice:alice-secret\n")
        options = ["--listen", "SASL_SSL://127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key, "--users", users]
        return {"MILLSTREAM_TEST_CA": certificate}, options

    def launch(self, name, listen, *options):
        """Starts one that ends with the context, and returns where it listens."""
        broker = subprocess.Popen(
            [*self.program, f"{self.folder}/{name}", "--listen", listen, *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )
        pathlib.Path(f"{self.folder}/{name}.pid").write_text(str(broker.pid))
        self.stack.callback(self.end, name, broker)
        said = broker.stdout.readline()
        found = re.findall(r"127\.0\.0\.1:\d+", said)
        if not found:
            sys.exit(f"test: the embedded broker did not say where it listens: {said!r}")
        return found

    def end(self, name, broker):
        """The process that was started, and the one that a test may have started in its place."""
        broker.terminate()
        if (pid := int(pathlib.Path(f"{self.folder}/{name}.pid").read_text())) != broker.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        broker.wait(30)
