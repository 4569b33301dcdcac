"""The sharpness of layers within training, against dense Hessians."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from signals import drawn, learner_of, signal_at, trained
from tables import STREAMS

from spectral import algorithms, models, Optimiser, train_continual
from spectral.algorithms import adam, CurvatureVolatility, Periodic, sgd


KEY = jax.random.key(2)
WINDOW, CALLS = 3, 30
INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 2)), jnp.float32)
TRANSFORM = CurvatureVolatility(window=WINDOW)


@eqx.filter_jit
def _recorded(learner):
    signal = signal_at(learner.model, INPUTS)
    state = TRANSFORM.init(learner, key=KEY)
    update = lambda state, _: (TRANSFORM.update(learner, state, signal, key=KEY)[1], None)
    early = update(update(state, None)[0], None)[0]
    after = jax.lax.scan(update, state, length=CALLS)[0]
    params, rest = eqx.partition(learner.model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(params)
    loss = lambda p: signal.loss_of(
        eqx.tree_at(lambda x: x.model, learner, eqx.combine(unravel(p), rest)), INPUTS[0], key=KEY
    )
    kept = TRANSFORM.update(learner, state, signal, key=KEY)[0]
    return {
        "early": TRANSFORM.measure(early),
        "after": TRANSFORM.measure(after),
        "hessian": jax.hessian(loss)(flat),
        "kept": eqx.filter(kept, eqx.is_array),
        "moments": optax.tree_utils.tree_get(learner.optimiser.state, "square", None),
    }


@functools.cache
def recorded(kind):
    model = drawn(lambda key: models.MLP(2, 2, width=3, depth=1, key=key))
    optimiser = {"sgd": sgd(0.1), "adam": adam(1e-3, eps=1e-2)}[kind].init(model)
    learner = trained(learner_of(model, optimiser))
    return learner, jax.tree.map(np.asarray, _recorded(learner))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_sharpness_of_each_layer(kind):
    learner, found = recorded(kind)
    blocks = found["hessian"][:9, :9], found["hessian"][9:, 9:]
    largest = [np.abs(np.linalg.eigvalsh(block)).max() for block in blocks]
    # After one step with gradients of 1 the corrected second moments are 1.
    rate = 0.1 if kind == "sgd" else 1e-3 / (1 + 1e-2)
    np.testing.assert_allclose(
        found["after"]["series"][:, -1], np.multiply(rate, largest), rtol=1e-3
    )
    # The weights and the optimiser are those before.
    for own, other in zip(
        jax.tree.leaves(found["kept"]),
        jax.tree.leaves(eqx.filter(learner, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_array_equal(own, other)


@pytest.mark.slow
def test_the_series():
    _, found = recorded("sgd")
    early = found["early"]
    assert early["series"].shape == (2, WINDOW)
    assert np.isnan(early["series"]).tolist() == [[True, False, False]] * 2
    pair = early["series"][:, 1:]
    mean = pair.mean(axis=1)
    np.testing.assert_allclose(early["sharpness"], mean, rtol=1e-5)
    np.testing.assert_allclose(early["volatility"], pair.var(axis=1) / (mean + 1e-8), rtol=1e-4)
    assert (early["series"][:, 1] != early["series"][:, 2]).all()  # the iteration continues


@pytest.mark.slow
def test_a_run_is_the_same_to_the_bit():
    setting = STREAMS["permuted_online"]()
    plain = algorithms.bp(0.05)
    watched = algorithms.followed_by(plain, (Periodic(CurvatureVolatility(window=2), period=4),))
    learner, alone = train_continual(setting.model, setting.stream, plain, key=KEY)
    other, history = train_continual(setting.model, setting.stream, watched, key=KEY)
    for a, b in zip(jax.tree.leaves(learner.model), jax.tree.leaves(other.model), strict=True):
        if eqx.is_array(a):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(alone["loss"], history["loss"])
    assert history["CurvatureVolatility.series"].shape == (3, 3, 2)
    assert np.isfinite(history["CurvatureVolatility.volatility"]).all()


def test_what_is_rejected():
    with pytest.raises(ValueError, match="`window` is 1"):
        CurvatureVolatility(window=1)
    for optimiser, match in (
        (Optimiser(optax.sgd(0.1)), r"a `learning_rate`, but this one has \[\]"),
        (Optimiser(optax.adam, learning_rate=0.1), "one of optax.*`algorithms.adam`"),
    ):
        learner = learner_of({"w": jnp.ones(2)}, optimiser)
        with pytest.raises(ValueError, match=match):
            TRANSFORM.init(learner, key=KEY)
