"""Layers that a user chooses, and what the algorithms take of a transformer by default."""

import functools
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import batch_norm, gpt, inputs_of, mlp, vit
from signals import learner_of, step_at

from spectral import algorithms, models
from spectral.algorithms._base._unit_groups import replaceable_groups
from spectral.algorithms.optimisers._muon import _hidden_dimensions
from spectral.algorithms.transforms.weights._feature_layers import feature_matrices


KEY = jax.random.key(5)
BLOCK = [
    *(f"blocks.0.attention.{name}_proj.weight" for name in ("query", "key", "value", "output")),
    *(f"blocks.0.mlp.{name}.weight" for name in ("up", "gate", "down")),
]


@functools.cache
def decoder(**options: Any):
    return gpt(KEY, **options)


def names(tree):
    """The paths of the arrays that are marked, or of all arrays."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(p, simple=True, separator=".") for p, mark in leaves if mark]


def taps_of(model, num_tokens):
    """Random taps of a batch of 2 with the names and sizes of those of the network."""
    rng = np.random.default_rng(0)
    sizes = {g.name: g.num_activations for g in model.units()} | {"block_0_query": 8}
    taps = {n: rng.normal(size=(2, s, num_tokens)).astype(np.float32) for n, s in sizes.items()}
    if isinstance(model, models.ViT):
        taps["features"] = taps["features"][:, :, 0]
    return {name: jnp.asarray(tap) for name, tap in taps.items()}


def rows(tap):
    return np.concatenate([example.T for example in np.asarray(tap)])


@pytest.mark.parametrize(("make", "tokens"), [(decoder, 4), (lambda: vit(KEY), 5)])
def test_features_of_a_transformer_are_hidden_units_and_the_stream(make, tokens):
    model = make().model
    taps = taps_of(model, tokens)
    found = feature_matrices(model, taps, None)
    expected = [rows(taps["block_0_mlp"]), rows(taps["block_0"])]
    assert len(found) == 2
    assert all(len(matrix) == 2 * tokens for matrix in found)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_features_that_a_user_chooses():
    model, taps = decoder().model, taps_of(decoder().model, 4)
    found = feature_matrices(model, taps, ("features", "*_heads"))
    for own, name in zip(found, ("block_0_heads", "features"), strict=True):
        np.testing.assert_array_equal(own, rows(taps[name]))
    with pytest.raises(ValueError, match="`layers`: Name 'block_0_query' does not exist. Allowed"):
        feature_matrices(model, taps, ("block_0_query",))
    for recipe in (algorithms.er, algorithms.l2_er):
        periodic: Any = recipe(er_layers="block_*_mlp").transforms[0]
        assert periodic.transform.layers == ("block_*_mlp",)


def test_features_of_other_networks_are_their_dense_layers():
    taps = {name: jnp.ones((2, 4)) for name in ("hidden_0", "hidden_1", "hidden_10", "hidden_2")}
    model = mlp(KEY).model
    found = feature_matrices(model, {**taps, "conv": jnp.ones((2, 4, 3))}, None)
    # The order of texts, in which the ranks have always been added.
    assert [id(m) for m in found] == [id(t) for t in taps.values()]
    with pytest.raises(ValueError, match="needs a dense hidden layer"):
        feature_matrices(model, {"conv": jnp.ones((2, 4, 3))}, None)


UNITS: Any = {
    "cbp": algorithms.cbp,
    "cbp_l2": algorithms.cbp_l2,
    "redo": algorithms.redo,
    "regrama": algorithms.regrama,
    "snr": algorithms.snr,
    "cpr": algorithms.cpr,
}


@pytest.mark.parametrize("name", UNITS)
def test_units_of_chosen_layers(name):
    learner = learner_of(decoder().model)
    (transform,) = UNITS[name](layers="*_heads").transforms
    part = getattr(transform, "transform", transform)
    assert part.layers == ("*_heads",)
    if name in ("cbp", "snr", "cpr"):
        state = jax.eval_shape(lambda: part.init(learner, key=KEY))
        assert len(state) == 1
        assert jax.tree.leaves(state[0])[0].shape == (2,)
    (transform,) = UNITS[name](layers=("block_0_mlp", "block_1_mlp")).transforms
    with pytest.raises(ValueError, match="Name 'block_1_mlp' does not exist. Allowed: block_0_he"):
        jax.eval_shape(lambda: transform.init(learner, key=KEY))
    with pytest.raises(ValueError, match="`layers` is empty"):
        UNITS[name](layers=())
    groups = [g.name for g in replaceable_groups(learner.model)]
    assert groups == ["block_0_heads", "block_0_mlp"]


def test_every_recipe_that_renews_units_takes_layers():
    functions = {n: f for n, f in vars(algorithms).items() if inspect.isfunction(f)}
    recipes = {n for n, f in functions.items() if f.__module__.endswith("recipes._units")}
    assert recipes == set(UNITS)


def marked(reset, model):
    return names(reset.resets(learner_of(model), [], step_at(model, jnp.zeros((1, 1))).clock)[1])


def test_parts_of_a_network_by_their_paths():
    model = decoder().model
    assert marked(algorithms.Reset(part="blocks.0.mlp"), model) == [
        f"blocks.0.mlp.{layer}.{name}"
        for layer in ("up", "gate", "down")
        for name in ("weight", "bias")
    ]
    chosen = ("embedding", "blocks.*.attention.key_proj.weight")
    found = marked(algorithms.Reset(part=chosen), model)
    assert found == ["embedding.weight", "blocks.0.attention.key_proj.weight"]
    assert marked(algorithms.reset(part="layers.1").transforms[0], mlp(KEY).model) == [
        *("layers.1.weight", "layers.1.bias")
    ]
    wrong = algorithms.Reset(part=("embedding", "blocks.1.mlp"))
    with pytest.raises(ValueError, match="`part`: Name 'blocks.1.mlp' does not exist"):
        wrong.init(learner_of(model), key=KEY)


def test_a_tied_output_layer_cannot_be_reset():
    learner = learner_of(decoder(tied=True).model)
    with pytest.raises(ValueError, match="`part` is 'head', but the output layer of this GPT has"):
        algorithms.Reset(part="head").init(learner, key=KEY)


def test_muon_leaves_inputs_and_outputs_to_adam():
    params = eqx.filter(decoder(positions=models.LearnedPositions()).model, eqx.is_inexact_array)
    dims = _hidden_dimensions(params)
    is_dims = lambda node: isinstance(node, optax.contrib.MuonDimensionNumbers)
    assert names(jax.tree.map(lambda _: True, dims, is_leaf=is_dims)) == BLOCK
    small = eqx.filter(mlp(KEY, depth=2).model, eqx.is_inexact_array)
    found = jax.tree.map(lambda _: True, _hidden_dimensions(small), is_leaf=is_dims)
    assert names(found) == ["layers.1.weight"]
    optimiser = algorithms.muon(0.1, adam_lr=0.01, matrices="hidden")
    stepped = eqx.filter_eval_shape(lambda p: optimiser.init(p).apply(p, p)[0], params)
    assert jax.tree.structure(stepped) == jax.tree.structure(params)
    with pytest.raises(TypeError, match="without a method `units"):
        _hidden_dimensions({"a": jnp.ones((2, 2))})
    with pytest.raises(ValueError, match="`matrices`: Name 'some' does not exist"):
        inspect.unwrap(algorithms.muon)(matrices="some")


def test_parseval_leaves_tables_out(float64):
    model = decoder(positions=models.LearnedPositions()).model
    penalty = algorithms.Parseval(0.5)
    step = step_at(model, jnp.asarray(inputs_of(decoder(), 2))[None])
    found = jax.jit(lambda: penalty.value(model, None, step))()
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_inexact_array))
    arrays = {jax.tree_util.keystr(p, simple=True, separator="."): np.asarray(a) for p, a in leaves}
    terms = [
        (64 / len(w)) ** 2 * np.sum((w @ w.T - 2 * np.eye(len(w))) ** 2)
        for w in (arrays[name].astype(float) for name in BLOCK)
    ]
    np.testing.assert_allclose(found, 0.5 * sum(terms), rtol=1e-5)


def test_running_statistics_belong_to_their_part():
    network = batch_norm(KEY)
    reset = algorithms.Reset(part="norm")
    first = reset.init(learner_of(network.model, model_state=network.state), key=KEY)
    changed = jax.tree.map(lambda x: x + 1, network.state)
    for part, moved in (("norm", 0), ("first", 1)):
        learner = learner_of(network.model, model_state=jax.tree.map(lambda x: x, changed))
        found = algorithms.Reset(part=part)._statistics(learner, first)
        for now, initial in zip(jax.tree.leaves(found), first, strict=True):
            np.testing.assert_array_equal(now, initial + moved)
