import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spectral import Optimiser
from spectral.models import entries_of, MLP


def decayed_adam(lr, decay):
    return optax.chain(optax.add_decayed_weights(decay), optax.adam(lr))


def masked_momentum(lr):
    def matrices(params):
        return jax.tree.map(lambda p: jnp.ndim(p) == 2, params)

    return optax.chain(optax.masked(optax.trace(0.9), matrices), optax.scale(-1), optax.scale(lr))


OPTIMISERS = {
    "sgd": lambda lr: Optimiser(optax.sgd, learning_rate=lr),
    "momentum": lambda lr: Optimiser(optax.sgd, learning_rate=lr, momentum=0.9, nesterov=True),
    "adam": lambda lr: Optimiser(optax.adam, learning_rate=lr),
    "adamw": lambda lr: Optimiser(optax.adamw, learning_rate=lr, weight_decay=0.1),
    "adagrad": lambda lr: Optimiser(optax.adagrad, learning_rate=lr),
    "chain": lambda lr: Optimiser(decayed_adam, lr=lr, decay=0.1),
    "masked": lambda lr: Optimiser(masked_momentum, lr=lr),
}


@pytest.fixture
def model():
    return MLP(3, 2, width=4, depth=2, key=jax.random.key(0))


def gradients(model, seed):
    params = eqx.filter(model, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_it_is_optax(name, model):
    optimiser = OPTIMISERS[name](0.1).init(model)
    transformation = optimiser.transformation
    params = eqx.filter(model, eqx.is_inexact_array)
    state = transformation.init(params)
    for seed in range(3):
        grads = gradients(model, seed)
        model, optimiser = optimiser.apply(grads, model)
        updates, state = transformation.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    jax.tree.map(np.testing.assert_array_equal, eqx.filter(model, eqx.is_inexact_array), params)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_it_forgets_the_marked_entries_and_no_other(name, model):
    optimiser = OPTIMISERS[name](0.1).init(model)
    for seed in range(3):
        _, optimiser = optimiser.apply(gradients(model, seed), model)
    group = model.units()[1]
    marks = entries_of(model, group, jnp.array([False, True, False, False]))
    after = optimiser.forget(marks)
    fresh = OPTIMISERS[name](0.1).init(model)

    shapes = {p.shape for p in jax.tree.leaves(marks)}
    moments = [
        leaf for leaf in jax.tree.leaves(optimiser.state) if getattr(leaf, "shape", ()) in shapes
    ]
    assert len(moments) == {"sgd": 0, "masked": 3, "momentum": 6, "adagrad": 6}.get(name, 12)

    def check(old, new, first):
        if old.shape == ():
            np.testing.assert_array_equal(old, new)
            return
        same = [m for m in jax.tree.leaves(marks) if m.shape == old.shape]
        # The network has no two parameters of one shape but for the biases of the hidden layers.
        candidates = [np.where(m, first, old) for m in same]
        assert any(np.array_equal(new, c) for c in candidates)

    jax.tree.map(check, optimiser.state, after.state, fresh.state)
    if name not in ("sgd", "masked"):
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
