"""Every matrix of curvature of `models.GPT` and `models.ViT` in float64, against dense matrices."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from moved_transformers import IGNORE, moved, NETWORKS, problem

from spectral.curvature import (
    EKFAC,
    Empirical,
    Fisher,
    GaussNewton,
    Gram,
    Hessian,
    KFAC,
)
from spectral.curvature.kronecker.blocks._sum import SumBlock


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("float64")]


@eqx.filter_jit
def derivatives(risk, model):
    """Of all outputs and losses, by reverse-mode differentiation of the whole network."""
    dynamic, static = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(dynamic)
    labels = risk.targets.reshape(-1)
    counts = labels != IGNORE

    def outputs(p):
        z = risk.forward(eqx.combine(unravel(p), static), risk.inputs)
        return z.reshape(-1, z.shape[-1])

    def losses(p):
        own = jnp.take_along_axis(
            jax.nn.log_softmax(outputs(p)), jnp.maximum(labels, 0)[:, None], axis=1
        )
        return jnp.sum(jnp.where(counts, -own[:, 0], 0).reshape(len(risk.inputs), -1), axis=1)

    mean = lambda p: jnp.sum(losses(p)) / jnp.sum(counts)
    p = jax.nn.softmax(outputs(flat)) * counts[:, None] ** 0.5
    return {
        "hessian": jax.hessian(mean)(flat),
        "jacobian": jax.jacrev(outputs)(flat),
        "at_outputs": jax.vmap(jnp.diag)(p * counts[:, None]) - p[:, :, None] * p[:, None],
        "gradients": jax.jacrev(losses)(flat),
        "count": jnp.sum(counts),
    }


@functools.cache
def references(name):
    with jax.enable_x64(True):
        found = jax.tree.map(np.asarray, derivatives(*problem(name)))
    j, g, count = found["jacobian"], found["gradients"], found["count"]
    ggn = np.einsum("lcp,lcd,ldq->pq", j, found["at_outputs"], j) / count
    return {"hessian": found["hessian"], "ggn": ggn, "empirical": g.T @ g / count}


def check(found, expected):
    scale = np.abs(expected).max()
    assert scale > 1e-9
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * scale)


@eqx.filter_jit
def dense(risk, model):
    operators = [Hessian, GaussNewton, Fisher, functools.partial(Fisher, factor=Empirical()), Gram]
    return [make(risk, model).dense() for make in operators]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operator(name):
    expected = references(name)
    hessian, ggn, fisher, empirical, gram = dense(*problem(name))
    check(hessian, expected["hessian"])
    check(ggn, expected["ggn"])
    check(fisher, expected["ggn"])
    check(empirical, expected["empirical"])
    values = np.linalg.eigvalsh(expected["ggn"])
    rank = min(gram.shape[0], len(values))
    check(np.linalg.eigvalsh(gram)[-rank:], values[-rank:])


@eqx.filter_jit
def derivatives_of_layers(model, x):
    """The inputs of each layer, and the derivatives of the outputs in those of each layer."""
    _, seen = moved(model, x, {})
    layers = {f"blocks.{i}.{n}": at for i, b in enumerate(model.blocks) for n, at in _inside(b)}
    widths = {n: layer.weight.shape[0] for n, layer in layers.items()}
    embeds = "embedding" if "embedding" in seen else "patches"
    widths |= {embeds: model.norm.weight.shape[0], "head": forward_size(model)}
    moves = {name: jnp.zeros((len(seen[name]), size)) for name, size in widths.items()}
    z, seen = moved(model, x, moves)
    return z, seen, jax.jacrev(lambda moves: moved(model, x, moves)[0])(moves)


def _inside(block):
    for owner, names in (
        ("attention", ("query_proj", "key_proj", "value_proj", "output_proj")),
        ("mlp", ("up", "gate", "down")),
    ):
        for name in names:
            if (layer := getattr(getattr(block, owner), name)) is not None:
                yield f"{owner}.{name}", layer


def forward_size(model):
    return (model.embedding if model.head is None else model.head).weight.shape[0]


def factors_by_hand(risk, model) -> Any:
    """The factors (A, B) of each use of a layer, with positions as further examples."""
    counts = np.asarray(risk.targets != IGNORE).reshape(len(risk.inputs), -1)
    a, b = {}, {}
    for x, own in zip(risk.inputs, counts, strict=True):
        z, seen, jacobians = jax.tree.map(np.asarray, derivatives_of_layers(model, x))
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        hessian = np.einsum("tc,cd->tcd", p, np.eye(p.shape[1])) - p[:, :, None] * p[:, None]
        hessian = hessian * own[:, None, None] / counts.sum()
        for name, j in jacobians.items():
            one = np.concatenate([seen[name], np.ones((len(seen[name]), 1))], axis=1)
            a[name] = a.get(name, 0) + one.T @ one * own.sum() / counts.sum()
            positions = j.shape[2]
            second = np.einsum("tcso,tcd,tdsq->oq", j, hessian, j) / positions
            b[name] = b.get(name, 0) + second
        # The forward pass with moves is that of the network.
        np.testing.assert_allclose(np.squeeze(z), np.squeeze(model(x)[0]), rtol=1e-12, atol=1e-14)
    return {name: (a[name], b[name]) for name in a}


def full(factor):
    factor = np.asarray(factor)
    return np.diag(factor) if factor.ndim == 1 else factor


def rows_of(operator) -> Any:
    """Each block, and its rows in the dense matrix, in the order of its own vectors."""
    sizes = [int(np.prod(s.shape)) for s in jax.tree.leaves(operator.structure)]
    ends = np.cumsum(sizes).tolist()
    for block in operator.blocks:
        parts = [np.arange(ends[n] - sizes[n], ends[n]) for n in block.leaves]
        yield block, np.concatenate([p.reshape(block.shape[0], -1) for p in parts], axis=1).ravel()


@eqx.filter_jit
def factored(risk, model) -> Any:
    return KFAC(risk, model), EKFAC(risk, model)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kronecker_block(name):
    risk, model = problem(name)
    kfac, ekfac = factored(risk, model)
    exact, by_hand, checked = references(name)["ggn"], factors_by_hand(risk, model), set()
    for (block, rows), own in zip(rows_of(ekfac), kfac.blocks, strict=True):
        own_exact = exact[np.ix_(rows, rows)]
        u, v = np.asarray(block.input_vectors), block.output_vectors
        basis = np.kron(np.eye(block.shape[0]) if v is None else np.asarray(v), u)
        check(np.diag(basis.T @ own_exact @ basis), np.asarray(block.values).ravel())
        if isinstance(own, SumBlock):  # R M C of the lookup and of the product
            size = own.shape[0]
            (lookup, b), (a, second) = by_hand["embedding"], by_hand["head"]
            expected = (lookup[:size, :size], b), (second, a[:-1, :-1])
            for found, pair in zip(own.products, expected, strict=True):
                check(full(found[0]), pair[0])
                check(full(found[1]), pair[1])
            checked |= {"embedding", "head"}
        elif own.name == "embedding":
            (counts, _), (row, column) = by_hand["embedding"], own.products[0]
            check(full(row), counts[:-1, :-1])
            check(full(column), by_hand["embedding"][1])
            checked.add("embedding")
        elif own.name in by_hand:
            a, b = by_hand[own.name]
            size = own.inputs.shape[0]  # without a bias the last entry is missing
            assert size in (len(a), len(a) - 1)
            check(own.inputs, a[:size, :size])
            check(own.outputs, b)
            checked.add(own.name)
        else:  # norms, positions and the class token are exact
            check(own.inputs, own_exact)
    assert checked == set(by_hand)
    np.testing.assert_allclose(ekfac.trace(), np.trace(exact), rtol=1e-10)
