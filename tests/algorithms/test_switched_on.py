"""A transform that is switched on by a sign, against planted signs and plain Python."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import clock_at, learner_of, mlp, start_of
from tables import growing, KEY, permuted
from watching import CountSteps

from spectral import Ensemble, Quantity, train_continual
from spectral.algorithms import bp, followed_by, Reset, SwitchedOn
from spectral.probes import AbstractBranchProbe, AbstractProbe, DeadUnits, WeightNorm
from spectral.studies.experiment._parse import parse


class Planted(AbstractProbe):
    """Records what it is told, whatever the network."""

    values: Any
    reduce: Any = eqx.field(static=True, default=None)
    when: Any = eqx.field(static=True, default=("end",))
    every: int = eqx.field(static=True, default=5)

    def __call__(self, learner, stream, stream_state, *, boundary=None, key):
        return {"value": self.values if boundary is None else self.values[boundary.task]}

    def quantities(self):
        return {} if self.reduce is None else {"value": Quantity("value", reduce=self.reduce)}


NAN = np.nan
SERIES = [2.0, 3.0, 5.0, NAN, 5.0, 6.0, 7.0, 1.0]


@pytest.mark.parametrize(
    ("options", "since"),
    [
        ({"threshold": 4.0, "direction": "above"}, 2),
        ({"threshold": 5.0, "direction": "above"}, 5),  # not at the threshold itself
        ({"threshold": 4.0, "direction": "above", "patience": 2}, 5),  # NaN breaks the row
        ({"threshold": 4.0, "direction": "above", "patience": 4}, None),
        ({"threshold": 2.0, "direction": "below"}, 7),
        ({"threshold": 2.0, "direction": "above", "relative": True}, 2),
        ({"threshold": 0.75, "direction": "below", "relative": True}, 7),
    ],
)
def test_the_task_at_which_it_is_switched_on(options, since):
    """It stays on, and the transform sees no task and no step before. Without `jit`."""
    inner = CountSteps()
    learner = learner_of(mlp(1, 1, depth=0))
    state, seen = None, []
    for task, value in enumerate(SERIES):
        switched = SwitchedOn(inner, Planted(jnp.asarray(value)), "value", **options)
        state = switched.init(learner, key=KEY) if state is None else state
        _, state = switched.begin_task(learner, state, start_of(task), key=KEY)
        measured = switched.measure(state)
        np.testing.assert_array_equal(measured["sign"], np.float32(value))
        seen.append((float(measured["on"]), float(measured["on_since"]), int(state.inner[0])))
    first = len(SERIES) if since is None else since
    expected = [(0, NAN, 0)] * first + [
        (1, first, 1000 * (n + 1)) for n in range(len(SERIES) - first)
    ]
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [("mean", NAN), ("mean_known", 2.5), ("smallest", NAN), (1, 4.0), ("largest", NAN)],
)
def test_an_array_becomes_the_number_that_its_quantity_says(reduce, expected):
    for values in ([1.0, 4.0, NAN], [1.0, 4.0, 2.0]):
        sign = Planted(jnp.asarray(values), reduce)
        switched = SwitchedOn(Reset(), sign, "value", threshold=0.0, direction="below")
        learner = learner_of(mlp(1, 1, depth=0))
        state = switched.init(learner, key=KEY)
        row = start_of().measured(sign, learner, key=KEY)
        found = switched._judged(state, _number(row, sign), clock_at(0)).latest
        by_history = Quantity("value", reduce=reduce).series(np.asarray([values]))[0]
        np.testing.assert_allclose(found, by_history)
    assert not np.isnan(found)
