"""The loss of labelled data for curvature, against `label_loss` and in float64 by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral import tasks
from spectral.tasks._base._classification import LabelledBatch
from spectral.tasks._base._label_curvature import LabelLoss
from spectral.tasks._base._label_loss import label_loss


ROWS, OUTPUTS = 4, 3
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(ROWS, OUTPUTS)))
LABELS = {
    "classes": jnp.asarray([0, 2, 1, 1]),
    "answers": jnp.asarray(RNG.random((ROWS, OUTPUTS)) > 0.5),
    "numbers": jnp.asarray(RNG.normal(size=(ROWS, OUTPUTS))),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LABELS)
def test_it_is_the_loss_in_which_networks_are_trained(kind):
    labels = LABELS[kind]
    batch = LabelledBatch(jnp.zeros((ROWS, 1)), labels)
    mean = lambda z: label_loss(z, labels)[0]
    with jax.enable_x64(True):
        z = LOGITS.astype(jnp.float64)
        losses = LabelLoss().losses(z, batch)
        assert np.mean(losses) == pytest.approx(float(mean(z)), rel=1e-6)
        # A row depends on its own outputs only, so its block is its Hessian over the rows.
        hessian = ROWS * jax.hessian(mean)(z)[np.arange(ROWS), :, np.arange(ROWS)]
        columns = jnp.moveaxis(LabelLoss().hessian_root(z, batch), 0, -1)
        np.testing.assert_allclose(columns @ jnp.swapaxes(columns, 1, 2), hessian, atol=1e-6)
        tangent = jnp.asarray(RNG.normal(size=(ROWS, OUTPUTS)))
        product = LabelLoss().hessian_product(z, batch, tangent)
        np.testing.assert_allclose(product, jnp.einsum("rij,rj->ri", hessian, tangent), atol=1e-6)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda k: LabelLoss().sampled_gradient(LOGITS, batch, key=k))(keys)
    covariance = jnp.einsum("kri,krj->rij", drawn, drawn) / len(keys)
    np.testing.assert_allclose(covariance, hessian, atol=0.1)


@pytest.mark.parametrize("data", ["rows", "images"])
def test_streams_keep_the_digits_of_confident_networks(data):
    """p (1 - p) of the first class is 2.8e-11, which is 0 once p has rounded to 1."""
    if data == "images":
        stream = tasks.PermutedImages(tasks.load_images("digits"), num_tasks=1, steps_per_task=1)
    else:
        rows = tasks.labelled_set(np.eye(150), np.arange(150) % 3, num_test=30)
        stream = tasks.PermutedInputs(rows, num_tasks=1)
    loss = stream.output_loss()
    logits = jnp.asarray([[25.0, *[0.0] * (stream.out_size - 1)]])
    batch = LabelledBatch(jnp.zeros((1, 1)), jnp.asarray([0]))
    gradient = jax.grad(lambda z: jnp.mean(loss.losses(z, batch)))
    tangent = jnp.zeros_like(logits).at[0, 0].set(1.0)
    found = jax.jvp(gradient, (logits,), (tangent,))[1][0, 0]
    assert found == pytest.approx((stream.out_size - 1) * np.exp(-25.0), rel=1e-5)
