"""Inverses: by conjugate gradients against NumPy, and with the damping divided between factors."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import matrix, rotated
from layered_networks import mlp, written

from spectral.curvature import Block, Function, GaussNewton, Inverse, KFAC, Matrix


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
    nothing = inverse.solve(jnp.asarray(np.zeros(DIM)))
    assert (np.asarray(nothing.value) == 0).all()
    assert nothing.residual == 0
    assert nothing.converged
    # What has not converged says so.
    short = eqx.tree_at(lambda i: i.tolerance, inverse, jnp.asarray(1e-30))
    failed = short.solve(jnp.asarray(vector))
    assert not failed.converged
    assert failed.residual > 1e-30


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
def test_kfac_as_a_preconditioner(getkey):
    risk, model = mlp()
    ggn, kfac = GaussNewton(risk, model), KFAC(risk, model)
    vector = jax.tree.map(lambda s: jax.random.normal(getkey(), s.shape, s.dtype), ggn.structure)
    plain, exact, heuristic = (
        Inverse(ggn, 1e-4, preconditioner=other, tolerance=1e-8).solve(vector)
        for other in (None, kfac.inverse(1e-4), kfac.factored_inverse(1e-4))
    )
    for found in (exact, heuristic):
        assert found.converged
        assert found.num_steps < plain.num_steps
        for own, other in zip(*map(jax.tree.leaves, (found.value, plain.value)), strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("float64")
def test_damping_that_is_divided_between_the_factors():
    kfac = written({"a": (4, 3), "b": (2, 2)}, unused=3)
    inverse = KFAC.factored_inverse(kfac, 0.1)  # pyright: ignore[reportArgumentType]
    for own, block in zip(inverse.blocks, kfac.blocks, strict=True):
        a, b = np.asarray(block.inputs), np.asarray(block.outputs)
        pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(b) / len(b)))
        expected = np.linalg.inv(a + pi * 0.1**0.5 * np.eye(len(a)))
        np.testing.assert_allclose(own.inputs, expected, rtol=1e-9, atol=1e-12)
        expected = np.linalg.inv(b + 0.1**0.5 / pi * np.eye(len(b)))
        np.testing.assert_allclose(own.outputs, expected, rtol=1e-9, atol=1e-12)
    assert inverse.rest == 1 / jnp.asarray(0.1)
    assert inverse.unused == 3
    # The loss in other units, of which only B knows.
    blocks = [dataclasses.replace(x, outputs=2.0**101 * x.outputs) for x in kfac.blocks]
    scaled = dataclasses.replace(kfac, blocks=tuple(blocks))
    again = KFAC.factored_inverse(scaled, 0.1 * 2.0**101)  # pyright: ignore[reportArgumentType]
    for own, other in zip(again.blocks, inverse.blocks, strict=True):
        np.testing.assert_array_equal(own.inputs, other.inputs)
        np.testing.assert_array_equal(own.outputs, np.ldexp(other.outputs, -101))
    with pytest.raises(ValueError, match="`damping` is 0"):
        KFAC.factored_inverse(kfac, 0)  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("float64")
def test_divided_damping_is_exact_for_a_factor_of_one_row_and_finite_for_zeros():
    kfac = written({"a": (4, 3), "b": (2, 2)})
    one, zero = kfac.blocks
    one = dataclasses.replace(one, outputs=jnp.asarray([[3.0]]), leaves=(0,))
    zero = dataclasses.replace(zero, outputs=0 * zero.outputs)
    changed = dataclasses.replace(kfac, blocks=(one, zero))
    first, second = KFAC.factored_inverse(changed, 0.1).blocks  # pyright: ignore[reportArgumentType]
    expected = np.linalg.inv(3 * np.asarray(one.inputs) + 0.1 * np.eye(4))
    np.testing.assert_allclose(first.outputs[0, 0] * first.inputs, expected, rtol=1e-9)
    np.testing.assert_allclose(second.outputs, np.eye(2) / np.asarray(second.outputs[0, 0] ** -1))
    assert np.isfinite(second.inputs).all()


@pytest.mark.usefixtures("float64")
def test_the_frobenius_norm_of_factors_of_any_size():
    kfac = written({"a": (4, 3), "b": (2, 2)}, unused=3)
    products = [np.kron(x.outputs, x.inputs) for x in kfac.blocks]
    expected = np.sqrt(sum(np.sum(x**2) for x in products))
    np.testing.assert_allclose(kfac.frobenius_norm(), expected, rtol=1e-12)
    for power in (-700, 700):
        blocks = [dataclasses.replace(x, inputs=x.inputs * 2.0**power) for x in kfac.blocks]
        scaled = dataclasses.replace(kfac, blocks=tuple(blocks))
        assert scaled.frobenius_norm() == np.ldexp(kfac.frobenius_norm(), power)
    # A block of zeros has no unit, and the slope of the others is known.
    half = dataclasses.replace(kfac.blocks[1], inputs=0 * kfac.blocks[1].inputs)
    norm = lambda size: dataclasses.replace(
        kfac,
        blocks=(dataclasses.replace(kfac.blocks[0], inputs=size * kfac.blocks[0].inputs), half),
    ).frobenius_norm()
    tiny = norm(2.0**-700)
    np.testing.assert_allclose(tiny, np.ldexp(np.linalg.norm(products[0]), -700), rtol=1e-12)
    np.testing.assert_allclose(jax.grad(norm)(1.0), np.linalg.norm(products[0]), rtol=1e-12)
    inverse = kfac.inverse(0.5)
    np.testing.assert_allclose(
        inverse.frobenius_norm(), np.linalg.norm(np.asarray(inverse.dense())), rtol=1e-12
    )


def test_blocks_of_a_factored_inverse():
    inverse = KFAC.factored_inverse(written({"a": (4, 3)}), 0.1)  # pyright: ignore[reportArgumentType]
    part = Block(inverse, lambda m: m["a"]["w"]).reduced()
    assert part.dim == 12
