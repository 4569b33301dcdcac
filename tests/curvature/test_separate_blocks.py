"""KFAC and EKFAC with a block for each array, and of some layers only."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import normal
from layered_networks import drawn, forward, mixed

from spectral.curvature import (
    EKFAC,
    KFAC,
    kfac_error,
    Risk,
    SoftmaxCrossEntropy,
)


class Scaled(eqx.Module):
    """A network with a parameter that belongs to no layer."""

    first: eqx.nn.Linear
    scale: jax.Array
    last: eqx.nn.Linear

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x) * self.scale))


def scaled():
    rng = np.random.default_rng(0)
    make = lambda k: Scaled(
        eqx.nn.Linear(2, 3, key=k), jnp.ones(3), eqx.nn.Linear(3, 2, use_bias=True, key=k)
    )
    model = drawn(make, rng)
    labels = jnp.asarray(rng.integers(0, 2, 7))
    return Risk(forward, SoftmaxCrossEntropy(), normal(rng, 7, 2), labels, batch_size=3), model


LAYERS = "first", "last"


@eqx.filter_jit
def _program(risk, model):
    options: Any = {"layers": LAYERS, "separate_bias": True}
    return KFAC(risk, model, **options), EKFAC(risk, model, **options)


@functools.cache
def found():
    with jax.enable_x64(True):
        return _program(*scaled())


def exact_blocks_of_the_last_layer():
    """Of its weight and of its bias, and the inputs of the first layer."""
    with jax.enable_x64(True):
        risk, model = scaled()
    x, first, last = (np.asarray(a) for a in (risk.inputs, model.first.weight, model.last.weight))
    hidden = np.tanh((x @ first.T + np.asarray(model.first.bias)) * np.asarray(model.scale))
    p = np.exp(hidden @ last.T + np.asarray(model.last.bias))
    p = p / p.sum(axis=1, keepdims=True)
    hessians = np.einsum("no,op->nop", p, np.eye(2)) - np.einsum("no,np->nop", p, p)
    products = [np.kron(h, np.outer(a, a)) for h, a in zip(hessians, hidden, strict=True)]
    return np.mean(products, axis=0), np.mean(hessians, axis=0), x


def test_a_block_for_each_array():
    separate, corrected = found()
    names = ["first.weight", "first.bias", "last.weight", "last.bias"]
    for operator in (separate, corrected):
        assert [block.name for block in operator.blocks] == names
        assert [block.leaves for block in operator.blocks] == [(0,), (1,), (2,), (3,)]
        assert sum(block.shape[0] * block.shape[1] for block in operator.blocks) == 17
    first, _, weight, bias = separate.blocks
    exact_weight, exact_bias, inputs = exact_blocks_of_the_last_layer()
    np.testing.assert_allclose(first.inputs, inputs.T @ inputs / 7, rtol=1e-9)
    # The block of a bias is exact, at a single position. Both have the same B.
    np.testing.assert_allclose(bias.inputs, [[1]], rtol=1e-12)
    np.testing.assert_allclose(bias.outputs, exact_bias, rtol=1e-9)
    np.testing.assert_allclose(weight.outputs, exact_bias, rtol=1e-9)
    # EKFAC has the diagonal of the exact block, in the basis of this one.
    for own, block, exact in (
        (corrected.blocks[2], weight, exact_weight),
        (corrected.blocks[3], bias, exact_bias),
    ):
        basis = np.kron(own.output_vectors, own.input_vectors)
        product = basis.T @ np.kron(block.outputs, block.inputs) @ basis
        np.testing.assert_allclose(product, np.diag(np.diag(product)), atol=1e-12)
        diagonal = np.diag(basis.T @ exact @ basis)
        np.testing.assert_allclose(own.values.ravel(), diagonal, rtol=1e-8, atol=1e-12)


def test_the_other_parameters_are_constants():
    separate, _ = found()
    assert separate.structure.scale is None
    assert separate.structure.first.weight.shape == (3, 2)


def test_bad_layers():
    risk, model = scaled()
    for layers in ((), ("first", "fist"), ("firs",)):
        with pytest.raises(ValueError, match=r"`layers` is .*such as these layers: first, .*last"):
            KFAC(risk, model, layers=layers)
    with pytest.raises(ValueError, match="the layer first without its bias"):
        EKFAC(risk, model, layers=("first.weight",))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_errors_of_separate_blocks():
    risk, model = scaled()
    make = functools.partial(KFAC, layers=LAYERS, separate_bias=True)
    errors = kfac_error(risk, model, approximation=make)
    assert set(errors) == {"first.weight", "first.bias", "last.weight", "last.bias"}
    np.testing.assert_allclose([errors["first.bias"], errors["last.bias"]], 0, atol=1e-9)
    exact, _, _ = exact_blocks_of_the_last_layer()
    block = found()[0].blocks[2]
    expected = np.linalg.norm(exact - np.kron(block.outputs, block.inputs))
    np.testing.assert_allclose(errors["last.weight"], expected / np.linalg.norm(exact), rtol=1e-8)
    (last,) = kfac_error(
        risk, model, approximation=functools.partial(KFAC, layers=("last",))
    ).values()
    assert 0 < last < 1


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_all_kinds_of_layers():
    risk, model = mixed()
    joint, separate = KFAC(risk, model), KFAC(risk, model, separate_bias=True)
    expected = []
    for block in joint.blocks:
        own = [leaf for leaf in block.leaves]
        calls = block.name != "steps.4" and len(own) == 2  # RMSNorm stays whole
        expected += (
            [f"{block.name}.{part}" for part in ("weight", "bias")] if calls else [block.name]
        )
    assert [block.name for block in separate.blocks] == expected
    assert sum(b.shape[0] * b.shape[1] for b in separate.blocks) == joint.dim
    by_name = {block.name: block for block in separate.blocks}
    for block in joint.blocks:
        if f"{block.name}.bias" in by_name:
            bias = by_name[f"{block.name}.bias"]
            np.testing.assert_allclose(bias.inputs, block.inputs[-1:, -1:], rtol=1e-12)
        elif block.name in by_name:
            np.testing.assert_allclose(by_name[block.name].inputs, block.inputs, rtol=1e-12)
