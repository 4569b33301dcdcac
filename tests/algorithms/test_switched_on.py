"""A transform that is switched on by a sign, against planted signs and plain Python."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import learner_of, mlp, start_of
from tables import growing, KEY, permuted
from watching import CountSteps

from spectral import Ensemble, Quantity, train_continual
from spectral.algorithms import AbstractSign, Algorithm, bp, followed_by, Reset, SwitchedOn
from spectral.algorithms.transforms.switches._sign import number_in
from spectral.probes import AbstractBranchProbe, AbstractProbe, DeadUnits, measure_at_start
from spectral.studies import SettingsError
from spectral.studies.experiment._parse import parse


class Unlisted(AbstractSign):
    """A sign that is not a probe."""

    def __call__(self, learner, stream, stream_state, *, key):
        return {"value": jnp.zeros(())}


class Training(AbstractBranchProbe):
    """A probe that may train."""

    when: Any = eqx.field(static=True, default=("end",))
    every: int = eqx.field(static=True, default=1)

    def __call__(self, learner, stream, stream_state, *, train, boundary, key):
        return {"value": jnp.zeros(())}


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
        switched = SwitchedOn(inner, Planted(values=jnp.asarray(value)), "value", **options)
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


@pytest.mark.parametrize("reduce", ["mean", "mean_known", "smallest", "largest", 1])
def test_an_array_becomes_the_number_that_its_quantity_says(reduce):
    for values in ([1.0, 4.0, NAN], [1.0, 4.0, 2.0]):
        sign = Planted(values=jnp.asarray(values), reduce=reduce)
        found = number_in({"value": sign.values}, "value", sign)
        expected = Quantity("value", reduce=reduce).series(np.asarray([values]))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_wrong_signs_and_thresholds_are_rejected():
    switch = lambda *given, **options: SwitchedOn(
        CountSteps(), *given, **{"threshold": 0.5, "direction": "above"} | options
    )
    array, number = Planted(values=jnp.ones(3)), Planted(values=jnp.ones(()))
    for threshold in (NAN, np.inf, True):
        with pytest.raises(ValueError, match=r"`threshold` is (nan|inf|True), but must be"):
            switch(number, "value", threshold=threshold)
    with pytest.raises(ValueError, match="`patience` is 0, but must be an integer"):
        switch(number, "value", patience=0)
    learner = learner_of(mlp(1, 1, depth=0))

    def begin(switched):
        state = switched.init(learner, key=KEY)
        return switched.begin_task(learner, state, start_of(), key=KEY)

    with pytest.raises(ValueError, match=r"`column` is 'value', .* array of shape \(3,\)"):
        begin(switch(array, "value"))
    with pytest.raises(ValueError, match=r"`column`: Column of Planted 'values' does not exist"):
        begin(switch(number, "values"))
    twice = SwitchedOn(switch(number, "value"), number, "value", threshold=1.0, direction="above")
    with pytest.raises(ValueError, match="'on.*' is recorded twice"):
        twice.measure(twice.init(learner, key=KEY))


@pytest.mark.parametrize(
    ("sign", "message"),
    [
        (Training(), "`sign` is a Training, which trains copies"),
        (Unlisted(), "`sign` is Unlisted.*, but must be of type AbstractProbe"),
    ],
)
def test_what_trains_is_no_sign(sign, message):
    stream, learner = permuted().stream, learner_of(mlp(1, 1, depth=0))
    with pytest.raises(TypeError, match=message):
        measure_at_start(stream, None, jnp.asarray(0), KEY, sign, learner, key=KEY)


def with_bp(*transforms):
    return followed_by(bp(0.05), transforms)


@eqx.filter_jit
def begun(algo, learner, state, value, task):
    set_value = lambda algo: eqx.tree_at(lambda a: a.transforms[0].sign.values, algo, value)
    return set_value(algo).begin_task(learner, state, start_of(task), key=KEY)


def test_other_parts_forget_while_a_switched_reset_acts():
    """The network is new, and the counted steps are forgotten, at tasks at which it is on."""
    planted = Planted(values=jnp.asarray(0.0))
    reset = SwitchedOn(Reset(), planted, "value", threshold=1.0, direction="above")
    algo = with_bp(reset, CountSteps())
    model = mlp(1, 1, depth=0)
    first, start = algo.init(model, None, key=KEY)
    for values, expected in (([2.0, 0.0, 0.0], [1000] * 3), ([0.0, 0.5, 0.0], [1000, 2000, 3000])):
        learner, state, counted = first, start, []
        for task, value in enumerate(values):
            learner, state = begun(algo, learner, state, jnp.asarray(value), jnp.asarray(task))
            counted.append(int(state.transforms[1][0]))
        assert counted == expected
        assert eqx.tree_equal(learner.model, model) == (values[0] == 0)


@pytest.mark.slow
def test_each_member_has_its_own_switch():
    """Members whose switch is never on, on from task 2 and on from task 1, in a network with
    running statistics. Before, they are bit for bit the first member. The sign of another switch is
    what a probe of the run records."""
    planted, dead = Planted(values=jnp.arange(3.0)), DeadUnits(num_examples=5, when=("start",))
    never = SwitchedOn(CountSteps(), dead, "fraction", threshold=2.0, direction="above")
    members = [
        with_bp(SwitchedOn(Reset(), planted, "value", threshold=t, direction="above"), never)
        for t in (9.0, 1.5, 0.5)
    ]
    setting = growing()
    _, history = train_continual(
        setting.model,
        setting.stream,
        Ensemble.of(members),
        model_state=setting.model_state,
        probes={"dead": dead},
    )
    assert history["Reset.on"].T.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 1]]
    since = [[NAN] * 3, [NAN, NAN, 2], [NAN, 1, 1]]
    np.testing.assert_array_equal(history["Reset.on_since"].T, since)
    np.testing.assert_array_equal(history["Reset.sign"].T, [[0, 1, 2]] * 3)
    np.testing.assert_array_equal(history["CountSteps.sign"], history["dead.start.fraction"])
    loss = history["loss"].reshape(3, 3, -1)  # [tasks, members, chunks]
    equal = np.all(loss == loss[:, :1], axis=2)
    assert equal.T.tolist() == [[True] * 3, [True, True, False], [True, False, False]]
    assert history.quantities["CountSteps.sign"].label == "sign of CountSteps: dead units"
    assert history.quantities["Reset.on"].label == "Reset is on"
    assert history.quantities["Reset.on_since"].label == "Reset on since task"


def test_from_settings():
    """Two thresholds make the same program, so a sweep over them does not compile again."""

    def made(threshold, direction="above"):
        switched = {
            "type": "SwitchedOn",
            "transform": {"type": "Periodic", "period": 2, "transform": {"type": "ReDo"}},
            "sign": {"type": "DeadUnits", "num_examples": 5},
            "column": "fraction",
            "threshold": threshold,
            "direction": direction,
        }
        section = {
            "type": "followed_by",
            "algorithm": {"type": "bp", "lr": 0.05},
            "transforms": [switched],
        }
        return parse(section, Algorithm, "algorithms.mine", {}).make()

    (switched,) = made(0.25).transforms
    assert isinstance(switched, SwitchedOn)
    assert switched.sign == DeadUnits(num_examples=5)
    assert switched.threshold == 0.25
    assert jax.tree.structure(made(0.25)) == jax.tree.structure(made(0.5))
    with pytest.raises(SettingsError, match=r"`algorithms.mine.transforms.*threshold` is nan"):
        made(NAN)
    with pytest.raises(SettingsError, match=r"direction` is 'up'|'up'"):
        made(0.25, "up")
