"""Units are counted, not activations."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import permuted

from spectral import algorithms, Learner, models, probes


@pytest.mark.parametrize("activation", [models.CReLU(), models.DeepFourier()])
def test_a_unit_of_two_activations_is_dead_when_both_are_silent(activation):
    """Units 0 and 1 of 3 see nothing but a bias of 0 and of 1, so unit 0 alone is dead under CReLU,
    of which one half of every unit is silent; and none is under [sin, cos]."""
    stream = permuted().stream
    model = models.MLP(6, 3, width=3, depth=1, activation=activation, key=jax.random.key(0))
    layer = model.layers[0]
    weight = layer.weight.at[:2].set(0)
    model = eqx.tree_at(
        lambda m: (m.layers[0].weight, m.layers[0].bias),
        model,
        (weight, jnp.array([0.0, 1.0, 5.0])),
    )
    learner = Learner(model, None, algorithms.bp().optimiser)
    state = stream.init(key=jax.random.key(1))
    dead = probes.DeadUnits(num_examples=20)(learner, stream, state, key=jax.random.key(2))
    dormant = probes.DormantUnits(num_examples=20)(learner, stream, state, key=jax.random.key(2))
    fraction = 1 / 3 if isinstance(activation, models.CReLU) else 0
    np.testing.assert_allclose(dead["fraction"], fraction, rtol=1e-6)
    np.testing.assert_allclose(dead["by_layer"], [fraction], rtol=1e-6)
    np.testing.assert_allclose(dormant["fraction"], fraction, rtol=1e-6)
