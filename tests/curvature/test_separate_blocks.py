"""KFAC and EKFAC with a block for each array, and of some layers only."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import normal
from layered_networks import drawn, forward, mixed

from spectral.curvature import (
    Block,
    EKFAC,
    GaussNewton,
    KFAC,
    kfac_error,
    Risk,
    SoftmaxCrossEntropy,
)


class Scaled(eqx.Module):
    """A network with a parameter that has no Kronecker factors."""

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
    make = lambda kind, **options: kind(risk, model, layers=LAYERS, **options)
    joint, separate = make(KFAC), make(KFAC, separate_bias=True)
    corrected = make(EKFAC, separate_bias=True)
    block = Block(GaussNewton(risk, model), lambda m: (m.first, m.last))
    return joint, separate, corrected, [o.dense() for o in (separate, corrected, block)]


@functools.cache
def found():
    with jax.enable_x64(True):
        return _program(*scaled())


def test_a_block_for_each_array():
    joint, separate, corrected, _ = found()
    names = ["first.weight", "first.bias", "last.weight", "last.bias"]
    for operator in (separate, corrected):
        assert [block.name for block in operator.blocks] == names
        assert [block.leaves for block in operator.blocks] == [(0,), (1,), (2,), (3,)]
    for whole, weight, bias in zip(
        joint.blocks, separate.blocks[::2], separate.blocks[1::2], strict=True
    ):
        np.testing.assert_allclose(weight.inputs, whole.inputs[:-1, :-1], rtol=1e-12)
        np.testing.assert_allclose(bias.inputs, whole.inputs[-1:, -1:], rtol=1e-12)
        for part in (weight, bias):
            np.testing.assert_allclose(part.outputs, whole.outputs, rtol=1e-12)


def test_blocks_of_a_bias_are_exact_and_ekfac_has_the_exact_diagonal():
    _, _, corrected, (factored, rotated, exact) = (*found()[:3], map(np.asarray, found()[3]))
    sizes = np.array([6, 3, 6, 2])
    ends = np.cumsum(sizes)
    for index, (block, end) in enumerate(zip(corrected.blocks, ends, strict=True)):
        own = slice(end - sizes[index], end)
        truth = exact[own, own]
        if index % 2:  # a bias, with a single position
            np.testing.assert_allclose(factored[own, own], truth, rtol=1e-8, atol=1e-12)
            np.testing.assert_allclose(rotated[own, own], truth, rtol=1e-8, atol=1e-12)
        basis = np.kron(block.output_vectors, block.input_vectors)
        diagonal = np.diag(basis.T @ truth @ basis)
        np.testing.assert_allclose(block.values.ravel(), diagonal, rtol=1e-8, atol=1e-12)
        # Nothing lies between the blocks.
        assert (factored[own, end:] == 0).all()
    assert rotated.shape == exact.shape == (17, 17)


def test_the_other_parameters_are_constants():
    _, separate, _, _ = found()
    assert separate.structure.scale is None
    assert separate.structure.first.weight.shape == (3, 2)


def test_bad_layers():
    risk, model = scaled()
    with pytest.raises(ValueError, match="has weights that act other than .*: scale"):
        KFAC(risk, model)
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
    assert list(errors) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    _, _, _, (factored, _, exact) = found()
    np.testing.assert_allclose([errors["first.bias"], errors["last.bias"]], 0, atol=1e-9)
    own = slice(9, 15)
    expected = np.linalg.norm((exact - factored)[own, own]) / np.linalg.norm(exact[own, own])
    np.testing.assert_allclose(errors["last.weight"], expected, rtol=1e-8)
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
