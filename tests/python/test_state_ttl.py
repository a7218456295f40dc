"""State that expires, and stores in memory (ST-02, ST-05, ST-21, ST-41, ST-50 to ST-57)."""

import logging
from datetime import timedelta

import pytest

from millstream.state.exceptions import StateTransactionError, StoreTransactionFailed
from millstream.state.memory import MemoryStore
from millstream.state.rocksdb import RocksDBOptions, RocksDBStore
from millstream.testing import MemoryApplication, TopologyTestDriver
from platforms import DriverPlatform, Input

CHANGELOG = "changelog__g--in--default"


def ms(count):
    return timedelta(milliseconds=count)


class Bench:
    """A stateful function that does what each record says, and the driver that runs it."""

    def __init__(self, store_type=None, **settings):
        self.app = MemoryApplication(consumer_group="g", **settings)
        self.topic = self.app.topic("in")
        self._actions = []
        sdf = self.app.dataframe(self.topic)
        if store_type is not None:
            sdf.register_store(store_type)
        sdf.apply(lambda value, state: self._actions.pop(0)(state), stateful=True)
        self.driver = TopologyTestDriver(self.app)

    def at(self, timestamp, action, key="k"):
        """What `action` gives for a record of that time."""
        self._actions.append(action)
        self.driver.pipe_input(self.topic, 0, key=key, timestamp=timestamp)
        return self.driver.read_results()[0][0]

    def checkpoint(self):
        """The keys that this checkpoint wrote to the changelog: with a value, and removed."""
        self.driver.checkpoint()
        records = [record for record in self.driver.read_outputs(CHANGELOG) if record.raw_key[0] != 0]
        names = [(record.raw_key.split(b"\x00\x01")[1], record.raw_value is not None) for record in records]
        return [name for name, there in names if there], [name for name, there in names if not there]


@pytest.fixture(params=[None, RocksDBStore, MemoryStore])
def bench(request):
    return Bench(request.param)


class TestExpiry:
    """ST-50, ST-52, ST-53, ST-57"""

    def test_a_value_is_gone_when_its_time_has_come(self, bench):
        bench.at(1000, lambda state: state.set("x", [1], ttl=ms(50)))
        assert bench.at(1049, lambda state: (state.get("x"), state.exists("x"))) == ([1], True)
        assert bench.at(1050, lambda state: (state.get("x"), state.get("x", 7), state.exists("x"))) == (None, 7, False)

    def test_time_is_the_partitions_and_does_not_go_back(self, bench):
        bench.at(1000, lambda state: state.set("x", 1, ttl=ms(50)), key="a")
        assert bench.at(1050, lambda state: state.get("x"), key="b") is None
        assert bench.at(900, lambda state: state.exists("x"), key="a") is False

    def test_a_record_that_is_late_for_its_own_ttl(self, bench):
        bench.at(1000, lambda state: state.set("x", 1, ttl=ms(50)))
        assert bench.at(100, lambda state: (state.set("y", 1, ttl=ms(50)), state.get("y")))[1] is None

    def test_time_begins_with_the_first_ttl(self, bench):
        bench.at(9000, lambda state: state.set("plain", 1))
        bench.at(1000, lambda state: state.set("x", 1, ttl=ms(50)))
        assert bench.at(1049, lambda state: state.get("x")) == 1

    def test_writes_without_ttl_move_the_time_and_deletes_do_not(self, bench):
        bench.at(1000, lambda state: state.set("x", 1, ttl=ms(50)))
        bench.at(1049, lambda state: state.delete("y"))
        assert bench.at(0, lambda state: state.exists("x"))
        bench.at(1050, lambda state: state.set("y", 1))
        assert not bench.at(0, lambda state: state.exists("x"))

    def test_set_without_ttl_makes_it_permanent(self, bench):
        bench.at(1000, lambda state: state.set("x", 1, ttl=ms(50)))
        bench.at(1001, lambda state: state.set("x", 2))
        assert bench.at(10**9, lambda state: state.get("x")) == 2

    def test_set_with_ttl_restarts_it(self, bench):
        bench.at(1000, lambda state: state.set("x", 1, ttl=ms(50)))
        bench.at(1040, lambda state: state.set("x", 2, ttl=ms(50)))
        assert bench.at(1089, lambda state: state.get("x")) == 2
        assert bench.at(1090, lambda state: state.get("x")) is None

    def test_bytes(self, bench):
        """ST-05"""
        bench.at(1000, lambda state: state.set_bytes(b"x", b"\xff", ttl=ms(50)))
        assert bench.at(1049, lambda state: state.get_bytes(b"x")) == b"\xff"
        assert bench.at(1050, lambda state: state.get_bytes(b"x", b"-")) == b"-"

    def test_part_of_a_millisecond_is_a_whole_one(self, bench):
        bench.at(1000, lambda state: state.set("x", 1, ttl=timedelta(microseconds=1)))
        assert bench.at(1000, lambda state: state.exists("x"))
        assert not bench.at(1001, lambda state: state.exists("x"))

    def test_no_ttl_is_none(self, bench):
        bench.at(1000, lambda state: state.set("x", 1, None))
        bench.at(1000, lambda state: state.set("y", 1, ms(5)))
        assert bench.at(2000, lambda state: (state.exists("x"), state.exists("y"))) == (True, False)


class TestWrongTtls:
    """ST-51"""

    @pytest.mark.parametrize("ttl", [timedelta(0), ms(-1), timedelta(microseconds=-1), timedelta.max])
    @pytest.mark.parametrize("write", ["set", "set_bytes"])
    def test_a_ttl_that_cannot_be_fails_the_transaction(self, bench, ttl, write):
        def action(state):
            with pytest.raises(ValueError, match="ttl"):
                getattr(state, write)("x", b"1" if write == "set_bytes" else 1, ttl=ttl)
            with pytest.raises(StateTransactionError):
                state.get("x")

        bench.at(1000, action)
        with pytest.raises(StoreTransactionFailed):
            bench.driver.checkpoint()

    @pytest.mark.parametrize("ttl", [5, 0.5, True, "5s", 0])
    def test_a_number_is_a_type_error_and_harms_nothing(self, bench, ttl):
        def action(state):
            with pytest.raises(TypeError, match="timedelta"):
                state.set("x", 1, ttl=ttl)
            state.set("y", 2)
            return state.exists("x"), state.get("y")

        assert bench.at(1000, action) == (False, 2)
        bench.driver.checkpoint()

    def test_a_ttl_is_looked_at_before_the_value(self, bench):
        def action(state):
            with pytest.raises(ValueError, match="positive"):
                state.set("x", object(), ttl=timedelta(0))

        bench.at(1000, action)

    def test_without_a_timestamp_there_is_no_expiry(self, bench, caplog):
        with caplog.at_level(logging.WARNING, "millstream"):
            bench.at(-1, lambda state: state.set("x", 1, ttl=ms(50)))
            bench.at(-1, lambda state: state.set("y", 1, ttl=ms(50)))
        assert bench.at(10**9, lambda state: (state.exists("x"), state.exists("y"))) == (True, True)


class TestEviction:
    """ST-54"""

    def filled(self, **options):
        bench = Bench(rocksdb_options=RocksDBOptions(**options))

        def fill(state):
            for at, name in enumerate("abcd"):
                state.set_bytes(name.encode(), b"1", ttl=ms(10 + at))
            state.set("stays", 1)

        bench.at(1000, fill)
        assert bench.checkpoint() == ([b"a", b"b", b"c", b"d", b'"stays"'], [])
        bench.at(1012, lambda state: state.get("stays"))
        return bench

    def test_what_expired_gets_a_tombstone(self):
        bench = self.filled()
        assert bench.checkpoint() == ([], [b"a", b"b", b"c"])
        assert bench.checkpoint() == ([], [])

    def test_not_more_at_once_than_allowed(self):
        bench = self.filled(max_evictions_per_flush=2)
        bench.at(1013, lambda state: state.get("stays"))
        assert bench.checkpoint() == ([], [b"a", b"b"])
        assert bench.at(1013, lambda state: state.exists(b"d")) is False
        assert bench.checkpoint() == ([], [b"c", b"d"])

    def test_without_tombstones(self):
        bench = self.filled(ttl_changelog_tombstones=False)
        assert bench.checkpoint() == ([], [])
        assert bench.at(0, lambda state: state.exists(b"a")) is False
        assert bench.at(0, lambda state: state.exists(b"d")) is True


class TestRecovery:
    """ST-56"""

    def test_stamps_and_time_survive(self, bench):
        bench.at(1000, lambda state: state.set("x", 1, ttl=ms(50)))
        bench.at(1000, lambda state: state.set("y", 1, ttl=ms(60)))
        bench.driver.checkpoint()
        # Only the time moves.
        bench.at(1049, lambda state: state.get("x"))
        bench.driver.checkpoint()
        bench.driver.crash()
        assert bench.at(0, lambda state: (state.exists("x"), state.exists("y"))) == (True, True)
        assert bench.at(0, lambda state: (state.set("z", 1, ttl=ms(1049)), state.exists("z")))[1] is False
        assert bench.at(1050, lambda state: (state.exists("x"), state.exists("y"))) == (False, True)

    def test_on_a_broker(self, broker):
        """Restarted with its disk, and without it; in memory nothing else is possible."""
        seen = []

        def touch(value, state):
            seen.append(state.exists("seen"))
            state.set("seen", True, ttl=ms(100))

        def run(store_type, *timestamps):
            app = broker.application()
            topic = broker.topic(f"in-{store_type.__name__}")
            sdf = app.dataframe(topic)
            sdf.register_store(store_type)
            sdf.update(touch, stateful=True)
            broker.run(*(Input(topic, 1, "k", timestamp) for timestamp in timestamps))
            found = seen[:]
            seen.clear()
            return app, found

        for store_type in (RocksDBStore, MemoryStore):
            _, found = run(store_type, 1000, 1099, 1199)
            assert found == [False, True, False]
            app, found = run(store_type, 1250)
            assert found == [True]
            app.clear_state()
            _, found = run(store_type, 1300, 1400)
            assert found == [True, False]


class TestStoreTypes:
    """ST-21, ST-41"""

    def test_a_store_in_memory_survives_by_its_changelog(self):
        bench = Bench(MemoryStore)
        bench.at(1, lambda state: state.set("n", 5))
        bench.driver.checkpoint()
        bench.at(2, lambda state: state.get("n"))
        bench.driver.checkpoint()
        bench.driver.crash()
        assert bench.at(3, lambda state: state.get("n")) == 5

    def test_without_changelogs_it_ends_with_the_process(self):
        for store_type, expected in [(MemoryStore, None), (RocksDBStore, 5)]:
            bench = Bench(store_type, use_changelog_topics=False)
            bench.at(1, lambda state: state.set("n", 5))
            bench.driver.checkpoint()
            bench.driver.crash()
            assert bench.at(3, lambda state: state.get("n")) == expected

    def test_the_first_registration_counts(self, app):
        sdf = app.dataframe(app.topic("in"))
        sdf.register_store(MemoryStore)
        sdf.register_store(RocksDBStore)
        sdf.register_store()
        sdf.update(lambda value, state: None, stateful=True)
        assert app._context.topology().describe().count("user state, in memory") == 1

    @pytest.mark.parametrize("wrong", [object, "memory", 5, MemoryStore()])
    def test_unknown_kinds(self, app, wrong):
        with pytest.raises(ValueError, match="MemoryStore"):
            app.dataframe(app.topic("in")).register_store(wrong)


class TestOptions:
    """ST-30, ST-55, ST-58"""

    @pytest.mark.parametrize(
        "wrong",
        [
            {"max_evictions_per_flush": 0},
            {"max_evictions_per_flush": -1},
            {"legacy_records_ttl": timedelta(0)},
            {"legacy_backfill_chunk_size": 0},
            {"ttl_rollback": True, "ttl_force_flip": True},
        ],
    )
    def test_wrong_ones(self, wrong):
        with pytest.raises(ValueError):
            RocksDBOptions(**wrong)

    def test_plain_values_stay_when_the_first_ttl_comes(self):
        bench = Bench(rocksdb_options=RocksDBOptions(legacy_records_ttl=ms(5)))
        bench.at(1000, lambda state: state.set("plain", 1))
        bench.driver.checkpoint()
        bench.at(1000, lambda state: state.set("x", 1, ttl=ms(5)))
        bench.driver.checkpoint()
        assert bench.at(10**9, lambda state: state.get("plain")) == 1

    def test_what_has_no_effect_is_said(self, caplog):
        with caplog.at_level(logging.WARNING, "millstream"):
            MemoryApplication(rocksdb_options=RocksDBOptions(ttl_force_flip=True, legacy_records_ttl=ms(5)))
            MemoryApplication(rocksdb_options=RocksDBOptions(max_evictions_per_flush=5))
        assert [record.getMessage() for record in caplog.records] == [
            "Without effect in Millstream: rocksdb_options legacy_records_ttl, ttl_force_flip"
        ]


def test_windows_are_not_concerned():
    """ST-57: a window's store has no time of this kind, and its changelog no stamps."""
    platform = DriverPlatform()
    app = platform.application()
    topic, out = platform.topic("in"), platform.topic("out")
    sdf = app.dataframe(topic).apply(lambda value, state: (state.set("x", 1, ttl=ms(1)), value)[1], stateful=True)
    sdf.tumbling_window(100).sum().final().to_topic(out)
    platform.run(Input(topic, 1, "k", 10), Input(topic, 2, "k", 90), Input(topic, 4, "k", 100))
    assert [record.value for record in platform.output(out)] == [{"start": 0, "end": 100, "value": 3}]
