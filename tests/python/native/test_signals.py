"""Ctrl-C and SIGTERM while a run is on (A-56), in processes of their own."""

import signal
import subprocess
import sys
import textwrap
import uuid

import pytest
from brokers import own_broker as started_broker
from brokers import read_line

PROGRAM = """
    import asyncio, signal, sys, threading, time
    from millstream import Application

    app = Application({address!r}, consumer_group={name!r}, auto_offset_reset="earliest", loglevel=None,
                      state_dir={state_dir!r})
    topic = app.topic({name!r})
    sdf = app.dataframe(topic)
    def say(text):
        print(text, flush=True)
    {body}
"""


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def own_broker(request, tmp_path):
    """A broker that the test may pause."""
    directory = tmp_path / "broker"
    directory.mkdir()
    with started_broker(request.param, directory) as broker:
        yield broker
        broker.resume()


@pytest.fixture
def program(tmp_path):
    """Starts a program; gives its process once it has printed `ready`."""
    processes = []

    def start(address, body):
        name = f"signals-{uuid.uuid4().hex[:8]}"
        text = textwrap.dedent(PROGRAM).format(
            address=address, name=name, state_dir=str(tmp_path / name), body=textwrap.dedent(body)
        )
        process = subprocess.Popen(
            [sys.executable, "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, bufsize=1,
        )
        processes.append(process)
        said = read_line(process, "the program to be ready")
        assert said == "ready\n", said + process.stderr.read()
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def ends(process):
    out, errors = process.communicate(timeout=60)
    return process.returncode, out.split("\n"), errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_an_idle_run(program, broker, number):
    process = program(broker.address, """
before = signal.getsignal(signal.SIGINT)
threading.Timer(2, say, ["ready"]).start()
app.run()
assert signal.getsignal(signal.SIGINT) is before
assert signal.set_wakeup_fd(-1) == -1
say("over")
""")
    process.send_signal(number)
    assert ends(process) == (0, ["over", ""], "")


def test_the_second_ctrl_c_interrupts_a_function(program, broker):
    process = program(broker.address, """
with app.get_producer() as producer:
    producer.produce(topic.name, b"1")
def stuck(value):
    say("ready")
    while True:
        time.sleep(0.05)
sdf.update(stuck)
try:
    app.run()
except KeyboardInterrupt as error:
    say("interrupted")
    note = getattr(error, "__notes__", [f"{topic.name}[0] offset 0 (no notes before Python 3.11)"])[0]
    say(note.startswith(f"{topic.name}[0] off"))
""")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert ends(process) == (0, ["interrupted", "True", ""], "")


def test_a_run_in_another_thread_leaves_signals_alone(program, broker):
    process = program(broker.address, """
thread = threading.Thread(target=app.run)
thread.start()
time.sleep(2)
try:
    say("ready")
    while True:
        time.sleep(0.05)
except KeyboardInterrupt:
    say("mine")
    app.stop()
    thread.join()
    say("over")
""")
    process.send_signal(signal.SIGINT)
    assert ends(process) == (0, ["mine", "over", ""], "")


def test_inside_an_event_loop(program, broker):
    """A notebook: somebody else has asked the interpreter for signals."""
    process = program(broker.address, """
async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    threading.Timer(2, say, ["ready"]).start()
    app.run()
    assert signal.set_wakeup_fd(descriptor) == descriptor != -1
    say("over")
asyncio.run(main())
""")
    process.send_signal(signal.SIGINT)
    assert ends(process) == (0, ["over", ""], "")


@pytest.mark.slow
def test_the_second_ctrl_c_does_not_wait_for_a_broker_that_is_away(program, own_broker):
    process = program(own_broker.address, """
with app.get_producer() as producer:
    producer.produce(topic.name, b"1")
sdf.update(lambda value: (say("ready"), time.sleep(2))).to_topic(topic)
try:
    app.run()
except KeyboardInterrupt:
    say("interrupted")
""")
    own_broker.pause()
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        # It is in its last checkpoint, which the broker does not answer.
        process.wait(6)
    process.send_signal(signal.SIGINT)
    assert ends(process)[:2] == (0, ["interrupted", ""])
