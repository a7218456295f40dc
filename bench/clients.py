"""The clients alone: ours beside librdkafka, on records of 100 bytes."""

import sys

import rounds

CLIENTS = ("millstream", "librdkafka")

# Codec of what is read or written.
WORKLOADS = {"consume": "none", "consume lz4": "lz4", "produce": "none", "produce lz4": "lz4", "copy": "none"}


class Clients(rounds.Part):
    """The same work by either client, each run a process. Both must have seen the same bytes."""

    name = "clients"

    def __init__(self, options, broker, topics, raw):
        self.options, self.address, self.topics, self.raw = options, broker.address, topics, raw
        self.records = options.client_records
        self.inputs, self.read_back = {}, set()

    def run(self):
        self.fill()
        found = self.found([(workload, client) for workload in WORKLOADS for client in CLIENTS], CLIENTS)
        return found | {"partitions": self.options.partitions, "peaks": self.memory()}

    def fill(self):
        for records in (rounds.SMALL, self.records):
            for codec in ("none", "lz4"):
                topic = self.topics.create(f"input-{codec}")
                print(f"bench: {records:,} records of 100 bytes into {topic}, codec {codec}", flush=True)
                self.inputs[records, codec] = topic
                self.work("librdkafka", "produce", topic, records, 1, codec)

    def work(self, client, workload, topic, records, *arguments):
        """Cost of one run of bench-raw, and what it said."""
        return self.raw.checked(client, workload, self.address, topic, records, *arguments)

    def once(self, workload, client, records):
        work, codec = workload.split()[0], WORKLOADS[workload]
        source = self.inputs[records, codec]
        if work == "consume":
            return self.work(client, work, source, records, 1)[0]
        sink = self.topics.create(work)
        if work == "copy":
            cost, _ = self.work(client, work, source, records, sink)
        else:
            cost, _ = self.work(client, work, sink, records, 1, codec)
        self.check(workload, client, records, sink)
        self.topics.delete(sink)
        return cost

    def check(self, workload, client, records, sink):
        """As many as were written, and once for each size the other client reads them."""
        written = self.topics.count(sink)
        if written != records:
            sys.exit(f"bench: {client} wrote {written:,} records for {workload}, not {records:,}")
        if (workload, client, records) not in self.read_back:
            self.read_back.add((workload, client, records))
            other = next(name for name in CLIENTS if name != client)
            self.work(other, "consume", sink, records, 1)

    def latency(self, client):
        topic = self.topics.create("latency")
        return self.raw.latency(client, self.address, topic, topic, self.options)

    def memory(self):
        partitions = self.options.partitions
        topic = self.topics.create("partitions", partitions)
        print(f"bench: {self.records:,} records of 100 bytes into the {partitions:,} partitions of {topic}", flush=True)
        self.work("librdkafka", "produce", topic, self.records, partitions, "none")

        def once(client):
            return self.work(client, "consume", topic, self.records, partitions)[1]["peak_mb"]

        return rounds.peaks(self.name, self.options.runs, CLIENTS, once)
