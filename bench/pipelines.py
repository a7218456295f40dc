"""Pipelines: Millstream beside Quix Streams, Kafka Streams and librdkafka alone, on JSON records of 151 bytes."""

import contextlib
import pathlib
import sys
import tempfile
import time

import engines
import kafka_streams
import rounds


class Pipelines(rounds.Part):
    """Every engine runs every workload that it has, each run a process of its own."""

    name = "pipelines"

    def __init__(self, options, broker, topics, raw, quix, streams):
        """`quix`: the Python with Quix Streams; `streams`: the classes for Kafka Streams; either may be None."""
        self.options, self.address, self.topics, self.raw, self.streams = options, broker.address, topics, raw, streams
        self.pythons = {"millstream": pathlib.Path(sys.executable)} | ({"quixstreams": quix} if quix else {})
        self.records, self.inputs, self.read, self.compared = options.records, {}, [], set()

    def run(self):
        self.fill()
        for workload, engine in self.pairs():
            if rounds.SMALL not in self.sizes(engine):
                # What it writes is compared all the same.
                self.once(workload, engine, rounds.SMALL)
        return self.found(self.pairs(), ("librdkafka", *self.pythons))

    def sizes(self, engine):
        # A JVM compiles what runs hot, which takes seconds of CPU time once and for all. A service has long had that behind
        # it, so what is taken off is a run that has it in it.
        return (self.records, 2 * self.records) if engine == "kafka-streams" else super().sizes(engine)

    def pairs(self):
        """Workload and engine, in the order they run in."""
        for workload in self.options.workloads:
            if workload in engines.RAW:
                yield workload, "librdkafka"
                continue
            yield from ((workload, engine) for engine in self.pythons)
            if self.streams and workload in kafka_streams.WORKLOADS:
                yield workload, "kafka-streams"

    def fill(self):
        for records in sorted({rounds.SMALL, *(size for _, engine in self.pairs() for size in self.sizes(engine))}):
            topic = self.topics.create("input")
            print(f"bench: {records:,} records of 151 bytes into {topic}", flush=True)
            self.raw.measure("librdkafka", "fill", self.address, topic, records)
            self.inputs[records] = topic

    def command(self, workload, engine, source, sink, directory, records):
        if engine == "librdkafka":
            return self.raw.command(engine, workload, self.address, source, records, sink if workload == "copy" else 1)
        if engine == "kafka-streams":
            return kafka_streams.command(self.streams, workload, self.address, source, sink, directory, records)
        count = engines.outputs(workload, records)
        return engines.pipeline(self.pythons[engine], engine, workload, self.address, source, sink, directory, count)

    def once(self, workload, engine, records):
        sink = self.topics.create(workload)
        with tempfile.TemporaryDirectory() as directory, self.first_record(workload, engine, sink, records) as came_at:
            command = self.command(workload, engine, self.inputs[records], sink, directory, records)
            started = time.time()
            cost, said = engines.measure(command)
            self.check(workload, engine, sink, records, said)
            if came_at:
                cost.first_s = came_at() - started
        self.topics.delete(sink)
        return cost

    def first_record(self, workload, engine, sink, records):
        """When the output of a small run begins; yields None if it has none, or is only there to be compared."""
        if records == rounds.SMALL == self.sizes(engine)[0] and engines.outputs(workload, records):
            return engines.first_record(self.raw.command("librdkafka", "first", self.address, sink))
        return contextlib.nullcontext()

    def check(self, workload, engine, sink, records, said):
        """As many outputs as there must be; and in the small run, once for each engine, with what must be in them."""
        expected, written = engines.outputs(workload, records), self.topics.count(sink)
        if written != expected:
            sys.exit(f"bench: {engine} wrote {written:,} records for {workload}, not {expected:,}; it said:\n{said}")
        if engine == "librdkafka" or records != rounds.SMALL or (workload, engine) in self.compared:
            return
        self.compared.add((workload, engine))
        self.read = self.read or self.topics.records(self.inputs[records])
        wrong = engines.differences(engines.expected(workload, self.read), self.topics.records(sink))
        if wrong:
            sys.exit(f"bench: {engine} wrote something else for {workload} than it should:\n" + "\n".join(wrong))

    def latency(self, engine):
        source = self.topics.create("latency-in")
        if engine == "librdkafka":
            return self.raw.latency("librdkafka", self.address, source, source, self.options)
        sink = self.topics.create("latency-out")
        with tempfile.TemporaryDirectory() as directory:
            program = engines.pipeline(
                self.pythons[engine], engine, "expressions", self.address, source, sink, directory
            )
            return self.raw.latency("librdkafka", self.address, source, sink, self.options, program)
