"""`Optimiser`: what optax does, what it forgets, and which numbers are data."""

import functools
import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spectral import algorithms, Optimiser
from spectral.algorithms import entrywise_adam, equinox_muon, perturbed_adam, perturbed_sgd
from spectral.algorithms._base._noise import gaussian_like
from spectral.models import entries_of, MLP


def decayed_adam(lr, decay):
    return optax.chain(optax.add_decayed_weights(decay), optax.adam(lr))


def masked_momentum(lr):
    def matrices(params):
        return jax.tree.map(lambda p: jnp.ndim(p) == 2, params)

    return optax.chain(optax.masked(optax.trace(0.9), matrices), optax.scale(-1), optax.scale(lr))


def falling(count):
    return 0.1 / (1 + count)


def scheduled(b1):
    return optax.adam(falling, b1=b1)


OPTIMISERS = {
    "sgd": lambda lr: Optimiser(optax.sgd, learning_rate=lr),
    "momentum": lambda lr: Optimiser(optax.sgd, learning_rate=lr, momentum=0.9, nesterov=True),
    "adam": lambda lr: Optimiser(optax.adam, learning_rate=lr),
    "adamw": lambda lr: Optimiser(optax.adamw, learning_rate=lr, weight_decay=0.1),
    "adagrad": lambda lr: Optimiser(optax.adagrad, learning_rate=lr),
    "chain": lambda lr: Optimiser(decayed_adam, lr=lr, decay=0.1),
    "entrywise": lambda lr: Optimiser(entrywise_adam, learning_rate=lr),
    "scheduled": lambda lr: Optimiser(scheduled, b1=0.9),
    "muon": lambda lr: Optimiser(equinox_muon, learning_rate=lr),
    "upgd": lambda lr: Optimiser(perturbed_sgd, learning_rate=lr),
    "adaptive_upgd": lambda lr: Optimiser(perturbed_adam, learning_rate=lr, scope="local"),
    "schedule_free": lambda lr: Optimiser(optax.contrib.schedule_free_sgd, learning_rate=lr),
    "masked": lambda lr: Optimiser(masked_momentum, lr=lr),
}


# What is kept for three matrices and three biases; Adam keeps two moments of each.
MOMENTS = {"sgd": 0, "masked": 3, "momentum": 6, "adagrad": 6, "entrywise": 24, "muon": 9}
MOMENTS |= {"schedule_free": 6, "upgd": 6, "adaptive_upgd": 18}


@functools.cache
def network():
    return MLP(3, 2, width=4, depth=2, key=jax.random.key(0))


@pytest.fixture
def model():
    return network()


def gradients(model, seed):
    rng = np.random.default_rng(seed)
    params = eqx.filter(model, eqx.is_inexact_array)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params)


@eqx.filter_jit
def jitted(grads, model, optimiser, key=None):
    return optimiser.apply(grads, model, key=key)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_it_is_optax(name, model):
    optimiser = OPTIMISERS[name](0.1).init(model)
    transformation = optimiser.transformation
    params = eqx.filter(model, eqx.is_inexact_array)
    state = transformation.init(params)
    extra = optax.with_extra_args_support(transformation)

    @jax.jit
    def step(grads, state, params, key):
        updates, state = extra.update(grads, state, params, key=key)
        return optax.apply_updates(params, updates), state

    for seed in range(3):
        grads, key = gradients(model, seed), jax.random.key(seed)
        model, optimiser = jitted(grads, model, optimiser, key)
        params, state = step(grads, state, params, key)
    jax.tree.map(np.testing.assert_array_equal, eqx.filter(model, eqx.is_inexact_array), params)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_it_forgets_only_the_marked_entries(name, model):
    optimiser = OPTIMISERS[name](0.1).init(model)
    for seed in range(3):
        _, optimiser = jitted(gradients(model, seed), model, optimiser, jax.random.key(seed))
    group = model.units()[1]
    marks = entries_of(model, group, jnp.array([False, True, False, False]))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    renewed = eqx.combine(jax.tree.map(lambda p: p + 1, params), static)
    after = forgotten(optimiser, marks, renewed)
    fresh = OPTIMISERS[name](0.1).init(renewed)

    shapes = {p.shape for p in jax.tree.leaves(marks)}
    moments = [
        leaf for leaf in jax.tree.leaves(optimiser.state) if getattr(leaf, "shape", ()) in shapes
    ]
    assert len(moments) == MOMENTS.get(name, 12)

    def check(old, new, first):
        same = [m for m in jax.tree.leaves(marks) if m.shape == old.shape]
        if not same:  # a count, or coefficients of all entries
            np.testing.assert_array_equal(old, new)
            return
        # Only the biases of the hidden layers share a shape.
        candidates = [np.where(m, first, old) for m in same]
        assert any(np.array_equal(new, c) for c in candidates)

    jax.tree.map(check, optimiser.state, after.state, fresh.state)
    # The utility of a zero bias is zero in both cases.
    if name not in ("sgd", "masked", "muon", "upgd", "adaptive_upgd"):
        changed = [
            int(np.sum(np.asarray(a) != np.asarray(b)))
            for a, b in zip(
                jax.tree.leaves(optimiser.state), jax.tree.leaves(after.state), strict=True
            )
        ]
        per_copy = 4 + 1 + 2  # incoming row, bias, outgoing column
        assert sum(changed) == per_copy * len(moments) // 6


def test_one_program_for_all_numbers(model):
    traces = 0

    @eqx.filter_jit
    def step(optimiser, model):
        nonlocal traces
        traces += 1
        return optimiser.apply(gradients(model, 0), model)

    for lr in (0.1, 0.2, jnp.asarray(0.3), np.float32(0.4)):
        step(OPTIMISERS["momentum"](lr).init(model), model)
    assert traces == 1
    step(Optimiser(optax.sgd, learning_rate=0.1, momentum=0.9).init(model), model)
    assert traces == 2  # nesterov is part of the program


def test_numbers_are_strongly_typed():
    hyper = Optimiser(optax.adam, learning_rate=0.1, nesterov=False, eps_root=1e-8)
    assert sorted(hyper.hyper) == ["eps_root", "learning_rate"]
    assert hyper.options == (("nesterov", False),)
    assert not any(jax.typeof(h).weak_type for h in hyper.hyper.values())


def test_a_forgotten_entry_continues_as_a_new_one(model):
    """Exactly with one count per entry; with a common count its first step is 3.2 lr."""
    marks = entries_of(model, model.units()[1], jnp.array([False, True, False, False]))
    last = gradients(model, 9)
    for make, exact in ((algorithms.adam, True), (OPTIMISERS["adam"], False)):
        old = make(0.1).init(model)
        for seed in range(300):
            _, old = jitted(gradients(model, seed), model, old)
        new, _ = jitted(last, model, make(0.1).init(model))
        continued, _ = jitted(last, model, forgotten(old, marks, model))
        unchanged, _ = jitted(last, model, old)
        trees = map(jax.tree.leaves, (marks, continued, new, unchanged, model))
        for m, *weights in zip(*trees, strict=True):
            a, b, c, start = (np.asarray(w)[np.asarray(m)] for w in weights)
            d, e = (np.asarray(w)[~np.asarray(m)] for w in (weights[0], weights[2]))
            np.testing.assert_array_equal(d, e)
            if exact:
                np.testing.assert_array_equal(a, b)
            elif a.size:
                first = 0.1 / (0.001 / (1 - 0.999**301)) ** 0.5  # 3.2 once the count is high
                np.testing.assert_allclose(np.abs(a - start), 0.1 * first, rtol=1e-3)
                np.testing.assert_allclose(np.abs(b - start), 0.1, rtol=1e-4)


@eqx.filter_jit
def forgotten(optimiser, marks, model):
    return optimiser.forget(marks, model)


def test_entrywise_adam_takes_the_steps_of_adam(model):
    ours, theirs = algorithms.adam(0.1, b2=0.99), Optimiser(optax.adam, learning_rate=0.1, b2=0.99)
    a, b, ours, theirs = model, model, ours.init(model), theirs.init(model)
    for seed in range(20):
        a, ours = jitted(gradients(model, seed), a, ours)
        b, theirs = jitted(gradients(model, seed), b, theirs)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shape", "scale"), [((256, 27), 256 / 27), ((27, 256), 1)])
def test_muon_knows_which_way_a_matrix_maps(shape, scale):
    """optax takes kernels as (in, out); Equinox stores them as (out, in)."""
    params = {"w": jnp.zeros(shape), "k": jnp.zeros((8, 2, 3, 3)), "b": jnp.zeros(4)}
    grads = gradients(params, 0)
    moved, _ = jitted(grads, params, algorithms.muon(1.0, adam_lr=0.5).init(params))
    # Newton-Schulz leaves singular values between 0.7 and 1.2.
    sizes = np.linalg.svd(np.asarray(moved["w"]), compute_uv=False) / scale**0.5
    assert 0.6 < sizes.min() < sizes.max() < 1.3
    sizes = np.linalg.svd(np.asarray(moved["k"]).reshape(8, 18), compute_uv=False)
    assert 0.6 < sizes.min() < sizes.max() < 1.3
    updates = optax.adamw(0.5, weight_decay=0, nesterov=True)
    expected: Any = updates.update(grads, updates.init(params), params)[0]
    np.testing.assert_allclose(moved["b"], expected["b"], rtol=1e-5)


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("make", [perturbed_sgd, perturbed_adam])
def test_perturbed_descent_against_numpy(make, scope, model):
    arguments = {"learning_rate": 0.1, "utility_decay": 0.9, "noise": 0.2, "weight_decay": 0.3}
    optimiser = Optimiser(make, scope=scope, **arguments).init(model)
    theta = [np.asarray(p, float) for p in jax.tree.leaves(eqx.filter(model, eqx.is_array))]
    u, m, v = ([0 * p for p in theta] for _ in range(3))
    for t in range(1, 4):
        key, grads = jax.random.key(100 + t), gradients(model, t)
        model, optimiser = jitted(grads, model, optimiser, key)
        xi = [0.2 * np.asarray(x) for x in jax.tree.leaves(gaussian_like(grads, key=key))]
        g = [np.asarray(x) for x in jax.tree.leaves(grads)]
        u = [0.9 * a - 0.1 * b * p for a, b, p in zip(u, g, theta, strict=True)]
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * b**2 for a, b in zip(v, g, strict=True)]
        corrected = [a / (1 - 0.9**t) for a in u]
        largest = max(a.max() for a in corrected)
        for i, utility in enumerate(corrected):
            size = np.linalg.norm(utility, axis=-1, keepdims=True) + 1e-30
            scaled = utility / (largest if scope == "global" else size)
            plastic = 1 / (1 + np.exp(scaled))
            step = g[i]
            if make is perturbed_adam:
                step = m[i] / (1 - 0.9**t) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
            theta[i] = (1 - 0.1 * 0.3) * theta[i] - 0.1 * (step + xi[i]) * plastic
    for a, b in zip(jax.tree.leaves(eqx.filter(model, eqx.is_array)), theta, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_perturbed_descent_without_protection(model):
    """`perturb="noise"` takes the whole gradient; a network of zero utility is fully plastic."""
    key, grads = jax.random.key(0), gradients(model, 0)
    zero = jax.tree.map(lambda x: 0 * x if eqx.is_array(x) else x, model)
    moved = {}
    for perturb in ("gradient", "noise"):
        optimiser = Optimiser(perturbed_sgd, learning_rate=1.0, noise=0.0, perturb=perturb)
        moved[perturb], _ = jitted(grads, zero, optimiser.init(zero), key)
    for a, b, g in zip(*map(jax.tree.leaves, (*moved.values(), grads)), strict=True):
        np.testing.assert_allclose(a, -g, rtol=1e-6)
        np.testing.assert_allclose(b, -g, rtol=1e-6)
    half = Optimiser(perturbed_sgd, learning_rate=1.0, noise=0.0, weight_decay=0.0)
    guarded, _ = jitted(grads, model, half.init(model), key)
    steps = [np.abs(a - b) for a, b in zip(*map(jax.tree.leaves, (guarded, model)), strict=True)]
    assert all((s < np.abs(g)).all() for s, g in zip(steps, jax.tree.leaves(grads), strict=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: algorithms.sgd(0), "`lr` is 0"),
        (lambda: algorithms.sgd(0.1, momentum=-1.0), "`momentum` is -1.0"),
        (lambda: algorithms.adam(-1.0), "`lr` is -1.0"),
        (lambda: algorithms.adam(eps=0.0), "`eps` is 0.0"),
        (lambda: algorithms.muon(0.0), "`lr` is 0.0"),
        (lambda: algorithms.muon(adam_lr=0.0), "`adam_lr` is 0.0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_that_do_not_exist():
    with pytest.raises(ValueError, match="`scope`: Name 'globe' does not exist"):
        inspect.unwrap(perturbed_sgd)(0.1, scope="globe")
    with pytest.raises(ValueError, match="`perturb`: Name 'all' does not exist"):
        inspect.unwrap(perturbed_sgd)(0.1, perturb="all")
