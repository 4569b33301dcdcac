"""Inverses: by conjugate gradients against NumPy, and with the damping divided between factors."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import matrix, rotated
from jax.flatten_util import ravel_pytree
from layered_networks import drawn, forward, written

from spectral.curvature import (
    Block,
    Function,
    GaussNewton,
    Inverse,
    KFAC,
    Matrix,
    Risk,
    SquaredError,
)


DIM = 24
VALUES = np.r_[np.zeros(4), np.geomspace(1e-3, 30, DIM - 4)]
DAMPING = 1e-2


def near_inverse(array):
    """A preconditioner that makes the condition number small, but is not the inverse."""
    wrong = np.diag(np.linspace(1, 2, DIM))
    root = np.linalg.cholesky(np.linalg.inv(array + DAMPING * np.eye(DIM)))
    return root @ wrong @ root.T


@pytest.mark.usefixtures("float64")
def test_solutions_of_a_damped_system():
    array = rotated(VALUES)
    vector = np.random.default_rng(1).normal(size=DIM)
    expected = np.linalg.solve(array + DAMPING * np.eye(DIM), vector)
    other = Matrix(near_inverse(array))
    both = {"tolerance": 1e-10, "preconditioner": other}
    inverse = Inverse(Matrix(array), DAMPING, **both)
    found = inverse.solve(jnp.asarray(vector))
    np.testing.assert_allclose(found.value, expected, rtol=1e-6)
    left = vector - (array + DAMPING * np.eye(DIM)) @ np.asarray(found.value)
    np.testing.assert_allclose(
        found.residual, np.linalg.norm(left) / np.linalg.norm(vector), atol=1e-13
    )
    assert found.converged
    assert found.residual <= 1e-10
    assert 0 < found.num_steps < DIM  # not the exact inverse, and far better than none
    # Other units: the same program, to the bit.
    for power in (-100, 75):
        scaled = Inverse(Matrix(np.ldexp(array, power)), np.ldexp(DAMPING, power), **both)
        again = scaled.solve(jnp.asarray(np.ldexp(vector, 2 * power)))
        np.testing.assert_array_equal(again.value, np.ldexp(found.value, power))
        assert (again.residual, again.num_steps) == (found.residual, found.num_steps)
    # Also where A times a step, which is small in the units of the iteration, would underflow.
    for power in (-1000, 1000):
        scaled = Inverse(Matrix(np.ldexp(array, power)), np.ldexp(DAMPING, power), **both)
        again = scaled.solve(jnp.asarray(vector))
        np.testing.assert_allclose(again.value, np.ldexp(expected, -power), rtol=1e-6)
        assert again.converged
    nothing = inverse.solve(jnp.asarray(np.zeros(DIM)))
    assert (np.asarray(nothing.value) == 0).all()
    assert nothing.residual == 0
    assert nothing.converged
    # What has not converged says so.
    short = eqx.tree_at(lambda i: i.tolerance, inverse, jnp.asarray(1e-30))
    failed = short.solve(jnp.asarray(vector))
    assert not failed.converged
    assert failed.residual > 1e-30


@pytest.mark.slow
def test_single_precision_in_any_units():
    """A times a step underflowed for entries below 1e-26."""
    values, vector = np.array([1.0, 2.0, 3.0, 4.0]), jnp.ones(4)
    solve = eqx.filter_jit(lambda array, s: Inverse(Matrix(array), 0.5 * s).solve(vector))
    at_one = solve(jnp.diag(jnp.asarray(values)), jnp.ones(()))
    np.testing.assert_allclose(at_one.value, 1 / (values + 0.5), rtol=1e-4)
    for power in range(-100, 101, 10):
        scale = np.float32(2.0) ** power
        found = solve(jnp.diag(jnp.asarray(scale * values, jnp.float32)), jnp.asarray(scale))
        assert found.converged, power
        np.testing.assert_array_equal(found.value, at_one.value / scale)


@pytest.mark.slow
def test_products_that_have_not_converged_are_nan():
    operator = matrix(VALUES)
    vectors = jnp.asarray(np.random.default_rng(1).normal(size=(2, DIM)), float)
    loose, strict = (Inverse(operator, 1.0, tolerance=t) for t in (1e-4, 1e-30))
    mv = eqx.filter_jit(lambda inverse, v: jax.vmap(inverse.product())(v))
    found = mv(loose, vectors)
    expected = np.linalg.solve(np.asarray(operator.array) + np.eye(DIM), np.asarray(vectors).T).T
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)
    assert np.isnan(mv(strict, vectors)).all()


def test_bad_arguments():
    operator = matrix(VALUES)
    for name, options in {
        "damping": {"damping": 0.0},
        "tolerance": {"tolerance": 0.0},
        "max_steps": {"max_steps": 0},
        "preconditioner": {"preconditioner": Matrix(jnp.eye(3))},
    }.items():
        with pytest.raises(ValueError, match=f"`{name}` "):
            Inverse(operator, **({"damping": 1.0} | options))
    with pytest.raises(ValueError, match="`vector` is .*the matrix acts on vectors"):
        Inverse(operator, 1.0).solve(jnp.ones(3))


@pytest.mark.slow
def test_a_large_matrix_in_single_precision():
    """A criterion of lineax fails for the largest matrices in units of their own entries."""
    dim = 2**20
    diagonal = jnp.asarray(np.linspace(0, 1, dim), jnp.float32)
    operator = Function(Scale(diagonal), jax.ShapeDtypeStruct((dim,), jnp.float32))
    found = Inverse(operator, 0.5).solve(jnp.ones(dim))
    assert found.converged
    np.testing.assert_allclose(found.value, 1 / (np.asarray(diagonal) + 0.5), rtol=1e-3)


class Scale(eqx.Module):
    factor: jax.Array

    def __call__(self, vector):
        return self.factor * vector


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_kfac_as_a_preconditioner():
    """KFAC is exact for one linear layer, whose inputs here have different sizes."""
    rng = np.random.default_rng(0)
    model = drawn(lambda k: eqx.nn.Linear(8, 2, key=k), rng)
    inputs = jnp.asarray(rng.normal(size=(50, 8)) * np.geomspace(0.03, 3, 8))
    risk = Risk(forward, SquaredError(), inputs, jnp.asarray(rng.normal(size=(50, 2))))
    ggn, kfac = GaussNewton(risk, model), KFAC(risk, model)
    plain, exact, heuristic = (
        Inverse(ggn, 1e-2, preconditioner=other, tolerance=1e-8).solve(model)
        for other in (None, kfac.inverse(1e-2), kfac.factored_inverse(1e-2))
    )
    assert exact.num_steps <= 2
    assert exact.num_steps < heuristic.num_steps < plain.num_steps
    expected = np.linalg.solve(ggn.dense() + 1e-2 * np.eye(18), ravel_pytree(model)[0])
    for found in (plain, exact, heuristic):
        assert found.converged
        np.testing.assert_allclose(ravel_pytree(found.value)[0], expected, rtol=1e-5, atol=1e-6)


@functools.cache
def factors():
    """Two factors each; B is zero; B is a single number; and parameters without a block."""
    kfac = written({"a": (4, 3), "b": (2, 2), "c": (1, 2)}, unused=3)
    a, b, c = kfac.blocks
    return with_blocks(kfac, a, dataclasses.replace(b, outputs=jnp.asarray(np.zeros((2, 2)))), c)


def with_blocks(kfac, *blocks):
    return dataclasses.replace(kfac, blocks=blocks)


def halved(kfac, damping):
    return KFAC.factored_inverse(kfac, damping)  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("float64")
def test_damping_that_is_divided_between_the_factors():
    inverse = halved(factors(), 0.1)
    assert inverse.rest == 1 / jnp.asarray(0.1)
    assert inverse.unused == 3
    block, own = factors().blocks[0], inverse.blocks[0]
    a, b = np.asarray(block.inputs), np.asarray(block.outputs)
    pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(b) / len(b)))
    expected = np.linalg.inv(a + pi * 0.1**0.5 * np.eye(len(a)))
    np.testing.assert_allclose(own.inputs, expected, rtol=1e-9, atol=1e-12)
    expected = np.linalg.inv(b + 0.1**0.5 / pi * np.eye(len(b)))
    np.testing.assert_allclose(own.outputs, expected, rtol=1e-9, atol=1e-12)
    # Of zeros, and of one number, for which the exact inverse has two factors.
    of_zeros, block, own = inverse.blocks[1], factors().blocks[2], inverse.blocks[2]
    np.testing.assert_allclose(of_zeros.outputs, np.eye(2) / 0.1**0.5, rtol=1e-12)
    assert np.isfinite(of_zeros.inputs).all()
    expected = np.linalg.inv(np.asarray(block.outputs) * block.inputs + 0.1 * np.eye(3))
    np.testing.assert_allclose(own.outputs * own.inputs, expected, rtol=1e-9, atol=1e-12)
    # The loss in other units, of which only B knows.
    larger = [
        dataclasses.replace(x, outputs=jnp.asarray(np.ldexp(x.outputs, 101)))
        for x in factors().blocks
    ]
    again = halved(with_blocks(factors(), *larger), 0.1 * 2.0**101)
    for index in (0, 2):
        own, other = again.blocks[index], inverse.blocks[index]
        np.testing.assert_array_equal(own.inputs, other.inputs)
        np.testing.assert_array_equal(own.outputs, np.ldexp(other.outputs, -101))
    assert Block(inverse, lambda m: m["a"]["w"]).reduced().dim == 12
    with pytest.raises(ValueError, match="`damping` is 0"):
        halved(factors(), 0)


@pytest.mark.usefixtures("float64")
def test_the_frobenius_norm_of_factors_of_any_size():
    a, b, c = factors().blocks

    @jax.jit
    @jax.value_and_grad
    def norm(size):
        blocks = (dataclasses.replace(x, inputs=size * x.inputs) for x in (a, b, c))
        return with_blocks(factors(), *blocks).frobenius_norm()

    products = [np.kron(x.outputs, x.inputs) for x in (a, b, c)]
    expected = np.sqrt(sum(np.sum(x**2) for x in products))
    value, slope = norm(1.0)  # the block of zeros does not change the slope
    np.testing.assert_allclose([value, slope], expected, rtol=1e-12)
    for power in (-700, 700):
        assert norm(2.0**power)[0] == np.ldexp(value, power)
    assert norm(0.0)[0] == 0
    assert np.isnan(norm(np.nan)[0])


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_frobenius_norm_of_an_inverse():
    inverse = factors().inverse(0.5)
    expected = np.linalg.norm(np.asarray(inverse.dense()))
    np.testing.assert_allclose(inverse.frobenius_norm(), expected, rtol=1e-12)
