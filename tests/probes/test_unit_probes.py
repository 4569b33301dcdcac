"""Units are counted, not activations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import learner_of, mlp, signal_at
from tables import tiny_images

from spectral import algorithms, models, probes, tasks


KEY = jax.random.key(2)
STREAM = tasks.PermutedImages(tiny_images(), steps_per_task=1)
PROBES = {
    "dead": probes.DeadUnits(num_examples=20),
    "dormant": probes.DormantUnits(num_examples=20),
}


@eqx.filter_jit
def measured(learner, inputs):
    """What the probes measure, the units that ReDo marks, and the network that it returns."""
    state = STREAM.init(key=KEY)
    found = {name: probe(learner, STREAM, state, key=KEY) for name, probe in PROBES.items()}
    redo, signal = algorithms.ReDo(), signal_at(learner.model, inputs[None])
    ((_, marked),) = redo.inactive(learner, signal, key=KEY)
    return found, marked, redo.update(learner, None, signal, key=KEY)[0].model


def inputs():
    return jnp.asarray(np.random.default_rng(1).normal(size=(20, 6)), jnp.float32)


def assert_fractions(found, fraction):
    for columns in found.values():
        np.testing.assert_allclose(columns["fraction"], fraction, rtol=1e-6)
        np.testing.assert_allclose(columns["by_layer"], [fraction], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("activation", [models.CReLU(), models.DeepFourier()])
def test_a_unit_of_two_activations_is_dead_if_both_are_silent(activation):
    """The weights of units 0 and 1 of 3 are zero and their biases are 0 and 1. With CReLU unit 0 is
    dead and each other unit has a silent activation; with [sin, cos] no unit is dead."""
    model = mlp(6, 3, width=3, depth=1, activation=activation)
    weight = np.array(model.layers[0].weight)
    weight[:2] = 0
    model = eqx.tree_at(
        lambda m: (m.layers[0].weight, m.layers[0].bias),
        model,
        (jnp.asarray(weight), jnp.array([0.0, 1.0, 5.0])),
    )
    found, _, _ = measured(learner_of(model), inputs())
    assert_fractions(found, 1 / 3 if isinstance(activation, models.CReLU) else 0)


class Pairs(eqx.Module):
    """A network that does not derive from `AbstractNetwork`. Each of its four units has the outputs
    relu(z) and relu(-z)."""

    into: jax.Array
    bias: jax.Array
    out: jax.Array

    def __call__(self, x):
        z = self.into @ x + self.bias
        pairs = jnp.concatenate([jax.nn.relu(z), jax.nn.relu(-z)])
        return self.out @ pairs, {"pairs": pairs}

    def units(self):
        return (
            models.UnitGroup(
                "pairs",
                4,
                incoming=(models.Entries(lambda m: m.into, 0),),
                bias=(models.Entries(lambda m: m.bias, 0),),
                outgoing=(models.Entries(lambda m: m.out, 1, tile=2),),
                draw=lambda key, shape: jnp.full(shape, 7.0),
                copies=2,
            ),
        )


def test_probes_and_algorithms_agree_on_a_foreign_network():
    """Unit 2 is dead. Units 0 and 1 are always positive and always negative, so half of all
    outputs are silent."""
    into = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    into[:3] = 0
    bias, out = np.array([1, -1, 0, 0], np.float32), np.ones((3, 8), np.float32)
    model: Any = Pairs(*(jnp.asarray(a) for a in (into, bias, out)))
    assert not isinstance(model, models.AbstractNetwork)
    assert models.has_units(model)
    assert not models.has_units(eqx.tree_at(lambda m: m.bias, model, None).bias)
    found, marked, renewed = measured(learner_of(model), inputs())
    assert_fractions(found, 1 / 4)
    assert np.asarray(marked).tolist() == [False, False, True, False]
    into[2], out[:, [2, 6]] = 7, 0
    np.testing.assert_array_equal(renewed.into, into)
    np.testing.assert_array_equal(renewed.out, out)
