#!/usr/bin/env python3
"""Measures Millstream beside librdkafka alone and Quix Streams, on one broker.

    make bench                                        an Apache Kafka of its own, on this machine
    make bench ARGS="--broker HOST:PORT"              a broker that is there
    make bench ARGS="--broker embedded --runs 1"      the embedded broker, a quick look
    .venv/bin/python bench/run.py --broker HOST:PORT  the same without make

Topics are filled once. Then every engine runs every workload, each run a process of its own, interleaved and several
times, so that a slow minute of the machine hits all alike. The cost is the CPU time of the process by the kernel's account, less
that of a run over 2,000 records: what is left is what a record costs. Every output is counted; a run that wrote too little
or too much ends the benchmark. Start-up is the time from starting a process of such a small run, whose input is there already,
to its first record in the output topic.

Latency is measured at a modest rate, from just before a record is produced until it comes out of the output topic, once the
pipeline answers to probes; the line `librdkafka` is the same without a pipeline between, that is what the broker and two
clients take.

The broker's own CPU time is nobody's. Results go to bench/results/ as JSON. bench/README.md tells more.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

import brokers
import engines
import quix
import report

ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALL = 2000


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--broker", default="kafka", metavar="BROKER",
        help="kafka (default): one is started here, which needs a JDK and Maven; embedded; or HOST:PORT of one that is there, "
        "without TLS or SASL: it gets topics of one partition and one replica, named bench-..., deleted at the end",
    )
    parser.add_argument("--records", type=int, default=500_000, help="per run, in whole thousands (default: 500000)")
    parser.add_argument("--runs", type=int, default=3, help="of everything (default: 3)")
    parser.add_argument("--workloads", nargs="+", choices=engines.WORKLOADS, default=list(engines.WORKLOADS))
    parser.add_argument("--no-quix", action="store_true", help="leave Quix Streams out")
    parser.add_argument("--no-latency", action="store_true", help="leave the latency out")
    parser.add_argument("--rate", type=int, default=100, help="records per second for the latency (default: 100)")
    parser.add_argument("--latency-seconds", type=int, default=20, help="of each latency run (default: 20)")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "bench" / "results", help="folder (default: bench/results)")
    options = parser.parse_args()
    if options.records % 1000 or options.records <= SMALL or options.runs < 1:
        parser.error("--records is a multiple of 1000 above 2000, and --runs at least 1")
    if options.rate < 1 or options.latency_seconds < 1:
        parser.error("--rate and --latency-seconds are at least 1")
    if options.broker not in ("kafka", "embedded") and ":" not in options.broker:
        parser.error("--broker is kafka, embedded or HOST:PORT")
    return options


class Bench:
    """One run of the driver: its broker, its programs, and what they cost."""

    def __init__(self, options, address, topics, raw, quix):
        self.options, self.address, self.topics, self.raw = options, address, topics, raw
        self.pythons = {"millstream": pathlib.Path(sys.executable)} | ({"quixstreams": quix} if quix else {})
        self.inputs = {}

    def fill(self):
        for records in (SMALL, self.options.records):
            topic = self.topics.create("input")
            print(f"bench: {records:,} records of 151 bytes into {topic}", flush=True)
            engines.measure([self.raw, "fill", self.address, topic, str(records)])
            self.inputs[records] = topic

    def pairs(self):
        """Workload and engine, in the order they run in."""
        for workload in self.options.workloads:
            for engine in ["librdkafka"] if workload in engines.RAW else self.pythons:
                yield workload, engine

    def once(self, workload, engine, records):
        source, expected = self.inputs[records], engines.outputs(workload, records)
        sink = self.topics.create(workload)
        with tempfile.TemporaryDirectory() as directory:
            if engine == "librdkafka":
                command = [self.raw, workload, self.address, source, str(records)]
                command += [sink] if workload == "copy" else []
            else:
                python = self.pythons[engine]
                command = engines.pipeline(python, engine, workload, self.address, source, sink, directory, expected)
            if records == SMALL and expected:
                with engines.first_record(self.raw, self.address, sink) as came_at:
                    started = time.time()
                    cost, said = engines.measure(command)
                    self.check(workload, engine, sink, expected, said)
                    cost.first_s = came_at() - started
            else:
                cost, said = engines.measure(command)
                self.check(workload, engine, sink, expected, said)
        self.topics.delete(sink)
        return cost

    def check(self, workload, engine, sink, expected, said):
        written = self.topics.count(sink)
        if written != expected:
            sys.exit(f"bench: {engine} wrote {written:,} records for {workload}, not {expected:,}; it said:\n{said}")

    def run(self):
        full, small = {}, {}
        for number in range(1, self.options.runs + 1):
            for pair in self.pairs():
                workload, engine = pair
                small.setdefault(pair, []).append(self.once(workload, engine, SMALL))
                cost = self.once(workload, engine, self.options.records)
                full.setdefault(pair, []).append(cost)
                print(
                    f"bench: run {number} of {self.options.runs}: {workload}, {engine}: {cost.cpu_s:.2f} s CPU, "
                    f"{cost.wall_s:.2f} s, {cost.peak_mb:.0f} MB",
                    flush=True,
                )
        return [
            report.line(workload, engine, self.options.records, SMALL, full[workload, engine], small[workload, engine])
            for workload, engine in self.pairs()
        ]

    def latency(self):
        found = {engine: [] for engine in ("librdkafka", *self.pythons)}
        for number in range(1, self.options.runs + 1):
            for engine, runs in found.items():
                runs.append(self.latency_once(engine))
                print(
                    f"bench: latency, run {number} of {self.options.runs}: {engine}: p50 {runs[-1]['p50_ms']:.2f} ms, "
                    f"p99 {runs[-1]['p99_ms']:.2f} ms",
                    flush=True,
                )
        return [report.latency(engine, runs) for engine, runs in found.items()]

    def latency_once(self, engine):
        rate = self.options.rate
        source = self.topics.create("latency-in")
        sink = source if engine == "librdkafka" else self.topics.create("latency-out")
        count = rate * self.options.latency_seconds
        probe = [self.raw, "latency", self.address, source, str(count), sink, str(rate)]
        with tempfile.TemporaryDirectory() as directory:
            program = None
            if engine != "librdkafka":
                python = self.pythons[engine]
                program = engines.pipeline(python, engine, "expressions", self.address, source, sink, directory)
            return engines.latency(probe, program)


def machine():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())
    return {"processor": model, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def quix_python():
    try:
        return quix.interpreter()
    except quix.NotInstalled as error:
        print(f"bench: {quix.QUIX} cannot be installed: {error}", flush=True)
        return None


def main():
    options = parse()
    # Told to end, it still deletes its topics and its broker.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: told to end"))
    load = os.getloadavg()[0]
    raw = engines.build_raw()
    other = None if options.no_quix else quix_python()
    if not other:
        print("bench: WITHOUT QUIX STREAMS: its ratios are not measured", flush=True)
    with brokers.broker(options.broker) as (address, description):
        topics = brokers.Topics(address)
        try:
            bench = Bench(options, address, topics, raw, other)
            bench.fill()
            lines = bench.run()
            latencies = [] if options.no_latency else bench.latency()
        finally:
            topics.delete_all()
    facts = machine() | {"load_before": load}
    print(f"\nOn {description}; {facts['processor']}, {facts['cores']} cores; {options.records:,} records of 151 bytes, "
          f"one partition; median of {options.runs} runs (lowest to highest)\n")
    print(report.table(lines))
    if latencies:
        print(f"\nLatency from produce to output at {options.rate} records/s, filter + column expression, "
              f"median of {options.runs} runs of {options.latency_seconds} s\n")
        print(report.latency_table(latencies))
    verdicts = report.verdicts(lines, latencies)
    print("\n" + "\n".join(verdicts))
    if load > 0.5:
        print(f"The machine was NOT IDLE before: load {load:.1f}. Ratios of CPU time suffer least from that.")
    if options.broker == "embedded":
        print("What is to be reached is meant for Apache Kafka; this was the embedded broker.")
    save(options, description, facts, lines, latencies, verdicts)


def save(options, description, facts, lines, latencies, verdicts):
    options.results.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    path = options.results / f"{now:%Y%m%dT%H%M%SZ}.json"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    ).stdout.strip()
    path.write_text(json.dumps({
        "at": now.isoformat(), "commit": commit, "client": os.environ.get("MILLSTREAM_CLIENT") or "millstream", "broker": description, "machine": facts, "quix": quix.QUIX,
        "options": vars(options) | {"results": str(options.results)},
        "lines": [dataclasses.asdict(line) for line in lines], "latencies": latencies, "verdicts": verdicts,
    }, indent=1))
    print(f"\nSaved as {path}")


if __name__ == "__main__":
    main()
