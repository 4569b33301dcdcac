"""What the parts of a run say about the columns that they record."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from tables import permuted

from spectral import algorithms, probes, Quantity, train_continual
from spectral._check_parts import check_parts
from spectral.algorithms import AbstractTransform, Periodic


class Counting(AbstractTransform):
    """Counts its updates; says nothing of what it records."""

    def init(self, learner, *, key):
        return jnp.asarray(0)

    def update(self, learner, state, signal, *, key):
        return learner, state + 1

    def measure(self, state):
        return {"updates": state}


class Told(probes.AbstractProbe):
    """Records the columns `a` and `b`, and declares what `declared` names."""

    declared: tuple[str, ...] = eqx.field(static=True, default=())
    bounds: tuple[tuple[str, str], ...] = eqx.field(static=True, default=())
    when: tuple[probes.When, ...] = eqx.field(static=True, default=("end", "start"))
    every: int = eqx.field(static=True, default=1)

    def __call__(self, learner, stream, stream_state, *, key):
        return {"a": jnp.asarray(1.0), "b": jnp.asarray(2.0)}

    def quantities(self):
        return {name: Quantity(f"my {name}", bounds=dict(self.bounds)) for name in self.declared}


def test_a_run_knows_what_its_columns_are():
    setting = permuted()
    counting = algorithms.Algorithm(
        algorithms.sgd(0.05), transforms=(Periodic(Counting(), 4), Counting())
    )
    _, history = train_continual(
        setting.model, setting.stream, counting, probes={"own": Told(declared=("b",))}
    )
    steps = setting.stream.chunks_per_task * setting.stream.minibatches
    counts = steps * np.arange(1, 4)
    np.testing.assert_array_equal(history["Counting.updates"], counts // 4)
    np.testing.assert_array_equal(history["Counting_1.updates"], counts)
    assert list(history.quantities) == [
        "test_accuracy",
        "online_accuracy",
        "Counting.updates",
        "Counting_1.updates",
        "own.start.b",
        "own.end.b",
    ]
    assert history.quantities["test_accuracy"].guess == 1 / 3
    assert history.quantities["own.end.b"].label == "my b"
    assert history.quantities["Counting.updates"] == Quantity("Counting.updates")
    assert "own.end.a" in history


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (
            Told(declared=("c",)),
            r"`probes\['own'\].quantities\(\)`: Recorded column 'c' does not exist",
        ),
        (
            Told(declared=("a",), bounds=(("lower", "d"),)),
            r"Recorded column 'd' does not exist. Allowed: a, b",
        ),
    ],
)
def test_what_is_declared_must_be_recorded(probe, message):
    setting = permuted()
    with pytest.raises(ValueError, match=message):
        check_parts(setting.model, setting.stream, algorithms.bp(), probes={"own": probe})


def test_a_part_without_a_declaration_is_shown_under_plain_names():
    setting = permuted()
    found = check_parts(setting.model, setting.stream, algorithms.bp(), probes={"own": Told()})
    own = {name: q.label for name, q in found.items() if name.startswith("own")}
    assert own == {name: name for name in ("own.start.a", "own.start.b", "own.end.a", "own.end.b")}


def test_one_number_per_task():
    column = np.array([[3.0, np.nan, 1.0], [2.0, 5.0, 4.0]])
    series = lambda reduce: Quantity("x", reduce=reduce).series(column).tolist()
    assert series("mean_known") == [2.0, 11 / 3]
    assert series(2) == [1.0, 4.0]
    whole = np.nan_to_num(column)
    named = lambda reduce: Quantity("x", reduce=reduce).series(whole).tolist()
    assert named("mean") == [4 / 3, 11 / 3]
    assert named("smallest") == [0.0, 2.0]
    assert named("largest") == [3.0, 5.0]
    assert Quantity("x", unit="m").axis == "X (m)"


def test_a_quantity_survives_a_file():
    quantity = Quantity("x", limits=(0.0, None), bounds={"lower": "y"}, better="lower", guess=0.5)
    facts: Any = quantity.facts
    assert Quantity(**facts | {"limits": tuple(facts["limits"])}) == quantity
    assert {f.name for f in dataclasses.fields(quantity)} == facts.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "cubic"}, "`scale`: Choice 'cubic' does not exist. Allowed: linear, log"),
        ({"better": "more"}, "`better`: Choice 'more'"),
        ({"reduce": "median"}, "`reduce`: Choice 'median'"),
        ({"bounds": {"left": "a"}}, "`bounds`: Bound 'left'"),
    ],
)
def test_bad_arguments(options, message):
    quantity = Quantity("x")
    for name, value in options.items():
        object.__setattr__(quantity, name, value)  # beartype would reject the argument before
    with pytest.raises(ValueError, match=message):
        quantity.__post_init__()
