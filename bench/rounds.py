"""Everything is run several times in turn, so that a slow minute of the machine hits all alike."""

import report

SMALL = 2000


def costs(part, runs, pairs, records, once):
    """A line for each pair of workload and engine.

    `once(workload, engine, records)` runs one of them and returns its cost. Each full run comes with a small one,
    whose cost is taken off; `records(engine)` says over how many records either is.
    """
    pairs = list(pairs)
    small_costs, full_costs = {pair: [] for pair in pairs}, {pair: [] for pair in pairs}
    for number in range(1, runs + 1):
        for pair in pairs:
            small, full = records(pair[1])
            small_costs[pair].append(once(*pair, small))
            cost = once(*pair, full)
            full_costs[pair].append(cost)
            say(part, number, runs, f"{', '.join(pair)}: {cost.cpu_s:.2f} s CPU, {cost.wall_s:.2f} s, {cost.peak_mb:.0f} MB")
    return [report.line(*pair, *records(pair[1]), small_costs[pair], full_costs[pair]) for pair in pairs]


def latencies(part, runs, engines, once):
    """The latencies of each engine; `once(engine)` measures one."""
    found = {engine: [] for engine in engines}
    for number in range(1, runs + 1):
        for engine, measured in found.items():
            one = once(engine)
            measured.append(one)
            say(part, number, runs, f"latency, {engine}: p50 {one['p50_ms']:.2f} ms, p99 {one['p99_ms']:.2f} ms")
    return [report.latency(engine, measured) for engine, measured in found.items()]


def peaks(part, runs, engines, once):
    """The peaks of memory of each engine, in MB; `once(engine)` measures one."""
    found = {engine: [] for engine in engines}
    for number in range(1, runs + 1):
        for engine, measured in found.items():
            measured.append(once(engine))
            say(part, number, runs, f"memory, {engine}: {measured[-1]:.1f} MB")
    return [{"engine": engine, "peak_mb": measured} for engine, measured in found.items()]


def say(part, number, runs, what):
    print(f"bench: {part}, run {number} of {runs}: {what}", flush=True)
