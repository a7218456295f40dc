"""The command line of `tools/kafka`."""

import argparse
import os
import signal
import sys

from . import cluster, jvm
from .node import PASSWORD, USER

CANNOT_RUN_HERE = 3

HELP = f"""\
A real Apache Kafka {jvm.VERSION} (KRaft) on loopback: start it, crash it, run its tools.

  start          make a cluster, wait until it answers, print its bootstrap address as the last line
  stop           ask brokers to end           kill      end them as a crash would (SIGKILL)
  restart        start ended brokers again    destroy   kill, and delete the data
  status         clusters and brokers, one per line
  lanes          the lanes of a cluster, one per line: TOLD=LISTENING for each broker
  run TOOL ...   one of Kafka's own tools     java ...  any class on Kafka's class path
  classpath      that class path

With --secure, each broker has a second listener {cluster.SECURE_OFFSET} ports up: TLS, with SASL PLAIN or
SCRAM-SHA-512, user "{USER}", password "{PASSWORD}". Clients trust `ca.pem` in the
cluster's folder, which `status` names.

With --lanes K, each broker has K more plain listeners, whose clients are told to connect to another port than the one
it listens on: room for a proxy, which then sees all of their traffic without changing a byte of it.

Jars are fetched once, into the folder `kafka` of MILLSTREAM_CACHE (default: ~/.cache/millstream). Data lives in
MILLSTREAM_KAFKA_DATA (default: a folder in the system's temporary one). Needs a JDK, 17 or later, and Maven.
Exit status 3: this machine lacks one of them. 1: something failed. 2: wrong arguments.
"""

TOOLS = {
    "acls": "org.apache.kafka.tools.AclCommand",
    "broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "groups": "org.apache.kafka.tools.GroupsCommand",
    "mirror-maker": "org.apache.kafka.connect.mirror.MirrorMaker",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "topics": "org.apache.kafka.tools.TopicCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
}


def parser():
    top = argparse.ArgumentParser(
        prog="kafka", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default="kafka", help="the cluster (default: kafka)")
    one = argparse.ArgumentParser(add_help=False)
    one.add_argument("--node", type=int, metavar="I", help="only broker I, from 1 (default: all)")

    start = verbs.add_parser("start", parents=[named])
    start.add_argument("--brokers", type=int, choices=range(1, 6), default=1, metavar="K")
    start.add_argument("--port", type=int, default=0, help="first port (default: a free one)")
    start.add_argument("--heap", default="768m", help="per broker (default: 768m)")
    start.add_argument("--secure", action="store_true", help="also listen with TLS and SASL")
    start.add_argument("--lanes", type=int, default=0, metavar="K", help="listeners for proxies (default: 0)")
    start.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of the brokers")
    for verb in ("stop", "kill", "restart"):
        verbs.add_parser(verb, parents=[named, one])
    verbs.add_parser("destroy", parents=[named])
    verbs.add_parser("status")
    verbs.add_parser("lanes", parents=[named])
    verbs.add_parser("classpath")
    run = verbs.add_parser("run", add_help=False)
    run.add_argument("tool", choices=TOOLS, metavar="TOOL")
    verbs.add_parser("java", add_help=False)
    return top


def overrides(pairs):
    broken = [pair for pair in pairs if "=" not in pair]
    if broken:
        raise jvm.Failed(f"a broker setting is written KEY=VALUE, not {broken[0]!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def become(command):
    """Replaces this process, so that signals and the exit status are the tool's own."""
    sys.stdout.flush()
    os.execvp(command[0], command)


def carry_out(options, rest):
    match options.verb:
        case "start":
            print(cluster.start(options.name, options.brokers, options.port, options.heap, options.secure,
                                overrides(options.settings), options.lanes))
        case "stop":
            cluster.end(options.name, options.node, signal.SIGTERM)
        case "kill":
            cluster.end(options.name, options.node, signal.SIGKILL)
        case "restart":
            print(cluster.restart(options.name, options.node))
        case "destroy":
            cluster.destroy(options.name)
        case "status":
            for name in cluster.names():
                for node in cluster.nodes(name):
                    pid = node.pid()
                    print(name, node.folder.name, node.address, f"pid {pid}" if pid else "stopped", node.folder.parent)
        case "lanes":
            for lane in cluster.lanes(options.name):
                print(",".join(f"127.0.0.1:{told}=127.0.0.1:{listening}" for told, listening in lane))
        case "classpath":
            print(jvm.class_path())
        case "run":
            become(jvm.tool_command([TOOLS[options.tool], *rest]))
        case "java":
            if not rest:
                raise jvm.Failed("java needs the name of a class")
            become(jvm.command(rest, "512m", "WARN"))


def main():
    arguments, rest = sys.argv[1:], []
    # What follows these belongs to the Java program, whatever it looks like.
    if arguments[:1] == ["run"]:
        arguments, rest = arguments[:2], arguments[2:]
    elif arguments[:1] == ["java"]:
        arguments, rest = arguments[:1], arguments[1:]
    options = parser().parse_args(arguments)
    try:
        carry_out(options, rest)
    except jvm.CannotRunHere as missing:
        print(f"kafka: {missing}", file=sys.stderr)
        sys.exit(CANNOT_RUN_HERE)
    except jvm.Failed as problem:
        print(f"kafka: {problem}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
