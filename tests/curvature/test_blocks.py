"""Blocks keep the structure of the matrix that they are a block of."""

import equinox as eqx
import numpy as np
import pytest
from layered_networks import mlp, Written, written

from spectral.curvature import (
    Block,
    DampedInverse,
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
def test_the_gram_matrix_of_a_block():
    risk, model = mlp()
    block = Block(GaussNewton(risk, model), PARTS["weights"])
    reduced = block.reduced()
    assert isinstance(reduced, GaussNewton)
    gram = reduced.gram()
    run = eqx.filter_jit(lambda block, gram: (block.dense(), gram.dense()))
    large, small = run(block, gram)
    large, small = (np.linalg.eigvalsh(m)[::-1] for m in (large, small))
    assert (block.dim, gram.dim, gram.parameters) == (large.size, small.size, large.size)
    size = min(large.size, small.size)
    np.testing.assert_allclose(small[:size], large[:size], rtol=1e-8, atol=1e-12)
    assert large[0] > 1e-3


def test_blocks_keep_the_factor():
    risk, model = mlp()
    block = Block(Fisher(risk, model, factor=Empirical()), PARTS["bias"]).reduced()
    assert isinstance(block, Fisher)
    assert isinstance(block.factor, Empirical)
    assert block.dim == 3


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("part", PARTS)
def test_the_spectrum_of_a_block(part, getkey):
    risk, model = mlp()
    block = Block(GaussNewton(risk, model), PARTS[part])
    spectrum = GramEigh()(block, key=getkey())
    truth = np.linalg.eigvalsh(block.dense())
    np.testing.assert_allclose(eigenvalues(spectrum, block.dim), truth, rtol=1e-8, atol=1e-12)


WRITTEN = {"a": (4, 3), "b": (2, 2)}


@pytest.mark.usefixtures("float64")
def test_the_factors_of_blocks(getkey):
    kfac = written(WRITTEN)
    blocks = [
        Block(kfac, lambda m: [m["a"]["w"], m["b"]["x"]]),
        Block(Block(kfac, lambda m: m["b"]), lambda m: m["b"]["w"]),
    ]
    reduced = [block.reduced() for block in blocks]
    assert all(isinstance(r, Written) for r in reduced)
    run = eqx.filter_jit(lambda operators: [o.dense() for o in operators])
    dense = [np.asarray(matrix) for matrix in run([*blocks, *reduced])]
    for whole, small in zip(dense[:2], dense[2:], strict=True):
        np.testing.assert_allclose(small, whole, rtol=1e-10, atol=1e-14)
    largest = KroneckerEigh()(blocks[0], key=getkey()).range()[1]
    np.testing.assert_allclose(largest, np.linalg.eigvalsh(dense[0])[-1], rtol=1e-9)


@pytest.mark.usefixtures("float64")
def test_blocks_of_eigenvectors_keep_whole_layers(getkey):
    inverse = written(WRITTEN).inverse(0.1)  # known by its eigenvectors, like EKFAC
    whole = layer_blocks(inverse)["b"]
    reduced = whole.reduced()
    assert isinstance(reduced, DampedInverse)
    assert [(block.name, block.leaves) for block in reduced.blocks] == [("b", (0, 1))]
    with pytest.raises(ValueError, match="keeps the layer b in part.*whole layers"):
        KroneckerEigh()(Block(whole, lambda m: m["b"]["w"]), key=getkey())


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_blocks_of_ekfac(getkey):
    risk, model = mlp()
    whole = layer_blocks(EKFAC(risk, model))["layers.1"]
    np.testing.assert_allclose(whole.reduced().dense(), whole.dense(), rtol=1e-10, atol=1e-14)
    inner = Block(layer_blocks(KFAC(risk, model))["layers.1"], lambda m: m.layers[1].weight)
    np.testing.assert_allclose(inner.reduced().dense(), inner.dense(), rtol=1e-10, atol=1e-14)
    with pytest.raises(ValueError, match="keeps the layer layers.1 in part.*whole layers"):
        KroneckerEigh()(Block(whole, lambda m: m.layers[1].weight), key=getkey())


def test_blocks_that_are_known_only_by_products(getkey):
    risk, model = mlp()
    block = Block(Hessian(risk, model), lambda m: m.layers[0])
    for estimator in (GramEigh(), KroneckerEigh()):
        with pytest.raises(TypeError, match="A block of a Hessian is known only by its products"):
            estimator(block, key=getkey())
