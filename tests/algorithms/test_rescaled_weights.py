"""FIRE, DASH, weight clipping and soft weight rescaling, and the layers that they read."""

import equinox as eqx
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from signals import after_step, arrays, learner_of, mlp, numpy_map, signal_at, start_of, trained

from spectral import algorithms, Aux, Learner, TaskStart
from spectral.algorithms import (
    DirectionAwareShrink,
    FrobeniusIsometry,
    SelectiveReinit,
    SoftWeightRescaling,
    WeightClipping,
)
from spectral.algorithms.transforms.weights._direction_aware_shrink import _cosine
from spectral.algorithms.transforms.weights._layers import chains_of, layers_of
from spectral.algorithms.transforms.weights._selective_reinit import _sensitivity


KEY = jax.random.key(0)
INPUTS = np.ones((4, 1, 3), np.float32)


@pytest.mark.parametrize("name", list(networks.MODELS))
def test_every_weight_belongs_to_a_layer(name):
    """Each array is a weight, a bias, the standard deviation of the policy, or a parameter of the
    activation of each of two layers. One network does not describe its norm, and heads share the
    norms of queries and keys."""
    model = networks.MODELS[name](KEY).model
    params, layers = arrays(model), layers_of(model)
    left_out = {"actor_critic": 1, "batch_norm": 2, "mlp_adalin": 2, "gpt": 2}
    own = [i for layer in layers for i in (layer.weight, layer.bias) if i is not None]
    assert len(own) == len(set(own)) == len(params) - left_out.get(name, 0)
    for layer in layers:
        assert (params[layer.weight].ndim > 1) != layer.is_norm
        assert layer.bias is None or params[layer.bias].shape == params[layer.weight].shape[:1]
    chains = chains_of(model)
    assert len(chains) == 1 + (name == "actor_critic")
    assert [[la.is_output for la in c] for c in chains] == [
        [False] * (len(c) - 1) + [True] for c in chains
    ]


def test_the_order_of_layers_and_norms():
    (chain,) = chains_of(networks.mlp(KEY, layer_norm=True).model)
    assert [layer.is_norm for layer in chain] == [False, True, False, True, False]


def test_projection_to_an_isometry():
    """Singular values after 1, 2, 3, 5 rounds, tall, wide and zero matrices, kernels."""
    rounds = {n: FrobeniusIsometry(iterations=n)._isometry for n in (1, 2, 3, 5, 10, 30)}
    slow = np.diag([(1 - 0.03**2 - 1e-6) ** 0.5, 0.03, 0.001])
    column, kernel = np.array([[3.0], [4.0]]), np.zeros((2, 2, 2, 1))
    kernel[:, :, 0, 0], kernel[:, :, 1, 0] = [[3, 1], [1, 3]], [[0, 5], [-5, 0]]

    @jax.jit
    def found():
        flat = [rounds[n](jnp.diag(jnp.asarray([2.0, 1.0]))) for n in (1, 2, 3, 5)]
        of = lambda w, n=10: rounds[n](jnp.asarray(w, jnp.float32))
        thin = of(column), of(column.T), of(np.zeros((2, 3)))
        return flat, thin, of(slow), of([[3, 1], [1, 3]], 30), of(100 * kernel, 30)

    flat, thin, slowly, symmetric, kernels = found()
    expected = [
        (0.98386991, 0.62609903),
        (0.99961183, 0.81643314),
        (0.99999977, 0.95254762),
        (1, 0.99998344),
    ]
    for matrix, values in zip(flat, expected, strict=True):
        np.testing.assert_allclose(matrix, np.diag(values), rtol=2e-6)
    np.testing.assert_allclose(thin[0], [[0.84852814], [1.13137085]], rtol=1e-6)
    np.testing.assert_allclose(thin[1], [[0.6 * 0.5**0.5, 0.8 * 0.5**0.5]], rtol=1e-6)
    assert not thin[2].any()
    np.testing.assert_allclose(np.diag(slowly), [1, 0.968, 0.058], atol=1e-3)
    np.testing.assert_allclose(symmetric, np.eye(2), atol=1e-5)
    np.testing.assert_allclose(kernels[:, :, 0, 0], np.eye(2) / 2, atol=1e-5)
    np.testing.assert_allclose(kernels[:, :, 1, 0], [[0, 0.5], [-0.5, 0]], atol=1e-5)


def test_fire_before_every_task_but_the_first():
    model = mlp(3, 2, width=3, depth=1)
    learner, transform = trained(learner_of(model, algorithms.adam(0.1))), FrobeniusIsometry()

    @eqx.filter_jit
    def begun(learner, task):
        return transform.begin_task(learner, None, start_of(task), key=KEY)[0]

    for a, b in zip(arrays(begun(learner, jnp.asarray(0))), arrays(learner), strict=True):
        np.testing.assert_array_equal(a, b)
    after = begun(learner, jnp.asarray(2))
    for i, (old, new) in enumerate(zip(model.layers, after.model.layers, strict=True)):
        u, _, v = np.linalg.svd(np.asarray(old.weight), full_matrices=False)
        np.testing.assert_allclose(new.weight, (1, (2 / 3) ** 0.5)[i] * u @ v, atol=1e-2)
        np.testing.assert_array_equal(new.bias, old.bias)
    for x in arrays(after.optimiser.state.mean):
        assert not np.any(x)
    due, marks = transform.resets(learner, None, start_of(1).clock)
    assert due
    assert jax.tree.leaves(marks) == [True, False, True, False]
    assert not transform.resets(learner, None, start_of(0).clock)[0]


def test_dash_shrinks_by_the_cosine():
    """The gradients of two batches, the newest with the weight 0.7 of its mean. Rows without
    gradient shrink most, norms not at all."""
    model = mlp(2, 1, width=3, depth=1, layer_norm=True)
    rows = [[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]]
    model = eqx.tree_at(lambda m: m.layers[0].weight, model, jnp.asarray(rows))
    forward = lambda model, state, batch, *, key, inference: (model.layers[0], Aux({}, state))
    # The bias gets the gradient -b / 2, which has the cosine 1 with it.
    criterion = lambda layer, batch: (
        -jnp.sum(layer.weight * batch) - jnp.sum(layer.bias**2) / 4,
        {},
    )
    small = jnp.asarray([[4.0, 3.0], [-1.0, 0.0], [0.0, 5.0]])

    @eqx.filter_jit
    def after(learner, task, noise):
        def draw(num_examples, split, *, key):
            assert (num_examples, split) == (7, "train")
            return small + noise * (jax.random.key_data(key) % 1024)[None] / 1024

        start = TaskStart(start_of(task).clock, draw, forward, criterion, start_of().measure)
        two = DirectionAwareShrink(num_batches=2, batch_size=7)
        keys = [jax.random.split(jax.random.fold_in(KEY, i))[0] for i in (0, 1)]
        batches = [draw(7, "train", key=key) for key in keys]
        return two.begin_task(learner, None, start, key=KEY)[0].model, batches

    learner, old = learner_of(model), model.layers
    same, _ = after(learner, jnp.asarray(0), 0.0)
    for a, b in zip(arrays(same), arrays(model), strict=True):
        np.testing.assert_array_equal(a, b)
    shrunk, _ = after(learner, jnp.asarray(1), 0.0)
    expected = np.array([[0.96], [0.3], [1]]) * np.array(rows)
    np.testing.assert_allclose(shrunk.layers[0].weight, expected, rtol=1e-6)
    np.testing.assert_allclose(shrunk.layers[0].bias, old[0].bias, rtol=1e-6)
    np.testing.assert_allclose(shrunk.layers[1].weight, 0.3 * np.asarray(old[1].weight), rtol=1e-6)
    np.testing.assert_allclose(shrunk.layers[1].bias, 0.3 * np.asarray(old[1].bias), rtol=1e-6)
    np.testing.assert_array_equal(shrunk.norms[0].weight, model.norms[0].weight)
    np.testing.assert_array_equal(shrunk.norms[0].bias, model.norms[0].bias)
    noisy, batches = after(learner, jnp.asarray(1), 9.0)
    mean = 0.7 * 0.3 * np.asarray(batches[0]) + 0.3 * np.asarray(batches[1])
    cosine = (mean * rows).sum(1) / np.linalg.norm(mean, axis=1) / np.linalg.norm(rows, axis=1)
    assert np.sum((cosine > 0.31) & (cosine < 0.99)) > 1
    expected = np.clip(cosine, 0.3, 1)[:, None] * rows
    np.testing.assert_allclose(noisy.layers[0].weight, expected, rtol=1e-5)


def test_the_cosine_of_kernels():
    a, b = np.random.default_rng(0).normal(size=(2, 3, 2, 2, 2)).astype(np.float32)
    found = _cosine(jnp.asarray(a), jnp.asarray(b))
    dot = lambda x, y: (x * y).sum(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(found, dot(a, b) / np.sqrt(dot(a, a) * dot(b, b)), rtol=1e-4)
    assert not _cosine(jnp.zeros((3, 2, 2, 2)), jnp.asarray(b)).any()


def clipped(model, transform):
    return after_step(transform, learner_of(model), INPUTS, taps={}, key=KEY)[0].model


def test_weights_of_any_size():
    """Squares of entries neither underflow nor overflow, and a power of two changes no digit."""
    project = FrobeniusIsometry(iterations=3)._isometry
    diagonal = jnp.diag(jnp.asarray([2.0, 1.0]))
    a, b = jnp.asarray([[4.0, 3.0], [-1.0, 0.5]]), jnp.asarray([[3.0, 4.0], [1.0, 0.0]])
    reinit, exists = SelectiveReinit(fraction=0.5), jnp.ones((2, 2), bool)
    learner = learner_of(mlp(3, 2, width=4, depth=1))

    @jax.jit
    def found(s):
        cosines = [_cosine(s * a, b), _cosine(a[0], s * b[0]), _cosine(s * a[None], b[None])]
        marks = reinit._lowest(_sensitivity(s * a, s * b), exists, key=KEY)
        scaled = lambda x: s * x if eqx.is_inexact_array(x) else x
        model = jax.tree.map(scaled, learner.model)
        norms = SoftWeightRescaling().init(Learner(model, None, learner.optimiser), key=KEY)
        return project(s * diagonal), cosines, marks, jnp.stack(norms)

    isometry, cosines, marks, norms = found(jnp.ones(()))
    np.testing.assert_allclose(jnp.diag(isometry), [0.9999998, 0.9525], atol=1e-4)
    np.testing.assert_allclose(cosines[0][0], [0.96], rtol=1e-6)
    assert marks.any()
    for power in (-105, -70, 70, 105):
        scale = jnp.asarray(2.0**power, jnp.float32)
        again = found(scale)
        jax.tree.map(np.testing.assert_array_equal, again[:3], (isometry, cosines, marks))
        np.testing.assert_array_equal(again[3], scale * norms)


def test_weights_are_clipped_to_the_range_of_their_initialisation():
    model = mlp(4, 1, width=4, depth=1, layer_norm=True)
    row, bias = [0.7, -0.2, -0.9, 0.1], [0.8, -0.6, 0.1, 2.0]
    first = lambda m: (m.layers[0].weight, m.layers[0].bias, m.layers[1].weight, m.norms[0].weight)
    values = (jnp.asarray([row] * 4), jnp.asarray(bias), jnp.asarray([row]), jnp.full(4, 9.0))
    model = eqx.tree_at(first, model, values)
    for head in (True, False):
        after = clipped(model, WeightClipping(head=head))
        np.testing.assert_allclose(after.layers[0].weight[1], [0.5, -0.2, -0.5, 0.1], rtol=1e-6)
        np.testing.assert_allclose(after.layers[0].bias, [0.5, -0.5, 0.1, 0.5], rtol=1e-6)
        last = [0.5, -0.2, -0.5, 0.1] if head else row
        np.testing.assert_allclose(after.layers[1].weight[0], last, rtol=1e-6)
        np.testing.assert_array_equal(after.norms[0].weight, np.full(4, 9.0))


def test_soft_rescaling_draws_norms_to_their_initial_values():
    model, transform = mlp(3, 2, width=4, depth=2), SoftWeightRescaling(amount=0.25)
    grown = numpy_map(lambda x: 3 * x + 0.01, model)
    signal = signal_at(model, jnp.asarray(INPUTS), taps={})

    @eqx.filter_jit
    def both(model, grown):
        norms = transform.init(learner_of(model), key=KEY)
        update = lambda m: transform.update(learner_of(m), norms, signal, key=KEY)[0].model
        after = update(grown)
        x = jnp.asarray([0.3, -1.0, 2.0])
        return update(model), after, [m(x)[0] for m in (grown, after)]

    same, after, outputs = both(model, grown)
    for a, b in zip(arrays(same), arrays(model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    product = 1.0
    for old, big, new in zip(model.layers, grown.layers, after.layers, strict=True):
        n, before, now = (np.linalg.norm(layer.weight) for layer in (old, big, new))
        np.testing.assert_allclose(now - n, 0.75 * (before - n), rtol=1e-5)
        product *= now / before
        np.testing.assert_allclose(new.weight, now / before * np.asarray(big.weight), rtol=1e-5)
        np.testing.assert_allclose(new.bias, product * np.asarray(big.bias), rtol=1e-5)
    np.testing.assert_allclose(outputs[1], product * np.asarray(outputs[0]), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp_norms", "actor_critic"])
def test_soft_rescaling_of_norms_and_of_two_networks(name):
    """The products start at the last norm with the factor of the layer before it, and again in
    the critic."""
    model = (
        networks.mlp(KEY, layer_norm=True) if name == "mlp_norms" else networks.MODELS[name](KEY)
    ).model
    model = numpy_map(lambda x: x + 0.1, model)
    grown = numpy_map(lambda x: 2 * x + 0.05, model)
    transform = SoftWeightRescaling(amount=0.5)
    signal = signal_at(model, jnp.asarray(INPUTS), taps={})

    @eqx.filter_jit
    def after(model, grown):
        norms = transform.init(learner_of(model), key=KEY)
        return transform.update(learner_of(grown), norms, signal, key=KEY)[0].model

    old, big, new = (list(map(np.asarray, arrays(m))) for m in (model, grown, after(model, grown)))
    for chain in chains_of(model):
        products = []
        for layer in chain:
            n, now = np.linalg.norm(old[layer.weight]), np.linalg.norm(big[layer.weight])
            products.append((n + now) / 2 / now)
            np.testing.assert_allclose(
                new[layer.weight], products[-1] * big[layer.weight], rtol=1e-5
            )
        for i, layer in enumerate(chain):
            assert layer.bias is not None
            first = i if name == "mlp_norms" and i < 3 else (2 if name == "mlp_norms" else 0)
            scale = np.prod(products[first : i + 1])
            np.testing.assert_allclose(new[layer.bias], scale * big[layer.bias], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FrobeniusIsometry(iterations=0), "`iterations` is 0"),
        (lambda: DirectionAwareShrink(min_factor=1.5), "`min_factor` is 1.5"),
        (lambda: DirectionAwareShrink(decay=1.0), "`decay` is 1.0"),
        (lambda: DirectionAwareShrink(num_batches=0), "`num_batches` is 0"),
        (lambda: DirectionAwareShrink(batch_size=0), "`batch_size` is 0"),
        (lambda: WeightClipping(factor=0.0), "`factor` is 0.0"),
        (lambda: SoftWeightRescaling(amount=2.0), "`amount` is 2.0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
