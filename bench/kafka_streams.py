"""Kafka Streams: its program in `peers/`, on the jars that tools/kafka has fetched through Maven."""

import contextlib
import pathlib
import subprocess
import sys
import tempfile

import brokers

SOURCE = pathlib.Path(__file__).resolve().parent / "peers" / "Pipeline.java"
WORKLOADS = ("expressions", "window")


@contextlib.contextmanager
def compiled():
    """Yields the folder with the program's classes; None if this machine has no JDK or no Maven, which is said."""
    with tempfile.TemporaryDirectory() as folder:
        # The compiler of the very Java that will run it, which finds Kafka's jars as any program of that tool does.
        compiler = [*brokers.KAFKA_TOOL, "java", "--module", "jdk.compiler/com.sun.tools.javac.Main", "-proc:none"]
        done = subprocess.run(["env", "-u", "CLASSPATH", *compiler, "-d", folder, str(SOURCE)], stdin=subprocess.DEVNULL)
        if done.returncode == brokers.CANNOT_RUN_HERE:
            yield None
            return
        if done.returncode:
            sys.exit(f"bench: {SOURCE} does not compile; the message stands above")
        yield folder


def command(classes, workload, broker, source, sink, directory, records):
    """The command that reads `records` records of `source`."""
    return [
        "env", f"CLASSPATH={classes}", *brokers.KAFKA_TOOL, "java", "Pipeline",
        workload, broker, source, sink, str(directory), str(records),
    ]
