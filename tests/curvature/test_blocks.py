"""Blocks keep the structure of the matrix that they are a block of."""

import equinox as eqx
import jax
import numpy as np
import pytest
from layered_networks import mlp

from spectral.curvature import (
    Block,
    EKFAC,
    Empirical,
    Fisher,
    GaussNewton,
    GramEigh,
    Hessian,
    KFAC,
    KroneckerEigh,
    layer_blocks,
)


PARTS = {
    "layer": lambda m: m.layers[0],
    "weights": lambda m: [layer.weight for layer in m.layers],
    "bias": lambda m: m.layers[1].bias,
}


def eigenvalues(spectrum, count):
    (nodes,), (weights,) = spectrum.nodes, spectrum.weights
    return np.sort(np.repeat(nodes, np.round(count * weights).astype(int)))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ["gauss_newton", "fisher"])
def test_the_gram_matrix_of_a_block(name, part, getkey):
    risk, model = mlp(getkey())
    if name == "gauss_newton":
        whole = GaussNewton(risk, model)
    else:
        whole = Fisher(risk, model, factor=Empirical())
    block = Block(whole, PARTS[part])
    truth = np.linalg.eigvalsh(block.dense())
    spectrum = GramEigh()(block, key=getkey())
    assert spectrum.dim == block.dim
    np.testing.assert_allclose(eigenvalues(spectrum, block.dim), truth, rtol=1e-8, atol=1e-12)
    assert truth[-1] > 1e-3


@pytest.mark.usefixtures("float64")
def test_the_factors_of_a_block(getkey):
    risk, model = mlp(getkey())
    kfac = KFAC(risk, model)
    for where in PARTS.values():
        block = Block(kfac, where)
        reduced, dense = block.reduced(), np.asarray(block.dense())
        assert isinstance(reduced, KFAC)
        np.testing.assert_allclose(reduced.dense(), dense, rtol=1e-10, atol=1e-14)
        spectrum = KroneckerEigh()(block, key=getkey())
        truth = np.linalg.eigvalsh(dense)
        between = (truth[-1] + truth[-2]) / 2
        assert np.round(spectrum.mass_above(between).value * block.dim) == 1
        np.testing.assert_allclose(spectrum.mean(lambda x: x**2), np.mean(truth**2), rtol=1e-9)


@pytest.mark.usefixtures("float64")
def test_blocks_of_blocks_and_whole_layers(getkey):
    risk, model = mlp(getkey())
    ekfac = EKFAC(risk, model)
    whole = layer_blocks(ekfac)["layers.1"]
    np.testing.assert_allclose(whole.reduced().dense(), whole.dense(), rtol=1e-10, atol=1e-14)
    inner = Block(layer_blocks(KFAC(risk, model))["layers.1"], lambda m: m.layers[1].weight)
    np.testing.assert_allclose(inner.reduced().dense(), inner.dense(), rtol=1e-10, atol=1e-14)
    with pytest.raises(ValueError, match="keeps the layer layers.1 in part.*whole layers"):
        KroneckerEigh()(Block(whole, lambda m: m.layers[1].weight), key=getkey())


def test_blocks_that_are_known_by_products_alone_are_refused(getkey):
    risk, model = mlp(getkey())
    block = Block(Hessian(risk, model), lambda m: m.layers[0])
    for estimator in (GramEigh(), KroneckerEigh()):
        with pytest.raises(TypeError, match="A block of a Hessian is known only by its products"):
            estimator(block, key=getkey())


def test_blocks_of_the_same_parts_compile_nothing_anew(getkey):
    traced, (risk, model) = 0, mlp(getkey())

    @eqx.filter_jit
    def gram(operator):
        nonlocal traced
        traced += 1
        return operator.reduced().gram().dense()

    for _ in range(2):
        gram(Block(GaussNewton(risk, jax.tree.map(lambda x: x, model)), lambda m: m.layers[0]))
    assert traced == 1
