"""KFAC against matrices that are written out, where it is exact, and its algebra and counts."""

import functools
import io
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from layered_networks import (
    case,
    CASES,
    chain,
    convolutions,
    drawn,
    forward,
    mlp,
    twice,
    Written,
    written,
)
from programs import largest

from spectral.curvature import (
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
from spectral.curvature.kronecker._layout import Layout
from spectral.curvature.kronecker.blocks._factored import FactoredBlock
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


def squared(make, shape, rng, batch_size=None):
    model = drawn(make, rng)
    risk, _ = case(model, shape, rng=rng)
    targets = risk.forward(model, risk.inputs) + 1
    risk = Risk(forward, SquaredError(scale=0.7), risk.inputs, targets, batch_size=batch_size)
    return risk, model


def deep_linear(rng):
    make = lambda k: eqx.nn.MLP(3, 2, 4, 2, activation=identity, key=k)
    return squared(make, (3,), rng, batch_size=3)


def identity(x):
    return x


_POSITIONS = (
    lambda k: Convolution(2, 3, 2, padding="valid", key=k),
    lambda k: eqx.nn.Conv2d(3, 2, 1, key=k),
)


def per_position(rng):
    return squared(chain(*_POSITIONS), (2, 3, 4), rng)


def mean_of(x):
    return jnp.mean(x, axis=(1, 2))


def mean_pooled(rng):
    return squared(chain(*_POSITIONS, mean_of), (2, 3, 4), rng)


def one_example(rng=None):
    del rng
    risk, model = mlp()
    return Risk(risk.forward, risk.loss, risk.inputs[:1], risk.targets[:1]), model


@pytest.mark.slow
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
def test_cases_in_which_it_is_exact(make, sharing, other):
    risk, model = make(np.random.default_rng(0))
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


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_empirical_factors():
    # For one example they give its empirical Fisher matrix.
    risk, model = one_example()
    kfac = KFAC(risk, model, factor=Empirical())
    dynamic, static = eqx.partition(model, eqx.is_inexact_array)
    gradient = ravel_pytree(jax.grad(lambda d: risk(eqx.combine(d, static)))(dynamic))[0]
    expected = block_diagonal(kfac, np.outer(gradient, gradient))
    np.testing.assert_allclose(kfac.dense(), expected, rtol=1e-9, atol=1e-12)
    assert max(kfac_error(risk, model, factor=Empirical()).values()) < 1e-12
    # Of several it is the product of two means.
    risk, model = mlp()
    kfac = KFAC(risk, model, factor=Empirical())
    out = risk.forward(model, risk.inputs)
    g = jax.nn.softmax(out) - jax.nn.one_hot(risk.targets, 3)
    np.testing.assert_allclose(kfac.blocks[1].outputs, g.T @ g / 7, rtol=1e-9)
    assert min(kfac_error(risk, model, factor=Empirical()).values()) > 0.01


def softmax_hessians(risk, model):
    p = np.asarray(jax.nn.softmax(risk.forward(model, risk.inputs)))
    return np.einsum("no,op->nop", p, np.eye(p.shape[1])) - np.einsum("no,np->nop", p, p)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sharing", [Expand(), Reduce()])
def test_factors_of_convolutions(sharing):
    risk, model = convolutions()
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


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_a_layer_that_is_called_twice_has_the_positions_of_both_calls():
    risk, model = twice()
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


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["norms", "batch_norm"])
def test_blocks_of_scales_and_shifts_are_exact(name):
    risk, params = CASES[name]()
    kfac = KFAC(risk, params)
    expected, dense = dense_ggn(risk, params), kfac.dense()
    exact = [block for block in kfac.blocks if block.shape[0] == 1]
    assert [b.shape[1] for b in exact] == ([12, 12, 12] if name == "norms" else [10])
    for block in exact:
        rows = np.ix_(*[rows_of(kfac)[block.name]] * 2)
        assert np.linalg.norm(expected[rows]) > 1e-5
        np.testing.assert_allclose(dense[rows], expected[rows], rtol=1e-8, atol=1e-15)


@eqx.filter_jit
def algebra(kfac, damping):
    """All of the algebra in one program."""
    inverse = kfac.inverse(damping)
    answers = lambda k: (k.dense(), k.trace(), k.frobenius_norm(), k.log_det(damping))
    twice = inverse.inverse(damping)
    return answers(kfac), answers(inverse), kfac.log_det(0.0), kfac.eigenvalues(), twice.trace()


@pytest.mark.usefixtures("float64")
def test_algebra_agrees_with_the_kronecker_products():
    kfac = written({"a": (4, 3), "b": (2, 2)}, unused=3)
    expected = np.zeros((kfac.dim, kfac.dim))
    for block in kfac.blocks:
        product = np.kron(block.outputs, block.inputs)
        # [W, b] by rows, against W by rows and then b.
        sizes = [jax.tree.leaves(kfac.structure)[n].shape for n in block.leaves]
        columns = [int(np.prod(s, dtype=int)) // block.shape[0] for s in sizes]
        index = np.arange(block.shape[0] * block.shape[1]).reshape(block.shape)
        order = np.concatenate([part.ravel() for part in np.split(index, columns[:1], axis=1)])
        rows = rows_of(kfac)[block.name]
        expected[np.ix_(rows, rows)] = product[np.ix_(order, order)]
    damping = 0.1 * np.eye(kfac.dim)
    exact = np.linalg.inv(expected + damping)
    direct, inverse, log_of_zero, by_layer, trace_of_twice = algebra(kfac, jnp.asarray(0.1))
    for (dense, trace_, norm, log), matrix in ((direct, expected), (inverse, exact)):
        np.testing.assert_allclose(dense, matrix, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(trace_, np.trace(matrix), rtol=1e-10)
        np.testing.assert_allclose(norm, np.linalg.norm(matrix), rtol=1e-10)
        np.testing.assert_allclose(log, np.linalg.slogdet(matrix + damping)[1], rtol=1e-10)
    np.testing.assert_allclose(direct[0], expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(trace_of_twice, np.trace(np.linalg.inv(exact + damping)), rtol=1e-10)
    assert kfac.unused == 3
    assert log_of_zero == -np.inf
    assert list(by_layer) == ["a", "b"]
    for name, found in by_layer.items():
        own = np.linalg.eigvalsh(expected[np.ix_(*[rows_of(kfac)[name]] * 2)])
        np.testing.assert_allclose(found, own, rtol=1e-8, atol=1e-14)


@pytest.mark.usefixtures("float64")
def test_spectra_of_factors(getkey):
    kfac = written({"a": (4, 3)}, unused=3)
    blocks = [np.kron(block.outputs, block.inputs) for block in kfac.blocks]
    values = np.concatenate([np.zeros(3), *map(np.linalg.eigvalsh, blocks)])
    spectrum = KroneckerEigh()(kfac, key=getkey())
    check_spectrum(spectrum, values)
    constant = lambda x: jax.tree.map(lambda a: jnp.full_like(a, x), spectrum)
    zero, negative, positive = 0, 1, 2
    (above, below), _, _, (nodes, weights) = ask(constant(0.0), np.array([0.0, -1e-3, 1e-3]))
    for mass in (above, below):
        assert (mass.lower[zero], mass.value[zero], mass.upper[zero]) == (0, 0, 0)
    assert above.value[negative] == 1
    assert below.value[positive] == 1
    assert (nodes == 0).all()
    assert weights.sum() == 1
    (above, below), _, _, (_, weights) = ask(constant(np.nan), np.array([0.5]))
    assert np.isnan([above.value, below.value]).all()
    assert np.isnan(weights).all()


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_spectrum_of_an_inverse(getkey):
    inverse = written({"a": (4, 3), "b": (2, 2)}, unused=3).inverse(0.1)
    check_spectrum(KroneckerEigh()(inverse, key=getkey()), np.linalg.eigvalsh(inverse.dense()))


@eqx.filter_jit
def answers(spectrum, thresholds):
    both = lambda t: (spectrum.mass_above(t), spectrum.mass_below(t))
    return (
        jax.vmap(both)(thresholds),
        spectrum.range(),
        spectrum.mean(jnp.exp),
        spectrum.quadrature(),
    )


def ask(spectrum, thresholds):
    found = answers(spectrum, jnp.asarray(np.resize(thresholds, 40)))
    return jax.tree.map(np.asarray, found)


def check_spectrum(spectrum, values):
    """A spectrum has exactly these eigenvalues."""
    values, dim = np.sort(values), len(values)
    assert spectrum.dim == dim
    between = (values[1:] + values[:-1])[np.diff(values) > 1e-6] / 2
    thresholds = np.array([values[-1], -1.0, -1e-3, 1e3, *between])
    (above, below), ends, mean, (nodes, weights) = ask(spectrum, thresholds)
    for n, threshold in enumerate(thresholds[1:], start=1):
        for mass, expected in ((above, values > threshold), (below, values < threshold)):
            for fraction in (mass.lower, mass.value, mass.upper):
                np.testing.assert_allclose(fraction[n], [expected.mean()], rtol=1e-12)
    # A threshold on an eigenvalue: the bounds leave it open on which side that lies.
    assert above.lower[0] == 0
    assert above.upper[0] >= 1 / dim - 1e-12
    assert below.lower[0] <= 1 - 1 / dim + 1e-12
    assert below.upper[0] == 1
    np.testing.assert_allclose(ends, values[[0, -1]], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(mean, [np.exp(values).mean()], rtol=1e-10)
    assert nodes.shape == weights.shape == (1, 200)
    assert (np.diff(nodes[0]) >= 0).all()
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
    counts = weights[0] * dim
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
    np.testing.assert_allclose((nodes * weights).sum(), values.mean(), rtol=1e-9)
    # A bin is narrow: the second moment is right to its width.
    np.testing.assert_allclose((nodes**2 * weights).sum(), (values**2).mean(), rtol=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_rounding_does_not_count_as_an_eigenvalue(seed):
    # B has the one null vector of every softmax. Its computed eigenvalue has either sign.
    root = np.random.default_rng(seed).normal(size=(4, 50)).astype(np.float32)
    root = root - np.mean(root, axis=0, keepdims=True)
    a, b = jnp.asarray(np.eye(3, dtype=np.float32)), jnp.asarray(root @ root.T)
    block = FactoredBlock(inputs=a, outputs=b, name="all", leaves=(0,))
    kfac = Written((block,), Layout(jax.ShapeDtypeStruct((4, 3), jnp.float32)))
    assert kfac.log_det(0) == -np.inf
    assert (np.asarray(kfac.eigenvalues()["all"]) == 0).sum() == 3


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_questions_agree_with_the_algebra(getkey):
    kfac = KFAC(*mlp())
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
    return KroneckerSpectrum(
        factors=((longer, shorter),), tolerance=jnp.asarray(tolerance, float), dim=dim
    )


def test_counting_and_averaging_never_form_the_products():
    longer, shorter = (np.linspace(0, e, n, dtype=np.float32) for e, n in ((1, 3000), (2, 500)))
    spectrum = products_of(jnp.asarray(longer), jnp.asarray(shorter), 1e-6)
    ask = lambda s: (epsilon_rank(s, 0.5), trace(s), s.quadrature())
    assert largest(eqx.filter_make_jaxpr(ask)(spectrum)[0].jaxpr) < 1_500_000 / 10
    mass = eqx.filter_jit(lambda s: s.mass_above(0.5).value)(spectrum)
    np.testing.assert_allclose(mass, np.mean(np.outer(longer, shorter) > 0.5), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_batches_change_nothing_and_samples_average_to_the_exact_factors(getkey):
    risk, model = mlp()
    batched = Risk(risk.forward, risk.loss, risk.inputs, risk.targets, batch_size=3)
    sampled = Sampled(getkey(), num_samples=2000)
    for factor in (Exact(), sampled):
        whole, parts = KFAC(risk, model, factor=factor), KFAC(batched, model, factor=factor)
        for a, b in zip(jax.tree.leaves(whole.blocks), jax.tree.leaves(parts.blocks), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)
    exact, drawn = KFAC(risk, model), KFAC(risk, model, factor=sampled)
    for a, b in zip(exact.blocks, drawn.blocks, strict=True):
        assert 1e-5 < np.linalg.norm(a.outputs - b.outputs) / np.linalg.norm(a.outputs) < 0.1


def test_new_data_of_the_same_shapes_compile_nothing():
    traced = traced_at_first = 0

    def counted(model, inputs):
        nonlocal traced
        traced += 1
        return jax.vmap(model)(inputs)[0]

    for seed in range(2):
        risk, model = mlp(seed)
        KFAC(Risk(counted, risk.loss, risk.inputs, risk.targets), model)
        traced_at_first = traced_at_first or traced
    assert traced == traced_at_first > 0


def test_half_precision_is_summed_in_single():
    risk, model = mlp()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if eqx.is_inexact_array(x) else x, model)
    low = Risk(risk.forward, risk.loss, risk.inputs.astype(jnp.bfloat16), risk.targets)
    kfac, exact = KFAC(low, half), KFAC(risk, model)
    for block, other in zip(kfac.blocks, exact.blocks, strict=True):
        assert block.inputs.dtype == block.outputs.dtype == jnp.float32
        np.testing.assert_allclose(block.outputs, other.outputs, atol=0.03)
    assert {leaf.dtype for leaf in jax.tree.leaves(kfac.structure)} == {jnp.dtype(jnp.float32)}


def test_it_is_a_pytree_of_arrays():
    kfac = KFAC(*mlp())
    inverse = kfac.inverse(0.1)
    for operator in (kfac, inverse):
        assert all(map(eqx.is_array, jax.tree.leaves(operator)))
        file = io.BytesIO()
        eqx.tree_serialise_leaves(file, operator)
        doubled = jax.tree.map(lambda x: 2 * x, operator)
        file.seek(0)
        read = eqx.tree_deserialise_leaves(file, doubled)
        jax.tree.map(np.testing.assert_array_equal, read, operator)
        assert read.dim == operator.dim
    trace = jax.jit(lambda kfac: kfac.trace())
    np.testing.assert_allclose(trace(jax.tree.map(lambda x: 2 * x, kfac)), 4 * trace(kfac))


def test_bad_arguments(getkey):
    risk, model = mlp()
    kfac = written({"a": (2, 2)})
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
