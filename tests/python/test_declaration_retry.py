"""A notebook's cell that failed because of a broker is run again."""

import pytest

from millstream.models import TopicConfig
from millstream.testing import MemoryApplication, TopologyTestDriver


class Hiccup(Exception):
    pass


class Admin:
    """The application's own, out of order for a while."""

    def __init__(self, admin):
        self._admin = admin
        self.broken = False

    def inspect_topics(self, *args, **kwargs):
        if self.broken:
            raise Hiccup
        return self._admin.inspect_topics(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self._admin, name)


@pytest.fixture
def app():
    app = MemoryApplication()
    app.admin = app._topic_manager._admin = Admin(app._topic_manager._admin)
    return app


def counts(value, state):
    state.set("n", state.get("n", 0) + 1)
    return state.get("n")


CELLS = {
    "apply": lambda sdf: sdf.apply(counts, stateful=True),
    "update": lambda sdf: sdf.update(counts, stateful=True),
    "filter": lambda sdf: sdf.filter(counts, stateful=True),
    "group_by": lambda sdf: sdf.group_by("k"),
    "window": lambda sdf: sdf.tumbling_window(10).count().final(),
}


@pytest.mark.parametrize("cell", CELLS)
def test_the_cell_can_be_run_again(app, cell):
    """D-40, W-09, T-10: nothing of the first try is left."""
    topic = app.topic("in", config=TopicConfig(2, 1))
    sdf = app.dataframe(topic)
    app.admin.broken = True
    for _ in range(2):
        with pytest.raises(Hiccup):
            CELLS[cell](sdf)
    app.admin.broken = False
    CELLS[cell](sdf)
    once = MemoryApplication()
    other = once.dataframe(once.topic("in", config=TopicConfig(2, 1)))
    CELLS[cell](other)
    assert app._context.topology().describe() == once._context.topology().describe()
    with TopologyTestDriver(app) as driver:
        driver.pipe_input(topic, {"k": "a"}, key=b"k", timestamp=1)


def test_an_assignment_gives_its_chain_back(app):
    """D-35: the dataframe on the right is not used up by a try that failed."""
    sdf = app.dataframe(app.topic("in"))
    chain = sdf.apply(lambda value: value["a"])
    app.admin.broken = True
    with pytest.raises(Hiccup):
        sdf.register_store()
    app.admin.broken = False
    sdf["b"] = chain
    assert sdf.test({"a": 1})[0][0] == {"a": 1, "b": 1}


def test_a_dataframe_stays_where_it_was(app):
    sdf = app.dataframe(app.topic("in"))
    step = sdf.stream
    app.admin.broken = True
    with pytest.raises(Hiccup):
        sdf.update(counts, stateful=True)
    assert sdf.stream == step
    sdf["b"] = 1
    assert sdf.test({})[0][0] == {"b": 1}
