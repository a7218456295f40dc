"""Application: section 1 of the parity rows."""

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from brokers import embedded_brokers_of, end_embedded_brokers_of, read_line

import millstream
from millstream import Application
from millstream.app import ApplicationConfig
from millstream.dataframe.windows import Count, Sum
from millstream.exceptions import NotSupportedYet
from millstream.kafka import ConnectionConfig
from millstream.kafka.exceptions import KafkaBrokerUnavailableError
from millstream.models import Topic, TopicConfig
from millstream.models.topics.exceptions import TopicNotFoundError
from millstream.state.exceptions import PartitionStoreIsUsed
from millstream.state.rocksdb import RocksDBOptions
from millstream.testing import MemoryApplication
from platforms import Input

# Never connected to: making an application does not.
NOWHERE = "127.0.0.1:1"


def nowhere(**settings):
    return Application(NOWHERE, loglevel=None, **settings)


class TestConstructor:
    def test_defaults(self):
        """A-03 to A-21, A-38"""
        config = nowhere().config
        assert config == ApplicationConfig(
            broker_address=ConnectionConfig(bootstrap_servers=NOWHERE),
            consumer_group="quixstreams-default",
            producer_extra_config={"enable.idempotence": True},
            consumer_extra_config={"fetch.queue.backoff.ms": 100},
        )
        assert config.state_dir == Path("state")
        assert config.flush_timeout == 300
        assert config.exactly_once is False

    def test_a_connection_config(self):
        """A-01"""
        connection = ConnectionConfig(bootstrap_servers="a:1", sasl_password="hunter2")
        app = Application(connection, loglevel=None)
        assert app.config.broker_address is connection
        assert "hunter2" not in f"{app!r} {app.config!r}"

    def test_secrets_in_extra_config_are_not_shown(self):
        app = nowhere(consumer_extra_config={"sasl.password": "hunter2"}, producer_extra_config={"ssl.key.pem": "pem"})
        assert "hunter2" not in repr(app.config) and "'pem'" not in repr(app.config)

    def test_everything_else_is_keyword_only(self):
        """1.1"""
        with pytest.raises(TypeError):
            Application(NOWHERE, "token")

    @pytest.mark.parametrize(
        "settings",
        [
            {"broker_availability_timeout": -1},
            {"processing_guarantee": "at-most-once"},
            {"auto_offset_reset": "newest"},
            {"state_recovery_offset_reset": "error"},
        ],
    )
    def test_refused(self, settings):
        """A-04, A-18, A-20, A-21"""
        with pytest.raises(ValueError):
            nowhere(**settings)

    @pytest.mark.parametrize(
        ("settings", "instead"),
        [
            ({"processing_guarantee": "exactly-once"}, "at-least-once"),
            ({"workers": 2}, "several times"),
        ],
    )
    def test_not_supported_yet(self, settings, instead):
        with pytest.raises(NotSupportedYet, match=f"is not supported yet; .*{instead}"):
            nowhere(**settings)

    def test_quix_cloud(self, monkeypatch):
        """A-01, A-02"""
        with pytest.raises(NotSupportedYet, match="broker_address=ConnectionConfig"):
            Application(quix_sdk_token="token", loglevel=None)
        monkeypatch.setenv("Quix__Sdk__Token", "token")
        with pytest.raises(NotSupportedYet, match="broker_address=ConnectionConfig"):
            Application(loglevel=None)
        assert nowhere().config.broker_address.bootstrap_servers == NOWHERE, "an address wins"
        with pytest.raises(AttributeError, match=r"Application\(quix_sdk_token="):
            Application.Quix("group")

    def test_environment(self, monkeypatch, tmp_path):
        """C-30, C-32, C-33, A-08"""
        monkeypatch.setenv("Quix__Broker__Address", "elsewhere:9092")
        monkeypatch.setenv("Quix__Consumer_Group", "from-outside")
        monkeypatch.setenv("Quix__Deployment__Id", "5")
        config = Application(loglevel=None).config
        assert config.broker_address.bootstrap_servers == "elsewhere:9092"
        assert config.consumer_group == "from-outside"
        assert config.state_dir == Path("/app/state")
        monkeypatch.setenv("Quix__State__Dir", "old")
        with pytest.warns(DeprecationWarning, match="Quix__State__Dir"):
            assert Application(loglevel=None).config.state_dir == Path("old")
        monkeypatch.setenv("Quix__Deployment__State__Path", "new")
        assert Application(loglevel=None).config.state_dir == Path("new")
        explicit = Application("here:1", consumer_group="mine", state_dir=tmp_path, loglevel=None).config
        assert explicit.broker_address.bootstrap_servers == "here:1"
        assert (explicit.consumer_group, explicit.state_dir) == ("mine", tmp_path)

    def test_kubernetes(self, monkeypatch):
        """A-01: a forgotten setting must not run a private broker silently."""
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        with pytest.raises(ValueError, match='"broker_address".*"quix_sdk_token".*embedded'):
            Application(loglevel=None)
        assert nowhere().config.broker_address.bootstrap_servers == NOWHERE


class TestConfig:
    def test_it_is_frozen(self):
        """A-38"""
        with pytest.raises(AttributeError):
            nowhere().config.commit_interval = 1

    def test_copies(self):
        """A-38"""
        config = nowhere(consumer_extra_config={"max.poll.interval.ms": 60000}).config
        copy = config.copy(consumer_group="other", commit_every=5)
        assert (copy.consumer_group, copy.commit_every, copy.flush_timeout) == ("other", 5, 60)
        assert config.consumer_group == "quixstreams-default"
        with pytest.raises(TypeError):
            config.copy(no_such_setting=1)
        with pytest.raises(ValueError):
            config.copy(processing_guarantee="sometimes")

    def test_rocksdb_options(self):
        """ST-30"""
        options = RocksDBOptions(block_cache_size=5, dumps=repr)
        assert nowhere(rocksdb_options=options).config.rocksdb_options is options
        assert options.to_options()["block_cache_size"] == 5
        assert "loads" not in options.to_options() and "dumps" in options.to_options()
        with pytest.raises(ValueError, match="compression_type"):
            RocksDBOptions(compression_type="rar")
        with pytest.raises(AttributeError):
            options.use_fsync = False


def test_memory_applications_do_not_run():
    app = MemoryApplication()
    app.dataframe(app.topic("in"))
    for use in (app.run, app.get_producer, app.get_consumer):
        with pytest.raises(RuntimeError, match="has no broker"):
            use()


def test_nothing_to_run():
    with pytest.raises(ValueError, match="nothing to run"):
        nowhere().run()


def test_sources_are_not_supported_yet():
    app = MemoryApplication()
    with pytest.raises(NotSupportedYet, match="get_producer"):
        app.dataframe(source=object())
    with pytest.raises(NotSupportedYet, match="get_producer"):
        app.add_source(object())


def test_a_topic_made_by_hand_is_declared(app):
    """A-31"""
    topic = Topic("by-hand", create_config=TopicConfig(2, 1))
    app.dataframe(topic)
    assert topic.broker_config.num_partitions == 2


class TestRun:
    """A-33, A-50 to A-62"""

    def numbers(self, broker, count=10, **settings):
        app = broker.application(**settings)
        topic = broker.topic("numbers")
        sdf = app.dataframe(topic)
        broker.produce(*(Input(topic, {"n": n}, b"k", 100 + n, [("h", b"x")]) for n in range(count)))
        return app, topic, sdf

    def test_count(self, broker):
        """A-53, A-55"""
        app, _, sdf = self.numbers(broker)
        sdf[sdf["n"] % 2 == 0]
        assert app.run(count=3) == [{"n": 0}, {"n": 2}, {"n": 4}]

    def test_it_may_exceed_the_count(self, broker):
        """A-53: the test happens after each message."""
        app, _, sdf = self.numbers(broker)
        sdf.apply(lambda value: [value["n"]] * 4, expand=True)
        assert app.run(count=5) == [{"_value": n} for n in (0, 0, 0, 0, 1, 1, 1, 1)]

    def test_timeout(self, broker):
        """A-52, A-62: and a second run on the same application."""
        app, topic, sdf = self.numbers(broker, 2)
        assert app.run(timeout=1) == [{"n": 0}, {"n": 1}]
        broker.produce(Input(topic, {"n": 5}, b"k", 5))
        assert app.run(timeout=1) == [{"n": 5}]

    def test_timeout_with_count(self, broker):
        """A-54"""
        app, _, _ = self.numbers(broker)
        assert len(app.run(timeout=30, count=2)) == 2
        assert len(app.run(timeout=1, count=100)) == 8

    def test_a_negative_count_is_no_limit(self, broker):
        """A-54: beside a timeout; alone it is 0, which is none either."""
        app, _, _ = self.numbers(broker)
        assert len(app.run(timeout=1, count=-1)) == 10

    def test_collect(self, broker):
        """A-55"""
        app, _, _ = self.numbers(broker)
        assert app.run(count=3, collect=False) == []

    def test_metadata(self, broker):
        """A-55"""
        app, topic, sdf = self.numbers(broker, 1)
        (result,) = app.run(count=1, metadata=True)
        assert result == {
            "_key": b"k", "_timestamp": 100, "_headers": [("h", b"x")], "_topic": topic.name, "_partition": 0,
            "_offset": 0, "n": 0,
        }
        assert list(result)[:6] == ["_key", "_timestamp", "_headers", "_topic", "_partition", "_offset"]

    def test_metadata_gives_way_to_the_value(self, broker):
        """A-55"""
        app, topic, sdf = self.numbers(broker, 1)
        sdf["_key"] = "mine"
        assert app.run(count=1, metadata=True)[0]["_key"] == "mine"

    def test_all_branches_are_outputs(self, broker):
        """A-53"""
        app, _, sdf = self.numbers(broker, 2)
        sdf.apply(lambda value: "a")
        sdf.apply(lambda value: "b")
        assert app.run(count=4) == [{"_value": v} for v in "abab"]

    def test_the_way_to_a_repartition_topic_is_no_output(self, broker):
        """D-41, A-53"""
        app = broker.application()
        topic = broker.topic("in", partitions=2)
        app.dataframe(topic).group_by("n")
        broker.produce(*(Input(topic, {"n": n}, b"%d" % n, 5) for n in range(4)))
        assert sorted(result["n"] for result in app.run(count=4)) == [0, 1, 2, 3]

    def test_stop_from_another_thread(self, broker):
        """A-34"""
        app, _, sdf = self.numbers(broker)
        seen = threading.Event()
        sdf.update(lambda value: seen.set())

        def stop():
            assert seen.wait(60)
            app.stop()

        thread = threading.Thread(target=stop)
        thread.start()
        assert app.run() == []
        thread.join()

    def test_stop_from_a_function(self, broker):
        """A-34: what was processed is committed."""
        app, _, sdf = self.numbers(broker)
        seen = []
        sdf.update(lambda value: seen.append(value["n"]) or (app.stop() if value["n"] == 3 else None))
        app.run()
        first = list(seen)
        assert first[:4] == [0, 1, 2, 3]
        app.run(timeout=1)
        assert seen == list(range(10)), "nothing twice, nothing left out"

    def test_stop_with_failure(self, broker):
        """A-34: nothing is committed on the way out, and the next run commits again."""
        app, _, sdf = self.numbers(broker, commit_interval=1000)
        seen = []
        sdf.update(lambda value: seen.append(value["n"]) or (app.stop(fail=True) if len(seen) == 3 else None))
        app.run()
        assert seen[:3] == [0, 1, 2]
        del seen[:]
        seen.extend([None] * 3)
        app.run(timeout=1)
        assert seen[3:] == list(range(10))
        app.run(timeout=1)
        assert seen[3:] == list(range(10))

    def test_in_another_thread(self, broker):
        """A-56: Quix Streams cannot."""
        app, _, _ = self.numbers(broker, 3)
        results = []
        thread = threading.Thread(target=lambda: results.extend(app.run(count=3)))
        thread.start()
        thread.join(60)
        assert results == [{"n": 0}, {"n": 1}, {"n": 2}]

    def test_two_applications_in_one_process(self, broker, tmp_path):
        app, topic, sdf = self.numbers(broker, 5)
        other = Application(
            broker.address, consumer_group=f"{app.config.consumer_group}-2", auto_offset_reset="earliest",
            state_dir=tmp_path / "other", loglevel=None,
        )
        other.dataframe(other.topic(topic.name)).apply(lambda value: -value["n"])
        results = {}
        threads = [
            threading.Thread(target=lambda name=name, a=a: results.update({name: a.run(count=5)}))
            for name, a in (("one", app), ("two", other))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert results == {"one": [{"n": n} for n in range(5)], "two": [{"_value": -n} for n in range(5)]}

    def test_it_runs_once_at_a_time(self, broker):
        app, _, sdf = self.numbers(broker, 1)
        errors = []

        def again(value):
            for use in (app.run, app.clear_state):
                try:
                    use()
                except Exception as error:
                    errors.append(type(error))

        sdf.update(again)
        app.run(count=1)
        assert errors == [RuntimeError, PartitionStoreIsUsed]

    def test_message_processed(self, broker):
        """A-11"""
        calls = []
        app, topic, _ = self.numbers(broker, 3, on_message_processed=lambda *call: calls.append(call))
        app.run(count=3)
        assert calls == [(topic.name, 0, n) for n in range(3)]

    def test_message_processed_is_not_called_for_what_was_suppressed(self, broker):
        """A-11"""
        calls = []
        app = broker.application(
            on_message_processed=lambda *call: calls.append(call[2]), on_consumer_error=lambda *a: True
        )
        topic = broker.topic("in")
        app.dataframe(topic)
        broker.run(*(Input(topic, value, b"k", 5) for value in (b"1", b"{", b"2")))
        assert calls == [0, 2]

    def test_statistics(self, broker):
        """A-07: of the consumer and of the producer, while it runs; they stop it as soon as all is told."""
        told = {"consumer": {}, "producer": {}}

        def sent():
            """How much went out, by topic; the producer that feeds the input tells, too."""
            topics = told["producer"].get("topics", {})
            return {name: topic["partitions"]["0"]["txmsgs"] for name, topic in topics.items() if topic["partitions"]}

        def keep(kind):
            def callback(text):
                told[kind] = json.loads(text)
                if told["consumer"].get("rxmsgs") == 3 and sent().get(out.name) == 3:
                    app.stop()

            return {"stats_cb": callback, "statistics.interval.ms": 50}

        app, topic, sdf = self.numbers(
            broker, 3, consumer_extra_config=keep("consumer"), producer_extra_config=keep("producer")
        )
        out = broker.topic("out")
        sdf.to_topic(out)
        app.run(timeout=60)
        assert [told[kind]["type"] for kind in ("consumer", "producer")] == ["consumer", "producer"]
        assert told["consumer"]["topics"][topic.name]["partitions"]["0"]["hi_offset"] == 3

    @pytest.mark.parametrize("of", ["consumer_extra_config", "producer_extra_config"])
    def test_errors_in_the_callback_of_statistics(self, broker, of):
        """A-07: as those of other callbacks, they end the run."""

        runs = []

        def fail(text):
            # The producer that feeds the input tells, too.
            if runs:
                raise ZeroDivisionError("of the user")

        app, _, _ = self.numbers(broker, 1, **{of: {"stats_cb": fail, "statistics.interval.ms": 50}})
        runs.append(True)
        with pytest.raises(ZeroDivisionError, match="of the user"):
            app.run(timeout=60)

    def test_the_dataframe_argument(self, broker):
        """A-33"""
        app, _, sdf = self.numbers(broker, 1)
        with pytest.warns(FutureWarning):
            assert app.run(sdf, count=1) == [{"n": 0}]

    def test_latest(self, broker):
        """A-04"""
        app, topic, _ = self.numbers(broker, 5, auto_offset_reset="latest")
        assert app.run(timeout=1) == []

    def test_no_offset_and_no_policy(self, broker):
        """A-04"""
        app, _, _ = self.numbers(broker, 1, auto_offset_reset="error")
        with pytest.raises(Exception) as caught:
            app.run(timeout=5)
        assert type(caught.value).__name__ == "KafkaConsumerException"

    def test_commit_every(self, broker):
        """A-06"""
        app, topic, sdf = self.numbers(broker, commit_interval=1000, commit_every=4)
        with pytest.raises(ZeroDivisionError):
            sdf.apply(lambda value: 1 / (9 - value["n"]))
            app.run()
        with app.get_consumer() as consumer:
            from millstream.kafka import TopicPartition

            (committed,) = consumer.committed([TopicPartition(topic.name, 0)], timeout=10)
        assert committed.offset == 8

    def test_missing_topics(self, broker):
        """A-14"""
        app = broker.application(auto_create_topics=False)
        with pytest.raises(TopicNotFoundError):
            app.topic("not-there-at-all")


class TestState:
    def counting(self, broker, **settings):
        app = broker.application(**settings)
        topic = broker.topic("in")

        def count(value, state):
            state.set("n", state.get("n", 0) + 1)
            return state.get("n")

        app.dataframe(topic).apply(count, stateful=True)
        return app, topic

    def results(self, broker, app, topic, count):
        broker.produce(*(Input(topic, 0, b"k", 5) for _ in range(count)))
        return [result["_value"] for result in app.run(timeout=1)]

    def test_it_survives_a_restart(self, broker):
        app, topic = self.counting(broker)
        assert self.results(broker, app, topic, 3) == [1, 2, 3]
        app, topic = self.counting(broker)
        assert self.results(broker, app, topic, 2) == [4, 5]

    def test_it_comes_back_from_the_changelog(self, broker):
        """A-37, CK-30"""
        app, topic = self.counting(broker)
        assert self.results(broker, app, topic, 3) == [1, 2, 3]
        app.clear_state()
        assert not (app.config.state_dir / app.config.consumer_group).exists()
        app, topic = self.counting(broker)
        assert self.results(broker, app, topic, 2) == [4, 5]

    def test_without_changelogs(self, broker):
        """A-15, CK-36"""
        app, topic = self.counting(broker, use_changelog_topics=False)
        assert self.results(broker, app, topic, 3) == [1, 2, 3]
        app, topic = self.counting(broker, use_changelog_topics=False)
        assert self.results(broker, app, topic, 1) == [4]
        app.clear_state()
        app, topic = self.counting(broker, use_changelog_topics=False)
        assert self.results(broker, app, topic, 1) == [1]

    def test_a_failed_record_does_not_count(self, broker):
        """CK-08: state does not count twice what is processed again."""
        app = broker.application(commit_interval=1000)
        topic = broker.topic("in")
        attempts = []

        def count(value, state):
            state.set("n", state.get("n", 0) + 1)
            attempts.append(value)
            if value == 2 and attempts.count(2) == 1:
                raise RuntimeError("once")
            return state.get("n")

        app.dataframe(topic).apply(count, stateful=True)
        broker.produce(*(Input(topic, n, b"k", 5) for n in range(4)))
        with pytest.raises(RuntimeError, match="once"):
            app.run()
        assert [result["_value"] for result in app.run(timeout=1)] == [1, 2, 3, 4]

    def test_other_aggregations_after_a_restart(self, broker):
        """W-31: open windows start the new ones fresh, and lose the removed ones."""

        def run(timestamps, **aggregations):
            app = broker.application()
            topic = broker.topic("in")
            app.dataframe(topic).tumbling_window(1000).agg(**aggregations).final()
            broker.produce(*(Input(topic, {"v": at}, b"k", at) for at in timestamps))
            return app.run(timeout=1)

        assert run([1, 2], total=Sum("v"), gone=Count()) == []
        assert run([4, 1500], total=Sum("v"), new=Count()) == [{"total": 7, "new": 1, "start": 0, "end": 1000}]

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, [3, 4]),
            ({"state_recovery_offset_reset": "latest"}, []),
            ({"state_recovery_offset_reset": "match"}, [3, 4]),
            ({"auto_recover_from_source_offset_out_of_range": False}, "StateRecoveryOffsetOutOfRange"),
            ({"state_recovery_offset_reset": "match", "auto_offset_reset": "error"}, "StateRecoveryOffsetOutOfRange"),
        ],
    )
    def test_retention_overtakes_the_committed_offset(self, broker, settings, expected):
        """A-21, CK-40 to CK-42"""
        admin = pytest.importorskip("confluent_kafka.admin").AdminClient({"bootstrap.servers": broker.address})
        app, topic = self.counting(broker)
        assert self.results(broker, app, topic, 2) == [1, 2]
        broker.produce(*(Input(topic, 0, b"k", 5) for _ in range(5)))
        # Five are unread; three of them go.
        from confluent_kafka import TopicPartition

        for future in admin.delete_records([TopicPartition(topic.name, 0, 5)]).values():
            future.result(30)
        app, topic = self.counting(broker, **settings)
        if isinstance(expected, str):
            with pytest.raises(Exception) as caught:
                app.run(timeout=3)
            assert type(caught.value).__name__ == expected
        else:
            assert [result["_value"] for result in app.run(timeout=1)] == expected

    def test_a_value_that_cannot_be_stored(self, broker):
        """ST-04: the checkpoint cannot commit, even if the error is suppressed."""
        app = broker.application(on_processing_error=lambda *a: True)
        topic = broker.topic("in")
        app.dataframe(topic).update(lambda value, state: state.set("x", {1, 2}), stateful=True)
        broker.produce(Input(topic, 1, b"k", 5))
        with pytest.raises(Exception) as caught:
            app.run(timeout=3)
        assert type(caught.value).__name__ == "StoreTransactionFailed"


PROGRAM = """
import sys
from millstream import Application
app = Application({address!r}, consumer_group={group!r}, auto_offset_reset="earliest", state_dir={state!r})
sdf = app.dataframe(app.topic({topic!r}))
sdf.update(lambda value: print("seen", value["n"], flush=True))
app.run()
print("ended", flush=True)
"""


class TestSignals:
    """A-56, A-57"""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_it_ends_and_commits(self, broker, number):
        app = broker.application()
        topic = broker.topic("in")
        broker.produce(Input(topic, {"n": 7}, b"k", 5))
        program = PROGRAM.format(
            address=broker.address, group=app.config.consumer_group, state=str(app.config.state_dir), topic=topic.name
        )
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert read_line(process, "the program to see its record") == "seen 7\n"
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "ended\n"), err
        app.dataframe(topic)
        assert app.run(timeout=1) == [], "it was committed"


class TestEmbeddedDefault:
    """Our addition to A-01: without an address there is a broker all the same."""

    PROGRAM = """
import sys
from millstream import Application
app = Application(consumer_group="g", auto_offset_reset="earliest", {extra})
topic = app.topic("in")
with app.get_producer() as producer:
    producer.produce(topic.name, value=b'{{"n": 1}}', key=b"k", timestamp=5)
app.dataframe(topic).update(lambda value, state: state.set("x", 1), stateful=True)
print(app.run(count={count}))
print(app.config.broker_address.bootstrap_servers)
"""

    def run(self, directory, count=1, extra="", **environment):
        done = subprocess.run(
            [sys.executable, "-c", self.PROGRAM.format(count=count, extra=extra)], cwd=directory, timeout=120,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, **environment},
        )
        assert done.returncode == 0, done.stderr
        return done

    def test_two_runs_share_it(self, tmp_path):
        try:
            first = self.run(tmp_path)
            second = self.run(tmp_path)
            assert first.stdout.splitlines()[0] == second.stdout.splitlines()[0] == "[{'n': 1}]"
            assert first.stdout.splitlines()[1] == second.stdout.splitlines()[1]
            assert f"data in {tmp_path / '.millstream'}" in first.stderr
            assert first.stderr.count("embedded broker at") == 1
            assert (tmp_path / ".millstream" / "state" / "g").is_dir(), "its state is kept beside it"
            assert not (tmp_path / "state").exists()
            assert len(list(embedded_brokers_of(tmp_path))) == 1
        finally:
            end_embedded_brokers_of(tmp_path)

    def test_another_directory(self, tmp_path):
        try:
            data = tmp_path / "elsewhere"
            done = self.run(tmp_path, MILLSTREAM_DATA_DIR=str(data))
            assert f"data in {data}" in done.stderr
            done = self.run(tmp_path, extra=f"data_dir={str(data)!r}, broker_address='embedded'",
                            KUBERNETES_SERVICE_HOST="10.0.0.1")
            assert f"data in {data}" in done.stderr
            assert not (tmp_path / ".millstream").exists()
        finally:
            end_embedded_brokers_of(tmp_path)


def test_version():
    """M-40"""
    assert millstream.__version__.count(".") == 2


def test_making_an_application_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nowhere()


def test_no_broker_there():
    """The question gives up by the request timeout: it is in the message, and with it where the broker was looked for."""
    app = nowhere(request_timeout=2)
    with pytest.raises(KafkaBrokerUnavailableError) as caught:
        app.topic("in")
    assert NOWHERE in str(caught.value) and "2" in str(caught.value)
