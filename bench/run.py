#!/usr/bin/env python3
"""Measures Millstream beside librdkafka, Quix Streams and Kafka Streams, and its broker beside Apache Kafka.

    make bench                                        an Apache Kafka of its own, on this machine
    make bench ARGS="--broker HOST:PORT"              a broker that is there
    make bench ARGS="--only clients --runs 1"         one part of it, a quick look
    .venv/bin/python bench/run.py --broker HOST:PORT  the same without make

Three parts. *clients*: our Kafka client alone beside librdkafka alone, on the same work. *pipelines*: Millstream
beside Quix Streams and Kafka Streams, the same program for each, and librdkafka alone as what a pipeline on it pays
at least. *brokers*: the embedded broker beside Apache Kafka under the same client.

Topics are filled once. Then everything is run several times, each run a process of its own, interleaved, so that a
slow minute of the machine hits all alike. The cost is the CPU time of the process by the kernel's account (of the
broker's process in the part *brokers*), less that of a small run: what is left is what a record costs. All that is
written is counted and compared; a run that wrote something else ends the benchmark.

Results go to bench/results/ as JSON. bench/README.md tells more.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys

import brokers
import clients
import embedded
import engines
import kafka_streams
import pipelines
import quix
import report
import rounds
import targets

ROOT = pathlib.Path(__file__).resolve().parents[1]
PARTS = ("clients", "pipelines", "brokers")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--broker", default="kafka", metavar="BROKER",
        help="kafka (default): one is started here, which needs a JDK and Maven; embedded; or HOST:PORT of one that is there, "
        "without TLS or SASL: it gets topics of one replica, named bench-..., deleted at the end",
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--records", type=int, default=500_000,
        help="per run of a pipeline, in whole thousands; clients and brokers, which need less for each, get four times as many "
        "(default: 500000)",
    )
    parser.add_argument("--runs", type=int, default=3, help="of everything (default: 3)")
    parser.add_argument("--workloads", nargs="+", choices=engines.WORKLOADS, default=list(engines.WORKLOADS), help="of the pipelines")
    parser.add_argument("--no-quix", action="store_true", help="leave Quix Streams out")
    parser.add_argument("--no-kafka-streams", action="store_true", help="leave Kafka Streams out")
    parser.add_argument("--no-latency", action="store_true", help="leave the latencies out")
    parser.add_argument("--rate", type=int, default=100, help="records per second for the latency (default: 100)")
    parser.add_argument("--latency-seconds", type=int, default=10, help="of each latency run (default: 10)")
    parser.add_argument("--partitions", type=int, default=1000, help="for the memory of a consumer (default: 1000)")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "bench" / "results", help="folder (default: bench/results)")
    options = parser.parse_args()
    if options.records % 1000 or options.records <= rounds.SMALL or options.runs < 1:
        parser.error("--records is a multiple of 1000 above 2000, and --runs at least 1")
    if options.rate < 1 or options.latency_seconds < 1 or options.partitions < 1:
        parser.error("--rate, --latency-seconds and --partitions are at least 1")
    if options.broker not in ("kafka", "embedded") and ":" not in options.broker:
        parser.error("--broker is kafka, embedded or HOST:PORT")
    options.client_records = 4 * options.records
    return options


@contextlib.contextmanager
def both(broker):
    """The brokers to compare: that one, and an embedded one beside it."""
    if broker.kind == "embedded":
        yield [broker]
    elif not broker.pid:
        print(f"bench: WITHOUT BROKERS: what {broker.description} costs cannot be seen from here", flush=True)
        yield []
    else:
        with brokers.embedded() as beside:
            yield [dataclasses.replace(broker, kind="kafka"), beside]


def run_parts(options, broker, raw):
    """What each part found, by its name."""
    topics, found = brokers.Topics(broker.address), {}
    try:
        if "clients" in options.only:
            found["clients"] = clients.Clients(options, broker, topics, raw).run()
        if "pipelines" in options.only:
            other = None if options.no_quix else quix_python()
            with contextlib.nullcontext() if options.no_kafka_streams else kafka_streams.compiled() as streams:
                absent = [name for name, there in (("QUIX STREAMS", other), ("KAFKA STREAMS", streams)) if not there]
                for name in absent:
                    print(f"bench: WITHOUT {name}: the ratios to it are not measured", flush=True)
                found["pipelines"] = pipelines.Pipelines(options, broker, topics, raw, other, streams).run()
    finally:
        topics.delete_all()
    if "brokers" in options.only:
        with both(broker) as measured:
            if measured:
                found["brokers"] = embedded.Brokers(options, measured, raw).run()
    return found


def quix_python():
    try:
        return quix.interpreter()
    except quix.NotInstalled as error:
        print(f"bench: {quix.QUIX} cannot be installed: {error}", flush=True)
        return None


def machine():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())
    return {"processor": model, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def main():
    options = parse()
    # Told to end, it still deletes its topics and its broker.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: told to end"))
    # A shell that starts this in the background has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    facts = machine() | {"load_before": os.getloadavg()[0]}
    raw = engines.build_raw()
    try:
        with brokers.broker(options.broker) as broker:
            parts = run_parts(options, broker, raw)
    except KeyboardInterrupt:
        print("bench: interrupted; what it started is ended and its topics are deleted", file=sys.stderr)
        sys.exit(130)
    verdicts = targets.verdicts(parts)
    print(f"\nOn {broker.description}; {facts['processor']}, {facts['cores']} cores; median of {options.runs} runs "
          "(lowest to highest)")
    print(report.parts(parts, options))
    print("\n" + targets.table(verdicts) if verdicts else "")
    if facts["load_before"] > 0.5:
        print(f"\nThe machine was NOT IDLE before: load {facts['load_before']:.1f}. Ratios of CPU time suffer least from that.")
    if options.broker == "embedded":
        print("\nWhat is to be reached is meant for Apache Kafka; this was the embedded broker.")
    save(options, broker, facts, parts, verdicts)


def save(options, broker, facts, parts, verdicts):
    options.results.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    path = options.results / f"{now:%Y%m%dT%H%M%SZ}.json"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    ).stdout.strip()
    lines = {name: {"lines": [dataclasses.asdict(line) for line in part["lines"]]} for name, part in parts.items()}
    path.write_text(json.dumps({
        "at": now.isoformat(), "commit": commit, "client": os.environ.get("MILLSTREAM_CLIENT") or "millstream",
        "broker": broker.description, "machine": facts, "quix": quix.QUIX, "options": vars(options) | {"results": str(options.results)},
        "parts": {name: part | lines[name] for name, part in parts.items()}, "verdicts": verdicts,
    }, indent=1))
    print(f"\nSaved as {path}")


if __name__ == "__main__":
    main()
