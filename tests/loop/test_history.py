import tracemalloc

import numpy as np
import pandas as pd
import pytest

from spectral import History
from spectral._history import GrowingHistory


def test_rows_that_were_never_set_are_nan():
    growing = GrowingHistory(History({}), num_tasks=5)
    growing.write({"a": np.array([1.0, 2.0])}, 0)
    growing.write({"b": np.array([[5.0, 6.0]])}, 3)
    nan, history = np.nan, growing.history
    np.testing.assert_array_equal(history["a"], [1, 2, nan, nan])
    np.testing.assert_array_equal(history["b"], [[nan, nan]] * 3 + [[5, 6]])
    growing.write({"a": np.array([7.0])}, 4)
    later = growing.history
    np.testing.assert_array_equal(later["a"], [1, 2, nan, nan, 7])
    np.testing.assert_array_equal(history["a"], [1, 2, nan, nan])
    assert later.num_tasks == 5
    assert sorted(later) == ["a", "b"]
    assert "a: [5]" in repr(later)
    growing.write({}, 9)
    assert growing.history.num_tasks == 5


def test_rows_are_written_in_place():
    """The memory that a write takes does not depend on the length of the history."""
    first = History({"a": np.arange(10.0), "b": np.zeros((9, 2))})
    growing = GrowingHistory(first, num_tasks=100_000)
    before = growing.history
    np.testing.assert_array_equal(before["b"][9], [np.nan, np.nan])
    tracemalloc.start()
    for task in range(10, 30):
        growing.write({"a": np.ones(1), "b": np.ones((1, 2))}, task)
        assert growing.history.num_tasks == task + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000  # bytes; one copy of a column of 100,000 tasks takes 800,000
    assert np.shares_memory(before["a"], growing.history["a"])
    assert before.num_tasks == 10
    growing.write({"a": np.full(1, 3.0)}, 0)
    assert growing.history["a"][0] == 3
    assert first["a"][0] == 0  # what was given is copied


COLUMNS = {
    "loss": np.arange(6.0).reshape(3, 2),
    "test_accuracy": np.array([0.125, 0.25, 0.5]),
    "dead.end.fraction": np.array([np.nan, 0.75, np.nan]),
    "h.end.nodes": np.ones((3, 2, 4)),
    "g.end.nodes": np.ones((3, 1, 2)),
    "layers.end.rank": np.ones((3, 5)),
}


def test_axes_have_names():
    data = History(COLUMNS).to_xarray()
    assert data["loss"].dims == ("task", "chunk")
    assert data["test_accuracy"].dims == ("task",)
    assert data["h.end.nodes"].dims == ("task", "vector", "node")
    assert data["layers.end.rank"].dims == ("task", "layers.end.rank.0")
    np.testing.assert_array_equal(data["loss"].sel(chunk=1), [1, 3, 5])
    shorter = data["g.end.nodes"]  # joined with a spectrum of another order
    assert shorter.shape == (3, 2, 4)
    assert shorter.notnull().sum() == 6
    assert not History({}).to_xarray()


def test_axes_of_an_ensemble():
    members = {"member": ("a", "b"), "lr": (0.1, 0.2)}
    columns = {"loss": np.arange(12.0).reshape(3, 2, 2), "accuracy": np.arange(6.0).reshape(3, 2)}
    history = History(columns, members=members)
    data = history.to_xarray()
    assert data["loss"].dims == ("task", "member", "chunk")
    assert data["accuracy"].sel(member="b", task=2) == 5
    assert data["lr"].values.tolist() == [0.1, 0.2]
    frame = history.to_dataframe()
    assert set(frame) == {"task", "member", "accuracy", "lr"}
    assert frame[(frame["lr"] == 0.2) & (frame["task"] == 1)]["accuracy"].tolist() == [3]
    longer = GrowingHistory(history, num_tasks=4)
    longer.write({"accuracy": np.array([[7.0, 8.0]])}, 3)
    assert longer.history.members == members
    assert np.isnan(longer.history["loss"][3]).all()


def test_data_frames():
    history = History(COLUMNS)
    frame = history.to_dataframe()
    assert list(frame) == ["task", "test_accuracy", "dead.end.fraction"]
    assert frame["test_accuracy"].tolist() == [0.125, 0.25, 0.5]
    chunks = history.to_dataframe(names=["loss"])
    assert chunks["chunk"].tolist() == [0, 1] * 3
    assert chunks["loss"].tolist() == list(range(6))
    measured = history.to_dataframe(names=["dead.end.fraction"])
    assert measured["task"].tolist() == [1]
    with pytest.raises(ValueError, match="'lost', which was not recorded: choose among"):
        history.to_dataframe(names=["lost"])
    with pytest.raises(ValueError, match="different axes.*make one frame for each kind"):
        history.to_dataframe(names=["loss", "test_accuracy"])
    with pytest.raises(ValueError, match=r"no variable has just the axes \('task',\).* loss"):
        History({"loss": np.ones((2, 2))}).to_dataframe()


def test_a_history_is_not_one_array():
    """pandas would otherwise make a frame of the names."""
    history = History(COLUMNS)
    with pytest.raises(TypeError, match=r"call `history.to_dataframe\(\)`"):
        pd.DataFrame(history)  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert list(pd.DataFrame({"a": history["test_accuracy"]})["a"]) == [0.125, 0.25, 0.5]


def test_texts():
    history = History(COLUMNS | {"<b>": np.full(3, np.nan)})
    text = repr(history)
    assert "loss: [3, 2], 0.5 ... 4.5" in text
    assert "dead.end.fraction: [3], 0.75 ... 0.75" in text
    table = history._repr_html_()
    assert "<td>loss</td><td>[3, 2]</td><td>0.5</td><td>4.5</td>" in table
    assert "<td>&lt;b&gt;</td><td>[3]</td><td>nan</td><td>nan</td>" in table
    assert table.count("<tr>") == 1 + len(history)
