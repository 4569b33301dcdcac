"""Embeddings, layers under an inner `vmap`, and tied weights, against NumPy."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layered_networks import drawn, forward, Written

from spectral.curvature import (
    EKFAC,
    KFAC,
    kfac_error,
    KroneckerEigh,
    Reduce,
    Risk,
    SoftmaxCrossEntropy,
)
from spectral.curvature.kronecker._layout import Layout
from spectral.curvature.kronecker.blocks._factored import FactoredBlock
from spectral.curvature.kronecker.blocks._sum import SumBlock
from spectral.curvature.kronecker.blocks._transposed import TransposedBlock
from spectral.curvature.kronecker.capture._find import find_layers


IGNORE = -100


class Tied(eqx.Module):
    """Positions do not interact. One matrix is the embedding and the output layer."""

    tokens: eqx.nn.Embedding
    hidden: eqx.nn.Linear
    positions: jax.Array

    def __call__(self, tokens):
        h = jnp.tanh(jax.vmap(self.tokens)(tokens))
        y = jax.vmap(self.hidden)(h) + self.positions
        return y @ self.tokens.weight.T


def tied():
    rng = np.random.default_rng(0)
    make = lambda k: Tied(
        eqx.nn.Embedding(4, 2, key=k), eqx.nn.Linear(2, 2, key=k), jnp.zeros((3, 2))
    )
    model = drawn(make, rng)
    tokens, labels = rng.integers(0, 4, (2, 5, 3))
    labels[0, 0] = labels[1] = labels[4, 1] = IGNORE
    loss = SoftmaxCrossEntropy(ignore_label=IGNORE)
    return Risk(forward, loss, jnp.asarray(tokens), jnp.asarray(labels), batch_size=2), model


@functools.cache
def found(kind: Any = KFAC) -> Any:
    with jax.enable_x64(True):
        return eqx.filter_jit(kind)(*tied())


def by_hand():
    """The factors of each use, and the exact block of the tied matrix and of the positions."""
    with jax.enable_x64(True):
        risk, model = tied()
    tokens, labels = np.asarray(risk.inputs), np.asarray(risk.targets)
    e, w, b, p = (
        np.asarray(a)
        for a in (model.tokens.weight, model.hidden.weight, model.hidden.bias, model.positions)
    )
    h = np.tanh(e[tokens])
    y = h @ w.T + b + p
    z = np.exp(y @ e.T)
    z = z / z.sum(axis=2, keepdims=True)
    counts = labels != IGNORE
    roots = np.sqrt(z)[..., None] * (np.eye(4) - z[:, :, None]) * counts[..., None, None]
    fractions = counts.sum(axis=1) / counts.sum()  # of the examples
    at_hidden = np.einsum("ntkc,cd->ntkd", roots, e)
    at_lookup = np.einsum("ntkd,de->ntke", at_hidden, w) * (1 - h**2)[:, :, None]
    second = lambda g: np.einsum("ntkc,ntkd->cd", g, g) / counts.sum() / 3
    of_inputs = lambda x: np.einsum("n,nti,ntj->ij", fractions, x, x)
    one = np.concatenate([h, np.ones((5, 3, 1))], axis=2)
    lookups = sum(np.bincount(t, minlength=4) * f for t, f in zip(tokens, fractions, strict=True))
    factors = {
        "lookup": (lookups, second(at_lookup)),
        "product": (second(roots), of_inputs(y)),
        "hidden": (second(at_hidden), of_inputs(one)),
    }
    own = np.einsum("ntr,ntkd->ntkrd", np.eye(4)[tokens], at_lookup)
    gradients = (own + np.einsum("ntkr,ntd->ntkrd", roots, y)).reshape(-1, 8)
    at_positions = np.einsum("ts,ntkd->ntksd", np.eye(3), at_hidden).reshape(-1, 6)
    exact = [g.T @ g / counts.sum() for g in (gradients, at_positions)]
    return factors, exact


def test_the_block_of_a_tied_weight_is_the_sum_over_its_uses():
    (tokens, hidden, positions), (factors, exact) = found().blocks, by_hand()
    assert isinstance(tokens, SumBlock)
    lookup, product = tokens.terms
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-14)
    for (r, c), name in zip(tokens.products, ("lookup", "product"), strict=True):
        close(r, factors[name][0])
        close(c, factors[name][1])
    assert lookup.products[0][0].ndim == 1  # the counts of the tokens
    assert isinstance(product, FactoredBlock)
    close(hidden.outputs, factors["hidden"][0])
    close(hidden.inputs, factors["hidden"][1])
    close(positions.inputs, exact[1])
    matrix = np.random.default_rng(0).normal(size=(4, 2))
    (counts, b), (r, c) = factors["lookup"], factors["product"]
    with jax.enable_x64(True):
        close(tokens.product(jnp.asarray(matrix)), counts[:, None] * matrix @ b + r @ matrix @ c)


@pytest.mark.slow
def test_ekfac_has_the_diagonal_of_the_exact_block_of_a_tied_weight():
    block, (exact, _) = jax.tree.map(np.asarray, found(EKFAC).blocks[0]), by_hand()[1]
    basis = np.kron(block.output_vectors, block.input_vectors)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=1e-12)
    diagonal = np.diag(basis.T @ exact @ basis)
    np.testing.assert_allclose(block.values.ravel(), diagonal, rtol=1e-9, atol=1e-14)
    # The basis is that of the partial traces of the sum.
    full = written_out(found().blocks[0]).reshape(4, 2, 4, 2)
    for vectors, partial in (
        (block.output_vectors, np.einsum("risi->rs", full)),
        (block.input_vectors, np.einsum("rirj->ij", full)),
    ):
        vectors = np.asarray(vectors)
        rotated = vectors.T @ partial @ vectors
        np.testing.assert_allclose(rotated, np.diag(np.diag(rotated)), atol=1e-12)


def example_blocks():
    rng = np.random.default_rng(1)
    square = lambda n: jnp.asarray((lambda r: r @ r.T)(rng.normal(size=(n, n + 1))), float)
    counts = jnp.asarray([0.0, 2.0, 0.5, 1.0])
    own: Any = {"name": "e", "leaves": (0,)}
    lookup = TransposedBlock(inputs=counts, outputs=square(3), **own)
    dense = TransposedBlock(inputs=square(4), outputs=square(3), **own)
    product = FactoredBlock(inputs=square(3), outputs=square(4), **own)
    tied = SumBlock(terms=(lookup, product), **own)
    return lookup, dense, tied


def written_out(block) -> Any:
    full = lambda factor: np.diag(factor) if factor.ndim == 1 else np.asarray(factor)
    return sum(np.kron(full(r), full(c)) for r, c in block.products)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", range(3))
def test_the_algebra_of_blocks_whose_rows_are_inputs(kind):
    block = example_blocks()[kind]
    matrix, vector = written_out(block), np.random.default_rng(2).normal(size=(4, 3))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-10)
    assert block.shape == (4, 3)
    close(block.product(jnp.asarray(vector)).ravel(), matrix @ vector.ravel())
    close(block.trace(), np.trace(matrix))
    square, exponent = block.square()
    close(square * 4.0**exponent, np.sum(matrix**2))
    kept = np.array([True, False, True])
    rows = np.tile(kept, 4)
    close(written_out(block.within(kept, (0,))), matrix[np.ix_(rows, rows)])
    if kind < 2:
        longer, shorter = block.eigenvalues()
        values = np.sort(np.outer(longer, shorter), axis=None)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-12)
        inverse = block.inverse(jnp.asarray(0.1))
        direct = np.linalg.solve(matrix + 0.1 * np.eye(12), vector.ravel())
        close(inverse.product(jnp.asarray(vector)).ravel(), direct)


@pytest.mark.usefixtures("float64")
def test_a_tied_block_has_no_eigenvalues_and_no_inverse(getkey):
    tied = example_blocks()[2]
    own: Any = (tied,)
    kfac = Written(own, Layout(jax.ShapeDtypeStruct((4, 3), jnp.float64)))
    message = "The layer e has a weight with several uses.*use `EKFAC`"
    for ask in (
        kfac.eigenvalues,
        lambda: kfac.inverse(0.1),
        lambda: kfac.log_det(0.1),
        lambda: KroneckerEigh()(kfac, key=getkey()),
        lambda: found().factored_inverse(0.1),
    ):
        with pytest.raises(ValueError, match=message.replace(" e ", " (e|tokens) ")):
            ask()


class BySharing(eqx.Module):
    """The same with `eqx.nn.Shared`."""

    shared: eqx.nn.Shared
    hidden: eqx.nn.Linear
    positions: jax.Array

    def __call__(self, tokens):
        embedding, output = self.shared()
        h = jnp.tanh(jax.vmap(embedding)(tokens))
        return jax.vmap(output)(jax.vmap(self.hidden)(h) + self.positions)


def by_sharing():
    risk, model = tied()
    linear = eqx.nn.Linear(2, 4, use_bias=False, key=jax.random.key(0))
    pair = model.tokens, linear
    shared = eqx.nn.Shared(pair, lambda pair: pair[1].weight, lambda pair: pair[0].weight)
    return risk, BySharing(shared, model.hidden, model.positions)


def test_how_a_weight_is_tied():
    uses = lambda risk, model: [
        (layer.name, [(call.use.name, call.sizes) for call in layer.calls])
        for layer in find_layers(risk, model)
    ]
    ((name, calls), *_) = uses(*tied())
    assert (name, calls) == ("tokens", [("LOOKUP", (1, 3)), ("PRODUCT", (1,))])
    risk, model = by_sharing()
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    risk = eqx.tree_at(lambda r: r.forward, risk, Recombined(rest))
    ((name, calls), *_) = uses(risk, params)
    assert (name, calls) == ("shared.pytree.0", [("LOOKUP", (1, 3)), ("PRODUCT", (1, 3))])


class Recombined(eqx.Module):
    static: Any

    def __call__(self, params, inputs):
        return jax.vmap(eqx.combine(params, self.static))(inputs)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_both_ways_to_tie_give_the_same_block():
    _, model = by_sharing()
    kfac, expected = KFAC(by_sharing()[0], model), found()
    for block, other in zip(kfac.blocks, expected.blocks, strict=True):
        for pair, like in zip(block.products, other.products, strict=True):
            for a, b in zip(pair, like, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_mean_over_positions_of_an_embedding_is_dense():
    risk, model = tied()
    tied_block: Any = KFAC(risk, model, sharing=Reduce()).blocks[0]
    reduced = tied_block.terms[0]
    tokens, counts = np.asarray(risk.inputs), np.asarray(risk.targets) != IGNORE
    histograms = np.stack([np.bincount(t, minlength=4) / 3 for t in tokens])
    fractions = counts.sum(axis=1) / counts.sum()
    expected = np.einsum("n,ni,nj->ij", fractions, histograms, histograms)
    np.testing.assert_allclose(reduced.inputs, expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_error_of_a_tied_block():
    errors = kfac_error(*tied())
    exact = by_hand()[1][0]
    expected = np.linalg.norm(exact - written_out(found().blocks[0])) / np.linalg.norm(exact)
    assert set(errors) == {"tokens", "hidden"}
    np.testing.assert_allclose(errors["tokens"], expected, rtol=1e-9)
