"""The curvature of small transformers in float64, against dense matrices and unrolled networks."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from small_transformers import decoder, encoder, TOKENS, WIDTH

from spectral.curvature import (
    EKFAC,
    Empirical,
    Expand,
    Fisher,
    Function,
    GaussNewton,
    Gram,
    Hessian,
    KFAC,
    layer_blocks,
    Reduce,
)
from spectral.curvature.kronecker.capture._find import find_layers


NETWORKS = {
    "decoder": decoder,
    "tied": functools.partial(decoder, tied=True),
    "encoder": encoder,
}
PARTS = [
    *("norm1", "attention.query_proj", "attention.key_proj", "attention.value_proj"),
    *("attention.output_proj", "norm2", "rise", "fall"),
]
NAMES = [f"blocks.{n}.{part}" for n in range(2) for part in PARTS]


def names_of(name):
    if name == "encoder":
        return ["embedding", "class_token", "positions", *NAMES, "head"]
    return ["tokens", "positions", *NAMES, "norm", *([] if name == "tied" else ["head"])]


@pytest.mark.parametrize(
    "name", ["decoder", *(pytest.param(n, marks=pytest.mark.slow) for n in ("tied", "encoder"))]
)
def test_every_parameter_has_a_block_with_a_readable_name(name):
    risk, model = NETWORKS[name]()
    layers = find_layers(risk, model)
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    assert sorted(n for layer in layers for n in layer.leaves) == list(range(len(leaves)))
    assert [layer.name for layer in layers] == names_of(name)
    blocks = layer_blocks(Function(lambda v: v, eqx.filter(model, eqx.is_inexact_array)))
    assert list(blocks) == names_of(name)
    assert sum(block.dim for block in blocks.values()) == sum(leaf.size for leaf in leaves)


def flattened(risk, params):
    """The parameters as a vector, and the outputs of all examples as a function of it."""
    dynamic, static = eqx.partition(params, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(dynamic)
    return flat, lambda p: risk.forward(eqx.combine(unravel(p), static), risk.inputs)


@eqx.filter_jit
def dense(risk, params):
    """What the matrices are made of, by reverse-mode differentiation of the whole."""
    flat, outputs = flattened(risk, params)
    labels, z = risk.targets, outputs(flat)
    labels, z_of = labels.reshape(-1), lambda p: outputs(p).reshape(-1, z.shape[-1])
    counts = labels >= 0

    def losses(z):
        own = jnp.take_along_axis(jax.nn.log_softmax(z), jnp.maximum(labels, 0)[:, None], axis=1)
        return jnp.where(counts, -own[:, 0], 0)

    mean = lambda p: jnp.sum(losses(z_of(p))) / jnp.sum(counts)
    p = jax.nn.softmax(z_of(flat)) * counts[:, None]
    size = labels.size // risk.inputs.shape[0]
    of_examples = lambda p: jnp.sum(losses(z_of(p)).reshape(-1, size), axis=1)
    return {
        "hessian": jax.hessian(mean)(flat),
        "jacobian": jax.jacrev(z_of)(flat),
        "outputs": jax.vmap(lambda p: jnp.diag(p) - jnp.outer(p, p))(p),
        "gradients": jax.jacrev(of_examples)(flat),
        "count": jnp.sum(counts),
        "value": mean(flat),
    }


@functools.cache
def references(name):
    with jax.enable_x64(True):
        risk, params = NETWORKS[name]()
        found = jax.tree.map(np.asarray, dense(risk, params))
    jacobian, hessians = found["jacobian"], found["outputs"]
    found["ggn"] = np.einsum("lcp,lcd,ldq->pq", jacobian, hessians, jacobian) / found["count"]
    found["empirical"] = found["gradients"].T @ found["gradients"] / found["count"]
    return found


@eqx.filter_jit
def operators(risk, params):
    every = [Hessian, GaussNewton, Fisher, functools.partial(Fisher, factor=Empirical()), Gram]
    return risk(params), [make(risk, params).dense() for make in every]


def check(found, expected):
    scale = np.abs(expected).max()
    assert scale > 1e-9
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * scale)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", NETWORKS)
def test_every_operator_agrees_with_a_dense_matrix(name):
    expected = references(name)
    risk, params = NETWORKS[name](batch_size=2)
    value, (hessian, ggn, fisher, empirical, gram) = operators(risk, params)
    np.testing.assert_allclose(value, expected["value"], rtol=1e-12)
    for found, which in (
        (hessian, "hessian"),
        (ggn, "ggn"),
        (fisher, "ggn"),
        (empirical, "empirical"),
    ):
        check(found, expected[which])
    values = np.linalg.eigvalsh(expected["ggn"])
    rank = min(gram.shape[0], len(values))
    check(np.linalg.eigvalsh(gram)[-rank:], values[-rank:])


def rows_of(operator) -> Any:
    """The rows of each block in the dense matrix, in the order of its own vectors."""
    sizes = [int(np.prod(s.shape)) for s in jax.tree.leaves(operator.structure)]
    ends = np.cumsum(sizes).tolist()
    for block in operator.blocks:
        parts = [np.arange(ends[n] - sizes[n], ends[n]) for n in block.leaves]
        yield block, np.concatenate([p.reshape(block.shape[0], -1) for p in parts], axis=1).ravel()


@eqx.filter_jit
def _factored(risk, params, sharing):
    return KFAC(risk, params, sharing=sharing), EKFAC(risk, params, sharing=sharing)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", NETWORKS)
def test_exact_blocks_and_the_eigenvalues_of_ekfac(name):
    expected = references(name)["ggn"]
    risk, params = NETWORKS[name](batch_size=2)
    kfac, ekfac = factored(risk, params, Expand())
    for (block, rows), own in zip(rows_of(ekfac), kfac.blocks, strict=True):
        exact = expected[np.ix_(rows, rows)]
        u, v = np.asarray(block.input_vectors), block.output_vectors
        basis = np.kron(np.eye(block.shape[0]) if v is None else np.asarray(v), u)
        check(np.diag(basis.T @ exact @ basis), block.values.ravel())
        if own.shape[0] == 1:  # norms, and arrays that belong to no layer
            check(own.inputs, exact)
    np.testing.assert_allclose(ekfac.trace(), np.trace(expected), rtol=1e-11)


def factored(risk, params, sharing) -> Any:
    return _factored(risk, params, sharing)


@functools.cache
def unrolled(is_unrolled, sharing, tied):
    with jax.enable_x64(True):
        kfac, ekfac = factored(*decoder(num_blocks=1, tied=tied, unrolled=is_unrolled), sharing)
        matrix = jax.tree.map(np.asarray, (kfac.dense(), ekfac.dense()))
        return matrix


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sharing", "tied"), [(Expand(), False), (Reduce(), False), (Expand(), True)]
)
def test_shared_weights_are_those_of_the_unrolled_network(sharing, tied):
    both = zip(unrolled(False, sharing, tied), unrolled(True, sharing, tied), strict=True)
    for found, expected in both:
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * scale)
        if isinstance(sharing, Reduce):
            break  # the factor of the keys is 0, so the basis of EKFAC is any basis


def moved_block(block, x, moves):
    """The inputs of the layers of a block, and its outputs when `moves` are added to theirs."""
    seen = {}

    def apply(name, layer, x):
        seen[name] = x
        y = x @ layer.weight.T + moves[name]
        return y if layer.bias is None else y + layer.bias[None]

    own, length = block.attention, len(x)
    y = jax.vmap(block.norm1)(x)
    q, k, v = (
        apply(name, getattr(own, name), y).reshape(length, 2, -1)
        for name in ("query_proj", "key_proj", "value_proj")
    )
    logits = jnp.einsum("shd,Shd->hsS", q, k) / 2**0.5
    if block.causal:
        logits = jnp.where(jnp.tri(length, dtype=bool)[None], logits, -jnp.inf)
    mixed = jnp.einsum("hsS,Shd->shd", jax.nn.softmax(logits), v).reshape(length, -1)
    x = x + apply("output_proj", own.output_proj, mixed)
    hidden = jnp.tanh(apply("rise", block.rise, jax.vmap(block.norm2)(x)))
    return x + apply("fall", block.fall, hidden), seen


WIDTHS = {"query_proj": 4, "key_proj": 4, "value_proj": 4, "output_proj": 4, "rise": 6, "fall": 4}


@eqx.filter_jit
def second_block_by_hand(model, tokens):
    """The inputs of the layers of the second block and of the head, and the derivatives of the
    logits in their outputs, for one sequence."""
    length = len(tokens)
    x = model.tokens.weight[tokens] + model.positions
    zeros = {name: jnp.zeros((length, width)) for name, width in WIDTHS.items()}
    x, _ = moved_block(model.blocks[0], x, zeros)

    def logits(moves):
        y, seen = moved_block(model.blocks[1], x, moves)
        y = jax.vmap(model.norm)(y)
        return y @ model.head.weight.T + model.head.bias[None] + moves["head"], seen | {"head": y}

    zeros["head"] = jnp.zeros((length, TOKENS))
    z, seen = logits(zeros)
    return z, seen, jax.jacrev(lambda moves: logits(moves)[0])(zeros)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sharing", [Expand(), Reduce()])
def test_factors_of_attention_and_mlp_from_derivatives_by_hand(sharing):
    risk, model = decoder()
    blocks = {block.name: block for block in factored(risk, model, sharing)[0].blocks}
    counts = np.asarray(risk.targets) >= 0
    a, b = {}, {}
    for tokens, own in zip(risk.inputs, counts, strict=True):
        z, seen, jacobians = jax.tree.map(np.asarray, second_block_by_hand(model, tokens))
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        hessian = np.einsum("tc,cd->tcd", p, np.eye(TOKENS)) - np.einsum("tc,td->tcd", p, p)
        hessian = hessian * own[:, None, None] / counts.sum()
        for name, x in seen.items():
            j = jacobians[name]  # [positions of z, classes, positions, outputs]
            if isinstance(sharing, Reduce):
                x, j = x.mean(axis=0, keepdims=True), j.sum(axis=2, keepdims=True)
            one = np.concatenate([x, np.ones((len(x), 1))], axis=1)
            a[name] = a.get(name, 0) + one.T @ one * own.sum() / counts.sum()
            g = np.einsum("tcso,tcd,tdsq->oq", j, hessian, j) / j.shape[2]
            b[name] = b.get(name, 0) + g
    for name in a:
        path = f"blocks.1.{name}" if name in ("rise", "fall") else f"blocks.1.attention.{name}"
        block = blocks["head" if name == "head" else path]
        size = block.inputs.shape[0]  # without a bias the last entry is missing
        assert size in (a[name].shape[0], a[name].shape[0] - 1)
        check(block.inputs, a[name][:size, :size])
        if name == "key_proj" and isinstance(sharing, Reduce):
            # Adding a vector to all keys changes no attention.
            assert max(np.abs(block.outputs).max(), np.abs(b[name]).max()) < 1e-25
        else:
            check(block.outputs, b[name])


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_factors_of_the_embedding():
    risk, model = decoder(ignore=False)
    block = factored(risk, model, Expand())[0].blocks[0]
    counts = np.bincount(np.asarray(risk.inputs).ravel(), minlength=TOKENS)
    np.testing.assert_allclose(block.inputs, counts / 3, rtol=1e-12)

    @jax.jit
    def jacobian(tokens):
        def logits(move):
            x = model.tokens.weight[tokens] + model.positions + move
            for own in model.blocks:
                x = own(x)
            return jax.vmap(lambda x: model.head(model.norm(x)))(x)

        zeros = jnp.zeros((len(tokens), WIDTH))
        return logits(zeros), jax.jacrev(logits)(zeros)

    total = 0
    for tokens in risk.inputs:
        z, j = jax.tree.map(np.asarray, jacobian(tokens))
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        hessian = np.einsum("tc,cd->tcd", p, np.eye(TOKENS)) - np.einsum("tc,td->tcd", p, p)
        total = total + np.einsum("tcso,tcd,tdsq->oq", j, hessian, j) / 9 / 3
    check(block.outputs, total)
