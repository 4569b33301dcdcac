"""Units are counted, not activations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import after_step, learner_of, mlp
from tables import tiny_images

from spectral import algorithms, models, probes, tasks
from spectral.probes.units._fractions import fractions as fractions_of


KEY = jax.random.key(2)


class Pairs(eqx.Module):
    """A network that derives only from `eqx.Module`. Each hidden unit has the two activations
    relu(z) and relu(-z)."""

    rows: jax.Array
    offsets: jax.Array
    readout: jax.Array

    def __call__(self, x):
        z = self.rows @ x + self.offsets
        both = jnp.concatenate([jnp.maximum(z, 0), jnp.maximum(-z, 0)])
        return self.readout @ both, {"pairs": both}

    def units(self):
        group = models.UnitGroup(
            "pairs",
            4,
            (models.Entries(lambda m: m.rows, 0),),
            (models.Entries(lambda m: m.offsets, 0),),
            (models.Entries(lambda m: m.readout, 1, tile=2),),
            lambda key, shape: jnp.ones(shape),
            copies=2,
        )
        return (group,)


def pairs():
    """Units 0 and 3 are dead, unit 1 is always positive, and unit 2 is always negative."""
    rows = np.zeros((4, 6), np.float32)
    offsets = np.array([0.0, 1.0, -2.0, 0.0], np.float32)
    readout = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    return Pairs(*map(jnp.asarray, (rows, offsets, readout)))


@eqx.filter_jit
def fractions(learner, stream):
    state = stream.init(key=KEY)
    measure = lambda probe: probe(learner, stream, state, key=KEY)
    return measure(probes.DeadUnits(num_examples=20)), measure(probes.DormantUnits(num_examples=20))


def stream():
    return tasks.PermutedImages(
        tiny_images(), num_tasks=1, steps_per_task=16, chunks_per_task=1, standardise=False
    )


def test_fractions_of_all_units_and_of_each_layer():
    found = fractions_of([jnp.asarray([True, False]), jnp.asarray([False] * 3)])
    np.testing.assert_allclose(found["fraction"], 1 / 5, rtol=1e-6)
    np.testing.assert_allclose(found["by_layer"], [1 / 2, 0], rtol=1e-6)


@pytest.mark.parametrize(
    "activation", [models.CReLU(), pytest.param(models.DeepFourier(), marks=pytest.mark.slow)]
)
def test_a_unit_is_dead_if_both_of_its_activations_are(activation):
    """Units 0 and 1 of 3 have no weights, and biases of 0 and 1. Under CReLU one activation of
    every unit is 0, and unit 0 is dead. Under [sin, cos] none is."""
    model = mlp(6, 3, width=3, depth=1, activation=activation)
    weight = np.array(model.layers[0].weight)
    weight[:2] = 0
    where = lambda m: (m.layers[0].weight, m.layers[0].bias)
    bias = jnp.asarray(np.array([0.0, 1.0, 5.0], np.float32))
    model = eqx.tree_at(where, model, (jnp.asarray(weight), bias))
    dead, dormant = fractions(learner_of(model), stream())
    fraction = 1 / 3 if isinstance(activation, models.CReLU) else 0
    np.testing.assert_allclose(dead["fraction"], fraction, rtol=1e-6)
    np.testing.assert_allclose(dead["by_layer"], [fraction], rtol=1e-6)
    np.testing.assert_allclose(dormant["fraction"], fraction, rtol=1e-6)


def test_probes_count_the_units_of_a_foreign_network():
    """Two of its four units are dead, and six of their eight activations are 0."""
    for found in fractions(learner_of(pairs()), stream()):
        np.testing.assert_allclose(found["fraction"], 0.5, rtol=1e-6)
        np.testing.assert_allclose(found["by_layer"], [0.5], rtol=1e-6)


def test_algorithms_renew_the_units_of_a_foreign_network():
    """`ReDo` renews the dead units and sets the outgoing weights of both activations to 0."""
    learner = learner_of(pairs())
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(1, 5, 6)), jnp.float32)
    renewed: Any = after_step(algorithms.ReDo(threshold=0.0), learner, inputs, key=KEY)[0].model
    dead = np.array([True, False, False, True])
    np.testing.assert_array_equal(renewed.rows, np.where(dead[:, None], 1.0, 0.0) * np.ones((4, 6)))
    np.testing.assert_array_equal(renewed.offsets, learner.model.offsets)
    readout = np.where(np.tile(dead, 2)[None], 0, learner.model.readout)
    np.testing.assert_array_equal(renewed.readout, readout)
