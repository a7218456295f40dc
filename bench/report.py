"""From the costs of single runs to a table."""

import dataclasses
import statistics

# Issue 3: ratios of CPU per record that Millstream is to reach on Apache Kafka.
TARGETS = [
    ("expressions", "quixstreams", 8.0),
    ("lambdas", "quixstreams", 6.0),
    ("window", "quixstreams", 20.0),
    ("expressions", "copy", 0.6),
]
LATENCY_TARGET_MS = 20.0


@dataclasses.dataclass
class Line:
    """One engine on one workload."""

    workload: str
    engine: str
    records: int
    cpu_us: list
    """CPU microseconds per record, run by run, without what starting and stopping costs."""
    wall_s: list
    """Wall time of each run, with start and stop."""
    peak_mb: float
    start_s: float
    """Wall time of a run over 2,000 records: start, join, stop."""
    start_cpu_s: float

    @property
    def cost(self):
        return statistics.median(self.cpu_us)

    @property
    def per_cpu_second(self):
        return 1e6 / self.cost

    @property
    def per_second(self):
        return self.records / statistics.median(self.wall_s)


def line(workload, engine, records, small_records, full, small):
    """Subtracts the cost of a small run from each full one, so that only what a record costs is left."""
    more = records - small_records
    base_cpu = statistics.median(cost.cpu_s for cost in small)
    return Line(
        workload, engine, records,
        cpu_us=[max(cost.cpu_s - base_cpu, 1e-9) / more * 1e6 for cost in full],
        wall_s=[cost.wall_s for cost in full],
        peak_mb=max(cost.peak_mb for cost in full),
        start_s=statistics.median(cost.wall_s for cost in small),
        start_cpu_s=base_cpu,
    )


def find(lines, workload, engine):
    if engine == "copy":
        workload, engine = "copy", "librdkafka"
    return next((found for found in lines if (found.workload, found.engine) == (workload, engine)), None)


def ratio(lines, workload, other):
    """How many times as many records per CPU-second Millstream does."""
    ours, theirs = find(lines, workload, "millstream"), find(lines, workload, other)
    return theirs.cost / ours.cost if ours and theirs else None


def table(lines):
    head = (
        f"{'workload':<12} {'engine':<12} {'CPU us/record':>24} {'records/CPU-s':>14} {'records/s':>11}"
        f" {'peak MB':>8} {'start+stop':>11}"
    )
    rows = [head, "-" * len(head)]
    for found in lines:
        cost = f"{found.cost:.2f} ({min(found.cpu_us):.2f} to {max(found.cpu_us):.2f})"
        rows.append(
            f"{found.workload:<12} {found.engine:<12} {cost:>24} {found.per_cpu_second:>14,.0f} {found.per_second:>11,.0f}"
            f" {found.peak_mb:>8.0f} {found.start_s:>9.2f} s"
        )
    return "\n".join(rows)


def verdicts(lines, latencies):
    """The targets, each with what was measured."""
    said = []
    for workload, other, wanted in TARGETS:
        found = ratio(lines, workload, other)
        name = "librdkafka consume + produce" if other == "copy" else "Quix Streams"
        text = "not measured" if found is None else f"{found:.2f} ({'reached' if found >= wanted else 'MISSED'})"
        said.append(f"{workload}: records per CPU-second as a multiple of {name}: {text}, to reach: {wanted}")
    ours = next((found for found in latencies if found["engine"] == "millstream"), None)
    text = "not measured" if not ours else (
        f"{ours['p99_ms']:.1f} ms ({'reached' if ours['p99_ms'] < LATENCY_TARGET_MS else 'MISSED'})"
    )
    said.append(f"latency from produce to output, p99, default settings: {text}, to reach: under {LATENCY_TARGET_MS:.0f} ms")
    return said


def latency_table(latencies):
    rows = [f"{'latency':<12} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}"]
    for found in latencies:
        rows.append(f"{found['engine']:<12} {found['p50_ms']:>8.2f} {found['p99_ms']:>8.2f} {found['max_ms']:>8.2f}")
    return "\n".join(rows)
