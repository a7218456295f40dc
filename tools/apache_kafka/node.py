"""One broker: its folder, its settings, its process, and whether it answers."""

import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import time

from . import jvm

USER, PASSWORD = "alice", "alice-secret"

# The secured listener of a broker stands this far above its plain one.
SECURE_OFFSET = 1000


class Node:
    """A folder `node-N` with `node.json` (ports, lanes, heap, pid), `server.properties`, `broker.log` and `data`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    @property
    def number(self):
        return int(self.folder.name.removeprefix("node-"))

    @property
    def facts(self):
        return json.loads((self.folder / "node.json").read_text())

    def remember(self, **facts):
        path = self.folder / "node.json"
        known = self.facts if path.exists() else {}
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(known | facts))
        fresh.rename(path)

    @property
    def port(self):
        return self.facts["port"]

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    # -- the process ---------------------------------------------------------------------------

    def pid(self):
        """The running process, or None. A number that another program got since does not count."""
        pid, born = self.facts.get("pid"), self.facts.get("born")
        return pid if pid and birth(pid) == born else None

    def launch(self):
        heap = self.facts["heap"]
        line = jvm.command(
            ["kafka.Kafka", self.folder / "server.properties"], heap, "INFO", [f"-Xms{heap}", "-XX:+UseG1GC"]
        )
        with open(self.folder / "broker.log", "ab") as log:
            process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        self.remember(pid=process.pid, born=birth(process.pid))

    def end(self, how, patience=60):
        """Signals the broker and waits until it is gone; one that ignores the signal is killed."""
        pid = self.pid()
        if not pid:
            return
        os.kill(pid, how)
        deadline = time.monotonic() + patience
        while self.pid():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def wait_until_it_answers(self, brokers, deadline):
        """Returns once the broker serves requests and knows of `brokers` brokers."""
        while brokers_known_to(self.port) < brokers:
            if not self.pid():
                raise jvm.Failed(f"{self.folder.name} ended at its start; its log says:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise jvm.Failed(f"{self.folder.name} does not answer; see {self.folder / 'broker.log'}")
            time.sleep(0.1)

    def last_words(self, lines=15):
        text = (self.folder / "broker.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    # -- the settings --------------------------------------------------------------------------

    def format(self, cluster_id):
        """Writes the storage's first records, as KRaft needs before a start."""
        arguments = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster_id,
                     "--config", self.folder / "server.properties"]
        if self.facts["secure"]:
            arguments += ["--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"]
        done = subprocess.run(jvm.tool_command(arguments), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise jvm.Failed(f"the storage of {self.folder.name} could not be formatted:\n{done.stdout}{done.stderr}")

    def write_settings(self, quorum, copies, key_store, overrides):
        plain, control = self.facts["port"], self.facts["controller_port"]
        listeners = {"PLAINTEXT": f"127.0.0.1:{plain}", "CONTROLLER": f"127.0.0.1:{control}"}
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        settings = {
            "process.roles": "broker,controller",
            "node.id": self.number,
            "controller.quorum.voters": quorum,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": self.folder / "data",
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": max(1, copies - 1),
            # A test's group should not wait three seconds for members that do not come.
            "group.initial.rebalance.delay.ms": 0,
            # One machine, few clients, small disks: the defaults are made for servers.
            "num.network.threads": 2,
            "num.io.threads": 4,
            "log.segment.bytes": 256 * 1024 * 1024,
        }
        for kind in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
            settings[f"{kind}.replication.factor"] = copies
            settings[f"{kind}.num.partitions"] = 4
        for kind in ("transaction.state.log", "share.coordinator.state.topic"):
            settings[f"{kind}.min.isr"] = max(1, copies - 1)
        if key_store:
            listeners["SASL_SSL"] = f"127.0.0.1:{plain + SECURE_OFFSET}"
            protocols["SASL_SSL"] = "SASL_SSL"
            modules = "org.apache.kafka.common.security"
            settings |= {
                "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
                "ssl.keystore.type": "PKCS12",
                "ssl.keystore.location": key_store,
                "ssl.keystore.password": PASSWORD,
                "listener.name.sasl_ssl.plain.sasl.jaas.config":
                    f'{modules}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
                "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config":
                    f"{modules}.scram.ScramLoginModule required;",
            }
        shown = {name: where for name, where in listeners.items() if name != "CONTROLLER"}
        for index, (told, listening) in enumerate(self.facts.get("lanes", []), start=1):
            listeners[f"LANE{index}"] = f"127.0.0.1:{listening}"
            protocols[f"LANE{index}"] = "PLAINTEXT"
            shown[f"LANE{index}"] = f"127.0.0.1:{told}"
        # The certificate is for both names; clients check the one they were sent to.
        if "SASL_SSL" in shown:
            shown["SASL_SSL"] = f"localhost:{plain + SECURE_OFFSET}"
        settings["listeners"] = ",".join(f"{name}://{where}" for name, where in listeners.items())
        settings["advertised.listeners"] = ",".join(f"{name}://{where}" for name, where in shown.items())
        settings["listener.security.protocol.map"] = ",".join(f"{n}:{p}" for n, p in protocols.items())
        settings |= overrides
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self.folder / "server.properties").write_text(text)


def birth(pid):
    """When the kernel started that process, in its own ticks; None if it is not there or a zombie."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def brokers_known_to(port):
    """How many brokers the one at `port` knows, by a Metadata request; 0 if it does not answer yet.

    An open port is not enough: Kafka listens well before it serves, and a three-broker cluster serves before all
    three have joined.
    """
    metadata, version, correlation, no_client_id = 3, 1, 7, -1
    no_topics = struct.pack(">i", 0)
    request = struct.pack(">hhih", metadata, version, correlation, no_client_id) + no_topics
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            link.sendall(struct.pack(">i", len(request)) + request)
            answer = link.makefile("rb")
            size, _, brokers = struct.unpack(">iii", answer.read(12))
            answer.read(size - 8)
            return brokers
    except (OSError, struct.error):
        return 0
