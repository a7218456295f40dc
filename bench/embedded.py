"""The embedded broker beside Apache Kafka, by what their processes cost under the same client."""

import sys

import brokers
import engines
import process
import rounds

WORKLOADS = ("produce", "fetch")
CLIENT = "millstream"


class Brokers(rounds.Part):
    """Both brokers do the same work in turn; the cost is that of their processes, not of the client's."""

    name = "brokers"

    def __init__(self, options, measured, raw):
        """`measured`: the brokers, each with a process."""
        self.options, self.raw, self.records = options, raw, options.client_records
        self.brokers = {broker.kind: broker for broker in measured}
        self.topics = {broker.kind: brokers.Topics(broker.address) for broker in measured}
        self.inputs = {}

    def run(self):
        try:
            for kind in self.brokers:
                for records in (rounds.SMALL, self.records):
                    self.inputs[kind, records] = self.topics[kind].create("input")
                    print(f"bench: {records:,} records of 100 bytes into {self.inputs[kind, records]}, {kind}", flush=True)
                    self.work(kind, "produce", self.inputs[kind, records], records, 1, "none")
            return self.found([(workload, kind) for workload in WORKLOADS for kind in self.brokers], self.brokers)
        finally:
            for topics in self.topics.values():
                topics.delete_all()

    def work(self, kind, workload, topic, records, *arguments):
        """Cost of the broker while the client works."""
        broker = self.brokers[kind]
        before = process.cpu_s(broker.pid)
        cost, _ = self.raw.checked(CLIENT, workload, broker.address, topic, records, *arguments)
        used = process.cpu_s(broker.pid) - before
        return engines.Cost(used, cost.wall_s, process.peak_mb(broker.pid))

    def once(self, workload, kind, records):
        if workload == "fetch":
            return self.work(kind, "consume", self.inputs[kind, records], records, 1)
        topics = self.topics[kind]
        sink = topics.create("produce")
        cost = self.work(kind, "produce", sink, records, 1, "none")
        if (written := topics.count(sink)) != records:
            sys.exit(f"bench: {self.brokers[kind].description} has {written:,} records, {records:,} were produced")
        topics.delete(sink)
        return cost

    def latency(self, kind):
        topic = self.topics[kind].create("latency")
        return self.raw.latency(CLIENT, self.brokers[kind].address, topic, topic, self.options)
