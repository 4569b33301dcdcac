"""`Optimiser` against optax: its steps, the entries that it forgets, and numbers as data."""

import inspect
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from signals import mlp, numpy_map

from spectral import algorithms, Optimiser
from spectral.algorithms import entrywise_adam, equinox_muon, perturbed_adam, perturbed_sgd
from spectral.algorithms._base._noise import gaussian_like
from spectral.models import entries_of


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


UPGD = {"utility_decay": 0.9, "noise": 0.2, "weight_decay": 0.3}
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
    "upgd": lambda lr: Optimiser(perturbed_sgd, scope="global", learning_rate=lr, **UPGD),
    "adaptive_upgd": lambda lr: Optimiser(perturbed_adam, scope="local", learning_rate=lr, **UPGD),
    "schedule_free": lambda lr: Optimiser(optax.contrib.schedule_free_sgd, learning_rate=lr),
    "masked": lambda lr: Optimiser(masked_momentum, lr=lr),
}


# How many arrays are kept for three matrices and three biases; Adam keeps two moments of each.
MOMENTS = {"sgd": 0, "masked": 3, "momentum": 6, "adagrad": 6, "entrywise": 24, "muon": 9}
MOMENTS |= {"schedule_free": 6, "upgd": 6, "adaptive_upgd": 18}


# The others take the same code paths of `Optimiser`.
QUICK = ("momentum", "chain", "entrywise", "upgd", "adaptive_upgd", "schedule_free", "masked")
ROWS = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in OPTIMISERS]


@pytest.fixture
def model():
    return mlp(3, 2, width=4, depth=2, seed=100)


def gradients(model, seed):
    rng = np.random.default_rng(seed)
    params = eqx.filter(model, eqx.is_inexact_array)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), params)


@eqx.filter_jit
def jitted(grads, model, optimiser, key=None):
    return optimiser.apply(grads, model, key=key)


started = eqx.filter_jit(lambda optimiser, model: optimiser.init(model))
noise_like = jax.jit(lambda tree, key: gaussian_like(tree, key=key))


@pytest.mark.parametrize("name", ROWS)
def test_it_takes_the_steps_of_optax(name, model):
    first = optimiser = started(OPTIMISERS[name](0.1), model)
    params = eqx.filter(model, eqx.is_inexact_array)
    state = optimiser.state

    @eqx.filter_jit  # numbers that are constants of a program may round differently
    def step(first, grads, state, params, key):
        extra = optax.with_extra_args_support(first.transformation)
        updates, state = extra.update(grads, state, params, key=key)
        return optax.apply_updates(params, updates), state

    for seed in range(3):
        grads, key = gradients(model, seed), jax.random.key(seed)
        model, optimiser = jitted(grads, model, optimiser, key)
        params, state = step(first, grads, state, params, key)
    jax.tree.map(np.testing.assert_array_equal, eqx.filter(model, eqx.is_inexact_array), params)


@pytest.mark.parametrize("name", ROWS)
def test_it_forgets_only_the_marked_entries(name, model):
    optimiser = started(OPTIMISERS[name](0.1), model)
    for seed in range(3):
        _, optimiser = jitted(gradients(model, seed), model, optimiser, jax.random.key(seed))
    marks, renewed = marks_of(model), numpy_map(lambda p: p + 1, model)
    after = forgotten(optimiser, marks, renewed)
    fresh = started(OPTIMISERS[name](0.1), renewed)

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


@eqx.filter_jit
def marks_of(model):
    """The entries of one unit of the second hidden layer."""
    return entries_of(model, model.units()[1], jnp.arange(4) == 1)


def test_one_program_for_all_numbers(model):
    traces = 0

    @eqx.filter_jit
    def step(optimiser, model):
        nonlocal traces
        traces += 1
        return optimiser.apply(gradients(model, 0), model)

    for lr in (0.1, 0.2, jnp.asarray(0.3), np.float32(0.4)):
        step(started(OPTIMISERS["momentum"](lr), model), model)
    assert traces == 1
    step(started(Optimiser(optax.sgd, learning_rate=0.1, momentum=0.9), model), model)
    assert traces == 2  # nesterov is part of the program


def test_numbers_are_strongly_typed():
    hyper = Optimiser(optax.adam, learning_rate=0.1, nesterov=False, eps_root=1e-8)
    assert sorted(hyper.hyper) == ["eps_root", "learning_rate"]
    assert hyper.options == (("nesterov", False),)
    assert not any(jax.typeof(h).weak_type for h in hyper.hyper.values())


def test_a_forgotten_entry_takes_the_first_step_of_a_new_one(model):
    """Exactly with one count per entry. With a common count its first step is larger."""
    marks, last, n = marks_of(model), gradients(model, 9), 61
    for make, exact in ((algorithms.adam, True), (OPTIMISERS["adam"], False)):
        first = old = started(make(0.1), model)
        for seed in range(n - 1):
            _, old = jitted(gradients(model, seed), model, old)
        new, _ = jitted(last, model, first)
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
                mean, square = (0.1 / (1 - 0.9**n), 0.001 / (1 - 0.999**n))
                larger = mean / square**0.5  # tends to 3.2
                np.testing.assert_allclose(np.abs(a - start), 0.1 * larger, rtol=1e-3)
                np.testing.assert_allclose(np.abs(b - start), 0.1, rtol=1e-4)


@eqx.filter_jit
def forgotten(optimiser, marks, model):
    return optimiser.forget(marks, model)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (algorithms.adam(0.1, b2=0.99), Optimiser(optax.adam, learning_rate=0.1, b2=0.99)),
        (
            algorithms.adamw(0.1, b2=0.99, weight_decay=0.3),
            Optimiser(optax.adamw, learning_rate=0.1, b2=0.99, weight_decay=0.3),
        ),
    ],
    ids=("adam", "adamw"),
)
def test_entrywise_adam_takes_the_steps_of_adam(ours, theirs, model):
    a, b, ours, theirs = model, model, started(ours, model), started(theirs, model)
    for seed in range(20):
        a, ours = jitted(gradients(model, seed), a, ours)
        b, theirs = jitted(gradients(model, seed), b, theirs)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_muon_scales_matrices_by_their_shape():
    """optax takes kernels as (in, out); Equinox stores them as (out, in)."""
    shapes = {"tall": (256, 27), "wide": (27, 256), "kernel": (8, 2, 3, 3), "b": (4,)}
    params = {name: jnp.asarray(np.zeros(shape)) for name, shape in shapes.items()}
    grads = gradients(params, 0)
    moved, _ = jitted(grads, params, started(algorithms.muon(1.0, adam_lr=0.5), params))
    # Newton-Schulz leaves singular values between 0.7 and 1.2.
    for name, scale in (("tall", 256 / 27), ("wide", 1), ("kernel", 1)):
        matrix = np.asarray(moved[name]).reshape(shapes[name][0], -1)
        sizes = np.linalg.svd(matrix, compute_uv=False) / scale**0.5
        assert 0.6 < sizes.min() < sizes.max() < 1.3
    updates = optax.adamw(0.5, weight_decay=0, nesterov=True)
    expected: Any = updates.update(grads, updates.init(params), params)[0]
    np.testing.assert_allclose(moved["b"], expected["b"], rtol=1e-5)


@pytest.mark.slow
def test_the_plasticity_of_small_utilities():
    """Squares of these utilities are zero in float32, and their norm sets the scale."""
    rng = np.random.default_rng(0)
    params, grads = (jnp.asarray(rng.normal(size=(2, 3)), jnp.float32) for _ in range(2))
    tx = perturbed_sgd(1.0, noise=0.0, weight_decay=0.0, scope="local")
    step = lambda g: tx.update(g, tx.init(params), params, key=jax.random.key(0))[0]
    moved, small = np.asarray(step(grads)), np.asarray(step(1e-25 * grads))
    np.testing.assert_allclose(1e25 * small, moved, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "scope"),
    [
        (perturbed_sgd, "global"),
        (perturbed_adam, "local"),
        pytest.param(perturbed_sgd, "local", marks=pytest.mark.slow),
        pytest.param(perturbed_adam, "global", marks=pytest.mark.slow),
    ],
)
def test_perturbed_descent_matches_numpy(make, scope, model):
    optimiser = started(Optimiser(make, scope=scope, learning_rate=0.1, **UPGD), model)
    theta = [np.asarray(p, float) for p in jax.tree.leaves(eqx.filter(model, eqx.is_array))]
    u, m, v = ([0 * p for p in theta] for _ in range(3))
    for t in range(1, 4):
        key, grads = jax.random.key(100 + t), gradients(model, t)
        model, optimiser = jitted(grads, model, optimiser, key)
        xi = [0.2 * np.asarray(x) for x in jax.tree.leaves(noise_like(grads, key))]
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
    """`perturb="noise"` takes the whole gradient. A network of zero utility is fully plastic."""
    key, grads = jax.random.key(0), gradients(model, 0)
    numbers = UPGD | {"noise": 0.0, "weight_decay": 0.0}
    plain, protected = (
        Optimiser(perturbed_sgd, scope="global", learning_rate=1.0, **options, **numbers)
        for options in ({"perturb": "noise"}, {})
    )
    zero = numpy_map(lambda x: 0 * x, model)
    for optimiser, start in ((plain, zero), (protected, zero), (plain, model)):
        moved, _ = jitted(grads, start, started(optimiser, start), key)
        for a, b, g in zip(*map(jax.tree.leaves, (moved, start, grads)), strict=True):
            np.testing.assert_allclose(a, np.asarray(b) - np.asarray(g), rtol=1e-5, atol=1e-6)
    guarded, _ = jitted(grads, model, started(protected, model), key)
    after, before, g = (
        np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (guarded, model, grads)
    )
    utility = -g * before
    plastic = scipy.special.expit(-utility / utility.max())
    assert plastic.min() < 0.3
    np.testing.assert_allclose(after, before - plastic * g, rtol=1e-4, atol=1e-6)


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
