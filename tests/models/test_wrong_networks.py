"""What is said about a network that cannot be used."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from spectral import models
from spectral.models import apply_network
from spectral.models.layers._image_shape import check_image


KEY = jax.random.key(0)


class Own(eqx.Module):
    """Keeps a statistic, and returns what `form` makes of it."""

    index: eqx.nn.StateIndex
    form: Any = eqx.field(static=True)

    def __init__(self, form):
        self.index = eqx.nn.StateIndex(jnp.zeros(()))
        self.form = form

    def __call__(self, x, state):
        return self.form(x, {}, state.set(self.index, x.sum()))


@pytest.mark.parametrize(
    ("form", "found"),
    [
        (lambda x, taps, state: (x, taps, state), r"a tuple of 3 \(.*State\)"),
        (lambda x, taps, state: (state, (x, taps)), r"a tuple of 2 \(State, tuple\)"),
        (lambda x, taps, state: x, "a value of type"),
    ],
)
def test_a_network_with_a_state(form, found):
    network, state = eqx.nn.make_with_state(Own)(form)
    message = r"`Own.__call__` must return `\(\(outputs, taps\), state\)` .*but returned " + found
    with pytest.raises(TypeError, match=message):
        apply_network(network, state, jnp.ones((2, 3)), inference=False)


class Dropped(eqx.Module):
    """Has no `key`, although its dropout needs one."""

    dropout: eqx.nn.Dropout
    extra: Any = eqx.field(static=True, default=None)

    def __call__(self, x):
        taps = {} if self.extra is None else {"extra": self.extra}
        return self.dropout(x), taps


def test_a_network_without_a_key():
    message = r"`Dropped.__call__` has no parameter `key`, but .*Dropout requires a key.*key=None"
    network = Dropped(eqx.nn.Dropout(0.5))
    with pytest.raises(TypeError, match=message):
        apply_network(network, None, jnp.ones((2, 3)), inference=False, key=KEY)
    outputs, _ = apply_network(network, None, jnp.ones((2, 3)), inference=True)
    assert outputs.shape == (2, 3)


def test_what_is_no_array():
    network = Dropped(eqx.nn.Dropout(0.0), "text")
    with pytest.raises(TypeError, match="`Dropped.__call__` returned 'text', of type str, among"):
        apply_network(network, None, jnp.ones((2, 3)), inference=True)


@pytest.mark.parametrize(
    ("shape", "says", "not_says"),
    [
        ((3, 2), "flatten `x`, in streams by `loader=Loader(flat=True)`.", "in_size"),
        ((3, 3), "(flat=True)`, and make the network with `in_size=9`.", "reshape"),
        ((5,), "6 numbers: make the network with `in_size=5`.", "flat"),
    ],
)
def test_inputs_of_another_shape(shape, says, not_says):
    network = models.MLP(6, 2, width=2, depth=0, key=KEY)
    with pytest.raises(ValueError, match="this network takes vectors of 6 numbers") as caught:
        inspect.unwrap(models.MLP.__call__)(network, jnp.ones(shape))
    assert says in str(caught.value)
    assert not_says not in str(caught.value)


def test_vectors_for_a_network_of_images():
    with pytest.raises(ValueError, match="leave `flat=True` out of the `Loader`"):
        check_image(jnp.ones(12), (3, 2, 2))
    with pytest.raises(ValueError, match=r"make the network with `in_shape=\(3, 4, 4\)`"):
        check_image(jnp.ones((3, 4, 4)), (3, 2, 2))
