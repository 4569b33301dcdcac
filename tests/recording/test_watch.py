"""A watch on planted histories. `tests/algorithms/test_switched_on.py` has the same series."""

import logging

import numpy as np
import pytest

from spectral import History, Quantity
from spectral.recording import _progress, Meters, ProgressBar, Watch


NAN = np.nan
SERIES = np.array([2.0, 3.0, 5.0, NAN, 5.0, 6.0, 7.0, 1.0])


def watched(watch, column, caplog, **about):
    """The warnings, task by task."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="spectral"):
        watch.update(0, len(column), History({}, **about))
        for done in range(1, len(column) + 1):
            history = History({"a.start.x": column[:done]}, **about)
            watch.update(done, len(column), history)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("options", "task", "limit"),
    [
        ({"threshold": 4.0, "direction": "above"}, 2, "above the threshold 4"),
        ({"threshold": 5.0, "direction": "above"}, 5, "above the threshold 5"),
        # A task that was not measured does not break the row.
        ({"threshold": 4.0, "direction": "above", "patience": 2}, 4, "above the threshold 4"),
        ({"threshold": 2.0, "direction": "below"}, 7, "below the threshold 2"),
        ({"threshold": 0.75, "direction": "below", "relative": True}, 7, "below the threshold 1.5"),
        ({"threshold": 8.0, "direction": "above"}, None, ""),
        ({"threshold": 4.0, "direction": "below", "patience": 3}, None, ""),  # two, and one
    ],
)
def test_it_warns_once(options, task, limit, caplog):
    found = watched(Watch("a.start.x", **options), SERIES, caplog)
    wanted = [] if task is None else [f"`a.start.x` is {SERIES[task]:g} at task {task}, {limit}."]
    assert found == wanted


def test_members_and_arrays(caplog):
    """Two members, each with two layers, whose smallest number is watched."""
    column = np.stack([SERIES, SERIES + 1], axis=1)[:, :, None] + [0.0, 10.0]
    about = {
        "members": {"member": (0, 1)},
        "quantities": {"a.start.x": Quantity("x", reduce="smallest")},
    }
    found = watched(Watch("a.start.x", threshold=5.5, direction="above"), column, caplog, **about)
    assert found == [
        "`a.start.x` is 6 at task 2 in member 1, above the threshold 5.5.",
        "`a.start.x` is 6 at task 5 in member 0, above the threshold 5.5.",
    ]
    with pytest.raises(ValueError, match=r"`column` is 'a.start.x', an array of shape \(2,\)"):
        watched(
            Watch("a.start.x", threshold=5.5, direction="above"),
            column,
            caplog,
            members=about["members"],
        )


def test_the_bar_shows_it(monkeypatch, caplog):
    monkeypatch.setattr(_progress, "_IN_NOTEBOOK", True)  # the bar is shown anywhere
    bar, shown = ProgressBar(), []
    monkeypatch.setattr(bar._bar, "refresh", lambda **_: shown.append(bar._bar.postfix))
    watch = Watch("a.start.x", threshold=4.0, direction="above", bar=bar)
    watched(Meters((watch, bar)), SERIES[:4], caplog)
    bar.close()
    assert shown[-3:] == ["", *["a.start.x 5 at task 2"] * 2]


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`threshold` is nan, but must be finite"):
        Watch("x", threshold=NAN, direction="above")
    with pytest.raises(ValueError, match="`patience` is 0, but must be an integer"):
        Watch("x", threshold=1.0, direction="above", patience=0)
    watch = Watch("dead.start.fractions", threshold=1.0, direction="above")
    history = History({"dead.start.fraction": SERIES})
    watch.update(0, 8, History({}))
    with pytest.raises(ValueError, match="did you mean 'dead.start.fraction'"):
        watch.update(1, 8, history)
