"""Spectra of diagonal blocks, by layer and by group."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from signals import learner_of, mlp
from tables import permuted

from spectral import models, probes
from spectral.curvature import Dense, Function, Hessian, layer_blocks


KEY = jax.random.key(4)


def tree(shape=jnp.zeros):
    """Parameters as those of a small transformer, in a network of one's own."""
    part = lambda *sizes: {"weight": shape(sizes), "bias": shape(sizes[:1])}
    block = lambda: {
        "attention": {"query_proj": part(2, 2), "query_norm": part(1)},
        "attention_norm": part(2),
        "mlp": {"up": part(3, 2)},
    }
    return {
        "blocks": [block(), block()],
        "norm": part(2),
        "patches": part(2, 2),
        "head": part(1, 2),
    }


def identity(structure):
    return Function(lambda vector: vector, structure)


def test_layers_are_grouped_by_patterns_or_by_a_function():
    operator = identity(jax.tree.map(np.asarray, tree(np.zeros)))
    sizes = lambda groups: {n: b.dim for n, b in layer_blocks(operator, groups=groups).items()}
    assert sizes(models.TransformerParts()) == {
        "block_0_attention": 6,
        "norms": 16,
        "block_0_mlp": 9,
        "block_1_attention": 6,
        "block_1_mlp": 9,
        "head": 3,
        "embedding": 6,
    }
    # The first pattern counts, and what has none is left out.
    named = {"mlp": "blocks.*.mlp.*", "rest": ("blocks.0.*", "head")}
    assert sizes(named) == {"mlp": 18, "rest": 6 + 2 + 4 + 3}
    assert sizes(lambda path: "head" if path == "head" else "") == {"head": 3}
    assert sum(sizes(None).values()) == sum(x.size for x in jax.tree.leaves(tree(np.zeros)))
    with pytest.raises(ValueError, match="`groups` has 'mlp', which has no layers.*'head'"):
        sizes({"all": "*", "mlp": "blocks.*.mlp.*"})
    with pytest.raises(ValueError, match="puts no layer into a group"):
        sizes(lambda path: "")


def test_each_block_has_the_ranks_of_its_own_eigenvalues(monkeypatch):
    """Of a diagonal matrix that couples the two layers."""
    values = {"a": {"w": jnp.array([3.0, -2.0, 0.05])}, "b": {"w": jnp.array([0.5, 0.0])}}

    def matrix(risk, model):
        couple = lambda v: v["a"]["w"].sum() + v["b"]["w"].sum()
        scaled = lambda v: jax.tree.map(jnp.multiply, values, v)
        return Function(lambda v: jax.tree.map(lambda x: x + 0 * couple(v), scaled(v)), values)

    monkeypatch.setattr(probes.Sampler, "risk", lambda self, **_: None)
    sampler = probes.Sampler(
        learner_of(mlp(6, 3, width=2)), permuted().stream, None, 6, "train", KEY
    )
    probe = probes.BlockSpectra(matrix=matrix, estimator=Dense())
    found = eqx.filter_jit(lambda: probe.measure(sampler, key=KEY))()
    expected = {
        "a_epsilon_rank": 2,
        "a_normalised_epsilon_rank": 2 / 3,
        "a_spectral_stable_rank": (9 + 4 + 0.0025) / 9,
        "a_largest": 3,
        "b_epsilon_rank": 1,
        "b_normalised_epsilon_rank": 0.5,
        "b_spectral_stable_rank": 1,
        "b_largest": 0.5,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    groups = {"x.y": "a", "x_y": "b"}
    same = probes.BlockSpectra(matrix=matrix, estimator=Dense(), groups=groups)
    with pytest.raises(ValueError, match="`groups` has 'x_y' and another .* 'x_y_epsilon_rank'"):
        eqx.filter_eval_shape(lambda: same.measure(sampler, key=KEY))


@pytest.mark.slow
def test_blocks_of_the_hessian_of_any_network():
    stream, learner = permuted().stream, learner_of(mlp(6, 3, width=2, depth=1))
    options = {"num_examples": 10, "estimator": Dense()}
    groups = {"into": "layers.0", "out": "layers.1"}
    probe = probes.BlockSpectra(groups=groups, epsilon=0.01, **options)

    @eqx.filter_jit
    def measured(learner, stream):
        state = stream.init(key=KEY)
        found = probe(learner, stream, state, key=KEY)
        sampler = probes.Sampler(learner, stream, state, 10, "train", KEY)
        return found, Hessian(sampler.risk(key=KEY), learner.model).dense()

    found, dense = measured(learner, stream)
    for name, part in (("into", slice(0, 14)), ("out", slice(14, 23))):
        values = np.linalg.eigvalsh(np.asarray(dense)[part, part])
        rank = (np.abs(values) > 0.01).sum()
        np.testing.assert_allclose(found[f"{name}_epsilon_rank"], rank, rtol=1e-5)
        np.testing.assert_allclose(found[f"{name}_largest"], values[-1], rtol=1e-4)
        stable = np.sum(values**2) / np.max(np.abs(values)) ** 2
        np.testing.assert_allclose(found[f"{name}_spectral_stable_rank"], stable, rtol=1e-4)
