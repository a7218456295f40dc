#!/usr/bin/env python3
"""Measures Millstream beside librdkafka alone and Quix Streams, on one broker.

make bench [ARGS="--records 500000 --runs 3 --broker kafka"]

Topics are filled once. Then every engine runs every workload, each run a process of its own, interleaved and several
times, so that a slow minute of the machine hits all alike. The cost is the CPU time of the process by the kernel's account, less
that of a run over 2,000 records: what is left is what a record costs. Every output is counted; a run that wrote too little
or too much ends the benchmark.

Latency is measured at a modest rate, from just before a record is produced until it comes out of the output topic; the line
`librdkafka` is the same without a pipeline between, that is what the broker and two clients take.

The broker's own CPU time is nobody's. Results go to bench/results/ as JSON.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

import brokers
import engines
import report

ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALL = 2000


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", default="kafka", help="kafka (default: one is started), embedded, or HOST:PORT")
    parser.add_argument("--records", type=int, default=500_000, help="per run, in whole thousands (default: 500000)")
    parser.add_argument("--runs", type=int, default=3, help="of everything (default: 3)")
    parser.add_argument("--workloads", nargs="+", choices=engines.WORKLOADS, default=list(engines.WORKLOADS))
    parser.add_argument("--no-quix", action="store_true", help="leave Quix Streams out")
    parser.add_argument("--no-latency", action="store_true", help="leave the latency out")
    parser.add_argument("--rate", type=int, default=100, help="records per second for the latency (default: 100)")
    options = parser.parse_args()
    if options.records % 1000 or options.records <= SMALL or options.runs < 1:
        parser.error("--records is a multiple of 1000 above 2000, and --runs at least 1")
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
            cost, said = engines.measure(command)
        written = self.topics.count(sink)
        if written != expected:
            sys.exit(f"bench: {engine} wrote {written:,} records for {workload}, not {expected:,}; it said:\n{said[-2000:]}")
        self.topics.delete(sink)
        return cost

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
        found = []
        count = self.options.rate * 20
        for engine in ("librdkafka", *self.pythons):
            source = self.topics.create("latency-in")
            sink = source if engine == "librdkafka" else self.topics.create("latency-out")
            with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as log:
                process = None
                if engine != "librdkafka":
                    python = self.pythons[engine]
                    command = engines.pipeline(python, engine, "expressions", self.address, source, sink, directory)
                    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                    time.sleep(6)  # import, join the group; what is left of that is in the tenth that does not count
                try:
                    arguments = [self.raw, "latency", self.address, source, str(count), sink, str(self.options.rate)]
                    _, said = engines.measure(arguments)
                finally:
                    if process:
                        process.terminate()
                        process.wait(60)
            found.append({"engine": engine, **json.loads(said.splitlines()[-1])})
            print(f"bench: latency, {engine}: p99 {found[-1]['p99_ms']:.2f} ms", flush=True)
        return found


def machine():
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.machine())
    return {"processor": model, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def main():
    options = parse()
    target = os.environ.get("CARGO_TARGET_DIR") or str(ROOT / "target")
    cache = os.environ.get("MILLSTREAM_CACHE") or str(pathlib.Path.home() / ".cache" / "millstream")
    raw = engines.build_raw(target, os.environ.get("MILLSTREAM_CARGO_FEATURES"))
    quix = None if options.no_quix else engines.quix_python(cache)
    if not quix:
        print("bench: WITHOUT QUIX STREAMS: its ratios are not measured", flush=True)
    with brokers.broker(options.broker) as (address, description):
        topics = brokers.Topics(address)
        try:
            bench = Bench(options, address, topics, raw, quix)
            bench.fill()
            lines = bench.run()
            latencies = [] if options.no_latency else bench.latency()
        finally:
            topics.delete_all()
    facts = machine()
    print(f"\nOn {description}; {facts['processor']}, {facts['cores']} cores; {options.records:,} records of 151 bytes, "
          f"one partition; median of {options.runs} runs (lowest to highest)\n")
    print(report.table(lines))
    if latencies:
        print(f"\nFrom produce to output at {options.rate} records/s, filter + column expression\n")
        print(report.latency_table(latencies))
    verdicts = report.verdicts(lines, latencies)
    print("\n" + "\n".join(verdicts))
    save(options, description, facts, lines, latencies, verdicts)


def save(options, description, facts, lines, latencies, verdicts):
    folder = ROOT / "bench" / "results"
    folder.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    ).stdout.strip()
    path.write_text(json.dumps({
        "at": now.isoformat(), "commit": commit, "broker": description, "machine": facts, "quix": engines.QUIX,
        "options": vars(options), "lines": [dataclasses.asdict(line) for line in lines], "latencies": latencies,
        "verdicts": verdicts,
    }, indent=1))
    print(f"\nSaved as {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
