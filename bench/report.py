"""From the costs of single runs to a table."""

import dataclasses
import statistics

COLUMNS = """\
CPU us/record, records/CPU-s, records/s: what the records beyond those of a small run took, so without start and stop
peak MB: the greatest of all runs
first output: seconds from starting the process until its first record stood in the output topic"""
TOO_FEW = "* starting and stopping took longer than the records did: give more of them (--records)"


@dataclasses.dataclass
class Line:
    """One engine on one workload."""

    workload: str
    engine: str
    records: int
    cpu_us: list
    """CPU microseconds per record, run by run, without what starting and stopping costs."""
    wall_us: list
    """The same of the time that passed; not above zero if a short run was over before a small one."""
    peak_mb: float
    first_s: list
    """From starting the process to its first output, run by run; empty if the workload has no output."""
    start_cpu_s: float
    """CPU seconds of a small run."""
    start_wall_s: float
    """The same of the time that passed."""
    too_few: bool
    """Starting and stopping took more CPU time than the records did."""
    too_short: bool
    """Starting and stopping took more of the time that passed than the records did."""

    @property
    def cost(self):
        return statistics.median(self.cpu_us)

    @property
    def per_cpu_second(self):
        return 1e6 / self.cost

    @property
    def per_second(self):
        each = statistics.median(self.wall_us)
        return 1e6 / each if each > 0 else None

    @property
    def first_output(self):
        return statistics.median(self.first_s) if self.first_s else None


def line(workload, engine, small_records, records, small, full):
    """Subtracts the cost of a small run from each full one, so that only what a record costs is left."""
    base_cpu = statistics.median(cost.cpu_s for cost in small)
    base_wall = statistics.median(cost.wall_s for cost in small)

    def per_record(seconds):
        return seconds / (records - small_records) * 1e6

    return Line(
        workload, engine, records,
        # A cost is never nothing, though a run may be too short to be told from a small one.
        cpu_us=[per_record(max(cost.cpu_s - base_cpu, 1e-6)) for cost in full],
        wall_us=[per_record(cost.wall_s - base_wall) for cost in full],
        peak_mb=max(cost.peak_mb for cost in full),
        first_s=[cost.first_s for cost in small if cost.first_s is not None],
        start_cpu_s=base_cpu,
        start_wall_s=base_wall,
        too_few=statistics.median(cost.cpu_s for cost in full) < 2 * base_cpu,
        too_short=statistics.median(cost.wall_s for cost in full) < 2 * base_wall,
    )


def star(doubtful):
    return "*" if doubtful else " "


def table(lines):
    head = (
        f"{'workload':<12} {'engine':<13} {'CPU us/record':>24} {'records/CPU-s':>15} {'records/s':>12}"
        f" {'peak MB':>8} {'first output':>13}"
    )
    rows = [head, "-" * len(head)]
    for found in lines:
        cost = f"{found.cost:.2f} ({min(found.cpu_us):.2f} to {max(found.cpu_us):.2f})"
        first = "-" if found.first_output is None else f"{found.first_output:.2f} s"
        rate = "-" if found.per_second is None else f"{found.per_second:,.0f}"
        rows.append(
            f"{found.workload:<12} {found.engine:<13} {cost:>24} {found.per_cpu_second:>14,.0f}{star(found.too_few)}"
            f" {rate:>11}{star(found.too_short)} {found.peak_mb:>8.0f} {first:>13}"
        )
    return "\n".join(rows)


def latency(engine, runs):
    """Medians over the runs of one engine, and the runs themselves."""
    names = ("p50_ms", "p99_ms", "max_ms")
    return {"engine": engine} | {name: statistics.median(run[name] for run in runs) for name in names} | {"runs": runs}


def latency_table(latencies):
    rows = [f"{'engine':<13} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}   p99 of each run"]
    for found in latencies:
        each = " ".join(f"{run['p99_ms']:.2f}" for run in found["runs"])
        rows.append(f"{found['engine']:<13} {found['p50_ms']:>8.2f} {found['p99_ms']:>8.2f} {found['max_ms']:>8.2f}   {each}")
    return "\n".join(rows)


def peak(found):
    """The median over the runs of one engine, in MB."""
    return statistics.median(found["peak_mb"])


def peaks_table(peaks):
    rows = [f"{'engine':<13} {'peak MB':>8}   of each run"]
    for found in peaks:
        each = " ".join(f"{one:.1f}" for one in found["peak_mb"])
        rows.append(f"{found['engine']:<13} {peak(found):>8.1f}   {each}")
    return "\n".join(rows)


def parts(parts, options):
    """The tables of every part that was run."""
    heads = {
        "clients": "Clients alone: {records:,} records of 100 bytes, one partition, CPU time of the client's process",
        "pipelines": "Pipelines: {records:,} records of 151 bytes, one partition, CPU time of the pipeline's process",
        "brokers": "Brokers under the same client: {records:,} records of 100 bytes, one partition, CPU time of the broker's process",
    }
    between = {"pipelines": "from produce to output, filter + column expression"}
    rows = []
    for name, part in parts.items():
        rows += ["", heads[name].format(**part), "", table(part["lines"])]
        if latencies := part.get("latencies"):
            what = between.get(name, "from produce to consume, linger 0")
            rows += ["", f"Latency {what}, at {options.rate} records/s, runs of {options.latency_seconds} s", "", latency_table(latencies)]
        if peaks := part.get("peaks"):
            rows += ["", f"Memory of a consumer that reads {part['partitions']:,} partitions", "", peaks_table(peaks)]
    return "\n".join([*rows, "", COLUMNS, *([TOO_FEW] if any(is_doubtful(part["lines"]) for part in parts.values()) else [])])


def is_doubtful(lines):
    return any(line.too_few or line.too_short for line in lines)
