"""Probes run a network with BatchNorm in inference mode."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from growing_classes import GrowingClasses
from jax.flatten_util import ravel_pytree
from networks import batch_norm
from signals import learner_of

from spectral import probes


KEY = jax.random.key(5)
NUM = 12
# With these running statistics unit 0 is dead. With the statistics of a batch none is.
MEAN, VARIANCE = np.array([60.0, 0.1, -0.2, 0.3, 0.0]), np.array([0.5, 2.0, 1.5, 0.7, 3.0])


def by_hand(params, inputs, labels, statistics):
    """Features and loss with the given mean and variance, or with those of the batch."""
    z = inputs @ params.first.weight.T + params.first.bias[None]
    mean, variance = (z.mean(0), z.var(0)) if statistics is None else statistics
    z = (z - mean[None]) / jnp.sqrt(variance[None] + 1e-5)
    h = jnp.maximum(z * params.norm.weight[None] + params.norm.bias[None], 0)
    logits = h @ params.last.weight.T + params.last.bias[None]
    logits = logits[:, :2]  # the classes of the first task
    return h, -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(NUM), labels])


@eqx.filter_jit
def expected(model, inputs, labels, statistics):
    """Features, loss and norm of the gradient."""
    loss = lambda model: by_hand(model, inputs, labels, statistics)[::-1]
    (value, h), grads = eqx.filter_value_and_grad(loss, has_aux=True)(model)
    return h, value, jnp.linalg.norm(ravel_pytree(grads)[0])


def test_probes_use_the_running_statistics():
    model, state, _ = batch_norm(KEY)
    statistics = tuple(jnp.asarray(x, jnp.float32) for x in (MEAN, VARIANCE))
    state = state.set(model.norm.statistics, statistics)
    rng = np.random.default_rng(0)
    labels = np.arange(NUM) % 2
    inputs = rng.normal(size=(NUM, 3)) + labels[:, None]
    inputs, labels = jnp.asarray(inputs, jnp.float32), jnp.asarray(labels)
    stream = GrowingClasses(inputs=inputs, labels=labels)
    learner = learner_of(model, model_state=state)
    tried = {
        "dead": probes.DeadUnits(num_examples=NUM),
        "dormant": probes.DormantUnits(threshold=0.6, num_examples=NUM),
        "rank": probes.FeatureRank(num_examples=NUM),
        "gradient": probes.GradientNorm(num_examples=NUM),
    }

    @eqx.filter_jit
    def measure(learner, stream):
        two = jnp.asarray(2)  # the state of the stream: how many classes there are
        return {name: probe(learner, stream, two, key=KEY) for name, probe in tried.items()}

    found = jax.tree.map(np.asarray, measure(learner, stream))
    running, batch = (
        values_of(*jax.tree.map(np.asarray, expected(model, stream.inputs, stream.labels, s)))
        for s in (statistics, None)
    )
    assert running["dead", "fraction"] == 0.2
    for (probe, column), value in running.items():
        assert np.max(np.abs(value - batch[probe, column])) > 1e-2 * np.max(np.abs(value))
        np.testing.assert_allclose(found[probe][column], value, rtol=1e-3, atol=1e-4)


def values_of(h, loss, gradient):
    """The columns of the probes, from the features, the loss and the norm of its gradient."""
    activity, s = h.mean(0), np.linalg.svd(h, compute_uv=False)
    return {
        ("dead", "fraction"): (h == 0).all(0).mean(),
        ("dormant", "fraction"): (activity <= 0.6 * activity.mean()).mean(),
        ("rank", "feature_stable_rank"): np.array([np.sum(s**2) / s[0] ** 2]),
        ("gradient", "loss"): loss,
        ("gradient", "norm"): gradient,
    }
