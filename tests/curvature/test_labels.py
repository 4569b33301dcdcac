"""Labels that are out of range, that do not count, and of sequences."""

import functools
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import normal
from layered_networks import drawn

from spectral.curvature import (
    EKFAC,
    Empirical,
    Fisher,
    GaussNewton,
    Gram,
    Hessian,
    KFAC,
    Risk,
    Sampled,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)


IGNORE = -100
# The first sequence ends earlier, and nothing of the third counts.
LABELS = np.array([[0, 2, IGNORE], [1, 1, 0], [IGNORE] * 3, [2, IGNORE, IGNORE], [0, 1, 2]])


def positions(weights, inputs):
    return jnp.tanh(inputs) @ weights


def sequences(model, inputs):
    """Two positions of three classes for each example."""
    return jax.vmap(model)(inputs).reshape(-1, 2, 3)


def over_examples(model, inputs):
    return jax.vmap(model)(inputs)


@functools.cache
def found(size):
    """Matrices of sequences and their loss by hand, from one program in float64."""

    def program(inputs, weights, labels, key):
        def mean(w):  # as PyTorch has it
            log_p = jax.nn.log_softmax(positions(w, inputs))
            own = jnp.take_along_axis(log_p, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
            return -jnp.sum(jnp.where(labels == IGNORE, 0, own)) / jnp.sum(labels != IGNORE)

        flat = lambda f: lambda w: f(w.reshape(weights.shape))
        loss, result = SoftmaxCrossEntropy(ignore_label=IGNORE), {}
        result["expected"] = mean(weights), jax.hessian(flat(mean))(weights.ravel())
        risk = Risk(positions, loss, inputs, labels, batch_size=size)
        matrices = Hessian(risk, weights), GaussNewton(risk, weights), Gram(risk, weights)
        result["found"] = risk(weights), [m.dense() for m in matrices], risk.num_labels
        arguments = loss, positions(weights, inputs), labels, jnp.arange(5)
        result["sampled"] = Sampled(key, num_samples=2000).columns(*arguments)
        result["root"] = loss.hessian_root(*arguments[1:3])
        return result

    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        arguments = normal(rng, 5, 3, 2), normal(rng, 2, 3), jnp.asarray(LABELS)
        return jax.tree.map(np.asarray, jax.jit(program)(*arguments, jax.random.key(0)))


@functools.cache
def factored():
    """Kronecker factors of examples some of whose labels count, and of these alone."""
    rng = np.random.default_rng(0)
    counted = LABELS[:, 0] != IGNORE

    @eqx.filter_jit
    def program(inputs, labels, model):
        result, loss = {}, SoftmaxCrossEntropy(ignore_label=IGNORE)
        some = Risk(over_examples, loss, inputs, labels[:, 0], batch_size=2)
        only = Risk(over_examples, SoftmaxCrossEntropy(), inputs[counted], labels[counted, 0])
        for name, make in FACTORED.items():
            result[name] = [make(risk, model) for risk in (some, only)]
        two = Risk(sequences, SoftmaxCrossEntropy(), inputs, jnp.maximum(labels[:, :2], 0))
        wide = eqx.tree_at(lambda m: (m.weight, m.bias), model, (jnp.ones((6, 2)), jnp.ones(6)))
        result["trace"] = EKFAC(two, wide).trace(), jnp.trace(GaussNewton(two, wide).dense())
        return result

    with jax.enable_x64(True):
        model = drawn(lambda key: eqx.nn.Linear(2, 3, key=key), rng)
        run = program(normal(rng, 5, 2), jnp.asarray(LABELS), model)
        return jax.tree.map(np.asarray, run)


FACTORED = {
    "kfac": lambda risk, model: [(b.inputs, b.outputs) for b in KFAC(risk, model).blocks],
    "ekfac": lambda risk, model: jnp.sort(EKFAC(risk, model).blocks[0].values.ravel()),
    "empirical": lambda risk, model: Fisher(risk, model, factor=Empirical()).dense(),
}


@pytest.mark.parametrize(
    "size", [pytest.param(5, marks=pytest.mark.slow), 2]
)  # in one pass, and in padded batches
def test_the_mean_is_over_the_labels_that_count_in_the_whole_set(size):
    mean, hessian = found(size)["expected"]
    value, (own, gauss_newton, gram), num_labels = found(size)["found"]
    assert num_labels == np.sum(LABELS != IGNORE) == 9
    np.testing.assert_allclose(value, mean, rtol=1e-12)
    for matrix in (own, gauss_newton):  # the network is linear in its parameters
        np.testing.assert_allclose(matrix, hessian, rtol=1e-9, atol=1e-14)
    values = np.linalg.eigvalsh(gram)
    np.testing.assert_allclose(values[-6:], np.linalg.eigvalsh(hessian), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(values[:-6], 0, atol=1e-14)


def test_sampled_labels_of_sequences():
    draws, root = found(2)["sampled"] * 2000**0.5, found(2)["root"]
    assert draws.shape == (2000, *LABELS.shape, 3)
    assert not draws[:, LABELS == IGNORE].any()
    assert (draws[:, LABELS != IGNORE] != 0).all()
    flat = draws.reshape(2000, 5, 9)
    hessians = np.einsum("knpa,knqb->npaqb", root, root).reshape(5, 9, 9)
    moments = np.einsum("kna,knb->nab", flat, flat) / 2000
    # Products of two entries of at most 1 have a standard deviation below 0.5.
    np.testing.assert_allclose(moments, hessians, atol=5 * 0.5 / 2000**0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTORED)
def test_examples_that_do_not_count_change_nothing(name):
    some, only = factored()[name]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14), some, only)


@pytest.mark.slow
def test_the_trace_of_sequences():
    np.testing.assert_allclose(*factored()["trace"], rtol=1e-10)


@jax.jit
def derivatives(labels, key):
    """Where the labels are not known: an entry for each of two examples."""
    outputs, result = jnp.asarray([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]), []
    bits = jnp.stack([labels, labels * 0, labels * 0], axis=1).astype(float)
    for loss, y in ((SoftmaxCrossEntropy(), labels), (SigmoidCrossEntropy(), bits)):
        total = lambda z, loss=loss, y=y: jnp.sum(loss.losses(z, y))
        found = (
            jax.grad(total)(outputs)[:, 0],
            jax.jvp(jax.grad(total), (outputs,), (jnp.ones((2, 3)),))[1][:, 0],
            loss.hessian_product(outputs, y, outputs)[:, 0],
            loss.hessian_root(outputs, y)[0, :, 0],
            loss.sampled_gradient(outputs, y, key=key)[:, 0],
        )
        result.extend((loss.losses(outputs, y), *found))
    return result


@pytest.mark.parametrize("label", [-1, 3, -100])
def test_unknown_labels_out_of_range_give_nan(label):
    for values in derivatives(jnp.asarray([label, 1]), jax.random.key(0)):
        np.testing.assert_array_equal(np.isnan(values), [True, False])


@pytest.mark.parametrize("label", [-1, 3, -100])
@pytest.mark.parametrize("make", [Hessian, GaussNewton, Fisher, Gram])
def test_known_labels_are_checked(label, make):
    inputs, weights = jnp.ones((4, 2)), jnp.ones((2, 3))
    labels = np.array([0, 1, label, 2])
    risk = Risk(positions, SoftmaxCrossEntropy(), inputs, labels, batch_size=3)
    message = rf"has the label {label} at \(2,\), .* 3 classes, .* from 0 to 2: correct"
    with pytest.raises(ValueError, match=message):
        make(risk, weights)
    if label < 0:
        loss = SoftmaxCrossEntropy(ignore_label=label)
        make(Risk(positions, loss, inputs, labels), weights)


@pytest.mark.parametrize("make", [KFAC, EKFAC])
def test_factored_matrices_check_labels(make):
    risk = Risk(over_examples, SoftmaxCrossEntropy(), np.ones((2, 2)), np.array([0, 3]))
    with pytest.raises(ValueError, match="has the label 3"):
        make(risk, eqx.nn.Linear(2, 3, key=jax.random.key(0)))


def test_no_label_counts():
    loss = SoftmaxCrossEntropy(ignore_label=1)
    with pytest.raises(ValueError, match="`targets` has no label that counts"):
        Hessian(Risk(positions, loss, jnp.ones((2, 2)), np.ones(2, int)), jnp.ones((2, 3)))


@pytest.mark.parametrize("label", [-1, 2, np.nan])
def test_labels_of_a_sigmoid_are_checked(label):
    targets = np.array([[0.0, 1.0, 0.5], [0.0, label, 1.0]], np.float32)
    risk = Risk(positions, SigmoidCrossEntropy(), jnp.ones((2, 2)), targets, batch_size=1)
    with pytest.raises(ValueError, match=r"`targets` is .* at \(1, 1\), but must be 0, 1"):
        Hessian(risk, jnp.ones((2, 3)))


@pytest.mark.parametrize("label", [True, 1.5, "1", 2**40])
def test_the_label_that_is_ignored_is_an_integer(label):
    with pytest.raises(ValueError, match=f"`ignore_label` is {label!r}, .*an integer"):
        inspect.unwrap(SoftmaxCrossEntropy.__init__)(None, ignore_label=label)  # pyright: ignore
