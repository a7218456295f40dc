"""One workload as a user would write it; the same program for Millstream and for Quix Streams.

python pipeline.py ENGINE WORKLOAD --broker ADDRESS --input TOPIC --output TOPIC --directory DIR [--count OUTPUTS]

ENGINE is the package to import, `millstream` or `quixstreams`. Ends after OUTPUTS records were written, or, without that
number, when it is told to. Says its peak of memory at the end.
"""

import argparse
import importlib
import json
import pathlib
import uuid

import process


def expressions(sdf, windows):
    """Filter and column expression: no Python per record where the engine can do without."""
    sdf = sdf[sdf["amount"] > 10]
    sdf["total"] = sdf["amount"] * sdf["quantity"]
    return sdf


def lambdas(sdf, windows):
    """The same in Python functions."""
    sdf = sdf.filter(lambda value: value["amount"] > 10)
    return sdf.apply(lambda value: {**value, "total": value["amount"] * value["quantity"]})


def window(sdf, windows):
    """A tumbling sum per key, final results, with its changelog topic."""
    return sdf.tumbling_window(duration_ms=1000).agg(total=windows.Sum("amount")).final()


WORKLOADS = {"expressions": expressions, "lambdas": lambdas, "window": window}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["millstream", "quixstreams"])
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--directory", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=0)
    options = parser.parse_args()

    package = importlib.import_module(options.engine)
    windows = importlib.import_module(f"{options.engine}.dataframe.windows")
    # Default settings, but for where things are: what is measured is what a user gets.
    app = package.Application(
        broker_address=options.broker,
        consumer_group=f"bench-{uuid.uuid4().hex[:12]}",
        auto_offset_reset="earliest",
        state_dir=options.directory,
        loglevel="WARNING",
    )
    records = app.topic(options.input, value_deserializer="json")
    results = app.topic(options.output, value_serializer="json")
    sdf = WORKLOADS[options.workload](app.dataframe(records), windows)
    sdf.to_topic(results)
    # The time-out only matters when something is wrong: the driver then finds too few records in the output. A run with a
    # count gives its outputs back unless told otherwise; a service does not, and half a million dicts in a list
    # would be most of what either engine is measured for.
    app.run(count=options.count, timeout=30 if options.count else 0, collect=False)
    print(json.dumps({"peak_mb": process.peak_mb()}))


if __name__ == "__main__":
    main()
