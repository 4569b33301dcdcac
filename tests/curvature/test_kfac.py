"""KFAC against matrices that are written out, where it is exact, and its algebra and counts."""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from layered_networks import case, CASES, Chain, convolutions, forward, mlp, twice
from programs import largest

from spectral.curvature import (
    AbstractKronecker,
    Empirical,
    epsilon_rank,
    Exact,
    Expand,
    frobenius_norm,
    Hessian,
    KFAC,
    kfac_error,
    KroneckerEigh,
    KroneckerSpectrum,
    log_det,
    Reduce,
    Risk,
    Sampled,
    SquaredError,
    trace,
)
from spectral.curvature.kronecker._blocks import FactoredBlock
from spectral.models import Convolution


def dense_ggn(risk, params):
    """The mean over examples of J^T H J, with everything differentiated by JAX."""
    dynamic, static = eqx.partition(params, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(dynamic)
    network = lambda p, x: risk.forward(eqx.combine(unravel(p), static), x[None])[0].ravel()

    @jax.jit
    def of_one(x, y):
        output = network(flat, x)
        shape = risk.forward(params, x[None]).shape
        loss = lambda z: risk.loss.losses(z.reshape(shape), y[None])[0]
        jacobian = jax.jacrev(network)(flat, x)
        return jacobian.T @ jax.hessian(loss)(output) @ jacobian

    return np.mean([of_one(x, y) for x, y in zip(risk.inputs, risk.targets, strict=True)], axis=0)


def rows_of(operator):
    """The rows of each block in the matrix, in the order of flat vectors."""
    leaves, structure = jax.tree.flatten(operator.structure)
    sizes = [math.prod(s.shape) for s in leaves]
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    return {
        block.name: np.concatenate([starts[n] + np.arange(sizes[n]) for n in block.leaves])
        for block in operator.blocks
    }


def block_diagonal(operator, matrix):
    result = np.zeros_like(matrix)
    for rows in rows_of(operator).values():
        result[np.ix_(rows, rows)] = np.asarray(matrix)[np.ix_(rows, rows)]
    return result


def squared(model, shape, *, key, examples=7, batch_size=None):
    risk, _ = case(model, shape, key=key, examples=examples, batch_size=batch_size)
    targets = risk.forward(model, risk.inputs) + 1
    return Risk(forward, SquaredError(scale=0.7), risk.inputs, targets, batch_size=batch_size)


def deep_linear(getkey):
    model = eqx.nn.MLP(3, 2, 4, 2, activation=identity, key=getkey())
    return squared(model, (3,), key=getkey(), batch_size=3), model


def identity(x):
    return x


def per_position(getkey):
    first = Convolution(2, 3, 2, padding="valid", key=getkey())
    model = Chain((first, eqx.nn.Conv2d(3, 2, 1, key=getkey())))
    return squared(model, (2, 3, 4), key=getkey()), model


def mean_of(x):
    return jnp.mean(x, axis=(1, 2))


def mean_pooled(getkey):
    risk, chain = per_position(getkey)
    model = Chain((*chain.steps, mean_of))
    return squared(model, (2, 3, 4), key=getkey()), model


def one_example(getkey):
    risk, model = mlp(getkey())
    return Risk(risk.forward, risk.loss, risk.inputs[:1], risk.targets[:1]), model


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("make", "sharing", "other"),
    [
        (deep_linear, Expand(), Reduce()),
        (one_example, Expand(), Reduce()),
        (per_position, Expand(), Reduce()),
        (mean_pooled, Reduce(), Expand()),
    ],
)
def test_where_it_is_exact_it_is_the_block_diagonal_of_the_gauss_newton_matrix(
    make, sharing, other, getkey
):
    risk, model = make(getkey)
    kfac = KFAC(risk, model, sharing=sharing)
    expected = block_diagonal(kfac, dense_ggn(risk, model))
    assert np.linalg.norm(expected) > 0.1
    assert {len(rows) for rows in rows_of(kfac).values()} != {0}
    np.testing.assert_allclose(kfac.dense(), expected, rtol=1e-9, atol=1e-12)
    approximation = functools.partial(KFAC, sharing=sharing)
    for error in kfac_error(risk, model, approximation=approximation).values():
        assert error < 1e-12
    # With one position the rules are the same, and with several only one of them is exact.
    wrong = kfac_error(risk, model, approximation=functools.partial(KFAC, sharing=other))
    shared = make in (per_position, mean_pooled)
    assert all((error > 0.01) == shared for error in wrong.values())


@pytest.mark.usefixtures("float64")
def test_the_empirical_factors_of_one_example_are_its_empirical_fisher(getkey):
    risk, model = one_example(getkey)
    kfac = KFAC(risk, model, factor=Empirical())
    dynamic, static = eqx.partition(model, eqx.is_inexact_array)
    gradient = ravel_pytree(jax.grad(lambda d: risk(eqx.combine(d, static)))(dynamic))[0]
    expected = block_diagonal(kfac, np.outer(gradient, gradient))
    np.testing.assert_allclose(kfac.dense(), expected, rtol=1e-9, atol=1e-12)
    assert max(kfac_error(risk, model, factor=Empirical()).values()) < 1e-12
    # Of several it is the product of two means.
    risk, model = mlp(getkey())
    kfac = KFAC(risk, model, factor=Empirical())
    out = risk.forward(model, risk.inputs)
    g = jax.nn.softmax(out) - jax.nn.one_hot(risk.targets, 3)
    np.testing.assert_allclose(kfac.blocks[1].outputs, g.T @ g / 7, rtol=1e-9)
    assert min(kfac_error(risk, model, factor=Empirical()).values()) > 0.01


def softmax_hessians(risk, model):
    p = np.asarray(jax.nn.softmax(risk.forward(model, risk.inputs)))
    return np.einsum("no,op->nop", p, np.eye(p.shape[1])) - np.einsum("no,np->nop", p, p)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sharing", [Expand(), Reduce()])
def test_factors_of_convolutions_are_those_of_their_patches(sharing, getkey):
    risk, model = convolutions(getkey())
    first, _, second, _, _, last = model.steps
    blocks = KFAC(risk, model, sharing=sharing).blocks
    expand = isinstance(sharing, Expand)

    # Stride (2, 1), padding ((1, 1), (0, 1)), kernel (3, 2).
    padded = np.pad(risk.inputs, ((0, 0), (0, 0), (1, 1), (0, 1)))
    windows = [padded[:, :, i : i + 3, j : j + 2] for i in (0, 2) for j in (0, 1)]
    inputs = np.stack([w.reshape(7, -1) for w in windows], axis=1)
    inputs = np.concatenate([inputs, np.ones((7, 4, 1))], axis=2)
    inputs = inputs if expand else inputs.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(
        blocks[0].inputs, np.einsum("npi,npj->ij", inputs, inputs) / 7, rtol=1e-9
    )

    def moved(d, e, x):
        hidden = jnp.tanh(second(jnp.tanh(first(x) + d)) + e)
        return last(jnp.ravel(hidden))

    zeros = jnp.zeros((2, 2, 2))
    hessians = softmax_hessians(risk, model)
    jacobians = jax.vmap(jax.jacrev(moved, argnums=(0, 1)), in_axes=(None, None, 0))(
        zeros, zeros, risk.inputs
    )
    for block, jacobian in zip(blocks, jacobians, strict=False):
        j = np.asarray(jacobian).reshape(7, 3, 2, 4)
        j = j if expand else j.sum(axis=3, keepdims=True)
        expected = np.einsum("nzop,nzy,nyqp->oq", j, hessians, j) / (7 * j.shape[3])
        np.testing.assert_allclose(block.outputs, expected, rtol=1e-9, atol=1e-13)
    # Kernel 2 with dilation 2 on a 2 x 2 image: one more row and column of zeros on each side.
    hidden = np.pad(np.tanh(jax.vmap(first)(risk.inputs)), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = [hidden[:, :, i : i + 3 : 2, j : j + 3 : 2] for i in (0, 1) for j in (0, 1)]
    inputs = np.stack([w.reshape(7, -1) for w in windows], axis=1)
    inputs = inputs if expand else inputs.mean(axis=1, keepdims=True)
    expected = np.einsum("npi,npj->ij", inputs, inputs) / 7
    np.testing.assert_allclose(blocks[1].inputs, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.usefixtures("float64")
def test_a_layer_that_is_called_twice_has_the_positions_of_both_calls(getkey):
    risk, model = twice(getkey())
    block = KFAC(risk, model).blocks[0]
    x = np.asarray(risk.inputs)
    hidden = np.tanh(jax.vmap(model.inner)(x))
    rows = np.concatenate([np.concatenate([x, hidden]), np.ones((14, 1))], axis=1)
    np.testing.assert_allclose(block.inputs, rows.T @ rows / 7, rtol=1e-9)

    def moved(d, e, x):
        hidden = jnp.tanh(model.inner(x) + d)
        return model.outer(jnp.tanh(model.inner(hidden) + e) + hidden)

    jacobian = jax.vmap(jax.jacrev(moved, argnums=(0, 1)), in_axes=(None, None, 0))
    jacobians = np.stack(jacobian(jnp.zeros(3), jnp.zeros(3), risk.inputs))
    hessians = softmax_hessians(risk, model)
    expected = np.einsum("cnzo,nzy,cnyq->oq", jacobians, hessians, jacobians) / 14
    np.testing.assert_allclose(block.outputs, expected, rtol=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["norms", "batch_norm"])
def test_blocks_of_scales_and_shifts_are_exact(name, getkey):
    risk, params = CASES[name](getkey())
    kfac = KFAC(risk, params)
    expected, dense = dense_ggn(risk, params), kfac.dense()
    exact = [block for block in kfac.blocks if block.shape[0] == 1]
    assert [b.shape[1] for b in exact] == ([12, 12, 12] if name == "norms" else [10])
    for block in exact:
        rows = np.ix_(*[rows_of(kfac)[block.name]] * 2)
        assert np.linalg.norm(expected[rows]) > 1e-5
        np.testing.assert_allclose(dense[rows], expected[rows], rtol=1e-8, atol=1e-15)


def with_an_unused_layer(getkey):
    first, last = eqx.nn.Linear(3, 4, key=getkey()), eqx.nn.Linear(4, 3, key=getkey())
    unused = Unused(eqx.nn.Linear(2, 2, key=getkey()))
    model = Chain((first, eqx.nn.LayerNorm(4), jnp.tanh, unused, last))
    return case(model, (3,), key=getkey())


class Unused(eqx.Module):
    layer: eqx.nn.Linear

    def __call__(self, x):
        return x


@pytest.mark.usefixtures("float64")
def test_algebra_is_that_of_the_kronecker_products_written_out(getkey):
    kfac = KFAC(*with_an_unused_layer(getkey))
    expected = np.zeros((kfac.dim, kfac.dim))
    for block in kfac.blocks:
        matrix = np.kron(block.outputs, block.inputs)
        # [W, b] by rows, against W by rows and then b.
        sizes = [jax.tree.leaves(kfac.structure)[n].shape for n in block.leaves]
        columns = [int(np.prod(s, dtype=int)) // block.shape[0] for s in sizes]
        index = np.arange(block.shape[0] * block.shape[1]).reshape(block.shape)
        order = np.concatenate([part.ravel() for part in np.split(index, columns[:1], axis=1)])
        rows = rows_of(kfac)[block.name]
        expected[np.ix_(rows, rows)] = matrix[np.ix_(order, order)]
    np.testing.assert_allclose(kfac.dense(), expected, rtol=1e-10, atol=1e-14)

    values = np.linalg.eigvalsh(expected)
    assert kfac.unused == 6
    np.testing.assert_allclose(kfac.trace(), values.sum(), rtol=1e-10)
    np.testing.assert_allclose(kfac.frobenius_norm(), np.linalg.norm(expected), rtol=1e-10)
    np.testing.assert_allclose(kfac.log_det(0.1), np.log(values + 0.1).sum(), rtol=1e-10)
    assert kfac.log_det(0) == -np.inf
    by_layer = kfac.eigenvalues()
    assert list(by_layer) == ["steps.0", "steps.1", "steps.4"]
    for name, found in by_layer.items():
        own = np.linalg.eigvalsh(expected[np.ix_(*[rows_of(kfac)[name]] * 2)])
        np.testing.assert_allclose(found, own, rtol=1e-8, atol=1e-14)

    inverse = kfac.inverse(0.1)
    exact = np.linalg.inv(expected + 0.1 * np.eye(kfac.dim))
    np.testing.assert_allclose(inverse.dense(), exact, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(inverse.trace(), np.trace(exact), rtol=1e-10)
    np.testing.assert_allclose(inverse.frobenius_norm(), np.linalg.norm(exact), rtol=1e-10)

    spectrum = KroneckerEigh()(kfac, key=getkey())
    assert_counts(spectrum, np.where(values < 1e-15, 0, values))
    spectrum = KroneckerEigh()(inverse, key=getkey())
    assert_counts(spectrum, np.linalg.eigvalsh(exact))


def assert_counts(spectrum, values):
    values, dim = np.sort(values), len(values)
    assert spectrum.dim == dim
    between = (values[1:] + values[:-1])[np.diff(values) > 1e-6] / 2
    thresholds = np.array([-1.0, -1e-3, *between, 1e3])
    both = lambda t: (spectrum.mass_above(t), spectrum.mass_below(t))
    above, below = eqx.filter_jit(jax.vmap(both))(jnp.asarray(thresholds))
    for n, threshold in enumerate(thresholds):
        for mass, expected in ((above, values > threshold), (below, values < threshold)):
            for fraction in (mass.lower, mass.value, mass.upper):
                np.testing.assert_allclose(fraction[n], [expected.mean()], rtol=1e-12)
    # A threshold on an eigenvalue: the bounds leave it open on which side that lies.
    middle = values[-1]
    above = spectrum.mass_above(middle)
    assert above.lower[0] == 0
    assert above.upper[0] >= 1 / dim - 1e-12
    smallest, largest = spectrum.range()
    np.testing.assert_allclose([smallest, largest], values[[0, -1]], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(spectrum.mean(jnp.exp), [np.exp(values).mean()], rtol=1e-10)
    nodes, weights = spectrum.quadrature()
    assert nodes.shape == weights.shape == (1, 200)
    assert (np.diff(nodes[0]) >= 0).all()
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
    counts = weights[0] * dim
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
    np.testing.assert_allclose((nodes * weights).sum(), values.mean(), rtol=1e-9)
    # A bin is narrow: the second moment is right to its width.
    np.testing.assert_allclose((nodes**2 * weights).sum(), (values**2).mean(), rtol=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_rounding_is_not_taken_for_an_eigenvalue(seed):
    # B has the one null vector that every softmax has; its computed eigenvalue has either sign.
    root = jax.random.normal(jax.random.key(seed), (4, 50))
    root = root - jnp.mean(root, axis=0, keepdims=True)
    block = FactoredBlock(inputs=jnp.eye(3), outputs=root @ root.T, name="all", leaves=(0,))
    kfac = Written((block,), jax.ShapeDtypeStruct((4, 3), root.dtype))
    assert kfac.log_det(0) == -np.inf
    assert (kfac.eigenvalues()["all"] == 0).sum() == 3


class Written(AbstractKronecker):
    blocks: tuple[FactoredBlock, ...]
    like: Any

    @property
    def rest(self):
        return jnp.zeros(())


@pytest.mark.usefixtures("float64")
def test_questions_agree_with_the_algebra(getkey):
    kfac = KFAC(*mlp(getkey()))
    spectrum = KroneckerEigh()(kfac, key=getkey())
    values = np.linalg.eigvalsh(kfac.dense())
    epsilon = (values[-5] + values[-6]) / 2
    rank = epsilon_rank(spectrum, epsilon)
    assert [rank.lower, rank.value, rank.upper] == pytest.approx([5, 5, 5])
    assert rank.resolved
    np.testing.assert_allclose(trace(spectrum).value, kfac.trace(), rtol=1e-10)
    np.testing.assert_allclose(frobenius_norm(spectrum).value, kfac.frobenius_norm(), rtol=1e-10)
    np.testing.assert_allclose(
        log_det(spectrum, damping=0.01).value, kfac.log_det(0.01), rtol=1e-10
    )


def products_of(longer, shorter, tolerance):
    dim = longer.size * shorter.size
    return KroneckerSpectrum(factors=((longer, shorter),), tolerance=jnp.array(tolerance), dim=dim)


def test_counting_and_averaging_never_form_the_products():
    longer, shorter = jnp.linspace(0, 1, 3000), jnp.linspace(0, 2, 500)
    spectrum = products_of(longer, shorter, 1e-6)
    ask = lambda s: (epsilon_rank(s, 0.5), trace(s), s.quadrature())
    assert largest(eqx.filter_make_jaxpr(ask)(spectrum)[0].jaxpr) < 1_500_000 / 10
    exact = np.sum(np.outer(longer, shorter) > 0.5)
    assert epsilon_rank(spectrum, 0.5).value == pytest.approx(exact, rel=1e-6)


def test_spectra_of_zeros_and_of_nan():
    zeros = products_of(jnp.zeros(3), jnp.zeros(2), 0.0)
    for mass, fraction in ((zeros.mass_above(0.0), 0), (zeros.mass_below(0.0), 0)):
        assert [mass.lower, mass.value, mass.upper] == [fraction] * 3
    assert zeros.mass_above(-1e-3).value == 1
    assert zeros.mass_below(1e-3).value == 1
    nodes, weights = zeros.quadrature()
    assert (nodes == 0).all()
    assert weights.sum() == 1
    nan = products_of(jnp.array([0, jnp.nan]), jnp.ones(2), jnp.nan)
    assert np.isnan(nan.mass_above(0.5).value).all()
    assert np.isnan(nan.mass_below(0.5).value).all()
    assert np.isnan(nan.quadrature()[1]).all()


@pytest.mark.usefixtures("float64")
def test_chunks_do_not_matter_and_samples_average_to_the_exact_factors(getkey):
    risk, model = mlp(getkey())
    chunked = Risk(risk.forward, risk.loss, risk.inputs, risk.targets, batch_size=3)
    sampled = Sampled(getkey(), num_samples=2000)
    for factor in (Exact(), sampled):
        whole, parts = KFAC(risk, model, factor=factor), KFAC(chunked, model, factor=factor)
        for a, b in zip(jax.tree.leaves(whole.blocks), jax.tree.leaves(parts.blocks), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)
    exact, drawn = KFAC(risk, model), KFAC(risk, model, factor=sampled)
    for a, b in zip(exact.blocks, drawn.blocks, strict=True):
        assert 1e-5 < np.linalg.norm(a.outputs - b.outputs) / np.linalg.norm(a.outputs) < 0.1


def test_new_data_of_the_same_shapes_compile_nothing(getkey):
    traced = traced_at_first = 0

    def counted(model, inputs):
        nonlocal traced
        traced += 1
        return jax.vmap(model)(inputs)[0]

    for _ in range(2):
        risk, model = mlp(getkey())
        KFAC(Risk(counted, risk.loss, risk.inputs, risk.targets), model)
        traced_at_first = traced_at_first or traced
    assert traced == traced_at_first > 0


def test_half_precision_is_summed_in_single(getkey):
    risk, model = mlp(getkey())
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if eqx.is_inexact_array(x) else x, model)
    low = Risk(risk.forward, risk.loss, risk.inputs.astype(jnp.bfloat16), risk.targets)
    kfac, exact = KFAC(low, half), KFAC(risk, model)
    for block, other in zip(kfac.blocks, exact.blocks, strict=True):
        assert block.inputs.dtype == block.outputs.dtype == jnp.float32
        np.testing.assert_allclose(block.outputs, other.outputs, atol=0.03)
    assert kfac.mv(eqx.filter(half, eqx.is_inexact_array)).layers[0].weight.dtype == jnp.bfloat16


def test_arguments_that_are_refused(getkey):
    risk, model = mlp(getkey())
    kfac = KFAC(risk, model)
    with pytest.raises(TypeError, match="A Hessian has no Kronecker factors.*`Lanczos"):
        KroneckerEigh()(Hessian(risk, model), key=getkey())
    with pytest.raises(ValueError, match="`damping` is -1.0"):
        kfac.log_det(-1.0)
    with pytest.raises(ValueError, match="`damping` is 0"):
        kfac.inverse(0)
    with pytest.raises(
        ValueError, match=r"The layer layers\.0 has 16 parameters, but `limit` is 15"
    ):
        kfac_error(risk, model, limit=15)
    with pytest.raises(ValueError, match="`limit` is 0"):
        kfac_error(risk, model, limit=0)
