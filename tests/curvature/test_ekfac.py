"""EKFAC: the best eigenvalues in the basis of KFAC."""

import functools

import equinox as eqx
import jax
import numpy as np
import pytest
from layered_networks import CASES, convolutions, mlp, norms

from spectral.curvature import EKFAC, Expand, KFAC, kfac_error, Reduce, Risk
from spectral.curvature.kronecker.blocks._factored import FactoredBlock
from spectral.curvature.kronecker.blocks._rotated import RotatedBlock


def exact_blocks(risk, params, operator):
    """The blocks of the Gauss-Newton matrix on [W, b] by rows, from the gradients of JAX."""
    dynamic, static = eqx.partition(params, eqx.is_inexact_array)
    network = lambda d, x: risk.forward(eqx.combine(d, static), x[None])[0]

    @jax.jit
    def of_one(x, y):
        output = network(dynamic, x)
        hessian = jax.hessian(lambda z: risk.loss.losses(z[None], y[None])[0])(output)
        return jax.tree.leaves(jax.jacrev(network)(dynamic, x)), hessian

    found = [of_one(x, y) for x, y in zip(risk.inputs, risk.targets, strict=True)]
    blocks = {}
    for block in operator.blocks:
        total = 0
        for leaves, hessian in found:
            outputs = hessian.shape[0]
            own = [np.reshape(leaves[n], (outputs, block.shape[0], -1)) for n in block.leaves]
            jacobian = np.concatenate(own, axis=2).reshape(outputs, -1)
            total = total + jacobian.T @ hessian @ jacobian / len(found)
        blocks[block.name] = np.asarray(total)
    return blocks


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("name", "sharing"),
    [
        ("mlp", Expand()),
        ("convolutions", Expand()),
        ("convolutions", Reduce()),
        ("norms", Expand()),
    ],
)
def test_eigenvalues_are_the_diagonal_of_the_exact_block_in_the_basis_of_kfac(name, sharing):
    risk, model = CASES[name]()
    kfac, ekfac = KFAC(risk, model, sharing=sharing), EKFAC(risk, model, sharing=sharing)
    exact = exact_blocks(risk, model, ekfac)
    for factored, block in zip(kfac.blocks, ekfac.blocks, strict=True):
        basis = np.kron(block.output_vectors, block.input_vectors)
        np.testing.assert_allclose(basis.T @ basis, np.eye(len(basis)), atol=1e-10)
        # These are the eigenvectors of the factors ...
        product = np.kron(factored.outputs, factored.inputs)
        rotated = basis.T @ product @ basis
        scale = float(np.linalg.norm(rotated))
        np.testing.assert_allclose(rotated, np.diag(np.diag(rotated)), atol=1e-10 * scale)
        # ... and the rest follows from the exact block.
        target = exact[block.name]
        assert np.linalg.norm(target) > 1e-5
        diagonal = np.diag(basis.T @ target @ basis)
        np.testing.assert_allclose(block.values.ravel(), diagonal, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(block.trace(), np.trace(target), rtol=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "sharing"), [("mlp", Expand()), ("convolutions", Expand())])
def test_errors_agree_with_dense_matrices_and_are_at_most_those_of_kfac(name, sharing):
    risk, model = CASES[name](seed=2)  # the bases of most networks differ so much
    found = {}
    for kind in (KFAC, EKFAC):
        make = functools.partial(kind, sharing=sharing)
        operator = make(risk, model)
        errors = kfac_error(risk, model, approximation=make)
        exact = exact_blocks(risk, model, operator)
        assert list(errors) == [block.name for block in operator.blocks]
        for block in operator.blocks:
            if isinstance(block, RotatedBlock):
                basis = np.kron(block.output_vectors, block.input_vectors)
                approximation = basis @ np.diag(block.values.ravel()) @ basis.T
            else:
                assert isinstance(block, FactoredBlock)
                approximation = np.kron(block.outputs, block.inputs)
            target = exact[block.name]
            expected = np.linalg.norm(target - approximation) / np.linalg.norm(target)
            np.testing.assert_allclose(errors[block.name], expected, rtol=1e-8)
            found.setdefault(block.name, []).append(expected)
    for of_kfac, of_ekfac in found.values():
        assert of_ekfac <= of_kfac
    assert min(ekfac / kfac for kfac, ekfac in found.values()) < 0.98


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_it_is_exact_for_one_example():
    risk, model = mlp()
    risk = Risk(risk.forward, risk.loss, risk.inputs[:1], risk.targets[:1])
    assert max(kfac_error(risk, model, approximation=EKFAC).values()) < 1e-12


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("make", [convolutions, norms])
def test_batches_change_nothing(make):
    risk, model = make()
    batched = Risk(risk.forward, risk.loss, risk.inputs, risk.targets, batch_size=3)
    whole, parts = EKFAC(risk, model), EKFAC(batched, model)
    vector = jax.tree.map(lambda x: x + 1, eqx.filter(model, eqx.is_inexact_array))
    both = jax.tree.leaves(whole.mv(vector)), jax.tree.leaves(parts.mv(vector))
    for a, b in zip(*both, strict=True):
        assert np.linalg.norm(a) > 1e-5
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_algebra_agrees_with_the_dense_matrix():
    ekfac = EKFAC(*mlp())
    dense = np.asarray(ekfac.dense())
    values = np.linalg.eigvalsh(dense)
    np.testing.assert_allclose(dense, dense.T, atol=1e-12)
    np.testing.assert_allclose(ekfac.trace(), np.trace(dense), rtol=1e-10)
    np.testing.assert_allclose(ekfac.frobenius_norm(), np.linalg.norm(dense), rtol=1e-10)
    np.testing.assert_allclose(ekfac.log_det(0.1), np.log(values + 0.1).sum(), rtol=1e-10)
    found = np.sort(np.concatenate(list(ekfac.eigenvalues().values())))
    np.testing.assert_allclose(found, values, rtol=1e-8, atol=1e-13)
    inverse = np.linalg.inv(dense + 0.1 * np.eye(len(dense)))
    np.testing.assert_allclose(ekfac.inverse(0.1).dense(), inverse, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_one_batch_is_passed_through_the_network_once():
    """The factors and the eigenvalues take the same records, so EKFAC traces no more than KFAC."""
    risk, model = mlp()
    counts = []
    for operator in (KFAC, EKFAC):
        calls = []

        def forward(model, inputs, calls=calls):
            calls.append(inputs.shape)
            return risk.forward(model, inputs)

        eqx.filter_eval_shape(
            lambda m, f=forward, make=operator: (
                make(eqx.tree_at(lambda r: r.forward, risk, f), m).blocks
            ),
            model,
        )
        counts.append(len(calls))
    assert counts[0] == counts[1] > 0
