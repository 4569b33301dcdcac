"""GPT and ViT: what they compute, and what they reject."""

import functools
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from numpy_transformers import numpy_transformer
from signals import drawn

from spectral import models
from spectral.models import GPT, ViT
from spectral.models.layers.attention._attention import Attention
from spectral.models.layers.attention._rows import for_rows
from spectral.models.networks.transformers._gpt import _embedded
from spectral.models.networks.transformers._groups import _why_never_dead


KEY = jax.random.key(3)
TOKENS = np.array([4, 0, 2, 6, 1])
IMAGE = np.random.default_rng(0).normal(size=(2, 4, 6))
# Every variant is in one of the two: norms, positions, gates, heads that share keys, biases.
MODERN: Any = {
    "num_heads": 4,
    "num_kv_heads": 2,
    "norm": models.rms_norm,
    "qk_norm": True,
    "activation": models.swiglu(),
    "positions": models.RotaryPositions(base=100.0),
    "use_bias": False,
}
CLASSIC: Any = {"num_heads": 2, "activation": models.gelu(exact=True)}
ROWS = {
    "gpt_modern": lambda key: GPT(
        7, 6, width=8, depth=2, mlp_width=5, tied=False, **MODERN, key=key
    ),
    "vit_classic": lambda key: ViT((2, 4, 6), 3, 2, width=4, depth=1, **CLASSIC, key=key),
    "gpt_classic": lambda key: GPT(7, 6, width=4, depth=2, **CLASSIC | {"qk_norm": True}, key=key),
    "vit_modern": lambda key: ViT(
        (2, 4, 6), 3, 2, class_token=False, width=8, depth=2, **MODERN, key=key
    ),
}


@eqx.filter_jit
def applied(model, x):
    outputs, taps = model(x)
    batch = jax.tree.map(lambda tap: tap[None], taps)
    return outputs, taps, models.attention_weights(model, batch)


@functools.cache
def network(name):
    """In float64, with biases, scales and shifts that are neither 0 nor 1."""
    with jax.enable_x64(True):
        return drawn(ROWS[name])


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["gpt_modern", "vit_classic", *(pytest.param(n, marks=slow) for n in [*ROWS][2:])]
)
def test_networks_match_numpy(name, float64):
    model, x = network(name), TOKENS if name.startswith("gpt") else IMAGE
    outputs, taps, weights = applied(model, jnp.asarray(x))
    expected, expected_taps, expected_weights = numpy_transformer(model, x)
    assert outputs.dtype == np.float64
    np.testing.assert_allclose(outputs, expected, rtol=1e-10, atol=1e-12)
    assert set(taps) == set(expected_taps)
    for tap, value in expected_taps.items():
        np.testing.assert_allclose(taps[tap], value, rtol=1e-10, atol=1e-12, err_msg=tap)
    for block, value in expected_weights.items():
        np.testing.assert_allclose(weights[block][0], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_layers_keep_tokens_as_rows(use_bias):
    layer = eqx.nn.Linear(3, 5, use_bias=use_bias, key=KEY)
    of_batch = jax.vmap(functools.partial(for_rows, layer))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3)), jnp.float32)
    np.testing.assert_allclose(of_batch(x), jax.vmap(jax.vmap(layer))(x), rtol=1e-5, atol=1e-6)
    traced = jax.make_jaxpr(of_batch)(x)
    transposed = [e.outvars[0].aval for e in traced.eqns if e.primitive.name == "transpose"]
    assert [a.shape for a in transposed] == [(3, 5)]  # the weight alone


def test_a_projection_may_be_another_layer(float64):
    attention = network("gpt_classic").blocks[0].attention
    other = eqx.nn.Lambda(lambda x: 2 * x)
    replaced = eqx.tree_at(lambda a: a.value_proj, attention, other)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    _, taps = replaced(x, models.LearnedPositions())
    np.testing.assert_array_equal(taps["value"], 2 * x.T)


def test_a_token_changes_only_what_follows(float64):
    model = network("gpt_modern")
    outputs, taps, _ = applied(model, jnp.asarray(TOKENS))
    changed, new_taps, _ = applied(model, jnp.asarray(np.where(np.arange(5) == 3, 5, TOKENS)))
    np.testing.assert_array_equal(changed[:3], outputs[:3])
    assert np.all(np.abs(np.asarray(changed - outputs))[3:].max(1) > 1e-6)
    for name, tap in taps.items():
        np.testing.assert_array_equal(new_taps[name][:, :3], tap[:, :3])


def test_a_token_that_does_not_exist_makes_its_sequence_nan(float64):
    """Inside a compiled program the tokens are unknown."""
    model = network("gpt_modern")
    for wrong in (-1, 7):
        outputs, taps, _ = applied(model, jnp.asarray(np.where(np.arange(5) == 3, wrong, TOKENS)))
        assert np.isnan(outputs).all()
        assert all(np.isnan(tap).all() for tap in taps.values())
        with pytest.raises(ValueError, match=f"`tokens` has {wrong}, but .* are 0 to 6: correct"):
            model(jax.device_put(np.array([0, wrong])))


def test_rotated_products_depend_on_the_difference_of_positions():
    rng, positions = np.random.default_rng(1), models.RotaryPositions()
    q, k = rng.normal(size=(2, 6))
    with jax.enable_x64(True):
        turned = np.asarray(
            positions.turned(jnp.asarray(np.broadcast_to(np.stack([q, k]), (9, 2, 6))))
        )
    products = turned[:, 0] @ turned[:, 1].T
    for apart in range(-8, 9):
        line = np.diagonal(products, apart)
        np.testing.assert_allclose(line, line[0], rtol=1e-12)
    np.testing.assert_allclose(products[0, 0], q @ k, rtol=1e-12)
    assert len(np.unique(products[0].round(6))) == 9


WRONG: Any = [
    (
        {"width": 6, "num_heads": 4},
        r"`num_heads` is 4, .* divide `width`, which is 6: .*\[1, 2, 3, 6\]",
    ),
    (
        {"num_kv_heads": 3},
        r"`num_kv_heads` is 3, but must divide `num_heads`, which is 4: .*1, 2, 4",
    ),
    ({"num_kv_heads": 0}, "`num_kv_heads` is 0, but must be an integer of at least 1"),
    ({"depth": 0}, "`depth` is 0"),
    ({"mlp_width": 0}, "`mlp_width` is 0"),
    ({"dropout": 1.0}, "`dropout` is 1.0, but must be at least 0 and below 1"),
    (
        {"width": 12, "positions": models.RotaryPositions()},
        "`width` is 12, so each of the 4 heads has 3 channels, but .* pairs .*: choose a `width`",
    ),
    ({"norm": lambda n: eqx.nn.Identity()}, "`norm` returned a Identity for 4 units"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_sizes_that_do_not_fit_are_rejected(options, message):
    sizes: Any = {"width": 8, "depth": 1, "num_heads": 4} | options
    if "norm" in options:
        sizes |= {"width": 4}
    kind = TypeError if "norm" in options else ValueError
    for make in (
        lambda key: GPT(5, 4, **sizes, key=key),
        lambda key: ViT((1, 4, 4), 2, 2, **sizes, key=key),
    ):
        with pytest.raises(kind, match=message):
            eqx.filter_eval_shape(make, key=KEY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "rotary"}, "`positions` is 'rotary', but must be of type AbstractPositions"),
        ({"initialiser": "gpt2"}, "`initialiser` is 'gpt2', but must be of type AbstractInitial"),
        ({"norm": "rms"}, "`norm` is 'rms', but must be a function that returns a norm"),
    ],
)
def test_parts_of_another_kind_are_rejected(options, message, monkeypatch):
    # Without this the type checker rejects them first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    make = lambda key: GPT(5, 4, width=8, depth=1, num_heads=4, **options, key=key)
    with pytest.raises(TypeError, match=message):
        eqx.filter_eval_shape(make, KEY)


def test_a_unit_can_be_dead_if_its_activation_is_0_below_0():
    """Whatever the name of the function is."""
    reason = "units are dead at 0 with ReLU, and not with "
    for activation, expected in (
        (jax.nn.relu6, ""),
        (jax.nn.leaky_relu, f"{reason}leaky_relu"),
    ):
        assert _why_never_dead(models.Elementwise(activation)) == expected


def test_patches_must_divide_the_image():
    for in_shape in ((1, 6, 4), (1, 4, 6)):
        with pytest.raises(ValueError, match=r"`patch_size` is 4, .*: choose one of \[1, 2\], or"):
            ViT(in_shape, 2, 4, key=KEY)
    with pytest.raises(ValueError, match="`base` is 1, but must be finite and above 1"):
        models.RotaryPositions(base=1)
    with pytest.raises(ValueError, match="2 activations per unit, but a gate has one"):
        models.Gated(models.CReLU())


def test_sequences_must_fit_the_context():
    model = eqx.filter_eval_shape(ROWS["gpt_modern"], KEY)
    for length, message in (
        (7, "`tokens` has 7 tokens, .* 1 to 6: shorten .* or make the network with `context=7`"),
        (0, "`tokens` has 0 tokens, but this network takes 1 to 6"),
    ):
        with pytest.raises(ValueError, match=message):
            eqx.filter_eval_shape(model, jax.ShapeDtypeStruct((length,), np.int32))
    # The annotations, which the tests check, reject these first.
    for wrong in (np.zeros(3), np.zeros((2, 3), int)):
        with pytest.raises(ValueError, match="one sequence of integers .* `apply_network`"):
            inspect.unwrap(_embedded)(model.embedding, wrong, 6)


def test_images_must_have_the_shape_of_the_network():
    model = eqx.filter_eval_shape(ROWS["vit_classic"], KEY)
    with pytest.raises(ValueError, match=r"`x` has shape \(2, 6, 4\), .* of shape \(2, 4, 6\)"):
        eqx.filter_eval_shape(model, jax.ShapeDtypeStruct((2, 6, 4), np.float32))


def test_attention_needs_a_transformer_and_its_taps():
    model = eqx.filter_eval_shape(ROWS["gpt_modern"], KEY)
    with pytest.raises(ValueError, match="`taps` has no 'block_0_query', but only"):
        models.attention_weights(model, {})
    point = models.Point(jax.device_put(np.zeros(2)))
    with pytest.raises(TypeError, match="`model` is a Point, but attention is computed for"):
        inspect.unwrap(models.attention_logits)(point, {})


def test_attention_matches_equinox(float64):
    """With a key and a value for each head."""
    rng = np.random.default_rng(5)
    ours = drawn(
        lambda key: Attention(
            6,
            num_heads=3,
            num_kv_heads=3,
            causal=True,
            qk_norm=None,
            use_bias=True,
            dropout=0.0,
            initialiser=models.LecunNormal(),
            output_initialiser=models.LecunNormal(),
            key=key,
        )
    )
    biases = {f"use_{name}_bias": True for name in ("query", "key", "value", "output")}
    theirs = eqx.filter_eval_shape(eqx.nn.MultiheadAttention, 3, 6, **biases, key=KEY)
    projections = lambda m: (m.query_proj, m.key_proj, m.value_proj, m.output_proj)
    theirs = eqx.tree_at(projections, theirs, projections(ours))
    theirs = eqx.tree_at(lambda m: m.dropout, theirs, eqx.nn.Dropout(0.0))
    x = jax.device_put(rng.normal(size=(5, 6)))
    mask = jax.device_put(np.tri(5, dtype=bool))
    both = eqx.filter_jit(
        lambda ours, theirs, x: (ours(x, models.LearnedPositions())[0], theirs(x, x, x, mask=mask))
    )
    found, expected = both(ours, theirs, x)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


class ByRole(models.AbstractRowInitialiser):
    """Equal weights that say which of the two initialisers drew them."""

    value: float = eqx.field(static=True, default=1.0)

    def __call__(self, key, shape):
        return jnp.full(shape, self.value), jnp.zeros(shape[0])

    def residual(self, num_blocks):
        return ByRole(value=10.0 + num_blocks)


def test_what_is_added_to_the_stream_has_its_own_initialiser():
    """That of GPT-2 is smaller by sqrt(2 num_blocks)."""
    make = eqx.filter_jit(
        lambda key: GPT(
            3, 2, width=2, depth=2, num_heads=1, initialiser=ByRole(), tied=False, key=key
        )
    )
    model = make(KEY)
    for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array)):
        if leaf.ndim > 1:
            name = jax.tree_util.keystr(path)
            added = ".output_proj" in name or ".down" in name
            np.testing.assert_array_equal(leaf, 12.0 if added else 1.0)
    small = models.GPT2Normal().residual(8)
    assert isinstance(small, models.FixedNormal)
    assert small.std == 0.02 / 4
    assert models.TruncatedNormal().residual(8) == models.TruncatedNormal()
    assert jax.tree.leaves(eqx.filter_eval_shape(GPT, 3, 2, key=KEY).initialiser) == []


def test_published_initialisers():
    kinds = (models.FixedNormal(std=0.5), models.GPT2Normal(), models.TruncatedNormal(std=0.5))
    draw = eqx.filter_jit(lambda key: [kind(key, (200, 50)) for kind in kinds])
    (normal, _), (gpt2, bias), (truncated, _) = jax.tree.map(np.asarray, draw(KEY))
    np.testing.assert_allclose(normal.std(), 0.5, rtol=0.03)
    np.testing.assert_allclose(gpt2.std(), 0.02, rtol=0.03)
    np.testing.assert_allclose(truncated.std(), 0.5 * 0.880, rtol=0.03)
    assert np.abs(normal).max() > 1.2
    assert 0.95 < np.abs(truncated).max() <= 1
    assert not bias.any()


@pytest.mark.parametrize("name", ROWS)
def test_fresh_has_the_same_structure(name):
    model = eqx.filter_eval_shape(ROWS[name], KEY)
    twin = eqx.filter_eval_shape(lambda m, key: m.fresh(key=key), model, KEY)
    assert jax.tree.structure(model) == jax.tree.structure(twin)
    assert jax.tree.leaves(model) == jax.tree.leaves(twin)


@pytest.mark.slow
def test_the_gradient_of_a_tied_embedding_is_the_sum_of_both_uses(float64):
    tied = network("gpt_classic")
    head = eqx.tree_at(lambda d: d.weight, network("gpt_modern").head, tied.embedding.weight)
    apart = eqx.tree_at(lambda m: m.head, tied, head, is_leaf=lambda x: x is None)
    readout = jax.device_put(np.random.default_rng(2).normal(size=(5, 7)))
    grad = eqx.filter_jit(
        eqx.filter_grad(lambda model: jnp.sum(readout * model(jnp.asarray(TOKENS))[0]))
    )
    both, separate = grad(tied), grad(apart)
    for use in (separate.embedding.weight, separate.head.weight):
        assert np.abs(use).max() > 1e-3
    total = np.asarray(separate.embedding.weight) + np.asarray(separate.head.weight)
    np.testing.assert_allclose(both.embedding.weight, total, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(both.norm.weight, separate.norm.weight, rtol=1e-10)


@pytest.mark.slow
def test_a_renewed_head_does_not_change_what_the_others_do(float64):
    """The outputs are those of the network without the head."""
    model = network("gpt_modern")
    group = next(g for g in model.units() if g.name == "block_0_heads")
    marked = jax.device_put(np.array([False, True]))
    renewed = eqx.filter_jit(lambda m: models.renew_units(m, group, marked, key=KEY))(model)
    old, new = model.blocks[0].attention, renewed.blocks[0].attention
    # Heads 2 and 3 of four share the second of two keys; a head has two channels.
    for name, first in (("query_proj", 4), ("key_proj", 2), ("value_proj", 2)):
        before, after = (np.asarray(getattr(a, name).weight) for a in (old, new))
        np.testing.assert_array_equal(after[:first], before[:first])
        assert not np.isin(after[first:], before).any()
    without = np.array(old.output_proj.weight)
    without[:, 4:] = 0
    np.testing.assert_array_equal(new.output_proj.weight, without)
    where = lambda m: m.blocks[0].attention.output_proj.weight
    expected, taps, _ = applied(
        eqx.tree_at(where, model, jnp.asarray(without)), jnp.asarray(TOKENS)
    )
    found, new_taps, _ = applied(renewed, jnp.asarray(TOKENS))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    heads, new_heads = (np.asarray(t["block_0_heads"]) for t in (taps, new_taps))
    np.testing.assert_array_equal(new_heads[:4], heads[:4])
    assert not np.isclose(new_heads[4:], heads[4:]).all(axis=1).any()


@pytest.mark.slow
def test_dropout_is_random_in_training_only():
    options: Any = {"width": 8, "depth": 1, "num_heads": 2}
    plain = drawn(lambda key: GPT(7, 6, **options, key=key))
    model = drawn(lambda key: GPT(7, 6, dropout=0.5, **options, key=key))
    x = jnp.asarray(np.stack([TOKENS] * 3))
    apply = eqx.filter_jit(
        lambda m, inference: models.apply_network(m, None, x, inference=inference, key=KEY)[0]
    )
    np.testing.assert_array_equal(apply(model, True), apply(plain, True))
    outputs = np.asarray(apply(model, False))
    assert not np.isclose(outputs[0], outputs[1]).any()
    _, taps = eqx.filter_jit(lambda m, key: m(x[0], key=key))(model, KEY)
    dropped = np.asarray(taps["embedding"]) == 0
    assert 0.3 < dropped.mean() < 0.7
