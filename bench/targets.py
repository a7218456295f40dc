"""What is to be reached, and whether it was."""

import dataclasses

import report

# In each part, the engine that is ours.
OURS = {"clients": "millstream", "pipelines": "millstream", "brokers": "embedded"}


@dataclasses.dataclass(frozen=True)
class Target:
    """How many times better than another one of our own must be. Beyond 1: cheaper, quicker, smaller."""

    part: str
    measure: str
    """A workload, whose records per CPU-second count; `p50_ms` or `p99_ms` of the latency; or `peak_mb` of memory."""
    other: str
    times: float
    other_workload: str = ""
    """What the other one does, if not the same."""

    @property
    def text(self):
        what = {"p50_ms": "latency p50", "p99_ms": "latency p99", "peak_mb": "memory"}.get(self.measure, self.measure)
        return f"{self.part}: {what}, times {self.other}" + (f" {self.other_workload}" if self.other_workload else "")


# On Apache Kafka, one run, interleaved.
TARGETS = [
    Target("clients", "consume", "librdkafka", 4.0),
    Target("clients", "consume lz4", "librdkafka", 2.0),
    Target("clients", "produce", "librdkafka", 4.0),
    Target("clients", "produce lz4", "librdkafka", 1.5),
    Target("clients", "copy", "librdkafka", 4.0),
    Target("clients", "p50_ms", "librdkafka", 1.0),
    Target("clients", "p99_ms", "librdkafka", 1.0),
    Target("clients", "peak_mb", "librdkafka", 2.0),
    Target("pipelines", "expressions", "quixstreams", 25.0),
    Target("pipelines", "window", "quixstreams", 50.0),
    Target("pipelines", "lambdas", "quixstreams", 10.0),
    Target("pipelines", "expressions", "kafka-streams", 6.0),
    Target("pipelines", "window", "kafka-streams", 8.0),
    Target("pipelines", "expressions", "librdkafka", 0.6, "copy"),
    Target("brokers", "produce", "kafka", 2.0),
    Target("brokers", "fetch", "kafka", 2.0),
    Target("brokers", "p99_ms", "kafka", 1.0),
]

# Of a pipeline, from produce to output, with default settings.
LATENCY_P99_MS = 20.0


def measured(part, measure, engine):
    """What an engine took, in any unit, and whether it can be told; None if it was not measured."""
    if measure == "peak_mb":
        found = next((found for found in part.get("peaks", []) if found["engine"] == engine), None)
        return found and (report.peak(found), True)
    if measure in ("p50_ms", "p99_ms"):
        found = next((found for found in part.get("latencies", []) if found["engine"] == engine), None)
        return found and (found[measure], True)
    lines = (line for line in part.get("lines", []) if (line.workload, line.engine) == (measure, engine))
    found = next(lines, None)
    return found and (found.cost, not found.too_few)


def verdict(target, parts):
    """What was to be reached, what was, and `reached`, `MISSED`, `too few records to tell` or `not measured`."""
    part = parts[target.part]
    ours = measured(part, target.measure, OURS[target.part])
    theirs = measured(part, target.other_workload or target.measure, target.other)
    said = {"what": target.text, "to_reach": f"{target.times:g}", "measured": None, "verdict": "not measured"}
    if not ours or not theirs:
        return said
    # No worse is what is 1.00 when it is told.
    ratio = round(theirs[0] / ours[0], 2)
    reached = "reached" if ratio >= target.times else "MISSED"
    return said | {"measured": ratio, "verdict": reached if ours[1] and theirs[1] else "too few records to tell"}


def pipeline_latency(parts):
    """The one target that is no ratio."""
    found = measured(parts["pipelines"], "p99_ms", "millstream")
    said = {"what": "pipelines: latency p99, ms", "to_reach": f"< {LATENCY_P99_MS:g}"}
    if not found:
        return said | {"measured": None, "verdict": "not measured"}
    return said | {"measured": found[0], "verdict": "reached" if found[0] < LATENCY_P99_MS else "MISSED"}


def verdicts(parts):
    """One for each target of the parts that were run."""
    said = [verdict(target, parts) for target in TARGETS if target.part in parts]
    return said + ([pipeline_latency(parts)] if "pipelines" in parts else [])


def table(verdicts):
    width = max(len(found["what"]) for found in verdicts)
    rows = [f"{'':<{width}} {'to reach':>9} {'measured':>9}"]
    for found in verdicts:
        shown = "-" if found["measured"] is None else f"{found['measured']:.2f}"
        rows.append(f"{found['what']:<{width}} {found['to_reach']:>9} {shown:>9}  {found['verdict']}")
    return "\n".join(rows)
