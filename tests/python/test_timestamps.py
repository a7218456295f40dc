"""What a function may give as a timestamp (D-51, T-07): the same for both."""

import enum

import pytest

from millstream.testing import MemoryApplication, TopologyTestDriver


class Mark(enum.IntEnum):
    NOON = 43_200_000


class Mine(int):
    pass


class Index:
    """As numpy's integers are: no int, but one by `__index__`."""

    def __index__(self):
        return 7


GOOD = [(5, 5), (True, 1), (Mark.NOON, 43_200_000), (Mine(9), 9), (Index(), 7), (-3, -3)]
BAD = [5.0, "5", None, 2**63, [5]]


def by_set_timestamp(given):
    app = MemoryApplication()
    sdf = app.dataframe(app.topic("in")).set_timestamp(lambda value, key, timestamp, headers: given)
    return [timestamp for _, _, timestamp, _ in sdf.test(1)]


def by_extractor(given):
    app = MemoryApplication()
    topic = app.topic("in", timestamp_extractor=lambda value, headers, timestamp, kind: given)
    app.dataframe(topic)
    with TopologyTestDriver(app) as driver:
        driver.pipe_input(topic, 1)
        return [timestamp for _, _, timestamp, _ in driver.read_results()]


@pytest.mark.parametrize("way", [by_set_timestamp, by_extractor])
@pytest.mark.parametrize(("given", "timestamp"), GOOD, ids=str)
def test_d_51_t_07_integers(way, given, timestamp):
    [found] = way(given)
    assert (found, type(found)) == (timestamp, int)


@pytest.mark.parametrize("given", BAD, ids=str)
def test_d_51_t_07_what_is_none(given):
    kinds = set()
    for way in (by_set_timestamp, by_extractor):
        with pytest.raises((TypeError, OverflowError)) as caught:
            way(given)
        kinds.add(type(caught.value))
    assert len(kinds) == 1, "both refuse it in the same way"
