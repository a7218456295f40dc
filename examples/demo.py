"""The flights of New York City through `flights.py`, on the embedded broker: what `make demo` runs.

Every step is a command that could be typed; each is shown before it runs. What they leave behind is in one folder
(--dir, default build/demo), which is emptied first, so that every demo sees the same data from the beginning.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import flights_data

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PROGRAM = HERE / "flights.py"
MILLSTREAM = [sys.executable, "-m", "millstream"]

INPUT, OUTPUT = "departures", "hourly-delays"
PARTITIONS = 3

# The program never ends by itself. Once everything was read and nothing new was written for this long, it is done.
QUIET_SECONDS = 1.5
PATIENCE_SECONDS = 180
END_SECONDS = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "build" / "demo"
    parser.add_argument("--dir", type=pathlib.Path, default=default, help="where broker and state are kept")
    options = parser.parse_args()
    if os.environ.get("Quix__Broker__Address"):
        sys.exit("demo: Quix__Broker__Address is set; the demo runs on the embedded broker (unset it)")

    lines = flights_data.json_lines()
    folder = options.dir.absolute()
    empty(folder)
    os.chdir(folder)
    started = time.monotonic()
    print(bold("\nFlights from New York City in 2013, through a pipeline of ten lines\n"))
    print(f"Working in {shown(folder)}: the embedded broker keeps topics in .millstream, the program its state.")

    step("a topic with three partitions that keeps everything")
    command("topics", "create", INPUT, "--partitions", str(PARTITIONS), "--config", "retention.ms=-1")

    step(f"{flights_data.FLIGHTS:,} departures, keyed by carrier, in the order of their scheduled departure")
    command("produce", INPUT, lines, "--key-field", "carrier", "--timestamp-field", "departure_ms")

    step(f"the program: {shown(PROGRAM)}")
    seconds = run_program(folder)

    step("what it wrote")
    windows = read_windows()
    print_tables(windows)
    print_farewell(folder, windows, seconds, time.monotonic() - started)


def empty(folder):
    """Clears what an earlier demo left; a folder that holds anything else is not ours to clear."""
    if folder.exists():
        strange = [path.name for path in folder.iterdir() if path.name not in (".millstream", "state", "flights.log")]
        if strange:
            sys.exit(f"demo: {folder} holds {strange[0]!r}, which no demo made; take another --dir")
        end_broker(folder / ".millstream")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def end_broker(data_dir):
    """Ends the broker of an earlier demo, if it is still there.

    The command that started it gave it the folder's name or, as it ran there, only `.millstream`.
    """
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            where = (entry / "cwd").readlink()
            if "broker" in words and any(where / word == data_dir for word in words):
                os.kill(int(entry.name), signal.SIGTERM)
                deadline = time.monotonic() + END_SECONDS
                while (entry / "cmdline").read_bytes():
                    if time.monotonic() > deadline:
                        sys.exit(f"demo: the broker of an earlier demo (process {entry.name}) does not end")
                    time.sleep(0.05)


def command(*arguments):
    """Shows and runs a command of the millstream program."""
    print(dim(f"$ millstream {' '.join(shown(a) for a in arguments)}"), flush=True)
    done = subprocess.run([*MILLSTREAM, *map(str, arguments)], stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"demo: `millstream {arguments[0]}` ended with status {done.returncode}; its message stands above")


def end_offsets(topic):
    """How many records were ever written to a topic; 0 if it is not there yet."""
    done = subprocess.run(
        [*MILLSTREAM, "topics", "describe", topic, "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        return 0
    return sum(partition["end_offset"] for partition in json.loads(done.stdout)["partitions"])


def regrouped_topic():
    """The topic between `group_by` and the window: its end tells how far the first half of the program is."""
    done = subprocess.run(
        [*MILLSTREAM, "topics", "list", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    names = [json.loads(line)["topic"] for line in done.stdout.splitlines()]
    return next((name for name in names if name.startswith("repartition__")), None)


def departed():
    """How many flights have a delay, and so pass the program's filter."""
    with open(flights_data.json_lines()) as lines:
        return sum('"dep_delay":null' not in line for line in lines)


def run_program(folder):
    """Runs flights.py until it has nothing left to do, then stops it as Ctrl-C would. Returns how long it worked."""
    print(dim(f"$ python {shown(PROGRAM)}"), flush=True)
    expected = departed()
    started = last_change = time.monotonic()
    topic, seen, worked = None, (0, 0), 0.0
    path = folder / "flights.log"
    with open(path, "wb") as log:
        program = subprocess.Popen([sys.executable, PROGRAM], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while True:
                if program.poll() is not None:
                    sys.exit(f"\ndemo: the program ended by itself (status {program.returncode}):\n{end_of(path)}")
                topic = topic or regrouped_topic()
                now = (end_offsets(topic) if topic else 0, end_offsets(OUTPUT))
                if now != seen:
                    seen, last_change = now, time.monotonic()
                    worked = last_change - started
                # The topic between also has a marker per partition that says it is caught up: no flights.
                bar(min(seen[0], expected), expected, f"{seen[1]:,} hours of an airport closed")
                if seen[0] >= expected and seen[1] and time.monotonic() - last_change > QUIET_SECONDS:
                    break
                if time.monotonic() - last_change > PATIENCE_SECONDS:
                    sys.exit(f"\ndemo: nothing moved for {PATIENCE_SECONDS} s; the program said:\n{end_of(path)}")
                time.sleep(0.1)
            program.send_signal(signal.SIGINT)
            status = program.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            sys.exit(f"\ndemo: the program did not end within {END_SECONDS} s of Ctrl-C:\n{end_of(path)}")
        finally:
            program.kill()
            program.wait()
    print()
    if status:
        sys.exit(f"demo: the program did its work, but ended with status {status}:\n{end_of(path)}")
    return worked


def end_of(log):
    return log.read_text(errors="replace")[-3000:]


def read_windows():
    """The output topic, as `millstream consume` prints it."""
    arguments = ["consume", OUTPUT, "--format", "json"]
    print(dim(f"$ millstream {' '.join(arguments)}"), flush=True)
    done = subprocess.run(
        [*MILLSTREAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def print_tables(windows):
    rows = [{"origin": window["key"], **window["value"]} for window in windows]
    busy = sorted(rows, key=lambda row: (-row["flights"], row["start"], row["origin"]))[:5]
    # An hour with two late flights says little about the hour.
    late = sorted((r for r in rows if r["flights"] >= 10), key=lambda row: (-row["mean_delay"], row["start"]))[:5]
    for title, chosen in (("Busiest hours", busy), ("Latest hours (of those with ten flights or more)", late)):
        print(bold(f"\n{title}"))
        print(dim("airport  hour (UTC)        flights  mean delay  worst delay"))
        for row in chosen:
            hour = datetime.datetime.fromtimestamp(row["start"] / 1000, datetime.UTC)
            delays = f"{row['mean_delay']:6.1f} min  {row['worst']:7} min"
            print(f"{row['origin']:7}  {hour:%Y-%m-%d %H:%M}  {row['flights']:7}  {delays}")


def print_farewell(folder, windows, worked, total):
    times = f"the program worked about {worked:.1f} s, the demo {total:.0f} s"
    print(f"\n{flights_data.FLIGHTS:,} flights became {len(windows):,} hours; {times}.\n")
    print(bold("What next"))
    print(f"  The program            {shown(PROGRAM)}")
    print(f"  Its output and errors  {shown(folder / 'flights.log')}")
    print(f"  Look at the topics     cd {shown(folder)}, then with {shown(ROOT / '.venv' / 'bin' / 'millstream')}:")
    print("                           millstream topics list --internal")
    print(f"                           millstream consume {OUTPUT} --limit 5 --format key-value")
    print("  Change it              `sdf[\"late\"]` is not used yet: add late=Sum(\"late\") to the agg, give the group")
    print("                         another name, and run it again in that folder")
    print("  On a Kafka cluster     Quix__Broker__Address=host:9092 python flights.py (here: make kafka ARGS=start)\n")


# -- the terminal ----------------------------------------------------------------------------------


def bar(done, of, note):
    width, part = 32, min(1.0, done / of)
    filled = "█" * round(part * width)
    line = f"{filled:░<{width}} {done:,} of {of:,} flights; {note}"
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="", flush=True)
    else:
        print(line, flush=True)


def step(text):
    print(f"\n{bold('▸ ' + text)}", flush=True)


def shown(path):
    """A path as one would type it: relative to the clone, or to the home folder."""
    if not isinstance(path, pathlib.Path):
        return path
    if path.is_relative_to(ROOT):
        return os.path.relpath(path, ROOT)
    return f"~/{path.relative_to(pathlib.Path.home())}" if path.is_relative_to(pathlib.Path.home()) else str(path)


def bold(text):
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def dim(text):
    return f"\033[2m{text}\033[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    main()
