"""Programs that run unchanged with Quix Streams and with Millstream.

    python programs.py FLAVOUR PROGRAM --broker HOST:PORT --input TOPIC --suffix TEXT --state-dir DIR

FLAVOUR is the package to import. Each program reads the topic given, whose records the test wrote, and writes topics
`PROGRAM-NAME-SUFFIX`, which the test has made. It ends after a while without records.
"""

import argparse
import importlib

QUIET_S = 4.0


class Flavour:
    """The package under test, by the names that both have."""

    def __init__(self, name):
        self.name = name
        self.Application = importlib.import_module(name).Application
        self.message_context = importlib.import_module(name).message_context
        self.windows = importlib.import_module(f"{name}.dataframe.windows")
        self.serializers = importlib.import_module(f"{name}.models.serializers")


class Program:
    """What a program is given: an application and its output topics."""

    def __init__(self, flavour, arguments):
        self.flavour = flavour
        self.name = arguments.program
        self.source = arguments.input
        self.suffix = arguments.suffix
        self.app = flavour.Application(
            broker_address=arguments.broker,
            consumer_group=f"{self.name}-{self.suffix}",
            auto_offset_reset="earliest",
            state_dir=arguments.state_dir,
            # The changelogs' formats differ on purpose, and Quix Streams takes a second to make each.
            use_changelog_topics=False,
            on_processing_error=self.on_processing_error,
            loglevel="WARNING",
        )
        self.failures = []

    def input(self, **formats):
        return self.app.topic(self.source, **formats)

    def output(self, name, **formats):
        return self.app.topic(f"{self.name}-{name}-{self.suffix}", **formats)

    def on_processing_error(self, error, row, logger):
        self.failures.append((row.offset, type(error).__name__))
        return True


# -- stateless steps -----------------------------------------------------------------------------------


def count_calls(value, key, timestamp, headers):
    return {"value": value, "key": key.decode(), "timestamp": timestamp, "headers": [name for name, _ in headers or []]}


BRANCHES = {
    "pass": lambda sdf: sdf,
    "lambda": lambda sdf: sdf.apply(lambda value: {"doubled": value["n"] * 2, "name": value["name"]}),
    "scalar": lambda sdf: sdf.apply(lambda value: value["f"]),
    "text": lambda sdf: sdf.apply(lambda value: value["name"]),
    "none": lambda sdf: sdf.apply(lambda value: None),
    "tuple": lambda sdf: sdf.apply(lambda value: (value["n"], [value["f"]])),
    "metadata": lambda sdf: sdf.apply(count_calls, metadata=True),
    "update": lambda sdf: sdf.update(lambda value: value.update(extra=[1, {"a": None}])),
    "filter": lambda sdf: sdf.filter(lambda value: value["n"] % 3 == 0),
    "filter-metadata": lambda sdf: sdf.filter(lambda v, k, t, h: t % 2 == 0 and bool(k), metadata=True),
    "expand": lambda sdf: sdf.apply(lambda value: [{"i": i} for i in range(value["n"] % 4)], expand=True),
    "generator": lambda sdf: sdf.apply(lambda value: (c for c in value["name"]), expand=True),
    "project": lambda sdf: sdf[["name", "n"]],
    "expression": lambda sdf: sdf[(sdf["n"] > 20) & (sdf["f"] < 0.5) | (sdf["name"] == "oats")],
    "isin": lambda sdf: sdf[sdf["name"].isin(["rye", "oats"])],
    "notin": lambda sdf: sdf[~sdf["name"].isin(["rye", "oats"])],
    "contains-text": lambda sdf: sdf[sdf["name"].contains("a")],
    "null": lambda sdf: sdf[sdf["maybe"].isnull()],
    "not-null": lambda sdf: sdf[sdf["maybe"].notnull() & sdf["flag"].is_(True)],
    "isnot": lambda sdf: sdf[sdf["flag"].isnot(True)],
    "nested": lambda sdf: sdf[sdf["deep"]["list"][1] > 10],
    "apply-condition": lambda sdf: sdf[sdf.apply(lambda value: value["n"] > 30)],
    "series-apply": lambda sdf: sdf[sdf["name"].apply(len) > 3],
    "set-timestamp": lambda sdf: sdf.set_timestamp(lambda v, k, t, h: t + v["n"]),
    "set-headers": lambda sdf: sdf.set_headers(lambda v, k, t, h: [*h, ("n", str(v["n"])), ("raw", b"\0")]),
    "no-headers": lambda sdf: sdf.set_headers(lambda v, k, t, h: []),
    "drop": lambda sdf: sdf.drop(["deep", "nothing"], errors="ignore"),
    "fill": lambda sdf: sdf.fill("new", maybe="filled", other=0),
}


def assign(sdf):
    sdf["sum"] = sdf["n"] + sdf["f"]
    sdf["ratio"] = sdf["n"] / (sdf["f"] + 1)
    sdf["rest"] = sdf["n"] % 7
    sdf["product"] = sdf["n"] * sdf["n"] - 5
    sdf["text"] = sdf["name"] + "!"
    sdf["repeat"] = sdf["name"] * 2
    sdf["abs"] = (sdf["f"] - 0.5).abs()
    sdf["larger"] = sdf["n"] >= sdf["f"]
    sdf["or"] = sdf["maybe"] | sdf["name"]
    sdf["and"] = sdf["maybe"] & sdf["n"]
    sdf["same"] = sdf["n"] == sdf["maybe"]
    sdf["inside"] = sdf["deep"]["list"][0]
    sdf["has"] = sdf.contains(["n", "nothing"])
    sdf["in"] = sdf["n"].isin(sdf["deep"]["list"])
    sdf["applied"] = sdf["name"].apply(str.upper)
    sdf["chain"] = sdf.apply(lambda value: value["sum"] * 2).apply(lambda value: round(value, 3))
    sdf["constant"] = {"a": [1, None, True]}
    sdf["n"] = sdf["n"] + 0.5
    return sdf


BRANCHES["assign"] = assign


def stateless(program):
    """D-03, D-04, D-20 to D-38, D-50 to D-52, S-*: each step on a branch of its own."""
    sdf = program.app.dataframe(program.input())
    for name, build in BRANCHES.items():
        # A step that keeps everything, so that steps in place do not touch the other branches.
        build(sdf[sdf["n"] >= 0]).to_topic(program.output(name))


stateless.outputs = [*BRANCHES]


FORMATS = {
    "json": lambda value: value,
    "str": lambda value: value["name"],
    "int": lambda value: value["n"],
    "double": lambda value: value["f"],
    "bytes": lambda value: value["name"].encode(),
}


def formats(program):
    """T-06, T-40 to T-45, D-50: serializers of values and keys, keys made anew, topics chosen per record."""
    sdf = program.app.dataframe(program.input(key_deserializer="str"))
    for name, function in FORMATS.items():
        topic = program.output(name, value_serializer=name, key_serializer=name)
        sdf[sdf["n"] >= 0].apply(function).to_topic(topic, key=lambda value: value)
    few, many = program.output("few"), program.output("many")
    sdf[sdf["n"] >= 0].to_topic(
        lambda value, key, timestamp, headers: few if value["n"] < 10 else many, key=lambda value: None
    )


formats.outputs = [*FORMATS, "few", "many"]


# -- state ---------------------------------------------------------------------------------------------


def remember(value, state):
    seen = state.get("seen", default=[])
    seen.append(value["n"])
    state.set("seen", seen[-3:])
    if value["n"] % 10 == 0:
        state.delete("last")
    result = {"seen": seen, "last": state.get("last"), "had": state.exists("last")}
    state.set("last", {"n": value["n"], "t": (1, value["f"])})
    return result


def state(program):
    """D-23, ST-01 to ST-04, ST-10"""
    sdf = program.app.dataframe(program.input())
    sdf.apply(remember, stateful=True).to_topic(program.output("remember"))
    sdf.filter(lambda value, state: state.get("last")["n"] % 2 == 0, stateful=True).to_topic(program.output("filter"))


state.outputs = ["remember", "filter"]


def group_by(program):
    """D-40, D-42: with one partition, on the spot."""
    sdf = program.app.dataframe(program.input())
    grouped = sdf.group_by("name")
    grouped.apply(remember, stateful=True).to_topic(program.output("column", key_serializer="json"))
    again = sdf.group_by(lambda value: [value["n"] % 3, value["flag"]], name="function")
    again.apply(lambda v, k, t, h: [v, k], metadata=True).to_topic(program.output("function", key_serializer="json"))


group_by.outputs = ["column", "function"]


def repartition(program):
    """D-41: through a repartition topic. What depends on how partitions interleave is left out."""
    sdf = program.app.dataframe(program.input())
    grouped = sdf.group_by("name").apply(lambda v, k, t, h: [v, k, t], metadata=True)
    grouped.to_topic(program.output("column", key_serializer="json"))
    again = sdf.group_by(lambda value: value["n"] % 5, name="function", key_serializer="int", key_deserializer="int")
    again.apply(lambda v, k, t, h: [v, k, t], metadata=True).to_topic(program.output("function", key_serializer="int"))


repartition.outputs = ["column", "function"]


# -- windows -------------------------------------------------------------------------------------------


SHORTCUTS = ["sum", "count", "mean", "min", "max", "collect", "reduce"]
COLUMNS = ["Sum", "Count", "Mean", "Min", "Max", "First", "Last", "Earliest", "Latest"]


def keep_both(old, new):
    return {"first": old["first"], "last": new, "n": old["n"] + 1}


def windows(program):
    """W-01, W-20 to W-30, W-35 to W-38, W-45 to W-49: aggregations by emissions, with late records and grace."""
    w = program.flavour.windows
    sdf = program.app.dataframe(program.input())
    numbers = sdf.apply(lambda value: value["maybe"])
    for emit in ("final", "current"):
        for shortcut in SHORTCUTS:
            if emit == "current" and shortcut == "collect":
                continue
            definition = numbers.tumbling_window(1000, grace_ms=300, name=emit, on_late=quiet)
            if shortcut == "reduce":
                window = definition.reduce(keep_both, lambda value: {"first": value, "last": value, "n": 1})
            else:
                window = getattr(definition, shortcut)()
            getattr(window, emit)().to_topic(program.output(f"{shortcut}-{emit}"))
        several = {column.lower(): getattr(w, column)("maybe") for column in COLUMNS}
        several["all"] = w.Count()
        if emit == "final":
            several = {"list": w.Collect("n"), "whole": w.Collect(), **several}
        definition = sdf.tumbling_window(1000, grace_ms=300, name=f"several-{emit}", on_late=quiet)
        getattr(definition.agg(**several), emit)().to_topic(program.output(f"several-{emit}"))
    custom = sdf.tumbling_window(500, name="custom", on_late=quiet).agg(spread=spread(w)("n"), joined=joined(w)("name"))
    custom.final().to_topic(program.output("custom"))
    triggers = sdf.apply(lambda value: value["n"]).tumbling_window(
        2000, name="triggers", on_late=quiet, after_update=lambda aggregated, *_: aggregated > 150
    )
    triggers.sum().final().to_topic(program.output("after-update"))
    triggers = sdf.apply(lambda value: value["n"]).tumbling_window(
        2000, name="triggers-before", on_late=quiet, before_update=lambda aggregated, value, *_: aggregated + value > 150
    )
    triggers.sum().final().to_topic(program.output("before-update"))


def quiet(*call):
    return False


def spread(w):
    class Spread(w.Aggregator):
        def initialize(self):
            return None

        def agg(self, old, new, timestamp):
            n = new[self.column]
            return (n, n) if old is None else (min(old[0], n), max(old[1], n))

        def result(self, value):
            return None if value is None else value[1] - value[0]

    return Spread


def joined(w):
    class Joined(w.Collector):
        def result(self, items):
            return "-".join(items)

    return Joined


windows.outputs = [
    *(f"{shortcut}-{emit}" for emit in ("final", "current") for shortcut in SHORTCUTS
      if (emit, shortcut) != ("current", "collect")),
    "several-final", "several-current", "custom", "after-update", "before-update",
]  # fmt: skip


def partition_windows(program):
    """W-50: closing by partition, without grace and in order, where Quix Streams does what the rows say."""
    sdf = program.app.dataframe(program.input())
    window = sdf.tumbling_window(1000, on_late=quiet).agg(
        n=program.flavour.windows.Count(), sum=program.flavour.windows.Sum("n")
    )
    window.final(closing_strategy="partition").to_topic(program.output("final"))


partition_windows.outputs = ["final"]

PROGRAMS = {
    "stateless": stateless,
    "formats": formats,
    "state": state,
    "group_by": group_by,
    "repartition": repartition,
    "windows": windows,
    "partition_windows": partition_windows,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("flavour", choices=["quixstreams", "millstream"])
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--suffix", required=True)
    parser.add_argument("--state-dir", required=True)
    arguments = parser.parse_args()
    program = Program(Flavour(arguments.flavour), arguments)
    PROGRAMS[arguments.program](program)
    program.app.run(timeout=QUIET_S, collect=False)
    for failure in program.failures:
        print(*failure)


if __name__ == "__main__":
    main()
