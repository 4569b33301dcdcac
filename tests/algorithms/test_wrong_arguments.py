"""What is said about optimisers, penalties and transforms that cannot be used."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest
from tables import permuted

from spectral import algorithms, Optimiser
from spectral._arguments import check_above, check_fraction, check_one_key
from spectral._check_parts import check_parts
from spectral.algorithms import Algorithm, bp, L2, sgd
from spectral.algorithms._base._algorithm import _all_of
from spectral.algorithms._base._continuation import take_over


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"`make` is the function `adam` .*missing a required argument: 'learning_rate'"),
        ({"lr": 1}, r"arguments \['lr'\], but .*: pass those of its signature, learning_rate, b1"),
        ({"learning_rate": True}, "`learning_rate` is True, but must be a number: pass for examp"),
    ],
)
def test_arguments_of_an_optimiser(arguments, message):
    with pytest.raises(TypeError, match=message):
        Optimiser(optax.adam, **arguments)
    Optimiser(optax.adam, learning_rate=0.1, nesterov=True)


def test_a_boolean_is_not_a_number():
    with pytest.raises(ValueError, match="`lr` is True, but must be a number"):
        bp(True)
    for check in (lambda v: check_above("a", v, 0), lambda v: check_fraction("a", v)):
        with pytest.raises(ValueError, match="`a` is True, but must be a number"):
            check(True)


def test_a_list_of_the_wrong_parts():
    with pytest.raises(TypeError, match=r"L2.* is in the wrong place.*pass `penalties=\(L2"):
        _all_of("transforms", [L2(0.1)], algorithms.AbstractTransform)


class Odd(algorithms.AbstractPenalty):
    """A penalty with a value or a state of another form."""

    case: str = eqx.field(static=True)

    def init(self, model, *, key):
        return jnp.zeros(2)

    def value(self, model, state, step):
        odd = {"a vector": jnp.ones(3), "nothing": None}
        return odd.get(self.case, jnp.zeros(()))

    def update(self, model, state, signal, *, key):
        return state.sum() if self.case == "a state" else state


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("a vector", r"`Odd.value` returned .*shape \(3,\), but must return a scalar, which"),
        ("nothing", "`Odd.value` returned None, but must return a scalar"),
        (
            "a state",
            r"`Odd.update` returned .*shape \(\), but must return an array .*\(2,\), as it",
        ),
    ],
)
def test_a_penalty_that_returns_something_else(case, message):
    setting = permuted({"depth": 0})
    algo = Algorithm(sgd(0.1), penalties=(Odd(case),))
    with pytest.raises(TypeError, match=message):
        check_parts(setting.model, setting.stream, algo)


def test_another_optimiser_than_before():
    weights = {"w": jnp.ones(3)}
    adam = Optimiser(optax.adam, learning_rate=0.1).init(weights)
    plain = bp(0.1).optimiser.init(weights)
    message = (
        r"`model` was trained with the optimiser `adam` \(3 arrays of state\), which does not fit "
        r"the optimiser `sgd` \(0 arrays of state\) of `algo`: pass an algorithm with the same opt"
    )
    with pytest.raises(ValueError, match=message) as caught:
        take_over(plain, adam)
    assert "\n" not in str(caught.value)


def test_what_is_no_key():
    for key in (3, None, jnp.asarray(3)):
        with pytest.raises(TypeError, match=r"must be a key of JAX: pass `jax.random.key\("):
            check_one_key(key)
    check_one_key(jax.random.key(3))
    check_one_key(jax.random.PRNGKey(3))
