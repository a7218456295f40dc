"""Clusters: several brokers under one name, their ports, their certificate."""

import base64
import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

from . import jvm
from .node import PASSWORD, SECURE_OFFSET, Node

# Below the ports that Linux gives to outgoing connections, so that none of those is in the way.
FIRST_PORT, LAST_PORT = 19092, 29092
START_SECONDS = 120


def home():
    """Where clusters keep their data: short-lived, so a temporary folder unless told otherwise."""
    chosen = os.environ.get("MILLSTREAM_KAFKA_DATA")
    return pathlib.Path(chosen or f"{tempfile.gettempdir()}/millstream-kafka-{os.getuid()}")


def names():
    return sorted(folder.name for folder in home().glob("*") if folder.is_dir())


def nodes(name, number=None):
    """The brokers of a cluster, or the one with that number."""
    found = [Node(folder) for folder in (home() / name).glob("node-*")]
    found = sorted((n for n in found if number in (None, n.number)), key=lambda node: node.number)
    if not found:
        which = f"broker {number} of cluster {name!r}" if number else f"cluster {name!r}"
        there = ", ".join(names()) or "none"
        raise jvm.Failed(f"there is no {which} (clusters here: {there})")
    return found


def addresses(name):
    return ",".join(node.address for node in nodes(name))


def lanes(name):
    """For each lane of a cluster (`start --lanes`), per broker: the port that clients are told, and the one it listens on."""
    return list(zip(*(node.facts.get("lanes", []) for node in nodes(name)), strict=True))


def start(name, brokers, port, heap, secure, overrides, lanes=0):
    """Makes a new cluster and returns its bootstrap address once every broker answers."""
    jvm.jars()
    folder = home() / name
    with exclusive():
        if folder.exists():
            state = "runs" if any(node.pid() for node in nodes(name)) else "has data from before"
            raise jvm.Failed(f"cluster {name!r} {state}: `restart` it, `destroy` it, or take another --name")
        first = port or free_block(brokers, secure, lanes)
        if port and not all(map(is_free, ports_from(port, brokers, secure, lanes))):
            raise jvm.Failed(f"of the ports from {port} on, some are taken; leave --port out and one is picked")
        made = []
        for index in range(brokers):
            node = Node(folder / f"node-{index + 1}")
            node.folder.mkdir(parents=True)
            pairs = range(first + 2 * (brokers + index * lanes), first + 2 * (brokers + (index + 1) * lanes), 2)
            node.remember(port=first + 2 * index, controller_port=first + 2 * index + 1, heap=heap, secure=secure,
                          lanes=[(told, told + 1) for told in pairs])
            made.append(node)
    try:
        quorum = ",".join(f"{node.number}@127.0.0.1:{node.facts['controller_port']}" for node in made)
        key_store = make_certificate(folder) if secure else None
        cluster_id = new_cluster_id()
        for node in made:
            node.write_settings(quorum, min(3, brokers), key_store, overrides)
            node.format(cluster_id)
        for node in made:
            node.launch()
        wait(made, brokers)
    except BaseException:
        # A start that failed leaves no process behind. Its folder stays if it holds a log to read.
        for node in made:
            node.end(signal.SIGKILL)
        if not any((node.folder / "broker.log").exists() for node in made):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return addresses(name)


def new_cluster_id():
    """An id as Kafka makes them: never with a dash in front, which its own tools would take for an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return text


def restart(name, number):
    """Starts again what was stopped or killed, on its data."""
    chosen = nodes(name, number)
    for node in chosen:
        if not node.pid():
            node.launch()
    alive = sum(1 for node in nodes(name) if node.pid())
    wait(chosen, alive)
    return ",".join(node.address for node in chosen)


def end(name, number, how):
    chosen = nodes(name, number)
    for node in chosen:
        if pid := node.pid():
            os.kill(pid, how)
    for node in chosen:
        node.end(how)


def destroy(name):
    if (home() / name).exists():
        for folder in (home() / name).glob("node-*"):
            if (folder / "node.json").exists():
                Node(folder).end(signal.SIGKILL)
        shutil.rmtree(home() / name)


def wait(chosen, brokers):
    deadline = time.monotonic() + START_SECONDS
    for node in chosen:
        node.wait_until_it_answers(brokers, deadline)


def make_certificate(folder):
    """One self-signed certificate for loopback: `server.p12` for the brokers, `ca.pem` for the clients."""
    store, tool = folder / "server.p12", jvm.keytool()
    common = ["-alias", "broker", "-keystore", store, "-storepass", PASSWORD]
    steps = [
        [tool, "-genkeypair", *common, "-storetype", "PKCS12", "-keyalg", "RSA", "-keysize", "2048", "-validity", "365",
         "-dname", "CN=localhost", "-ext", "san=dns:localhost,ip:127.0.0.1"],
        [tool, "-exportcert", *common, "-rfc", "-file", folder / "ca.pem"],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise jvm.Failed(f"keytool could not make the certificate:\n{done.stdout}{done.stderr}")
    return store


# -- ports -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def exclusive():
    """Two starts at the same moment must not pick the same ports."""
    home().mkdir(parents=True, exist_ok=True)
    with open(home() / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ports_from(first, brokers, secure, lanes):
    """Each broker has two ports, for clients and controllers, two more for each lane, and one far above if secured."""
    pairs = range(first, first + 2 * brokers * (1 + lanes))
    return [*pairs, *(p + SECURE_OFFSET for p in pairs[: 2 * brokers : 2] if secure)]


def free_block(brokers, secure, lanes):
    promised = set()
    for folder in home().glob("*/node-*"):
        facts = Node(folder).facts if (folder / "node.json").exists() else None
        if facts:
            promised |= {facts["port"], facts["controller_port"], facts["port"] + SECURE_OFFSET}
            promised |= {port for pair in facts.get("lanes", []) for port in pair}
    for first in range(FIRST_PORT, LAST_PORT, 10):
        wanted = ports_from(first, brokers, secure, lanes)
        if promised.isdisjoint(wanted) and all(map(is_free, wanted)):
            return first
    raise jvm.Failed(f"no free ports between {FIRST_PORT} and {LAST_PORT}")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
