"""A network with all kinds of layers: what is captured, and KFAC and EKFAC with their errors."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layered_networks import mixed

from spectral.curvature import EKFAC, Expand, KFAC, kfac_error, Reduce
from spectral.curvature.kronecker.capture._capture import capture
from spectral.curvature.kronecker.capture._find import find_layers


class Found(NamedTuple):
    outputs: Any
    seen: Any  # the record of each layer, for one column for each output
    jacobian: Any  # of each example, in each array of parameters
    expand: Any  # the blocks of KFAC with `Expand`
    reduce: Any
    ekfac: Any
    errors: Any  # of KFAC and EKFAC


@eqx.filter_jit
def _program(risk, params, layers) -> Found:
    """All of them in one program, because compiling takes most of the time here."""
    dynamic, constants = eqx.partition(params, eqx.is_inexact_array)
    one = lambda d, x: risk.forward(eqx.combine(d, constants), x[None])[0]
    outputs, pull = capture(risk, params, layers, risk.whole())
    columns = jnp.broadcast_to(jnp.eye(3)[:, None], (3, *outputs.shape))
    kfac, ekfac = KFAC(risk, params, sharing=Expand()), EKFAC(risk, params)
    error = lambda operator: kfac_error(risk, params, approximation=lambda *args, **_: operator)
    return Found(
        outputs=outputs,
        seen=[record for (record,) in pull(columns)],
        jacobian=jax.tree.leaves(jax.vmap(jax.jacrev(one), (None, 0))(dynamic, risk.inputs)),
        expand=kfac.blocks,
        reduce=KFAC(risk, params, sharing=Reduce()).blocks,
        ekfac=ekfac.blocks,
        errors=[error(kfac), error(ekfac)],
    )


@functools.cache
def found() -> tuple[Any, Found]:
    with jax.enable_x64(True):
        risk, params = mixed()
        layers = find_layers(risk, params)
        return layers, jax.tree.map(np.asarray, _program(risk, params, layers))


@functools.cache
def hessians():
    """Of the loss in the outputs, for each example."""
    outputs = found()[1].outputs
    p = np.exp(outputs) / np.sum(np.exp(outputs), axis=1, keepdims=True)
    return np.einsum("no,op->nop", p, np.eye(3)) - np.einsum("no,np->nop", p, p)


def rows_of(layer):
    """The gradients of the outputs in [W, b]: `[examples, outputs, rows, columns]`."""
    parts = [found()[1].jacobian[n] for n in layer.leaves]
    rows = parts[0].shape[2] if layer.calls else 1
    return np.concatenate([part.reshape(7, 3, rows, -1) for part in parts], axis=3)


def exact_block(layer):
    """The block of the Gauss-Newton matrix."""
    flat = rows_of(layer).reshape(7, 3, -1)
    return np.einsum("nap,nab,nbq->pq", flat, hessians(), flat) / 7


@pytest.mark.slow
def test_records_multiply_to_the_gradient_of_each_example():
    layers, result = found()
    names = ["steps.0", "steps.2", "steps.4", "steps.5.inner", "steps.5.outer"]
    assert [layer.name for layer in layers] == names
    assert [len(layer.calls) for layer in layers] == [1, 1, 0, 2, 1]
    indices = [n for layer in layers for n in layer.leaves]
    assert indices == list(range(len(result.jacobian)))
    for layer, rows in zip(layers, result.seen, strict=True):
        product = np.einsum("cnpo,npi->ncoi", rows.gradients, rows.inputs)
        expected = rows_of(layer)
        assert np.linalg.norm(expected) > 1e-2
        if not layer.calls:  # a single row of weights, whose input is 1
            product = product.reshape(expected.shape)
        np.testing.assert_allclose(product, expected, rtol=1e-9, atol=1e-12)


def test_inputs_are_patches_with_a_one_for_the_bias():
    layers, result = found()
    with jax.enable_x64(True):
        risk, model = mixed()
    first, second, norm, inner, outer = (rows.inputs for rows in result.seen)
    weights = lambda layer: [np.asarray(w) for w in (layer.weight, layer.bias)]
    # Stride (2, 1), padding ((1, 1), (0, 1)), dilation (1, 2), kernel (3, 2).
    padded = np.pad(risk.inputs, ((0, 0), (0, 0), (1, 1), (0, 1)))
    windows = [padded[:, :, i : i + 3, j : j + 3 : 2] for i in (0, 2) for j in (0, 1)]
    np.testing.assert_allclose(first, with_one(windows), rtol=1e-9)
    weight, bias = weights(model.steps[0])
    hidden = first[..., :-1] @ weight.reshape(2, -1).T + bias.ravel()  # [examples, positions, 2]
    hidden = np.tanh(hidden).swapaxes(1, 2)
    np.testing.assert_allclose(second, hidden.reshape(7, 1, -1), rtol=1e-9)
    assert (norm == 1).all()
    # A layer that is called twice has the positions of both calls.
    (weight, bias), (scale, shift) = weights(model.steps[5].inner), weights(model.steps[4])
    hidden = second[:, 0] @ np.asarray(model.steps[2].weight).reshape(3, -1).T
    hidden = scale * hidden / np.sqrt(np.mean(hidden**2, axis=1, keepdims=True) + 1e-5) + shift
    again = np.tanh(hidden @ weight.T + bias)
    np.testing.assert_allclose(inner, with_one([hidden, again]), rtol=1e-9)
    last = np.tanh(again @ weight.T + bias) + again
    np.testing.assert_allclose(outer, with_one([last]), rtol=1e-9)


def with_one(windows):
    rows = np.stack([np.reshape(window, (7, -1)) for window in windows], axis=1)
    return np.concatenate([rows, np.ones((*rows.shape[:2], 1))], axis=2)


@pytest.mark.parametrize("rule", ["expand", "reduce"])
def test_factors_are_second_moments(rule):
    layers, result = found()
    for layer, rows, block in zip(layers, result.seen, getattr(result, rule), strict=True):
        assert (block.name, block.leaves) == (layer.name, layer.leaves)
        if not layer.calls:  # the block is exact
            np.testing.assert_allclose(block.inputs, exact_block(layer), rtol=1e-9, atol=1e-15)
            np.testing.assert_allclose(block.outputs, [[1]], rtol=1e-12)
            continue
        a, g = rows.inputs, rows.gradients
        if rule == "reduce":
            a, g = a.mean(axis=1, keepdims=True), g.sum(axis=2, keepdims=True)
        np.testing.assert_allclose(block.inputs, np.einsum("npi,npj->ij", a, a) / 7, rtol=1e-9)
        expected = np.einsum("cnpo,ncd,dnpq->oq", g, hessians(), g) / (7 * g.shape[2])
        np.testing.assert_allclose(block.outputs, expected, rtol=1e-9, atol=1e-13)


def test_ekfac_has_the_diagonal_of_the_exact_block_in_the_basis_of_kfac():
    layers, result = found()
    for layer, factored, block in zip(layers, result.expand, result.ekfac, strict=True):
        assert (block.name, block.leaves) == (layer.name, layer.leaves)
        basis = np.kron(block.output_vectors, block.input_vectors)
        np.testing.assert_allclose(basis.T @ basis, np.eye(len(basis)), atol=1e-10)
        # These are the eigenvectors of the factors ...
        rotated = basis.T @ np.kron(factored.outputs, factored.inputs) @ basis
        scale = float(np.linalg.norm(rotated))
        np.testing.assert_allclose(rotated, np.diag(np.diag(rotated)), atol=1e-10 * scale)
        # ... and the rest follows from the exact block.
        target = exact_block(layer)
        assert np.linalg.norm(target) > 1e-5
        diagonal = np.diag(basis.T @ target @ basis)
        np.testing.assert_allclose(block.values.ravel(), diagonal, rtol=1e-8, atol=1e-12)


def test_errors_are_relative_frobenius_norms():
    layers, result = found()
    called = [layer for layer in layers if layer.calls]
    improved = []
    for of_kfac, of_ekfac in [result.errors]:
        assert list(of_kfac) == list(of_ekfac) == [layer.name for layer in called]
        for factored, block in zip(result.expand, result.ekfac, strict=True):
            if block.name not in of_kfac:
                continue
            (layer,) = (layer for layer in called if layer.name == block.name)
            exact = exact_block(layer)
            basis = np.kron(block.output_vectors, block.input_vectors)
            close = np.kron(factored.outputs, factored.inputs)
            closer = basis @ np.diag(block.values.ravel()) @ basis.T
            for errors, matrix in ((of_kfac, close), (of_ekfac, closer)):
                expected = np.linalg.norm(exact - matrix) / np.linalg.norm(exact)
                np.testing.assert_allclose(errors[block.name], expected, rtol=1e-8)
            improved.append(of_ekfac[block.name] / of_kfac[block.name])
    assert max(improved) <= 1
    assert min(improved) < 0.98
