"""Everything is run several times in turn, so that a slow minute of the machine hits all alike."""

import report

SMALL = 2000


class Part:
    """What the parts share.

    Each has its `name`, `options`, the `records` of a full run, `once` for `costs`, and `latency` for `latencies`.
    """

    def sizes(self, engine):
        """Records of a small and of a full run."""
        return SMALL, self.records

    def found(self, pairs, engines):
        """The costs of those pairs of workload and engine, and the latencies of those engines unless they are left out."""
        runs = self.options.runs
        found = {"records": self.records, "lines": costs(self.name, runs, pairs, self.sizes, self.once)}
        if not self.options.no_latency:
            found["latencies"] = latencies(self.name, runs, engines, self.latency)
        return found


def costs(part, runs, pairs, records, once):
    """A line for each pair of workload and engine.

    `once(workload, engine, records)` runs one of them and returns its cost. Each full run comes with a small one,
    whose cost is taken off; `records(engine)` says over how many records either is.
    """
    def both(pair):
        return [once(*pair, size) for size in records(pair[1])]

    def told(pair, measured):
        cost = measured[1]
        return f"{', '.join(pair)}: {cost.cpu_s:.2f} s CPU, {cost.wall_s:.2f} s, {cost.peak_mb:.0f} MB"

    found = turns(part, runs, pairs, both, told)
    return [report.line(*pair, *records(pair[1]), *zip(*measured, strict=True)) for pair, measured in found.items()]


def latencies(part, runs, engines, once):
    """The latencies of each engine; `once(engine)` measures one."""
    def told(engine, one):
        return f"latency, {engine}: p50 {one['p50_ms']:.2f} ms, p99 {one['p99_ms']:.2f} ms"

    return [report.latency(engine, measured) for engine, measured in turns(part, runs, engines, once, told).items()]


def peaks(part, runs, engines, once):
    """The peaks of memory of each engine, in MB; `once(engine)` measures one."""
    found = turns(part, runs, engines, once, lambda engine, peak: f"memory, {engine}: {peak:.1f} MB")
    return [{"engine": engine, "peak_mb": measured} for engine, measured in found.items()]


def turns(part, runs, engines, once, told):
    """What `once(engine)` returns for each engine, run by run; `told(engine, measured)` is what is said of a run.

    Every second run goes backwards: a broker that warms up would favour whoever is always the last.
    """
    found = {engine: [] for engine in engines}
    for number in range(1, runs + 1):
        for engine in list(found) if number % 2 else list(reversed(found)):
            measured = once(engine)
            found[engine].append(measured)
            print(f"bench: {part}, run {number} of {runs}: {told(engine, measured)}", flush=True)
    return found
